"""`flopwatch report`: the report of a run, or several runs side by side."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flopwatch import files, units
from flopwatch.errors import ArgumentError

if TYPE_CHECKING:
    from flopwatch.run.reading_bar import ReadingBar

from flopwatch.cli.arguments import RUN_HELP, say_which, writing
from flopwatch.cli.parser import Parser, examples
from flopwatch.cli.wandb_report import report_to_wandb

_FORMATS = {"text": "txt", "md": "md", "json": "json", "html": "html"}


def add_report(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.add_argument("runs", metavar="RUN", nargs="+", help=RUN_HELP)
    parser.add_argument("--format", choices=tuple(_FORMATS), help="default: from the ending of FILE, else text")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write to FILE instead of the terminal")
    parser.add_argument(
        "--full", action="store_true", help="in the terminal, also show conventions, components, versions, definitions"
    )
    parser.add_argument(
        "--plan", type=Path, metavar="FILE", help="compare with a plan: the output of `flopwatch estimate --json`"
    )
    parser.add_argument(
        "--wandb",
        action="store_true",
        help="create or update a W&B Report of ended runs: RUN is ENTITY/PROJECT/RUN_ID, or ENTITY/PROJECT for all",
    )
    parser.add_argument("--prefix", default="", help="with --wandb: the prefix of every key, such as 'exp1-'")
    parser.epilog = examples(
        ("flopwatch report runs", "the newest run in or below a folder"),
        ("flopwatch report runs --format html", "the page, beside the run file"),
        ("flopwatch report runs/a runs/b -o comparison.html", "runs side by side"),
        ("flopwatch report me/my-project/run_id", "a run on W&B; me/my-project for all that ended"),
        ("flopwatch report runs --plan plan.json", "against the output of `flopwatch estimate ... --json`"),
    )
    parser.set_defaults(command=_report)


def _report(arguments: argparse.Namespace) -> None:
    from flopwatch.report.sources import project_of
    from flopwatch.run.reading_bar import ReadingBar

    if arguments.wandb:
        report_to_wandb(arguments)
        return
    if arguments.prefix:
        raise ArgumentError("expected --prefix only with --wandb: in a file the keys are found without it")
    form = arguments.format or _form_of(arguments.output)
    one = len(arguments.runs) == 1 and project_of(arguments.runs[0]) is None
    if arguments.plan is not None and not one:
        raise ArgumentError(f"expected one RUN with --plan, got {len(arguments.runs)}")
    bar = ReadingBar()
    try:
        page, place = (_page_of_one if one else _page_of_several)(arguments, form, bar)
    finally:
        bar.clear()
    output = arguments.output or (place if form == "html" else None)
    if output is None:
        print(page, end="")
    else:
        _write(output, page, chosen=arguments.output is not None)


def _page_of_one(arguments: argparse.Namespace, form: str, tell: ReadingBar) -> tuple[str, Path]:
    """The report of a run, and where its page goes: beside a run file of this machine."""
    from flopwatch.report.plan import against, read_plan
    from flopwatch.report.render import RENDERERS
    from flopwatch.report.render import text as terminal
    from flopwatch.report.report import report_of
    from flopwatch.report.sources import open_run
    from flopwatch.run.run_file import report_path

    run_ = open_run(arguments.runs[0], tell)
    tell.clear()
    say_which(Path(arguments.runs[0]), run_.path)
    report = report_of(run_)
    if arguments.plan is not None:
        report = against(report, read_plan(arguments.plan))
    local = run_.path.is_file() and run_.path.suffix == ".jsonl"
    place = report_path(run_.path, "html") if local else Path("report.html")
    if form == "text" and arguments.output is None:
        return terminal.render(report, terminal.of_terminal(sys.stdout, full=arguments.full)), place
    return RENDERERS[form](report), place


def _page_of_several(arguments: argparse.Namespace, form: str, tell: ReadingBar) -> tuple[str, Path]:
    """Runs side by side; those of a project are all that ended."""
    from flopwatch.report.comparison import Entry, entry_of, entry_of_ended
    from flopwatch.report.render.comparison import RENDERERS, in_terminal
    from flopwatch.report.report import Report, report_of
    from flopwatch.report.sources import open_run, project_of
    from flopwatch.run.run_file import Run
    from flopwatch.wandb.online import connect, ended_runs

    entries: list[Entry] = []
    runs: dict[Path, tuple[Run, Report]] = {}
    projects = 0
    for text in arguments.runs:
        project = project_of(text)
        if project is not None:
            entries += [entry_of_ended(each) for each in ended_runs(connect(), project)]
            projects += 1
            continue
        run_ = open_run(text, tell)
        runs[run_.path.resolve()] = run_, report_of(run_)
    earlier = {path for run_, _ in runs.values() for path in run_.earlier_files}
    if len(runs) < len(arguments.runs) - projects or earlier & set(runs):
        print("skipped runs named twice, and processes that a later one resumed from", file=sys.stderr)
    entries += [entry_of(report) for path, (_, report) in runs.items() if path not in earlier]
    if form == "text" and arguments.output is None:
        return in_terminal(entries, sys.stdout), Path("comparison.html")
    return RENDERERS[form](entries), Path("comparison.html")


def _form_of(output: Path | None) -> str:
    if output is None:
        return "text"
    endings = {f".{ending}": form for form, ending in _FORMATS.items()}
    if output.suffix.lower() not in endings:
        raise ArgumentError(f"expected a FILE ending in {', '.join(endings)}, or --format, got {output}")
    return endings[output.suffix.lower()]


def _write(path: Path, page: str, *, chosen: bool) -> None:
    """Write a page; where the user chose the file also to what a link leads to, or to a pipe."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if chosen:
            path.write_text(page, encoding="utf-8", errors="replace")
        else:
            files.replace_text(path, page)
    print(units.printable(str(path)))
