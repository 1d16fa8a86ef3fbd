"""Rows of sounds whose lengths differ and that an encoder cuts into pieces, and what a batch's values say of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flopwatch.model.batch import Batch, Convolution, Counted, Span
from flopwatch.model.media import TellsGrids

SOUND_MASK = "feature_attention_mask"


def lengths_of(batch: Batch) -> tuple[int, ...]:
    """Return the frames of each sound of a batch."""
    return batch.sounds or (batch.source_len,) * batch.clip_count if batch.source_len or batch.sounds else ()


def after(length: int, steps: Iterable[Convolution]) -> int:
    """Return the positions that (kernel, stride, padding) of convolutions leave of a length."""
    for kernel, stride, padding in steps:
        length = max((length + 2 * padding - kernel) // stride + 1, 0)
    return length


@dataclass(frozen=True)
class Pieces(Counted):
    """Positions of sounds that are cut into pieces, the last of each sound a shorter one.

    Args:
        frames: Frames of a piece.
        steps: (kernel, stride, padding) of the convolutions over every piece.
        filled: Whether every piece is filled up to the longest one of the batch, as convolutions see it.
        together: How many of the longest pieces' positions attend among themselves; `None` for each piece alone.
        across: Rows for every position, such as the bands that are left of a spectrogram.
    """

    frames: int
    steps: tuple[Convolution, ...] = ()
    filled: bool = False
    together: int | None = None
    across: int = 1

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return one span per piece, or per stretch of pieces that attend among themselves."""
        lengths = lengths_of(batch)
        longest = after(min(max((batch.source_len, *lengths), default=0), self.frames), self.steps)
        return [span for length in lengths for span in self._of(length, longest) if all(span)]

    def _of(self, length: int, longest: int) -> list[Span]:
        whole, rest = divmod(length, self.frames)
        piece, last = after(self.frames, self.steps), after(rest, self.steps) if rest else 0
        if self.filled:
            return [(longest, (whole + (rest > 0)) * self.across)]
        if self.together is None:
            return [(piece * self.across, whole), (last * self.across, 1)]
        stretch = self.together * longest
        return [(stretch, (whole * piece + last) // stretch), ((whole * piece + last) % stretch, 1)]


@dataclass(frozen=True)
class WholeSounds(Counted):
    """Positions of every sound after some convolutions over all of it."""

    steps: tuple[Convolution, ...]

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return one span per sound."""
        return [(left, 1) for length in lengths_of(batch) if (left := after(length, self.steps))]


@dataclass(frozen=True)
class TellsGridsAndSounds(TellsGrids):
    """Patches of every image and video, and the frames of every sound that are no padding."""

    names: tuple[str, ...] = ("image_grid_thw", "video_grid_thw", SOUND_MASK)

    def applied(self, batch: Batch, values: Mapping[str, Sequence[Any]]) -> Batch:
        """Return the batch with its grids and the lengths of its sounds."""
        grids = TellsGrids().applied(batch, values)
        sounds = tuple(int(each) for each in values.get(SOUND_MASK, ()))
        return replace(grids, sounds=sounds, source_len=max(sounds, default=0), clips=None if sounds else 0)
