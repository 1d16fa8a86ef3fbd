"""`flopwatch gpus`: this machine's devices and their peaks."""

from __future__ import annotations

import argparse
import sys

from flopwatch import units
from flopwatch.cli.arguments import add_chips
from flopwatch.errors import (
    DriverError,
)
from flopwatch.hardware import amd
from flopwatch.hardware.chips import DTYPES, find_chip
from flopwatch.hardware.nvml.inventory import list_gpus
from flopwatch.hardware.user_chips import user_chips


def add_gpus(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--name", help="look up a device name; needs no hardware")
    parser.add_argument("--dtype", choices=DTYPES, help="precision of the peak (default: the chip's first)")
    add_chips(parser)
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
