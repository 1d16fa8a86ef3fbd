"""Each moment of a span in exactly one class, by union of intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

_PLACES = 40  # bits of a piece's number within a mark


class Piece(Protocol):
    """A stretch of time, in nanoseconds, and its class: where several run at a moment, the lowest counts."""

    @property
    def start(self) -> int: ...  # noqa: D102

    @property
    def end(self) -> int: ...  # noqa: D102

    @property
    def kind(self) -> int: ...  # noqa: D102


@dataclass
class Division:
    """A span's nanoseconds.

    Attributes:
        by_kind: Of each class, where nothing of a lower one runs.
        watched: Of the classes that were asked for: where at least one runs, hidden or not.
        gaps: (start, end, piece) of each stretch in which nothing runs, with the number of the piece that ends it; -1
            at the span's end.
    """

    by_kind: dict[int, int] = field(default_factory=dict)
    watched: int = 0
    gaps: list[tuple[int, int, int]] = field(default_factory=list)


def divide(pieces: Sequence[Piece], span: tuple[int, int], watched: Iterable[int] = ()) -> Division:
    """Divide a span among the pieces in it.

    Args:
        pieces: In any order, none of them outside of the span.
        span: Its start and end in nanoseconds.
        watched: Classes whose time is summed whether or not something of a lower class hides it.
    """
    division, mask, now = Division(), 0, span[0]
    running: dict[int, int] = {}
    wanted = sum(1 << kind for kind in set(watched))
    for mark in _marks(pieces, span[0]):
        time, starts = (mark >> _PLACES + 1) + span[0], mark >> _PLACES & 1
        place = mark & ((1 << _PLACES) - 1)
        if time > now:
            _book(division, mask, wanted, (now, time, place))
            now = time
        kind = pieces[place].kind
        count = running[kind] = running.get(kind, 0) + (1 if starts else -1)
        mask = mask | 1 << kind if count else mask & ~(1 << kind)
    if now < span[1]:
        division.gaps.append((now, span[1], -1))
    return division


def _marks(pieces: Sequence[Piece], begin: int) -> list[int]:
    """Starts and ends in order, ends first, each as one number: time, whether it is a start, number of the piece."""
    marks = []
    for place, piece in enumerate(pieces):
        if piece.start < piece.end:
            marks.append((piece.start - begin << 1 | 1) << _PLACES | place)
            marks.append((piece.end - begin << 1) << _PLACES | place)
    marks.sort()
    return marks


def _book(division: Division, mask: int, wanted: int, stretch: tuple[int, int, int]) -> None:
    """Book a stretch to the lowest class of those that run."""
    if not mask:
        division.gaps.append(stretch)
        return
    length = stretch[1] - stretch[0]
    lowest = (mask & -mask).bit_length() - 1
    division.by_kind[lowest] = division.by_kind.get(lowest, 0) + length
    division.watched += length if mask & wanted else 0
