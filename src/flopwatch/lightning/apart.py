"""Parts that fail alone: a failed part's numbers are absent, and everything else continues."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from flopwatch.errors import in_words

_logger = logging.getLogger("flopwatch")
_T = TypeVar("_T")


class Apart:
    """Isolates parts from each other's errors; the first error of every part is logged."""

    def __init__(self) -> None:
        self._failed: set[str] = set()

    def run(self, part: str, function: Callable[..., _T], *arguments: object) -> _T | None:
        """What the function returns; `None` where it fails.

        Args:
            part: What is lost then, in words that begin a sentence.
            function: Does it.
            arguments: For the function.
        """
        try:
            return function(*arguments)
        except Exception as error:
            self.say(part, error)
            return None

    def say(self, part: str, error: Exception) -> None:
        """Log the first failure of a part."""
        level = logging.DEBUG if part in self._failed else logging.WARNING
        self._failed.add(part)
        _logger.log(level, "%s failed, everything else continues: %s", part, in_words(error))
        _logger.debug("traceback", exc_info=error)
