"""Tables of the docs say what the code says."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

import flopwatch
from flopwatch.lightning.output import run_facts as facts
from flopwatch.report.report import summarize
from flopwatch.run.metric_table import METRICS
from flopwatch.run.run_file import Run, Segment
from tests import samples

ROOT = Path(__file__).parents[1]


def benchmark(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_peaks_is_what_flopwatch_and_lightning_answer():
    peaks = benchmark("peaks")
    page = (ROOT / "docs" / "hardware.md").read_text()
    printed = page.partition("<!-- peaks -->\n")[2].partition("<!-- end of peaks -->")[0].splitlines()
    # Composer and torchtitan are not installed here: their columns are as they were measured.
    answers = [line.split("|")[:5] for line in peaks.table({"Lightning": peaks.lightnings})]
    assert [line for line in printed if line.split("|")[:5] not in answers] == [], (
        "chips may come, no answer may change"
    )
    assert f"Of these {len(printed) - 2} names" in page


def test_the_counts_above_the_table_are_the_tables():
    page = (ROOT / "docs" / "hardware.md").read_text()
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("|") and line.count("|") == 7]
    for column, name in (
        (3, "Lightning answers {} wrongly and {}"),
        (4, "Composer {} and {}"),
        (5, "torchtitan {} and"),
    ):
        wrong = sum("**" in row[column] for row in rows)
        silent = sum(row[column].strip() == "n/a" for row in rows)
        assert name.format(wrong, silent) in page


def read(name):
    return (ROOT / name).read_text()


def test_the_metrics_page_says_what_the_code_says():
    page = read("docs/metrics.md")
    assert "\n".join(f"| `{each.key}` | {each.meaning} | {each.absent} |" for each in METRICS.values()) in page
    run = Run(Path("run.jsonl"), (Segment(samples.start(), samples.WORK, (), (), None),))
    config = page.partition("## W&B's config")[2].partition("## W&B's summary")[0]
    for name in facts.hyperparameters(samples.WORK, samples.H100, (), "580"):
        assert f"`{name}`" in config
    summary = page.partition("## W&B's summary")[2].partition("## The run file")[0]
    assert set(re.findall(r"`([a-z_]+)`", summary)) == set(facts.summary(summarize(run)))


def strings():
    """The literal parts of every string of the source."""
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "\0".join(each.value if isinstance(each, ast.Constant) else "" for each in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.sub(r"%[sd]", "\0", node.value)


def test_every_message_of_troubleshooting_is_in_the_source():
    source = "\n".join(strings()).replace("\\`", "`")
    cells = [line.split(" | ")[0].strip("| ") for line in read("docs/troubleshooting.md").splitlines()]
    messages = [each for cell in cells if cell.startswith("`") for each in re.findall(r"`((?:[^`\\]|\\`)+)`", cell)]
    assert len(messages) > 30
    for message in messages:
        for part in re.split(r"\.\.\.|\(\.\.\.\)", message.replace("\\`", "`")):
            words = part.strip(" ;:,()")
            assert words in source or not words, f"{message!r}: {words!r} is said nowhere"


PAGES = ["README.md", "README.zh-CN.md", "CHANGELOG.md", "SECURITY.md"]
PAGES += [str(path.relative_to(ROOT)) for folder in ("docs", "tests") for path in (ROOT / folder).rglob("*.md")]


def anchors(page):
    """Where a link may lead within a page, as GitHub makes it of headings."""
    for heading in re.findall(r"^#+ (.+)$", page, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    for link in re.findall(r"\]\(([^)\s]+)\)", read(name)):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (ROOT / name).parent / file if file else ROOT / name
        assert target.exists(), link
        assert target.resolve().is_relative_to(ROOT), f"{link} leaves the repository"
        assert not anchor or anchor in anchors(target.read_text()), link


def test_every_page_is_in_the_sites_navigation():
    """`mkdocs build --strict` in `.ci/run` does the rest: links, anchors, names of the API reference."""
    navigation = read("mkdocs.yml").partition("\nnav:\n")[2].partition("\nhooks:")[0]
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert set(re.findall(r": ([\w/-]+\.md)$", navigation, re.MULTILINE)) == pages


def test_the_sites_links_to_other_files_are_words():
    spec = importlib.util.spec_from_file_location("site_links", ROOT / ".ci" / "site_links.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    text = "[`lora.py`](../../examples/lora.py), [results](../tests/benchmarks/README.md), [ranks](../runs.md#ranks)"
    assert hook.on_page_markdown(text, page=None) == "`lora.py`, results, [ranks](../runs.md#ranks)"
    for path in (ROOT / "docs").rglob("*.md"):
        for link in re.findall(r"\]\((\.\./[^)#]+)", hook.on_page_markdown(path.read_text())):
            assert ROOT / "docs" in (path.parent / link).resolve().parents, f"{path.name}: {link} is not in the site"


def test_lists_and_tables_of_the_site_have_a_line_of_their_own_before_them():
    """GitHub does without; Python's Markdown makes one paragraph of both."""
    for path in (ROOT / "docs").rglob("*.md"):
        prose = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
        assert re.findall(r"^(?![-|<\s]|\d+\.|#).+\n(?:- |\| |1\. ).*", prose, re.MULTILINE) == [], path.name


def test_the_citation_is_of_this_version():
    assert f"\nversion: {flopwatch.__version__}\n" in read("CITATION.cff")


@pytest.mark.parametrize("name", ["bug", "wrong-number"])
def test_issues_ask_for_what_check_says(name):
    assert "`flopwatch check --json -o check.json`" in read(f".github/ISSUE_TEMPLATE/{name}.yml")


def test_the_readme_is_short_and_its_translation_says_as_much():
    english, chinese = read("README.md"), read("README.zh-CN.md")
    assert len(english.splitlines()) <= 120
    for pattern in (r"^## ", r"^\|", r"`[^`\n]+`", r"\]\([^)]+\)", r"\d[\d,.]*"):
        ours, theirs = (re.findall(pattern, each, re.MULTILINE) for each in (english, chinese))
        assert abs(len(ours) - len(theirs)) <= 6, pattern
    named = [set(re.findall(r"`((?:perf|step|loss|budget|gpu)/\w+)`", each)) for each in (english, chinese)]
    assert named[0] == named[1] <= set(METRICS)
    for marker in ("main-job", "test-command"):
        (command,) = re.findall(rf"<!-- {marker} -->\n```bash\n(.+)\n```\n", english)
        assert command in chinese
