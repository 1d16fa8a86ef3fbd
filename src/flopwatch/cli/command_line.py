"""The command line: a parser for every command, exit codes, and no traceback for what users can cause."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from flopwatch import units
from flopwatch.cli.check import add_check
from flopwatch.cli.completion import add_completion
from flopwatch.cli.dashboard import add_dashboard
from flopwatch.cli.estimate import add_estimate
from flopwatch.cli.gpus import add_gpus
from flopwatch.cli.ls import add_ls
from flopwatch.cli.parser import Parser, examples
from flopwatch.cli.report import add_report
from flopwatch.cli.trace import add_trace
from flopwatch.cli.watch import add_watch
from flopwatch.errors import FlopwatchError

DONE, FAILED, WRONG_USAGE = 0, 1, 2
# Looking for garbage among the records of a long run took a quarter of a report's time.
_COLLECTED_AFTER = 100_000, 50, 100
_Add = Callable[[Parser], None]
_COMMANDS: Mapping[str, tuple[_Add, str]] = MappingProxyType(
    {
        "estimate": (add_estimate, "estimate FLOPs, time, GPU-hours and cost of a run from a config"),
        "gpus": (add_gpus, "list this machine's GPUs, or look one up by name, with their peaks"),
        "watch": (add_watch, "show a run's live numbers in the terminal"),
        "ls": (add_ls, "list the runs in a folder: status, steps, MFU, cost"),
        "report": (add_report, "write the efficiency report of a run, or compare several"),
        "trace": (add_trace, "show where the device time of a torch.profiler trace went"),
        "check": (add_check, "prove on this machine what the numbers rest on"),
        "dashboard": (add_dashboard, "create or update the live dashboard of a W&B project"),
        "completion": (add_completion, "print the script that completes commands and options in a shell"),
    }
)
_EXAMPLES = examples(
    ("flopwatch estimate config.json --seq-len 8192 --tokens 1T --gpu h100-sxm5-80gb", "before a run"),
    ("flopwatch watch", "during a run, in a second terminal: the newest run in or below this folder"),
    ("flopwatch report runs --format html", "after a run"),
)


def run() -> None:
    """Entry point of the console script."""
    gc.set_threshold(*_COLLECTED_AFTER)
    try:
        code = main(sys.argv[1:])
    finally:
        if "wandb" in sys.modules:
            from flopwatch.wandb.online import disconnect

            disconnect()
    sys.exit(code)


def main(argv: Sequence[str]) -> int:
    """Run a command and return its exit code.

    Args:
        argv: Arguments without the program's name.

    Returns:
        0 if it was done, 1 after a known failure (one line on stderr), 2 for wrong usage.
    """
    try:
        parser = command_parser()
        arguments, unknown = parser.parse_known_args(argv)
        if unknown:
            getattr(arguments, "parser", parser).refuse(unknown)
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


class _Version(argparse.Action):
    """Prints the version; what it is read with takes long to import."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print it and exit."""
        from importlib.metadata import version

        print(f"flopwatch {version('flopwatch')}")
        parser.exit()


def command_parser() -> Parser:
    """The parser of the whole command line; without a command it shows its help."""
    parser = Parser(
        "flopwatch",
        description="Count FLOPs, look up peaks and report the efficiency of training runs.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show program's version number and exit")
    parser.set_defaults(command=lambda arguments: parser.print_help(), root=parser)
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=Parser)
    for name, (add, words) in _COMMANDS.items():
        command = commands.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}.")
        command.set_defaults(parser=command)
        add(command)
    return parser
