"""`flopwatch gpus`: this machine's devices and their peaks."""

from __future__ import annotations

import argparse
import sys

from flopwatch import units
from flopwatch.cli.arguments import add_chips
from flopwatch.cli.parser import Parser, examples
from flopwatch.errors import (
    DriverError,
)
from flopwatch.hardware import amd
from flopwatch.hardware.chips import DTYPES, find_chip
from flopwatch.hardware.nvml.inventory import list_gpus
from flopwatch.hardware.short_names import driver_name
from flopwatch.hardware.user_chips import user_chips


def add_gpus(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--name", help="look up a device by the driver's name or a short one; needs no hardware")
    parser.add_argument(
        "--dtype", metavar="TYPE", choices=DTYPES, help=f"{', '.join(DTYPES)} (default: the chip's first)"
    )
    add_chips(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = examples(
        ("flopwatch gpus", "this machine's GPUs, their clocks and power, and which counters are readable"),
        ("flopwatch gpus --name 'NVIDIA H100 80GB HBM3' --dtype fp8", "the peak of a GPU that is not here"),
        ("flopwatch gpus --name h100-pcie", "the same by its short name"),
    )
    parser.set_defaults(command=_gpus)


def _gpus(arguments: argparse.Namespace) -> None:
    from flopwatch.report.render import gpus as rendered
    from flopwatch.report.render.widths import columns

    chips = user_chips(arguments.chips)
    if arguments.name is not None:
        name = driver_name(arguments.name, arguments.dtype, chips)
        rows = [rendered.chip_facts(name, find_chip(name, chips), arguments.dtype)]
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
        print(units.printable(rendered.render_text(rows, columns()), lines=True), end="")
