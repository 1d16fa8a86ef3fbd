"""`flopwatch completion`: the script with which a shell completes commands, options and files."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from flopwatch.cli.parser import Parser, examples
from flopwatch.errors import ArgumentError

SHELLS = ("bash", "zsh", "fish")
_FILES, _FOLDERS = ("CONFIG", "FILE", "RUN"), ("FOLDER",)


def add_completion(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))
    parser.epilog = examples(
        ("source <(flopwatch completion bash)", "in ~/.bashrc"),
        ("flopwatch completion zsh > ~/.zfunc/_flopwatch", "with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc"),
        ("flopwatch completion fish > ~/.config/fish/completions/flopwatch.fish", "for fish"),
    )
    parser.set_defaults(command=_completion)


def _completion(arguments: argparse.Namespace) -> None:
    try:
        import shtab
    except ImportError:
        raise ArgumentError("completion needs shtab: run `pip install shtab`") from None
    for action in _actions(arguments.root):
        kind = shtab.FILE if action.metavar in _FILES else shtab.DIRECTORY if action.metavar in _FOLDERS else None
        if kind is not None:
            action.complete = kind  # type: ignore[attr-defined]
    print(shtab.complete(arguments.root, arguments.shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every argument of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
