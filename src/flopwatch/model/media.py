"""Rows of images and videos whose sizes differ, and of sounds: what an encoder sees of them, and what it hands on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from flopwatch.model.batch import Batch, Convolution, Counted, Grid, Span


@dataclass(frozen=True)
class Grids(Counted):
    """Patches of images and frames, each frame a span of its own.

    Args:
        patch: Side of a patch in pixels.
        merge: Patches a side that become one token of the text; grids are multiples of it.
        per: Patches in a row.
        window: Side in patches of the square windows that attend among themselves; those at an edge are smaller.
        whole: Whether all frames of a video are one span.
    """

    patch: int
    merge: int = 1
    per: int = 1
    window: int | None = None
    whole: bool = False

    def merged(self) -> Grids:
        """Return the tokens that stand for the patches in the text."""
        return replace(self, per=self.merge**2, window=None)

    def of(self, batch: Batch) -> tuple[Grid, ...]:
        """The grids of a batch; of an image size the nearest grid, as Hugging Face's processors round it."""
        if batch.grids or batch.image_size is None:
            return batch.grids
        factor = self.patch * self.merge
        height, width = (max(round(side / factor), 1) * self.merge for side in batch.image_size)
        return ((1, height, width),) * batch.image_count

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return one span per frame, or per window of it."""
        for frames, height, width in self.of(batch):
            if self.window is None:
                patches = height * width // self.per
                yield (frames * patches, 1) if self.whole else (patches, frames)
            else:
                yield from self._windows(frames, height, width, self.window)

    def _windows(self, frames: int, height: int, width: int, side: int) -> Iterator[Span]:
        for rows, down in _parts(height, side):
            for columns, across in _parts(width, side):
                yield rows * columns, frames * down * across


def _parts(length: int, part: int) -> list[Span]:
    """A length in whole parts and a rest: 10 in parts of 4 is 4 twice and 2 once."""
    whole, rest = divmod(length, part)
    return [each for each in ((part, whole), (rest, 1)) if all(each)]


@dataclass(frozen=True)
class Clips(Counted):
    """The positions of a sound after some convolutions.

    Args:
        steps: (kernel, stride, padding) of each convolution or pooling before; lengths are rounded down.
        length: Frames of each sound where the batch does not say.
        extra: Rows beside the positions.
    """

    steps: tuple[Convolution, ...] = ()
    length: int = 0
    extra: int = 0

    def after(self, *steps: Convolution) -> Clips:
        """Return the positions after further convolutions."""
        return replace(self, steps=(*self.steps, *steps))

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return one span per sound."""
        length = batch.source_len or self.length
        for kernel, stride, padding in self.steps:
            length = max((length + 2 * padding - kernel) // stride + 1, 0)
        return ((length + self.extra, batch.clip_count),) if length else ()
