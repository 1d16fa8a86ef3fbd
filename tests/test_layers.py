"""The house keeps its order: a package imports from those before it, and each framework has one home."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "flopwatch"
# A package imports from those above it in this list; at the root are the first three files alone.
PACKAGES = [
    *("errors", "units", "files"),
    "hardware",  # peaks, and what drivers read
    "model",  # what a model costs
    "trace",  # what a profiler's trace says
    "run",  # records, metrics, budgets, files
    "measure",  # the dispatch mode and its formulas
    "wandb",
    "report",
    "lightning",
    "check",  # what the numbers rest on, proved on a machine
    "cli",
]
# Inside of these, each imports from those before it.
INSIDE = {
    "model": [
        *(
            "products",
            "batch",
            "media",
            "sounds",
            "resized",
            "row_blocks",
            "components",
            "architecture",
            "backward",
            "lora",
            "shape_advice",
            "conventions",
            "families",
        ),
        "estimate",
    ],
    "lightning": [
        *(
            "messages",
            "trainer",
            "patch",
            "apart",
            "memory",
            "losses",
            "recorder",
            "profile",
            "counting",
            "timing",
            "ranks",
            "devices",
        ),
        *("options", "hardware", "output", "session", "last_checkpoint", "inference", "inference_hooks"),
        *("after_fit", "callback", "plugin"),
    ],
}
FORMER_PLACES = {
    "architectures",
    "backward",
    "batch",
    "chips",
    "render",
    "runfile",
}  # they hand on names that were documented there
HOMES = {
    "jinja2": {"report/render"},
    "tabulate": {"report/render"},
    "msgspec": {"run", "lightning/ranks"},
    "pynvml": {"hardware/nvml"},
    "amdsmi": {"hardware/amd.py"},
    "torch": {"lightning", "hardware/benchmark.py", "measure", "check"},
    "pytorch_lightning": {"lightning"},
    "lightning": {"lightning"},
    "transformers": set(),
    "pandas": {"report/loaded_run.py"},
    "shtab": {"cli/completion.py"},
    "wandb": {"wandb"},
    "wandb_workspaces": {"wandb"},
}

FILES = sorted(SOURCE.rglob("*.py"))
HOUSE = [path for path in FILES if path.relative_to(SOURCE).parts[0] not in FORMER_PLACES]


def parts_of(path):
    return path.relative_to(SOURCE).with_suffix("").parts


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if is_module(name) else node.module for name in names)


def is_module(name):
    place = SOURCE.parent.joinpath(*name.split("."))
    return place.is_dir() or place.with_suffix(".py").exists()


def test_every_package_has_its_line():
    assert {parts_of(path)[0] for path in HOUSE} - {"__init__", "__main__"} == set(PACKAGES)


def test_at_the_root_is_little():
    assert {path.stem for path in SOURCE.glob("*.py")} == {"__init__", "__main__", "errors", "units", "files"}


def test_former_places_hold_nothing_of_their_own():
    for place in FORMER_PLACES:
        assert [path.name for path in (SOURCE / place).rglob("*.py")] == ["__init__.py"]
        assert len((SOURCE / place / "__init__.py").read_text().splitlines()) < 8


@pytest.mark.parametrize("path", HOUSE, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_from_above_its_line(path):
    package, *inside = parts_of(path)
    if package in ("__init__", "__main__"):
        return
    for name in imports(path):
        if not name.startswith("flopwatch."):
            continue
        other, *deeper = name.split(".")[1:]
        assert other not in FORMER_PLACES, f"{path} imports {name} from its former place"
        if other != package:
            assert PACKAGES.index(other) < PACKAGES.index(package), f"{path} imports {name}"
        elif package in INSIDE and inside[0] != "__init__" and deeper and deeper[0] != inside[0]:
            order = INSIDE[package]
            assert order.index(deeper[0]) < order.index(inside[0]), f"{path} imports {name}"


def test_no_two_modules_import_each_other():
    names = {"flopwatch." + ".".join(parts_of(path)).removesuffix(".__init__"): path for path in HOUSE}
    needs = {name: {each for each in imports(path) if each in names} for name, path in names.items()}
    while free := [name for name, needed in needs.items() if not needed & (needs.keys() - {name})]:
        for name in free:
            del needs[name]
    assert needs == {}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_each_framework_is_imported_in_its_home(path):
    place = path.relative_to(SOURCE).as_posix()
    for name in imports(path):
        package = name.split(".")[0]
        if package in HOMES:
            assert any(place.startswith(home) for home in HOMES[package]), f"{path} imports {package}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nobody_imports_the_root(path):
    assert "flopwatch" not in imports(path)


# Those of the families are tested all alike: tests/model/families/.
MODULES = [
    path.relative_to(SOURCE)
    for path in HOUSE
    if path.stem not in ("__init__", "__main__") and parts_of(path)[:2] != ("model", "families")
]


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_has_tests_of_its_name_in_the_same_place(path):
    assert (Path(__file__).parent / path.with_name(f"test_{path.name}")).exists()


def test_no_module_is_long():
    assert {path.name: len(path.read_text().splitlines()) for path in FILES if path.read_text().count("\n") > 400} == {}


def loaded_after(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return {"torch", "pytorch_lightning", "lightning", "wandb", "pynvml", "jinja2"} & set(modules)


@pytest.mark.parametrize(
    "statement",
    [
        "import flopwatch",
        "import flopwatch; flopwatch.load, flopwatch.LoadedRun",
        "import flopwatch; from tests.model.test_shape_advice import GPT2; flopwatch.estimate(GPT2, seq_len=8)",
        "import flopwatch.model.families, flopwatch.model.estimate, flopwatch.cli, flopwatch.report.render.text",
        "import flopwatch.lightning.plugin; assert flopwatch.lightning.plugin.callbacks() == []",
    ],
)
def test_what_needs_no_framework_loads_none(statement):
    assert loaded_after(statement) == set()


def test_flopwatch_is_imported_lazily_from_the_root():
    assert "torch" in loaded_after("from flopwatch import FlopWatch")
    with pytest.raises(ImportError):
        exec("from flopwatch import Flopwatch")


@pytest.mark.parametrize(
    "statement",
    [
        "from flopwatch.report import summarize",
        "from flopwatch.runfile import read_run",
        "from flopwatch.render import RENDERERS",
        "from flopwatch.batch import Batch",
        "from flopwatch.chips import Chip",
        "from flopwatch.backward import newton_schulz_flops",
        "from flopwatch.cli import main; main(['--version'])",
    ],
)
def test_what_was_documented_is_still_there(statement):
    subprocess.run([sys.executable, "-c", statement], check=True)
