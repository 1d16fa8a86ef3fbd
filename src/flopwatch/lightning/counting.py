"""From a batch to its FLOPs: the model is found and checked once, then every batch is an addition of whole numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from flopwatch.components import Architecture, AttentionConvention, Batch
from flopwatch.errors import FlopwatchError
from flopwatch.lightning import discovery
from flopwatch.records import Work, WorkRow

BatchShape = Callable[[Any], tuple[int, int]]


class BatchCounter:
    """Counts batches of one module; FLOPs are withheld, with a reason, where they would not be exact.

    Args:
        module: The LightningModule, with its parameters.
        config: The model's config, if the user gave one.
        attention: Attention convention.
        batch_shape: The user's function from a batch to (sequences, tokens per sequence).
        strategy: Class name of the Trainer's strategy.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        config: object | None,
        attention: AttentionConvention,
        batch_shape: BatchShape | None,
        strategy: str,
    ) -> None:
        self._attention = attention
        self._batch_shape = batch_shape
        self._architecture: Architecture | None = None
        self._probe: discovery.InputProbe | None = None
        self._shorter_by: int | None = 0
        self._flops_of: dict[Batch, int] = {}
        self._formula_only = strategy in discovery.SHARDING_STRATEGIES
        try:
            found = discovery.find_model(module, config)
            matches, self.note = discovery.mismatch(found, module, strategy)
        except FlopwatchError as error:
            self.note = str(error)
            return
        if matches:
            self._architecture = found.architecture.counted_with(attention)
            self._probe = None if batch_shape is not None else discovery.InputProbe(found)

    def first(self, batch: Any) -> Work:
        """Check the counting against the first batch that was trained on, and describe it."""
        shape, sure = self._stated_shape(batch)
        if self._probe is not None:
            self._probe.remove()
        if self._batch_shape is None:
            self._shorter_by, why = discovery.reconcile(shape, sure, self._probe)
            if self._shorter_by is None:
                self.note = why if self._architecture is not None else self.note
                self._architecture = None
        return self._work(self.shape(batch))

    def shape(self, batch: Any) -> Batch | None:
        """The shape of a batch as the model sees it, `None` if it cannot be told."""
        stated, _ = self._stated_shape(batch)
        if stated is None or self._shorter_by is None or stated.seq_len <= self._shorter_by:
            return None
        return Batch(stated.sequences, stated.seq_len - self._shorter_by) if self._shorter_by else stated

    def flops(self, shape: Batch | None) -> int | None:
        """Training FLOPs of a batch of this shape on one device; computed once for every shape."""
        if shape is None or self._architecture is None:
            return None
        flops = self._flops_of.get(shape)
        if flops is None:
            flops = self._flops_of[shape] = self._architecture.training_flops(shape)
        return flops

    def remove(self) -> None:
        """Take the probe away, if the first batch never ended."""
        if self._probe is not None:
            self._probe.remove()

    def _stated_shape(self, batch: Any) -> tuple[Batch | None, bool]:
        if self._batch_shape is not None:
            sequences, seq_len = self._batch_shape(batch)
            return Batch(int(sequences), int(seq_len)), True
        return discovery.shape_of(batch)

    def _work(self, shape: Batch | None) -> Work:
        architecture = self._architecture
        if architecture is None or shape is None:
            return Work("withheld", self.note)
        rows = (WorkRow(row.name, row.parameters, row.forward_flops) for row in architecture.rows(shape))
        return Work(
            verification="formula only" if self._formula_only else "parameters equal",
            note=self.note,
            model_type=architecture.model_type,
            parameters=architecture.parameters(),
            active_parameters=architecture.active_parameters(),
            attention=self._attention,
            sequences=shape.sequences,
            seq_len=shape.seq_len,
            forward_flops=architecture.forward_flops(shape),
            training_flops=architecture.training_flops(shape),
            components=tuple(rows),
        )
