"""`flopwatch ls`: the runs in a folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from flopwatch import units
from flopwatch.cli.parser import Parser, examples


def add_ls(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "folder", metavar="FOLDER", type=Path, nargs="?", default=Path(), help="where to look (default: this folder)"
    )
    parser.add_argument(
        "--sort", choices=("when", "mfu", "cost", "time", "steps"), default="when", help="default: the newest first"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = examples(
        ("flopwatch ls runs", "the newest run first; those that a later one resumed from are part of it"),
        ("flopwatch ls --sort mfu", "of all runs in or below this folder, the best first"),
    )
    parser.set_defaults(command=_ls)


def _ls(arguments: argparse.Namespace) -> None:
    from flopwatch.report import listing
    from flopwatch.report.render import listing as rendered
    from flopwatch.report.render.widths import columns
    from flopwatch.run.reading_bar import ReadingBar

    bar = ReadingBar()
    try:
        found = listing.runs_in(arguments.folder, bar)
    finally:
        bar.clear()
    for path, why in found.unreadable:
        print(units.printable(f"skipped {path}: {why}"), file=sys.stderr)
    rows = listing.in_order(found.runs, arguments.sort)
    if arguments.json:
        print(rendered.render_json(rows), end="")
    else:
        print(units.printable(rendered.render_text(rows, columns()), lines=True), end="")
