"""Arguments that several commands have."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from flopwatch import units
from flopwatch.errors import ArgumentError

RUN_HELP = (
    "a flopwatch run file, a W&B run's .wandb file, a folder with either, or a run on W&B: ENTITY/PROJECT/RUN_ID or"
    " its URL; several runs are compared; ENTITY/PROJECT stands for all ended runs of a project"
)


def add_chips(parser: argparse._ActionsContainer) -> None:
    """Add the option for the user's own chips."""
    parser.add_argument(
        "--chips", metavar="FILE", help=("CSV file of chips to add, in the format of flopwatch/data/chips.csv")
    )


def refuse_unwritable(output: Path | None) -> None:
    """Say at once, not after the work, that a file cannot be written.

    Raises:
        ArgumentError: If its folder is not there, it is a folder itself, or one may not write there.
    """
    if output is None:
        return
    place = output if output.exists() else output.absolute().parent
    if output.is_dir() or not place.exists() or not os.access(place, os.W_OK):
        expected = "expected a file in a folder that can be written"
        raise ArgumentError(f"cannot write {output}: {expected}; choose another with -o")


@contextlib.contextmanager
def writing(output: Path) -> Iterator[None]:
    """Write a file within.

    Raises:
        ArgumentError: If that cannot be done.
    """
    try:
        yield
    except OSError as error:
        raise ArgumentError(f"cannot write {output}: {error.strerror}; choose another file with -o") from None


def say_which(place: Path, taken: Path) -> None:
    """Say on stderr which run of a folder was taken, where it holds several."""
    from flopwatch.report.sources import recordings_in

    if not place.is_dir():
        return
    found = recordings_in(place)
    if found.run_files + found.wandb_logs > 1:
        all_of_them = f"; `flopwatch ls {place}` lists all" if found.run_files > 1 else ""
        print(units.printable(f"took the newest run in {place}: {taken}{all_of_them}"), file=sys.stderr)
