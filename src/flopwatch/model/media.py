"""Rows of images and videos whose sizes differ, and of sounds: what an encoder sees of them, and what it hands on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from flopwatch.model.batch import Batch, Convolution, Counted, Grid, Span

PIXEL_MASK = "pixel_attention_mask"


@dataclass(frozen=True)
class Grids(Counted):
    """Patches of images and frames, each frame a span of its own.

    Args:
        patch: Side of a patch in pixels.
        merge: Patches a side that become one token of the text.
        merged: Whether rows are these tokens.
        window: Side in patches of the square windows that attend among themselves; those at an edge are smaller.
        together: Whether all images are one span, as where a mask keeps them apart.
        frames: Frames of a video that become one.
        up: Whether sizes are rounded up to whole tokens, as Pixtral's processor does.
        clip: Frames of a video that see each other and whose average gives the tokens, as one span.
    """

    patch: int
    merge: int = 1
    merged: bool = False
    window: int | None = None
    together: bool = False
    frames: int = 1
    up: bool = False
    clip: int | None = None

    def tokens(self) -> Grids:
        """Return the tokens that stand for the patches in the text."""
        return replace(self, merged=True, window=None, together=False)

    def of(self, batch: Batch) -> tuple[Grid, ...]:
        """The grids of a batch; of an image size the grid that Hugging Face's processors round it to."""
        if batch.grids or batch.image_size is None:
            return batch.grids
        height, width = (self._tokens_across(side) * self.merge for side in batch.image_size)
        frames = -(-batch.frames // self.frames)
        clips = [(frames, 1)] if self.clip is None else _parts(frames, self.clip)
        return tuple((length, height, width) for length, count in clips for _ in range(count)) * batch.image_count

    def _tokens_across(self, side: int) -> int:
        factor = self.patch * self.merge
        return -(-side // factor) if self.up else max(round(side / factor), 1)

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return one span per frame, or per window of it."""
        spans = [span for grid in self.of(batch) for span in self._frames(*grid)]
        return [(sum(length * count for length, count in spans), 1)] if self.together and spans else spans

    def _frames(self, frames: int, height: int, width: int) -> Iterator[Span]:
        if self.window is not None:
            yield from self._windows(frames, height, width, self.window)
        elif self.clip is not None:
            yield (height // self.merge) * (width // self.merge) if self.merged else frames * height * width, 1
        elif self.merged:
            yield (height // self.merge) * (width // self.merge), frames
        else:
            yield height * width, frames

    def _windows(self, frames: int, height: int, width: int, side: int) -> Iterator[Span]:
        for rows, down in _parts(height, side):
            for columns, across in _parts(width, side):
                yield rows * columns, frames * down * across


def _parts(length: int, part: int) -> list[Span]:
    """A length in whole parts and a rest: 10 in parts of 4 is 4 twice and 2 once."""
    whole, rest = divmod(length, part)
    return [each for each in ((part, whole), (rest, 1)) if all(each)]


@dataclass(frozen=True)
class PaddedPatches(Counted):
    """Patches of images that are all filled up to the number of `patches` that a batch says."""

    grids: Grids

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return one span per image."""
        if batch.patches:
            return ((batch.patches, batch.image_count),)
        each = [frames * height * width for frames, height, width in self.grids.of(batch)]
        return ((max(each), len(each)),) if each else ()


@dataclass(frozen=True)
class FilledImages(Counted):
    """Patches of images that are filled up to the batch's image size, or to the largest height and width of theirs."""

    grids: Grids

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return one span per image."""
        grids = self.grids.of(batch)
        if not grids:
            return ()
        if batch.grids and batch.image_size:
            height, width = (side // self.grids.patch for side in batch.image_size)
        else:
            height, width = (max(grid[side] for grid in grids) for side in (1, 2))
        return ((height * width, len(grids)),)


@dataclass(frozen=True)
class OnePerGrid(Counted):
    """One row for each image that has a grid."""

    grids: Grids

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return one span per image."""
        count = len(self.grids.of(batch))
        return ((1, count),) if count else ()


@dataclass(frozen=True)
class Clips(Counted):
    """The positions of a sound after some convolutions.

    Args:
        steps: (kernel, stride, padding) of each convolution or pooling before; lengths are rounded down.
        length: Frames of each sound where the batch does not say.
        extra: Rows beside the positions.
        across: Rows for every position, such as the bands that are left of a spectrogram.
    """

    steps: tuple[Convolution, ...] = ()
    length: int = 0
    extra: int = 0
    across: int = 1

    def after(self, *steps: Convolution) -> Clips:
        """Return the positions after further convolutions."""
        return replace(self, steps=(*self.steps, *steps))

    def spans(self, batch: Batch) -> Iterable[Span]:
        """Return one span per sound."""
        length = batch.source_len or self.length
        for kernel, stride, padding in self.steps:
            length = max((length + 2 * padding - kernel) // stride + 1, 0)
        return (((length + self.extra) * self.across, batch.clip_count),) if length else ()


class Told(Protocol):
    """What a batch says of its images by values, not by shapes."""

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors that say it."""

    def applied(self, batch: Batch, values: Mapping[str, Sequence[Any]]) -> Batch | None:
        """Return the batch with what the tensors that are there say; `None` where they do not say enough."""

    def planned(self, batch: Batch) -> Batch:
        """Return the batch as the model gets it, of which images and their size are known."""


class _AsItIs:
    """Images reach the model as they are."""

    def planned(self, batch: Batch) -> Batch:
        """Return the batch itself."""
        return batch


@dataclass(frozen=True)
class TellsGrids(_AsItIs):
    """Frames, height and width in patches of every image and video (`image_grid_thw`), or height and width alone."""

    names: tuple[str, ...] = ("image_grid_thw", "video_grid_thw")

    def applied(self, batch: Batch, values: Mapping[str, Sequence[Any]]) -> Batch:
        """Return the batch with its grids, without images where none are named."""
        grids = tuple(
            (1, *each) if len(each) == 2 else tuple(each) for name in self.names for each in values.get(name, ())
        )
        return replace(batch, grids=grids, images=None) if grids else replace(batch, images=0)


@dataclass(frozen=True)
class TellsPixels(_AsItIs):
    """Height and width in pixels of every image, which are filled up to the largest one (`image_sizes`)."""

    patch: int
    names: tuple[str, ...] = ("image_sizes",)

    def applied(self, batch: Batch, values: Mapping[str, Sequence[Any]]) -> Batch:
        """Return the batch with its grids; an image whose size is not told is as large as the tensor."""
        sizes = values.get(self.names[0]) or [batch.image_size or (0, 0)] * batch.image_count
        grids = tuple((1, height // self.patch, width // self.patch) for height, width in sizes)
        return replace(batch, grids=grids if batch.image_size else (), images=None if grids else 0)


@dataclass(frozen=True)
class TellsTiles:
    """How many tiles each image is cut into, by its size in pixels and the resolutions that there are.

    Args:
        resolutions: Height and width of what images are cut from.
        side: Side of a tile.
    """

    resolutions: tuple[tuple[int, int], ...]
    side: int
    names: tuple[str, ...] = ("image_sizes", "batch_num_images")

    def applied(self, batch: Batch, values: Mapping[str, Sequence[Any]]) -> Batch:
        """Return the batch with the number of tiles that are no padding, the whole image itself among them."""
        sizes = values.get("image_sizes")
        if sizes is None:
            return batch
        together = values.get("batch_num_images") or [1] * len(sizes)
        cut = [count == 1 for count in together for _ in range(count)]
        return replace(batch, images=sum(self.count(*size) if one else 1 for size, one in zip(sizes, cut, strict=True)))

    def planned(self, batch: Batch) -> Batch:
        """Cut images that are not as large as a tile; those that are, or of no size, are tiles already."""
        if batch.image_size in (None, (self.side, self.side)):
            return batch
        height, width = batch.image_size or (self.side, self.side)
        tiles = batch.image_count * self.count(height, width)
        return replace(batch, images=tiles, image_size=(self.side, self.side))

    def count(self, height: int, width: int) -> int:
        """Tiles of an image: those of the resolution that keeps most of it and wastes least, and the whole image."""
        tall, wide = max(self.resolutions, key=lambda each: self._fit(height, width, *each))
        return -(-tall // self.side) * -(-wide // self.side) + 1

    @staticmethod
    def _fit(height: int, width: int, tall: int, wide: int) -> tuple[int, int]:
        scale = min(wide / width, tall / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        return kept, kept - tall * wide


@dataclass(frozen=True)
class TellsPadding(_AsItIs):
    """Which tiles hold an image: those whose `pixel_attention_mask` begins with one."""

    names: tuple[str, ...] = (PIXEL_MASK,)

    def applied(self, batch: Batch, values: Mapping[str, Sequence[Any]]) -> Batch | None:
        """Return the batch with the number of tiles that are no padding; without the mask a lone one is none."""
        mask = values.get(PIXEL_MASK)
        if mask is None:
            return batch if batch.image_count <= 1 else None
        return replace(batch, images=sum(map(bool, mask)))
