"""`flopwatch completion`: the script with which a shell completes commands and options."""

from __future__ import annotations

import argparse

from flopwatch.cli.parser import Parser, examples
from flopwatch.errors import ArgumentError

SHELLS = ("bash", "zsh", "fish")


def add_completion(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))
    parser.epilog = examples(
        ('eval "$(flopwatch completion bash)"', "in ~/.bashrc"),
        ("flopwatch completion zsh > ~/.zfunc/_flopwatch", "with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc"),
        ("flopwatch completion fish > ~/.config/fish/completions/flopwatch.fish", "for fish"),
    )
    parser.set_defaults(command=_completion)


def _completion(arguments: argparse.Namespace) -> None:
    try:
        import shtab
    except ImportError:
        raise ArgumentError("completion needs shtab: run `pip install 'flopwatch[completion]'`") from None
    print(shtab.complete(arguments.root, shell=arguments.shell))
