"""Arguments that several commands have."""

from __future__ import annotations

import argparse

RUN_HELP = (
    "a flopwatch run file, a W&B run's .wandb file, a folder with either, or a run on W&B: ENTITY/PROJECT/RUN_ID or"
    " its URL; several runs are compared; ENTITY/PROJECT stands for all ended runs of a project"
)


def add_chips(parser: argparse.ArgumentParser) -> None:
    """Add the option for the user's own chips."""
    parser.add_argument(
        "--chips", metavar="FILE", help=("CSV file of chips to add, in the format of flopwatch/data/chips.csv")
    )
