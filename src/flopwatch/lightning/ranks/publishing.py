"""The record that every rank writes under its own key, for the first rank to read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec

from flopwatch.hardware.telemetry import Telemetry
from flopwatch.lightning.ranks.marks import RecentMarks, StepMark
from flopwatch.run.records import Memory

SCHEMA = 2


@dataclass(frozen=True)
class RankReading:
    """What a rank says of its GPU: what it did, its energy so far, and its name where several ranks may share it."""

    telemetry: Telemetry = field(default_factory=Telemetry)
    joules: int | None = None
    gpu: str | None = None
    memory: Memory | None = None


@dataclass(frozen=True)
class RankRecord:
    """Everything that a rank publishes; a later record replaces it.

    Attributes:
        schema: Of this record; others are not read.
        version: Of flopwatch.
        marks: The rank's work up to several steps.
        reading: What its GPU did in its last window.
        agreed: Number of the last proposal to stop that this rank holds to.
        refused: Number of the last one that it heard of too late.
        left: Why it does not count any more.
    """

    schema: int
    version: str
    marks: list[StepMark]
    reading: RankReading
    agreed: int = 0
    refused: int = 0
    left: str | None = None


class UnreadableRecord(Exception):
    """A rank's record is not of this version; the message says what it is."""


@dataclass(frozen=True)
class _Heading:
    schema: int
    version: str


_heading = msgspec.json.Decoder(_Heading)
_record = msgspec.json.Decoder(RankRecord)


def encode(record: RankRecord) -> bytes:
    """Encode a record for publishing: JSON with named fields."""
    return msgspec.json.encode(record)


def decode(payload: bytes, version: str) -> RankRecord:
    """Decode a rank's record.

    Raises:
        UnreadableRecord: If it is another version's, or none.
    """
    try:
        record = _record.decode(payload)
        if record.schema == SCHEMA:
            return record
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    raise UnreadableRecord(_what_it_is(payload, version))


def _what_it_is(payload: bytes, version: str) -> str:
    try:
        heading = _heading.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "published something other than a flopwatch record"
    return f"runs flopwatch {heading.version[:20]}, the first rank {version}"


class OwnRecord:
    """This rank's record, from what the training thread notes.

    Args:
        version: Of flopwatch.
        read: Gives the reading of the GPU; its argument says whether a window has ended.
    """

    def __init__(self, version: str, read: Callable[[bool], RankReading]) -> None:
        self._version, self._read = version, read
        self._lock = threading.Lock()
        self._marks = RecentMarks()
        self._window_ended, self._changed = False, True  # published at once, so that the first rank hears of this one
        self._window_steps, self._last_window = 1, 0
        self._telemetry = Telemetry()
        self.left: str | None = None

    def note(self, mark: StepMark) -> None:
        """Note this rank's work up to a step that it has done; a few dictionary look-ups."""
        with self._lock:
            self._marks.note(mark)

    def keep(self, step: int, *, window: bool) -> None:
        """Have the last step published, as the end of a window or for something else that all ranks do there."""
        with self._lock:
            self._marks.keep()
            if window:
                self._window_steps, self._last_window = max(step - self._last_window, 1), step
                self._window_ended = True
            self._changed = True

    def leave(self, why: str) -> None:
        """Publish from now on that this rank has stopped counting."""
        with self._lock:
            self.left, self._changed = why, True

    def touch(self) -> None:
        """Request another publication."""
        with self._lock:
            self._changed = True

    def take(self, agreed: int, refused: int) -> bytes | None:
        """The record as it is to be published, `None` if nothing has changed; on the side thread."""
        with self._lock:
            if not self._changed:
                return None
            self._changed, window, self._window_ended = False, self._window_ended, False
            marks = self._marks.published(self._window_steps)
        reading = RankReading() if self.left else self._read(window)
        if window:
            self._telemetry = reading.telemetry
        reading = replace(reading, telemetry=self._telemetry)
        record = RankRecord(SCHEMA, self._version, marks, reading, agreed, refused, self.left)
        return encode(record)
