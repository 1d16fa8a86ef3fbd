"""Rows made of other rows: in blocks or pieces, over bands, once for all, or only where there are images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flopwatch.model.batch import Batch, Counted, Rows, Span


@dataclass(frozen=True)
class Blocks(Counted):
    """Rows in blocks of a size, the last one filled up; where it is given, `seen` rows of each block."""

    rows: Rows
    size: int
    seen: int | None = None

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return one span per block."""
        length_of_one = self.size if self.seen is None else self.seen
        return [(length_of_one, -(-length // self.size) * count) for length, count in self.rows.spans(batch)]


@dataclass(frozen=True)
class Bands(Counted):
    """Rows of which each is as many positions as there are bands of frequencies."""

    rows: Rows
    bands: int

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return one span per sound."""
        return [(length * self.bands, count) for length, count in self.rows.spans(batch)]


@dataclass(frozen=True)
class Once(Counted):
    """A fixed number of rows for all sounds together, none where there is no sound."""

    each: int
    rows: Rows

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return one span."""
        return ((self.each, 1),) if self.rows.count(batch) else ()


@dataclass(frozen=True)
class InPieces(Counted):
    """Rows as they are up to a length, beyond it in pieces of that length, the last one filled up."""

    rows: Rows
    longest: int

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return one span per sound, or per piece of it."""
        spans = list(self.rows.spans(batch))
        whole = any(length > self.longest for length, _ in spans)
        return Blocks(self.rows, self.longest).spans(batch) if whole else spans


@dataclass(frozen=True)
class Longer(Counted):
    """Rows plus a fixed number at the end of each stretch, as a convolution padded on both sides computes."""

    rows: Rows
    by: int

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return one span per stretch."""
        return [(length + self.by, count) for length, count in self.rows.spans(batch)]


@dataclass(frozen=True)
class Where(Counted):
    """Rows of batches that hold images, or of those that hold none."""

    rows: Rows
    images: bool

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return the rows' spans, or none."""
        return self.rows.spans(batch) if bool(batch.grids) is self.images else ()
