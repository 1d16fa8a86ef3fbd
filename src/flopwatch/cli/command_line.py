"""The command line: `flopwatch estimate`, `gpus`, `report`, `watch` and `dashboard`."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from flopwatch import files, units
from flopwatch.errors import (
    ArgumentError,
    DriverError,
    FlopwatchError,
    MeasurementError,
    QuantityError,
    UnknownModelError,
)
from flopwatch.hardware import amd
from flopwatch.hardware.chips import DTYPES, find_chip
from flopwatch.hardware.nvml.inventory import list_gpus
from flopwatch.hardware.user_chips import user_chips
from flopwatch.model.backward import Checkpointing
from flopwatch.model.batch import Batch
from flopwatch.model.conventions import CONVENTIONS, DESCRIPTIONS
from flopwatch.model.estimate import Estimate, Plan, estimate, of_a_run
from flopwatch.model.families import architecture_of
from flopwatch.report.tail import Follower, Row
from flopwatch.units import parse_count

DONE, FAILED, WRONG_USAGE = 0, 1, 2
if TYPE_CHECKING:
    from flopwatch.run.reading_bar import ReadingBar

_RUN_HELP = (
    "a flopwatch run file, a W&B run's .wandb file, a folder with either, or a run on W&B: ENTITY/PROJECT/RUN_ID or"
    " its URL; several runs are compared; ENTITY/PROJECT stands for all ended runs of a project"
)
_LONGEST_TITLE = 100
_CLEAR = "\x1b[H\x1b[2J"
_MOST_ROWS = 10_000
_SILENCE_SECONDS = 60.0
_FORMATS = {"text": "txt", "md": "md", "json": "json", "html": "html"}


def run() -> None:
    """Entry point of the console script."""
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Run a command and return its exit code.

    Args:
        argv: Arguments without the program's name.

    Returns:
        0 if it was done, 1 after a known failure (one line on stderr), 2 for wrong usage.
    """
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as exit_:
        return DONE if exit_.code in (0, None) else WRONG_USAGE
    try:
        arguments.command(arguments)
        sys.stdout.flush()
    except FlopwatchError as error:
        print(f"flopwatch: {units.printable(str(error))}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"flopwatch: {units.printable(str(error))}; check the disk and the working directory", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return FAILED
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "flopwatch", description=("Count FLOPs, look up peaks and report the efficiency of training runs.")
    )
    parser.add_argument("--version", action="version", version=f"flopwatch {version('flopwatch')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_estimate(
        commands.add_parser("estimate", help=("estimate FLOPs, time, GPU-hours and cost of a run from a config"))
    )
    _add_gpus(commands.add_parser("gpus", help="list this machine's GPUs, or look one up by name, with their peaks"))
    _add_report(commands.add_parser("report", help="write the efficiency report of a run, or compare several"))
    _add_watch(commands.add_parser("watch", help="show a run's live numbers in the terminal"))
    _add_dashboard(commands.add_parser("dashboard", help="create or update the live dashboard of a W&B project"))
    return parser


def _add_estimate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", type=Path, help="a Hugging Face config.json or its folder")
    parser.add_argument("--seq-len", metavar="N", help="tokens per sequence (not for image-only models)")
    parser.add_argument("--source-len", metavar="N", help="tokens or mel frames that the encoder reads")
    parser.add_argument("--image-size", metavar="H[xW]", help="image size in pixels (default: the config's)")
    parser.add_argument("--images", metavar="N", help="images in the batch (default: one per sequence)")
    parser.add_argument("--batch", default="1", metavar="B", help="sequences or images (default 1)")
    parser.add_argument("--attention", choices=("causal", "full"), default="causal", help="which attention pairs count")
    conventions = "; ".join(f"{name}: {DESCRIPTIONS[name]}" for name in CONVENTIONS)
    parser.add_argument("--convention", choices=CONVENTIONS, default="model", help=conventions)
    parser.add_argument(
        "--checkpointing",
        choices=get_args(Checkpointing),
        default="none",
        help="kind of activation checkpointing, for hardware FLOPs (PyTorch's default is non-reentrant)",
    )
    parser.add_argument("--tokens", metavar="15T", help="tokens of the whole run")
    parser.add_argument("--samples", metavar="1.28M", help="sequences or images of the whole run, instead of tokens")
    parser.add_argument(
        "--gpu", metavar="NAME", help=("GPU name as the driver reports it, such as 'NVIDIA H100 80GB HBM3'")
    )
    parser.add_argument("--count", metavar="N", help="number of GPUs (default 1)")
    _add_chips(parser)
    parser.add_argument("--dtype", choices=DTYPES, default="bf16", help="precision of the peak (default bf16)")
    parser.add_argument("--mfu", type=float, help="utilization to plan with, such as 0.4; required with --gpu")
    parser.add_argument("--usd-per-gpu-hour", type=float, metavar="USD", help="price of a GPU-hour")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(command=_estimate)


def _estimate(arguments: argparse.Namespace) -> None:
    from flopwatch.report.render import estimate as rendered

    if arguments.gpu is not None and arguments.mfu is None:
        raise ArgumentError("expected --mfu with --gpu: the utilization to plan with; published runs reach 0.3 to 0.5")
    for_a_gpu = (arguments.mfu, arguments.usd_per_gpu_hour, arguments.count, arguments.chips)
    if arguments.gpu is None and any(each is not None for each in for_a_gpu):
        raise ArgumentError(
            "expected --gpu with --mfu, --count, --usd-per-gpu-hour and --chips: the device they are for"
        )
    result = _counted(arguments, _batch(arguments))
    page = rendered.render_json(result) if arguments.json else units.printable(rendered.render_text(result), lines=True)
    print(page, end="")


def _counted(arguments: argparse.Namespace, batch: Batch) -> Estimate:
    """From the closed form; where there is none, measured with transformers, if that is installed."""
    amount = {
        "tokens": _optional_count("--tokens", arguments.tokens),
        "samples": _optional_count("--samples", arguments.samples),
    }
    try:
        architecture = architecture_of(arguments.config)
    except UnknownModelError as unknown:
        if not unknown.measurable:
            raise
        from flopwatch.measure.huggingface import estimate_of

        try:
            one = estimate_of(arguments.config, batch, attention=arguments.attention, convention=arguments.convention)
        except MeasurementError as error:
            raise MeasurementError(f"{unknown}; and it cannot be measured: {error}") from None
        return of_a_run(one, **amount, plan=_plan(arguments))
    return estimate(
        architecture,
        batch,
        attention=arguments.attention,
        convention=arguments.convention,
        checkpointing=arguments.checkpointing,
        **amount,
        plan=_plan(arguments),
    )


def _batch(arguments: argparse.Namespace) -> Batch:
    return Batch(
        _count("--batch", arguments.batch),
        _optional_count("--seq-len", arguments.seq_len) or 0,
        _optional_count("--source-len", arguments.source_len) or 0,
        None if arguments.image_size is None else _image_size(arguments.image_size),
        _optional_count("--images", arguments.images),
    )


def _image_size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    return _count("--image-size", height), _count("--image-size", width or height)


def _plan(arguments: argparse.Namespace) -> Plan | None:
    if arguments.gpu is None:
        return None
    count = _count("--count", arguments.count or "1")
    chips = user_chips(arguments.chips)
    return Plan(arguments.gpu, arguments.dtype, count, arguments.mfu, arguments.usd_per_gpu_hour, chips)


def _optional_count(flag: str, text: str | None) -> int | None:
    return None if text is None else _count(flag, text)


def _count(flag: str, text: str) -> int:
    try:
        return parse_count(text)
    except QuantityError as error:
        raise ArgumentError(f"{flag}: {error}") from None


def _add_chips(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--chips", metavar="FILE", help=("CSV file of chips to add, in the format of flopwatch/data/chips.csv")
    )


def _add_gpus(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", help="look up a device name; needs no hardware")
    parser.add_argument("--dtype", choices=DTYPES, help="precision of the peak (default: the chip's first)")
    _add_chips(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(command=_gpus)


def _gpus(arguments: argparse.Namespace) -> None:
    from flopwatch.report.render import gpus as rendered

    chips = user_chips(arguments.chips)
    if arguments.name is not None:
        rows = [rendered.chip_facts(arguments.name, find_chip(arguments.name, chips), arguments.dtype)]
    else:
        rows = [rendered.amd_facts(each, arguments.dtype, chips) for each in amd.list_gpus()]
        try:
            rows = [rendered.gpu_facts(each, arguments.dtype, chips) for each in list_gpus()] + rows
        except DriverError as error:
            if not rows:
                print(f"no NVIDIA GPU: {error}", file=sys.stderr)
    if arguments.json:
        print(rendered.render_json(rows), end="")
    elif rows:
        print(units.printable(rendered.render_text(rows), lines=True), end="")


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", help=_RUN_HELP)
    parser.add_argument("--format", choices=tuple(_FORMATS), help="default: from the ending of FILE, else text")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write to FILE instead of the terminal")
    parser.add_argument(
        "--plan", type=Path, metavar="FILE", help="compare with a plan: the output of `flopwatch estimate --json`"
    )
    parser.add_argument(
        "--wandb",
        action="store_true",
        help="create or update a W&B Report of ended runs: RUN is ENTITY/PROJECT/RUN_ID, or ENTITY/PROJECT for all",
    )
    parser.add_argument("--prefix", default="", help="with --wandb: the prefix of every key, such as 'exp1-'")
    parser.set_defaults(command=_report)


def _report(arguments: argparse.Namespace) -> None:
    from flopwatch.report.sources import project_of
    from flopwatch.run.reading_bar import ReadingBar

    if arguments.wandb:
        _report_to_wandb(arguments)
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
    """Return a run's report, and where its page goes: next to a run file on this machine."""
    from flopwatch.report.plan import against, read_plan
    from flopwatch.report.render import RENDERERS
    from flopwatch.report.report import summarize
    from flopwatch.report.sources import open_run
    from flopwatch.run.run_file import report_path

    run_ = open_run(arguments.runs[0], tell)
    report = summarize(run_)
    if arguments.plan is not None:
        report = against(report, read_plan(arguments.plan))
    local = run_.path.is_file() and run_.path.suffix == ".jsonl"
    return RENDERERS[form](report), report_path(run_.path, "html") if local else Path("report.html")


def _page_of_several(arguments: argparse.Namespace, form: str, tell: ReadingBar) -> tuple[str, Path]:
    """Compare runs side by side; a project stands for all its ended runs."""
    from flopwatch.report.comparison import Entry, entry_of, entry_of_ended
    from flopwatch.report.render.comparison import RENDERERS
    from flopwatch.report.report import Report, summarize
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
        runs[run_.path.resolve()] = run_, summarize(run_)
    earlier = {path for run_, _ in runs.values() for path in run_.earlier_files}
    if len(runs) < len(arguments.runs) - projects or earlier & set(runs):
        print("skipped runs named twice, and processes that a later one resumed from", file=sys.stderr)
    entries += [entry_of(report) for path, (_, report) in runs.items() if path not in earlier]
    return RENDERERS[form](entries), Path("comparison.html")


def _report_to_wandb(arguments: argparse.Namespace) -> None:
    from flopwatch.report.comparison import entry_of_ended
    from flopwatch.report.render.wandb import texts
    from flopwatch.wandb.online import connect, ended_runs, parse_run
    from flopwatch.wandb.reports import save_report

    if arguments.plan is not None:
        raise ArgumentError("expected --plan without --wandb: a W&B Report cannot show a plan")
    if arguments.output is not None or arguments.format is not None:
        raise ArgumentError("expected no -o and no --format with --wandb: the report is created in W&B")
    paths = [parse_run(text) for text in arguments.runs]
    project = paths[0].project
    if any(path.project != project for path in paths):
        raise ArgumentError("expected runs of a single project with --wandb: a W&B Report belongs to one project")
    api = connect()
    runs = {run_.id: run_ for path in paths for run_ in ended_runs(api, path)}
    whole = any(path.id is None for path in paths)
    title = f"flopwatch: {project.name if whole else _names(tuple(runs))}"
    entries = [entry_of_ended(each) for each in runs.values()]
    saved = save_report(project, tuple(runs), title, texts(entries), arguments.prefix)
    print(f"{'created' if saved.created else 'updated'} {saved.url}")


def _names(run_ids: Sequence[str]) -> str:
    """A title that is the same for the same runs and for no others."""
    names = ", ".join(sorted(run_ids))
    if len(names) <= _LONGEST_TITLE:
        return names
    return f"{len(run_ids)} runs, {hashlib.sha256(names.encode()).hexdigest()[:8]}"


def _add_dashboard(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("project", metavar="ENTITY/PROJECT", help="as in the project's W&B URL")
    parser.add_argument("--name", default="flopwatch", help="title of the saved view (default flopwatch)")
    parser.add_argument("--prefix", default="", help="the prefix of every key, such as 'exp1-' or 'mine/'")
    parser.add_argument("--json", action="store_true", help="print the view's specification without using the network")
    parser.set_defaults(command=_dashboard)


def _dashboard(arguments: argparse.Namespace) -> None:
    from flopwatch.wandb import workspace
    from flopwatch.wandb.online import parse_project

    project = parse_project(arguments.project)
    if not arguments.name.strip():
        raise ArgumentError("expected a title for --name, got an empty string")
    if arguments.json:
        print(json.dumps(workspace.specification(project, arguments.name, arguments.prefix), indent=1))
        return
    saved = workspace.save(project, arguments.name, arguments.prefix)
    print(f"{'created' if saved.created else 'updated'} {saved.url}")


def _add_watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run",
        metavar="RUN",
        type=Path,
        nargs="?",
        help=(
            "a W&B run's folder or .wandb file, or a flopwatch run file or folder (default: the newest in or below"
            " this folder)"
        ),
    )
    parser.add_argument(
        "--table", action="store_true", help="print a table instead of charts (the default without a terminal)"
    )
    parser.add_argument(
        "--every", type=float, default=2.0, metavar="SECONDS", help=("seconds between updates (default 2)")
    )
    parser.set_defaults(command=_watch)


def _watch(arguments: argparse.Namespace) -> None:
    from flopwatch.report import tail as following
    from flopwatch.wandb import leet

    if not 0 < arguments.every <= units.SECONDS_PER_HOUR:
        raise ArgumentError(f"expected a number of seconds above 0 and at most 3600 for --every, got {arguments.every}")
    path = following.find(arguments.run)
    on_terminal = sys.stdout.isatty() and sys.stdin.isatty()
    if on_terminal and path.suffix == ".wandb" and not arguments.table:
        if leet.available():
            leet.show(path)
            return
        print("no charts: they need wandb 0.29 or newer; `--table` prints the table only", file=sys.stderr)
    try:
        _show_numbers(following.follow(path), units.printable(str(path)), arguments.every, redraw=sys.stdout.isatty())
    except KeyboardInterrupt:
        print()


def _show_numbers(run_: Follower, title: str, every_seconds: float, *, redraw: bool) -> None:
    """Print windows as they come until the run ends: a table drawn anew, or on anything but a terminal lines."""
    from flopwatch.report.render import facts, live
    from flopwatch.wandb.leet import terminal_size

    rows: deque[Row] = deque(maxlen=_MOST_ROWS)
    columns: list[str] = []
    last_news, told = time.monotonic(), False
    while True:
        new = False
        for row in run_.rows():
            new = True
            rows.append(row)
            if redraw:
                continue
            if not columns:
                columns = live.columns_of(row)
                print(live.headings(columns))
            print(live.line(row, columns), flush=True)
        if redraw:
            budgets = [(units.printable(name), words) for name, words in facts.budget_lines(run_.budgets)]
            print(f"{_CLEAR}{live.screen(rows, title, *terminal_size(), budgets)}", end="", flush=True)
        if run_.ended:
            if not rows:
                print(f"the run has ended; flopwatch logged no window in {title}", file=sys.stderr)
            return
        if new:
            last_news, told = time.monotonic(), False
        elif not told and time.monotonic() - last_news > _SILENCE_SECONDS:
            told = True
            print(
                ("no new window for a minute: the run is slow, waiting or killed; press Ctrl-C to quit"),
                file=sys.stderr,
            )
        time.sleep(every_seconds)


def _form_of(output: Path | None) -> str:
    if output is None:
        return "text"
    endings = {f".{ending}": form for form, ending in _FORMATS.items()}
    if output.suffix.lower() not in endings:
        raise ArgumentError(f"expected a FILE ending in {', '.join(endings)}, or --format, got {output}")
    return endings[output.suffix.lower()]


def _write(path: Path, page: str, *, chosen: bool) -> None:
    """Write a page; where the user chose the file also to what a link leads to, or to a pipe."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if chosen:
            path.write_text(page, encoding="utf-8", errors="replace")
        else:
            files.replace_text(path, page)
    except OSError as error:
        raise ArgumentError(f"cannot write {path}: {error.strerror}; choose another file with -o") from None
    print(units.printable(str(path)))
