"""A trace's JSON, event by event: files of gigabytes are read in pieces, gzipped or not.

`json` decodes one event after the other out of a window of the text, so that memory is bounded by the largest event.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flopwatch import units
from flopwatch.errors import LargeTraceError, TraceError

Facts = dict[str, Any]

_GZIP = b"\x1f\x8b"
_PIECE = 1 << 20
_LARGEST = 1 << 26  # characters of one event, or of one value beside the events
_GAP = re.compile(r"[\s,]*")
_DAMAGES = (EOFError, zlib.error, gzip.BadGzipFile)
_decode = json.JSONDecoder().raw_decode


@dataclass(frozen=True)
class Limits:
    """How much of a trace is read at most.

    Attributes:
        unpacked_bytes: Of its text.
        events: Of any kind; a name or a value beside them counts as one.
        characters: Of one event, name or value.
    """

    unpacked_bytes: float = math.inf
    events: float = math.inf
    characters: float = math.inf


ALL = Limits()


def events_of(path: Path, facts: Facts, limits: Limits = ALL) -> Iterator[Facts]:
    """Yield the events of a trace.

    Args:
        path: A JSON file as `torch.profiler` writes it, or one packed by gzip.
        facts: Has the names of what is wanted of what stands beside the events, such as `deviceProperties`, and
            receives it.
        limits: What is read at most.

    Raises:
        LargeTraceError: If the trace is larger than that.
        TraceError: If the file cannot be read, or is not the whole of a trace.
    """
    try:
        with path.open("rb") as raw:
            if os.fstat(raw.fileno()).st_size > limits.unpacked_bytes:
                raise _large(path)
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            plain = gzip.GzipFile(fileobj=raw) if packed else raw
            with io.TextIOWrapper(io.BufferedReader(plain, _PIECE), "utf-8", errors="replace") as text:
                yield from _Window(path, text.read, plain.tell, limits).events(facts)
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            raise _damaged(path) from None
        reason = error.strerror or str(error)
        raise TraceError(f"cannot read {path}: {reason}; name a trace that torch.profiler wrote") from None


def _damaged(path: Path) -> TraceError:
    return TraceError(f"{path}: expected a whole trace, got a damaged or cut-off file; copy or export it again")


def _large(path: Path) -> LargeTraceError:
    return LargeTraceError(
        f"{path}: expected a smaller trace, got one of too many bytes or events; profile fewer steps"
    )


class _Window:
    """What has been read of a text and not been used up."""

    def __init__(self, path: Path, read: Callable[[int], str], unpacked: Callable[[], int], limits: Limits) -> None:
        self._path, self._read, self._unpacked = path, read, unpacked
        self._limits, self._values_left = limits, limits.events
        self._text, self._at = "", 0

    def events(self, facts: Facts) -> Iterator[Facts]:
        first = self._next_character()
        if first == "[":
            yield from self._list()
        elif first == "{":
            yield from self._object(facts)
        else:
            got = "an empty file" if not first else f"{units.quoted(self._text[self._at : self._at + 20])} at its start"
            raise TraceError(f"{self._path}: expected a trace of torch.profiler (JSON, may be gzipped), got {got}")

    def _object(self, facts: Facts) -> Iterator[Facts]:
        self._at += 1
        found = False
        while self._next_character() != "}":
            name = self._value()
            if self._next_character() != ":":
                raise _damaged(self._path)
            self._at += 1
            if name == "traceEvents" and self._next_character() == "[":
                found = True
                yield from self._list()
            else:
                value = self._value()
                if isinstance(name, str) and name in facts:
                    facts[name] = value
        if not found:
            raise TraceError(f"{self._path}: expected a list 'traceEvents', got JSON without one; is it a trace?")

    def _list(self) -> Iterator[Facts]:
        self._at += 1
        while self._next_character() != "]":
            event = self._value()
            if isinstance(event, dict):
                yield event
        self._at += 1

    def _next_character(self) -> str:
        """What follows after white space and commas; nothing at the text's end."""
        while True:
            match = _GAP.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._fill(_PIECE):
                return ""

    def _value(self) -> Any:
        """Decode the value that comes next, and go behind it."""
        self._next_character()
        self._values_left -= 1
        if self._values_left < 0:
            raise _large(self._path)
        while True:
            try:
                value, end = _decode(self._text, self._at)
            except json.JSONDecodeError:
                end = -1
            except (ValueError, RecursionError):
                raise TraceError(
                    f"{self._path}: expected a trace, got JSON nested or numbered beyond reading"
                ) from None
            is_whole = 0 <= end < len(self._text)
            waiting = (end if is_whole else len(self._text)) - self._at
            if waiting > self._limits.characters:
                raise _large(self._path)
            if is_whole:
                self._at = end
                return value
            if waiting > _LARGEST or not self._fill(max(_PIECE, waiting)):
                raise _damaged(self._path)

    def _fill(self, size: int) -> bool:
        """Read on; whether there was more."""
        try:
            more = self._read(size)
        except _DAMAGES:
            raise _damaged(self._path) from None
        if self._unpacked() > self._limits.unpacked_bytes:
            raise _large(self._path)
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)
