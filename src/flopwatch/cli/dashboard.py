"""`flopwatch dashboard`: the live view of a W&B project."""

from __future__ import annotations

import argparse
import json

from flopwatch.cli.parser import Parser, examples
from flopwatch.errors import ArgumentError


def add_dashboard(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.add_argument("project", metavar="ENTITY/PROJECT", help="as in the project's W&B URL")
    parser.add_argument("--name", default="flopwatch", help="title of the saved view (default flopwatch)")
    parser.add_argument("--prefix", default="", help="the prefix of every key, such as 'exp1-' or 'mine/'")
    parser.add_argument("--json", action="store_true", help="print the view's specification without using the network")
    parser.epilog = examples(
        ("flopwatch dashboard me/my-project", "create the view, or bring it up to date"),
        ("flopwatch dashboard me/my-project --json", "show what it would hold; needs no network"),
    )
    parser.set_defaults(command=_dashboard)


def _dashboard(arguments: argparse.Namespace) -> None:
    from flopwatch.wandb import workspace
    from flopwatch.wandb.online import parse_project

    project = parse_project(arguments.project)
    if not arguments.name.strip():
        raise ArgumentError("expected a title for --name, got an empty string")
    if arguments.json:
        print(json.dumps(workspace.specification(project, arguments.name, arguments.prefix), indent=1))
        return
    saved = workspace.save(project, arguments.name, arguments.prefix)
    print(f"{'created' if saved.created else 'updated'} {saved.url}")
