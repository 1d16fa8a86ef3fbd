"""Parsers of commands: examples below every help, and the nearest word where one is misspelt."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from flopwatch.units import quoted

_INVALID = re.compile(r"(?P<where>argument [^:]+: )?invalid choice: '?(?P<word>[^']*?)'? \(choose from (?P<all>.*)\)")
_PLURAL = {"+": "{} ...", "*": "[{} ...]", "?": "[{}]", argparse.PARSER: "{} ..."}


class Parser(argparse.ArgumentParser):
    """A parser whose usage is one line, whose help ends with examples and whose errors name what was meant."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **{"formatter_class": _Formatter, "allow_abbrev": False, **named})

    def format_usage(self) -> str:
        """Return the usage in one line."""
        self.usage = self._one_line()
        return super().format_usage()

    def format_help(self) -> str:
        """Return the help."""
        self.usage = self._one_line()
        return super().format_help()

    def _one_line(self) -> str:
        plain = [each for each in self._actions if not each.option_strings]
        words = [_PLURAL.get(str(each.nargs), "{}").format(each.metavar or each.dest) for each in plain]
        return " ".join(["%(prog)s", "[options]", *words])

    def error(self, message: str) -> NoReturn:
        """Print usage and the error, with the nearest choice, and exit with code 2."""
        self.print_usage(sys.stderr)
        invalid = _INVALID.search(message)
        if invalid is not None:
            choices = re.findall(r"[^', ]+", invalid["all"])
            close = nearest(invalid["word"], choices) or f"; expected one of {', '.join(choices)}"
            where = (invalid["where"] or "").removeprefix("argument ").replace("COMMAND: ", "there is no command ")
            message = f"{where}{quoted(invalid['word'])}{close}"
        self.exit(2, f"{self.prog}: {message}\n")

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Exit because of arguments that the command does not have."""
        first = next((each for each in unknown if each.startswith("-")), None)
        if first is None:
            self.error(f"unexpected argument {quoted(unknown[0])}; `{self.prog} --help` shows what it takes")
        options = [each for action in self._actions for each in action.option_strings if each.startswith("--")]
        meant = nearest(first.partition("=")[0], options) or f"; `{self.prog} --help` lists the options"
        self.error(f"there is no option {quoted(first)}{meant}")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the examples, and gives options room beside what they do."""

    def __init__(self, prog: str, **named: Any) -> None:
        super().__init__(prog, **{"max_help_position": 30, **named})

    def add_argument(self, action: argparse.Action) -> None:
        """Add an argument to the help; argparse forgets that commands are indented."""
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):
            self._action_max_length += self._indent_increment


def nearest(word: str, choices: Iterable[str]) -> str:
    """What an error adds where a word is close to one of the choices: "; did you mean 'report'?", else nothing."""
    known = list(choices)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    close = close or [each for each in known if len(word.lstrip("-")) > 1 and each.startswith(word)][:1]
    return f"; did you mean {quoted(close[0])}?" if close else ""


def examples(*lines: tuple[str, str]) -> str:
    """The examples below a command's help.

    Args:
        lines: What to type, and what it does.
    """
    return "examples:\n" + "\n".join(f"  {command}\n      {what}" for command, what in lines)
