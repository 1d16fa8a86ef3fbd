"""What batches cost that hold images and sounds of many sizes: the text, and what encoders do with each of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace

from flopwatch.model.architecture import Architecture
from flopwatch.model.backward import Checkpointing, StepFlops, Trainable, TrainingStep
from flopwatch.model.batch import Batch, Grid
from flopwatch.model.media import FilledImages, PaddedPatches
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
        rows = [getattr(leaf, "rows", None) for leaf, _, _ in architecture.leaves()]
        self._fills_up = any(isinstance(each, FilledImages | PaddedPatches) for each in rows)
        self._piece = max((each.frames for each in rows if isinstance(each, Pieces)), default=0)

    def flops(self, shape: Batch) -> StepFlops:
        """Return the FLOPs of a batch that has grids or sounds."""
        text = self._text(shape)
        if self._fills_up and not shape.source_len:  # up to the largest image, so that they do not add up
            together = replace(shape, sequences=1, seq_len=1)
            return text.plus(self._once((shape.image_size, shape.grids), lambda: self._encoders.flops(together)))
        images = (self._image(grid, shape) for grid in shape.grids)
        return total((text, *images, *(self._sound(frames, shape) for frames in shape.sounds)))

    def _image(self, grid: Grid, shape: Batch) -> StepFlops:
        padded = 0 if shape.sounds else shape.source_len
        alone = Batch(1, 1, padded, grids=(grid,), clips=0)
        return self._once((grid, padded), lambda: self._encoders.flops(alone))

    def _sound(self, frames: int, shape: Batch) -> StepFlops:
        """One sound, whose pieces are filled up to the longest one of the batch."""
        filled = min(max(shape.sounds), self._piece)
        alone = Batch(1, 1, filled, images=0, sounds=(frames,))
        return self._once(("sound", frames, filled), lambda: self._encoders.flops(alone))

    def _text(self, shape: Batch) -> StepFlops:
        """What the text costs with images and sounds, be it these or others."""
        few = replace(shape, grids=shape.grids[:1], sounds=shape.sounds[:1], source_len=0, image_size=None)
        few = replace(few, images=None if few.grids else 0, clips=None if few.sounds else 0)

        def count() -> StepFlops:
            return self._step.flops(few).plus(self._encoders.flops(replace(few, sequences=1, seq_len=1)), -1)

        return self._once(("text", few.sequences, few.seq_len, bool(few.grids), bool(few.sounds)), count)


def total(parts: Iterable[StepFlops]) -> StepFlops:
    """Return the sum of several costs."""
    return StepFlops(*map(sum, zip(*parts, strict=True)))
