"""What a batch costs by the closed form of its shape."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flopwatch import backward, conventions
from flopwatch.backward import Checkpointing, Trainable
from flopwatch.batch import Batch
from flopwatch.components import Product
from flopwatch.tree import Architecture, AttentionConvention, ComponentRow

# Their classes in Hugging Face do not read from position ids where a document begins.
_NO_DOCUMENTS = frozenset(
    (
        *("albert", "bert", "bloom", "distilbert", "electra", "falcon"),
        *("gpt_oss", "modernbert", "mpt", "opt", "roberta", "xlm-roberta"),
    )
)


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
        self._as_it_runs = architecture.as_reference().with_full_attention()
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

    def as_it_runs(self, shape: Batch) -> tuple[int, int | None]:
        """FLOPs and recomputed FLOPs as the model's code runs them, over all pairs: what a watched batch shows."""
        plain = replace(shape, documents=())
        flops = backward.training_flops(self._as_it_runs, plain, self.trainable)
        if self.checkpointing is None:
            return flops, None
        return flops, backward.recomputation(self._as_it_runs, plain, self.checkpointing).flops

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
