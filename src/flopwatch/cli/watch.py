"""`flopwatch watch`: the numbers of a run that goes on."""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flopwatch import units
from flopwatch.cli.arguments import say_which
from flopwatch.cli.parser import Parser, examples
from flopwatch.errors import ArgumentError

if TYPE_CHECKING:
    from flopwatch.report.tail import Follower, Row

    Draw = Callable[[Sequence[Row], str, int, int, Sequence[tuple[str, str]]], str]

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
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--table", action="store_true", help="a table with the range of each number, without charts")
    how.add_argument("--leet", action="store_true", help="W&B's own charts (`wandb leet`) of a W&B run, your keys too")
    parser.add_argument(
        "--every", type=float, default=2.0, metavar="SECONDS", help=("seconds between updates (default 2)")
    )
    parser.epilog = examples(
        ("flopwatch watch", "the newest run in or below this folder; Ctrl-C quits, the run goes on"),
        ("flopwatch watch runs --table", "lowest, newest and highest value of each number"),
        ("flopwatch watch wandb/latest-run --leet", "W&B's charts, with the keys of your own"),
        ("flopwatch watch runs | tee numbers.txt", "a line per window"),
    )
    parser.set_defaults(command=_watch)


def _watch(arguments: argparse.Namespace) -> None:
    from flopwatch.report import tail as following
    from flopwatch.report.render import live, live_charts
    from flopwatch.wandb import leet

    if not 0 < arguments.every <= units.SECONDS_PER_HOUR:
        raise ArgumentError(f"expected a number of seconds above 0 and at most 3600 for --every, got {arguments.every}")
    path = following.find(arguments.run)
    say_which(arguments.run or Path(), path)
    if arguments.leet:
        _check_leet(path)
        leet.show(path)
        return
    draw = None
    if sys.stdout.isatty():
        draw = live.screen if arguments.table else live_charts.screen
    try:
        _show_numbers(following.follow(path), units.printable(str(path)), arguments.every, draw)
    except KeyboardInterrupt:
        print()


def _check_leet(path: Path) -> None:
    from flopwatch.wandb import leet

    if path.suffix != ".wandb":
        raise ArgumentError(f"expected a W&B run with --leet, got {path}; without --leet it is shown")
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        raise ArgumentError("expected a terminal with --leet; without --leet the numbers are printed as lines")
    if not leet.available():
        raise ArgumentError("--leet needs wandb 0.29 or newer; run `pip install -U wandb`, or leave out --leet")


def _show_numbers(run_: Follower, title: str, every_seconds: float, draw: Draw | None) -> None:
    """Print windows as they come until the run ends: on a terminal a screen drawn anew, else lines."""
    shown: _Lines | _Screen = _Lines() if draw is None else _Screen(draw, title)
    seen_any, last_news, told = False, time.monotonic(), False
    while True:
        new = shown.show(run_)
        seen_any = seen_any or new
        if run_.ended:
            if not seen_any:
                print(f"the run has ended; flopwatch logged no window in {title}", file=sys.stderr)
            return
        if new:
            last_news, told = time.monotonic(), False
        elif not told and time.monotonic() - last_news > _SILENCE_SECONDS:
            told = True
            print(
                "no new window for a minute: the run is slow, waiting or killed; press Ctrl-C to quit", file=sys.stderr
            )
        time.sleep(every_seconds)


class _Lines:
    """A line per window, with the columns that the first one has."""

    def __init__(self) -> None:
        self._columns: list[str] = []

    def show(self, run_: Follower) -> bool:
        """Print what is new; return whether anything was."""
        from flopwatch.report.render import live

        new = False
        for row in run_.rows():
            new = True
            if not self._columns:
                self._columns = live.columns_of(row)
                print(live.headings(self._columns))
            print(live.line(row, self._columns), flush=True)
        return new


class _Screen:
    """All of a run on one screen, drawn anew when there is something new or the terminal has another size."""

    def __init__(self, draw: Draw, title: str) -> None:
        self._draw, self._title = draw, title
        self._rows: deque[Row] = deque(maxlen=_MOST_ROWS)
        self._size: tuple[int, int] | None = None

    def show(self, run_: Follower) -> bool:
        """Draw what there is; return whether anything of it is new."""
        from flopwatch.report.render.facts import budget_lines
        from flopwatch.wandb.leet import terminal_size

        new = False
        for row in run_.rows():
            new = True
            self._rows.append(row)
        size = terminal_size()
        if new or size != self._size:
            self._size = size
            budgets = [(units.printable(name), words) for name, words in budget_lines(run_.budgets)]
            print(f"{_CLEAR}{self._draw(self._rows, self._title, *size, budgets)}", end="", flush=True)
        return new
