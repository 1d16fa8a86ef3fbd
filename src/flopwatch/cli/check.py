"""`flopwatch check`: proves on this machine what the numbers rest on."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path

from flopwatch.cli.arguments import add_chips, refuse_unwritable, writing
from flopwatch.cli.parser import Parser, examples
from flopwatch.errors import FlopwatchError
from flopwatch.hardware.user_chips import user_chips


def add_check(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--json", action="store_true", help="print JSON, for a bug report; it names no user and no host"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write to FILE as well")
    add_chips(parser)
    parser.epilog = examples(
        ("flopwatch check", "a line for each thing, as it is checked; half a minute on a CPU"),
        ("flopwatch check --json -o check.json", "the same, and a file to attach to a bug report"),
    )
    parser.set_defaults(command=_check)


def _check(arguments: argparse.Namespace) -> None:
    _refuse_without_frameworks()
    refuse_unwritable(arguments.output)
    from flopwatch.check import running, text
    from flopwatch.check.machine import machine_here, versions
    from flopwatch.report.render.text import of_terminal

    stream = sys.stderr if arguments.json and arguments.output is None else sys.stdout
    layout = of_terminal(stream)
    style = text.Style(layout.width, layout.colour)
    machine = machine_here(user_chips(arguments.chips))
    print(text.head(versions(running.driver(machine)), running.facts(machine), style), file=stream, flush=True)
    checked = running.check(machine, lambda line: print(text.line_text(line, style), file=stream, flush=True))
    print(text.foot(checked), file=stream, flush=True)
    page = json.dumps(checked.to_json(), indent=2) + "\n" if arguments.json else text.page(checked, text.Style())
    if arguments.output is not None:
        with writing(arguments.output):
            arguments.output.write_text(page, encoding="utf-8")
    elif arguments.json:
        print(page, end="")
    if checked.failed:
        names = ", ".join(line.name for line in checked.failed)
        raise FlopwatchError(
            f"{len(checked.failed)} of {len(checked.lines)} checks failed: {names};"
            " `flopwatch check --json -o check.json` writes a file for a bug report"
        )


def _refuse_without_frameworks() -> None:
    missing = [name for name in ("torch",) if importlib.util.find_spec(name) is None]
    if not any(importlib.util.find_spec(name) for name in ("pytorch_lightning", "lightning")):
        missing.append("Lightning")
    if missing:
        raise FlopwatchError(
            f"expected torch and Lightning, {' and '.join(missing)} not found; run"
            " `pip install torch pytorch-lightning`"
        )
