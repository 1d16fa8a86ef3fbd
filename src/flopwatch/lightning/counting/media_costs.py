"""What batches cost that hold images and sounds of many sizes: the text, and what encoders do with each of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace

from flopwatch.model.architecture import Architecture
from flopwatch.model.backward import Checkpointing, StepFlops, Trainable, TrainingStep
from flopwatch.model.batch import Batch, Grid
from flopwatch.model.media import FilledImages, PaddedPatches
from flopwatch.model.resized import OfTiles
from flopwatch.model.sounds import Pieces

Once = Callable[[Hashable, Callable[[], StepFlops]], StepFlops]


class MediaCosts:
    """Costs by the size of each image and the length of each sound, so that batches of many sizes share them.

    Args:
        architecture: The model, under the attention convention to count with.
        trainable: Which parameters train.
        checkpointing: How layers are checkpointed.
        once: Computes a cost, or returns what was kept under its key.
    """

    def __init__(
        self, architecture: Architecture, trainable: Trainable, checkpointing: Checkpointing, once: Once
    ) -> None:
        self._step = TrainingStep(architecture, trainable, checkpointing)
        self._encoders = TrainingStep(architecture.encoders(), trainable, checkpointing)
        self._once = once
        leaves = [leaf for leaf, _, _ in architecture.leaves()]
        rows = [getattr(leaf, "rows", None) for leaf in leaves]
        self._fills_up = any(isinstance(each, FilledImages | PaddedPatches | OfTiles) for each in rows)
        self._looks_ahead = any(getattr(leaf, "forwards", None) for leaf in leaves)
        self._piece = max((each.frames for each in rows if isinstance(each, Pieces)), default=0)

    def flops(self, shape: Batch) -> StepFlops:
        """Return the FLOPs of a batch that has grids or sounds."""
        text = self._text(shape)
        if self._fills_up and not shape.patches:  # up to the largest image, so that they do not add up
            together = replace(shape, sequences=1, seq_len=1, clips=0)
            key = shape.image_size, shape.images, shape.grids
            return text.plus(self._once(key, lambda: self._encoders.flops(together)))
        images = (self._image(grid, shape.patches) for grid in shape.grids)
        longest = max(shape.sounds, default=0)
        return total((text, *images, *(self._sound(frames, longest) for frames in shape.sounds)))

    def _image(self, grid: Grid, patches: int = 0) -> StepFlops:
        """What one image adds: its encoder's work, and the text's where it sees the image's tokens also forwards."""
        one = Batch(1, 1, images=1, grids=(grid,), patches=patches, clips=0)
        if not self._looks_ahead:
            return self._once((grid, patches), lambda: self._encoders.flops(one))
        two = replace(one, grids=(grid, grid))
        return self._once((grid, patches), lambda: self._step.flops(two).plus(self._step.flops(one), -1))

    def _sound(self, frames: int, longest: int) -> StepFlops:
        """One sound, whose pieces are filled up to the longest one of the batch."""
        filled = min(longest, self._piece)
        alone = Batch(1, 1, filled, images=0, sounds=(frames,))
        return self._once(("sound", frames, filled), lambda: self._encoders.flops(alone))

    def _text(self, shape: Batch) -> StepFlops:
        """What the text costs with images and sounds, be it these or others; sounds of one length are part of it."""
        grids, sounds = shape.grids[:1], shape.sounds[:1]
        few = replace(shape, images=len(grids), grids=grids, patches=0, image_size=None, sounds=sounds)
        if sounds:
            few = replace(few, source_len=min(*sounds, self._piece), clips=None)

        def count() -> StepFlops:
            media = (*map(self._image, grids), *(self._sound(frames, frames) for frames in sounds))
            return self._step.flops(few).plus(total(media), -1)

        alike = () if sounds else (few.source_len, few.clips)
        return self._once(("text", few.sequences, few.seq_len, bool(grids), bool(sounds), *alike), count)


def total(parts: Iterable[StepFlops]) -> StepFlops:
    """Return the sum of several costs."""
    return StepFlops(*map(sum, zip(*parts, strict=True)))
