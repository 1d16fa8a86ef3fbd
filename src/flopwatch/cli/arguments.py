"""Arguments that several commands have."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from flopwatch import units

RUN_HELP = (
    "a flopwatch run file, a W&B run's .wandb file, a folder with either, or a run on W&B: ENTITY/PROJECT/RUN_ID or"
    " its URL; several runs are compared; ENTITY/PROJECT stands for all ended runs of a project"
)


def add_chips(parser: argparse._ActionsContainer) -> None:
    """Add the option for the user's own chips."""
    parser.add_argument(
        "--chips", metavar="FILE", help=("CSV file of chips to add, in the format of flopwatch/data/chips.csv")
    )


def say_which(place: Path, taken: Path) -> None:
    """Say on stderr which run of a folder was taken, where it holds several."""
    from flopwatch.report.sources import recordings_in

    if place.is_dir() and (count := recordings_in(place)) > 1:
        words = f"took {taken}, the newest of {count} in {place}; `flopwatch ls {place}` lists them"
        print(units.printable(words), file=sys.stderr)
