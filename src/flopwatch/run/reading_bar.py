"""How far the reading of a large file is, for whoever waits for it at a terminal."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from flopwatch import units

_PATIENCE_SECONDS, _EVERY_SECONDS = 1.0, 0.2
_BAR = 30


class ReadingBar:
    """Draws a bar once reading has taken a second; on anything but a terminal it says nothing.

    Args:
        stream: Where to draw.
    """

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._began = time.monotonic()
        self._next = self._began + _PATIENCE_SECONDS if stream.isatty() else float("inf")
        self._drawn = False

    def __call__(self, name: str, done_bytes: int, all_bytes: int) -> None:
        """Show how much of a file has been read."""
        now = time.monotonic()
        if now < self._next or not all_bytes:
            return
        self._next, self._drawn = now + _EVERY_SECONDS, True
        share = min(done_bytes / all_bytes, 1.0)
        bar = "█" * round(share * _BAR)
        left = (now - self._began) * (1 - share) / share if share else None
        words = f"{bar:·<{_BAR}} {units.format_percent(share)}, {units.format_duration(left)} left"
        print(f"\r\x1b[Kreading {units.printable(name)} {words}", end="", file=self._stream, flush=True)

    def clear(self) -> None:
        """Remove the bar."""
        if self._drawn:
            print("\r\x1b[K", end="", file=self._stream, flush=True)


def no_bar(name: str, done_bytes: int, all_bytes: int) -> None:
    """Ignore progress: the bar that is used without a terminal."""
