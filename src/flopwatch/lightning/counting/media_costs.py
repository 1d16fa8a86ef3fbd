"""What batches cost that hold images of many sizes: the text, and what encoders do with each of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace

from flopwatch.model.architecture import Architecture
from flopwatch.model.backward import Checkpointing, StepFlops, Trainable, TrainingStep
from flopwatch.model.batch import Batch, Grid
from flopwatch.model.media import FilledImages, PaddedPatches
from flopwatch.model.resized import OfTiles

Once = Callable[[Hashable, Callable[[], StepFlops]], StepFlops]


class MediaCosts:
    """Costs by the size of each image, so that batches of many sizes share them.

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

    def flops(self, shape: Batch) -> StepFlops:
        """Return the FLOPs of a batch that has grids."""
        text = self._text(shape)
        if self._fills_up and not shape.patches:  # up to the largest image, so that they do not add up
            together = replace(shape, sequences=1, seq_len=1, clips=0)
            key = shape.image_size, shape.images, shape.grids
            return text.plus(self._once(key, lambda: self._encoders.flops(together)))
        return total((text, *(self._image(grid, shape.patches) for grid in shape.grids)))

    def _image(self, grid: Grid, patches: int = 0) -> StepFlops:
        """What one image adds: its encoder's work, and the text's where it sees the image's tokens also forwards."""
        one = Batch(1, 1, images=1, grids=(grid,), patches=patches, clips=0)
        if not self._looks_ahead:
            return self._once((grid, patches), lambda: self._encoders.flops(one))
        two = replace(one, grids=(grid, grid))
        return self._once((grid, patches), lambda: self._step.flops(two).plus(self._step.flops(one), -1))

    def _text(self, shape: Batch) -> StepFlops:
        """What the text, and sounds in it, cost with images, be it these or others."""
        grid = shape.grids[0]
        one = replace(shape, images=1, grids=(grid,), patches=0, image_size=None)
        key = shape.sequences, shape.seq_len, shape.source_len, shape.clips
        return self._once(key, lambda: self._step.flops(one).plus(self._image(grid), -1))


def total(parts: Iterable[StepFlops]) -> StepFlops:
    """Return the sum of several costs."""
    return StepFlops(*map(sum, zip(*parts, strict=True)))
