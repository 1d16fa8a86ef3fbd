"""`flopwatch trace`: where the device time of a profiler's trace went."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from flopwatch import units
from flopwatch.cli.arguments import add_chips, refuse_unwritable, writing
from flopwatch.cli.parser import Parser, examples
from flopwatch.hardware.user_chips import user_chips


def add_trace(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        type=Path,
        help="a trace that torch.profiler wrote (.json or .json.gz); several are the ranks of one job",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--html", action="store_true", help="write a page, trace.html unless -o names another FILE")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write to FILE instead of the terminal")
    add_chips(parser)
    parser.epilog = examples(
        ("flopwatch trace trace.json.gz", "where the device's time went, and what to change"),
        ("flopwatch trace rank0.json.gz rank1.json.gz", "several ranks of a job, and who waits for whom"),
        ("flopwatch trace trace.json.gz --html", "the same as a page, trace.html"),
    )
    parser.set_defaults(command=_trace)


def _trace(arguments: argparse.Namespace) -> None:
    from flopwatch.report.render import trace as rendered
    from flopwatch.trace import read_trace

    output = arguments.output or (Path("trace.html") if arguments.html else None)
    refuse_unwritable(output)
    report = read_trace(arguments.files, user_chips(arguments.chips))
    if arguments.json:
        page = json.dumps(report.to_json(), indent=2) + "\n"
    elif arguments.html:
        page = rendered.render_html(report)
    else:
        page = rendered.render_text(report)
    if output is None:
        print(page, end="")
        return
    with writing(output):
        output.write_text(page, encoding="utf-8", errors="replace")
    print(units.printable(str(output)))
