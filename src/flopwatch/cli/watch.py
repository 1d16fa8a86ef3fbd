"""`flopwatch watch`: the numbers of a run that goes on."""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from pathlib import Path

from flopwatch import units
from flopwatch.cli.arguments import say_which
from flopwatch.cli.parser import Parser, examples
from flopwatch.errors import ArgumentError
from flopwatch.report.tail import Follower, Row

_CLEAR = "\x1b[H\x1b[2J"
_MOST_ROWS = 10_000
_SILENCE_SECONDS = 60.0


def add_watch(parser: Parser) -> None:
    """Add the command's arguments."""
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
    parser.epilog = examples(
        ("flopwatch watch", "the newest run in or below this folder; Ctrl-C quits, the run goes on"),
        ("flopwatch watch runs --table", "numbers instead of W&B's charts"),
        ("flopwatch watch runs | tee numbers.txt", "a line per window"),
    )
    parser.set_defaults(command=_watch)


def _watch(arguments: argparse.Namespace) -> None:
    from flopwatch.report import tail as following
    from flopwatch.wandb import leet

    if not 0 < arguments.every <= units.SECONDS_PER_HOUR:
        raise ArgumentError(f"expected a number of seconds above 0 and at most 3600 for --every, got {arguments.every}")
    path = following.find(arguments.run)
    say_which(arguments.run or Path(), path)
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
