"""What a batch costs: from the closed form of its shape, or measured once for every shape that comes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from flopwatch import backward, conventions
from flopwatch.backward import Checkpointing, Trainable
from flopwatch.batch import Batch
from flopwatch.components import Product
from flopwatch.errors import MeasurementError
from flopwatch.lightning.shapes import signature
from flopwatch.measure import Measurement, measure_training_step
from flopwatch.tree import Architecture, AttentionConvention, ComponentRow

# Their classes in Hugging Face do not read from position ids where a document begins.
_NO_DOCUMENTS = frozenset(
    (
        *("albert", "bert", "bloom", "distilbert", "electra", "falcon"),
        *("gpt_oss", "modernbert", "mpt", "opt", "roberta", "xlm-roberta"),
    )
)
_MOST_SHAPES = 64
_MOST_SECONDS = 30.0


@dataclass(frozen=True)
class Cost:
    """FLOPs of one training batch on one device; hardware FLOPs are unknown where recomputation is."""

    flops: int
    hardware_flops: int | None


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
        self.trainable = trainable
        self.checkpointing = checkpointing if trainable.everything or checkpointing == "none" else None
        self.packs = (
            architecture.inputs == "tokens"
            and architecture.model_type not in _NO_DOCUMENTS
            and not any(isinstance(leaf, Product) for leaf, _, _ in architecture.leaves())
        )
        self._costs: dict[Batch, Cost] = {}

    def cost(self, shape: Batch) -> Cost:
        """What a shape costs; of packed documents the sum of what each would alone."""
        if not shape.documents:
            return self._cost(shape)
        each = [self._cost(Batch(1, length)) for length in shape.documents]
        known = [cost.hardware_flops for cost in each if cost.hardware_flops is not None]
        return Cost(sum(cost.flops for cost in each), sum(known) if len(known) == len(each) else None)

    def _cost(self, shape: Batch) -> Cost:
        cost = self._costs.get(shape)
        if cost is None:
            flops = backward.training_flops(self.architecture, shape, self.trainable)
            hardware = None
            if self.checkpointing is not None:
                hardware = flops + backward.recomputation(self.architecture, shape, self.checkpointing).flops
            cost = self._costs[shape] = Cost(flops, hardware)
        return cost

    def forward_flops(self, shape: Batch) -> int:
        """Forward FLOPs, adapters included."""
        added = backward.added_forward_flops(self.architecture, shape, self.trainable)
        return self.architecture.forward_flops(shape) + added

    def by_convention(self, shape: Batch) -> dict[str, int]:
        """What others would count, who know neither frozen parameters nor packed documents: else nothing."""
        if shape.documents or not self.trainable.everything:
            return {}
        return conventions.by_convention(self.architecture, shape)

    def rows(self, shape: Batch) -> tuple[ComponentRow, ...]:
        """The per-component table, with a line for adapters."""
        rows = self.architecture.rows(shape)
        added = backward.added_forward_flops(self.architecture, shape, self.trainable)
        if added:
            rows.append(ComponentRow("adapters", 0, added))
        return tuple(rows)


class Measured:
    """Costs measured on a copy without data, once for every shape, within a limit of shapes and seconds.

    Args:
        module: The LightningModule.
        attention: The convention to count with.
        optimizers: Its optimizers.
    """

    def __init__(self, module: nn.Module, attention: AttentionConvention, optimizers: Sequence[Any]) -> None:
        self._module, self._attention, self._optimizers = module, attention, optimizers
        self._costs: dict[Any, Cost] = {}
        self._seconds = 0.0

    def cost(self, batch: Any) -> Cost:
        """What a batch costs.

        Raises:
            MeasurementError: If it cannot be measured, or too many shapes have come.
        """
        shapes = signature(batch)
        if shapes not in self._costs:
            self.measurement(batch)
        return self._costs[shapes]

    def measurement(self, batch: Any) -> Measurement:
        """Measure a batch, and keep what those of its shape cost.

        Raises:
            MeasurementError: If it cannot be measured, holds operators that cannot be counted, or too many have come.
        """
        if len(self._costs) >= _MOST_SHAPES or self._seconds > _MOST_SECONDS:
            raise MeasurementError(
                f"batches of {len(self._costs)} shapes were measured in {self._seconds:.0f} s, and more come (strings"
                " and whole numbers beside the tensors tell batches apart, too)"
            )
        began = time.monotonic()
        measured = measure_training_step(self._module, batch, optimizers=self._optimizers, attention=self._attention)
        self._seconds += time.monotonic() - began
        if not measured.complete:
            lost = ", ".join(each.operator for each in measured.missing)
            raise MeasurementError(f"operators cannot be counted: {lost}; flopwatch.measure.register tells how")
        self._costs[signature(batch)] = cost_of(measured)
        return measured


def cost_of(measured: Measurement) -> Cost:
    """The cost of a complete measurement."""
    assert measured.training_flops is not None
    return Cost(measured.training_flops, measured.hardware_flops)
