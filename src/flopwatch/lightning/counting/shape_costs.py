"""What shapes of batches cost by the closed form of a model's config, each computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace

from flopwatch.hardware.chips import Dtype
from flopwatch.lightning.counting.counter import Cost
from flopwatch.model import conventions
from flopwatch.model.architecture import Architecture, AttentionConvention, ComponentRow
from flopwatch.model.backward import Checkpointing, StepFlops, Trainable, TrainingStep
from flopwatch.model.batch import Batch, Grid
from flopwatch.model.components import Product
from flopwatch.model.media import FilledImages, PaddedPatches
from flopwatch.model.resized import OfTiles
from flopwatch.model.shape_advice import shape_advice

_MOST_SHAPES = 10_000
# Their classes in Hugging Face do not read from position ids where a document begins.
_NO_DOCUMENTS = frozenset(("albert", "bert", "bloom", "distilbert", "electra", "falcon"))
_NO_DOCUMENTS |= {"gpt_oss", "modernbert", "mpt", "opt", "roberta", "xlm-roberta"}


class ClosedForm:
    """Costs from the architecture, computed once for every shape.

    Args:
        architecture: The model, under its own masks.
        attention: The convention to count with.
        trainable: Which parameters train.
        checkpointing: How layers are checkpointed, `None` if that is not known.
    """

    def __init__(
        self,
        architecture: Architecture,
        attention: AttentionConvention,
        trainable: Trainable,
        checkpointing: Checkpointing | None,
    ) -> None:
        self.architecture = architecture.counted_with(attention)
        self.trainable, self.checkpointing = trainable, checkpointing
        kind = checkpointing or "none"
        self._step = TrainingStep(self.architecture, trainable, kind)
        self._encoders = TrainingStep(self.architecture.encoders(), trainable, kind)
        self._as_it_runs = TrainingStep(
            architecture.as_reference().with_full_attention(), trainable.as_reference(), kind
        )
        self.packs = (
            architecture.inputs == "tokens"
            and architecture.model_type not in _NO_DOCUMENTS
            and not any(isinstance(leaf, Product) for leaf, _, _ in architecture.leaves())
        )
        rows = (getattr(leaf, "rows", None) for leaf, _, _ in architecture.leaves())
        self._fills_up = any(isinstance(each, FilledImages | PaddedPatches | OfTiles) for each in rows)
        self._looks_ahead = any(getattr(leaf, "forwards", None) for leaf, _, _ in self.architecture.leaves())
        self._known: dict[Hashable, StepFlops] = {}

    def cost(self, shape: Batch) -> Cost:
        """What a shape costs; of packed documents the sum of what each would alone."""
        flops = self._flops(shape)
        hardware = None if self.checkpointing is None else flops.training + flops.recomputed
        return Cost(flops.training, hardware, flops.forward)

    def forward_cost(self, shape: Batch) -> Cost:
        """What a forward pass without a backward costs."""
        forward = self._flops(shape).forward
        return Cost(forward, forward, forward)

    def _flops(self, shape: Batch) -> StepFlops:
        if shape.grids:
            return self._with_images(shape)
        if not shape.documents:
            return self._whole(shape)
        return _sum(self._whole(Batch(1, length)) for length in shape.documents)

    def _with_images(self, shape: Batch) -> StepFlops:
        """What a shape costs with images of many sizes: the text, and what encoders do with each."""
        text = self._text(shape)
        if self._fills_up and not shape.patches:  # up to the largest image, so that they do not add up
            images = replace(shape, sequences=1, seq_len=1, clips=0)
            key = shape.image_size, shape.images, shape.grids
            return text.plus(self._once(key, lambda: self._encoders.flops(images)))
        return _sum((text, *(self._image(grid, shape.patches) for grid in shape.grids)))

    def _whole(self, shape: Batch) -> StepFlops:
        return self._once(shape, lambda: self._step.flops(shape))

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

    def _once(self, key: Hashable, count: Callable[[], StepFlops]) -> StepFlops:
        flops = self._known.get(key)
        if flops is None:
            if len(self._known) >= _MOST_SHAPES:
                self._known.clear()
            flops = self._known[key] = count()
        return flops

    def as_it_runs(self, shape: Batch, *, forward_only: bool = False) -> tuple[int, int | None]:
        """FLOPs and recomputed FLOPs as the model's code runs them, over all pairs: what a watched batch shows."""
        flops = self._as_it_runs.flops(replace(shape, documents=()))
        if forward_only:
            return flops.forward, 0
        return flops.training, None if self.checkpointing is None else flops.recomputed

    def by_convention(self, shape: Batch) -> dict[str, int]:
        """What others would count, who know neither frozen parameters nor packed documents: else nothing."""
        if shape.documents or not self.trainable.everything:
            return {}
        return conventions.by_convention(self.architecture, shape)

    def shape_advice(self, shape: Batch, dtype: Dtype | None) -> tuple[str, ...]:
        """Return the sizes that cost speed in a precision of tensor cores, in words; nothing where parts are frozen."""
        if dtype is None or not self.trainable.everything:
            return ()
        return tuple(each.words for each in shape_advice(self.architecture, shape, dtype))

    def rows(self, shape: Batch, adapter_parameters: int) -> tuple[ComponentRow, ...]:
        """Return the per-component table, with a row for adapters and their parameters."""
        rows, added = self.architecture.rows(shape), self._step.flops(shape).added
        if added:
            rows.append(ComponentRow("adapters", adapter_parameters, added))
        return tuple(rows)


def _sum(parts: Iterable[StepFlops]) -> StepFlops:
    return StepFlops(*map(sum, zip(*parts, strict=True)))
