"""The command line: `flopwatch estimate`, `gpus`, `report`, `trace`, `watch` and `dashboard`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from flopwatch import units
from flopwatch.cli.dashboard import add_dashboard
from flopwatch.cli.estimate import add_estimate
from flopwatch.cli.gpus import add_gpus
from flopwatch.cli.report import add_report
from flopwatch.cli.trace import add_trace
from flopwatch.cli.watch import add_watch
from flopwatch.errors import (
    FlopwatchError,
)

DONE, FAILED, WRONG_USAGE = 0, 1, 2


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
    add_estimate(
        commands.add_parser("estimate", help=("estimate FLOPs, time, GPU-hours and cost of a run from a config"))
    )
    add_gpus(commands.add_parser("gpus", help="list this machine's GPUs, or look one up by name, with their peaks"))
    add_report(commands.add_parser("report", help="write the efficiency report of a run, or compare several"))
    add_trace(commands.add_parser("trace", help="show where the device time of a torch.profiler trace went"))
    add_watch(commands.add_parser("watch", help="show a run's live numbers in the terminal"))
    add_dashboard(commands.add_parser("dashboard", help="create or update the live dashboard of a W&B project"))
    return parser
