"""From a batch to its FLOPs: the model is found and checked once, then every batch is an addition of whole numbers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from torch import nn

from flopwatch.components import Architecture, AttentionConvention, Batch
from flopwatch.errors import FlopwatchError
from flopwatch.lightning import discovery
from flopwatch.records import Work, WorkRow

BatchShape = Callable[[Any], tuple[int, int]]
Amounts = tuple[int | None, int | None, int | None]
_logger = logging.getLogger("flopwatch")


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
        self._said: set[str] = set()
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
        return self._work(self._shape(batch))

    def count(self, batch: Any) -> Amounts:
        """Training FLOPs, tokens and sequences of a batch on one device; `None` for what cannot be told."""
        shape = self._shape(batch)
        if shape is None:
            self._say("a batch came whose shape cannot be told; FLOPs and tokens are unknown from here on")
            return None, None, None
        if not shape.tokens:
            self._say(f"a batch without tokens came ({shape.sequences} x {shape.seq_len}); it counts as no work")
        return self._flops(shape), shape.tokens, shape.sequences

    def _say(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            _logger.warning("%s", message)

    def _flops(self, shape: Batch) -> int | None:
        """FLOPs of this shape, computed once."""
        if self._architecture is None:
            return None
        flops = self._flops_of.get(shape)
        if flops is None:
            flops = self._flops_of[shape] = self._architecture.training_flops(shape)
        return flops

    def _shape(self, batch: Any) -> Batch | None:
        """The shape of a batch as the model sees it."""
        if self._shorter_by is None:
            return None
        stated, _ = self._stated_shape(batch)
        if stated is None or not self._shorter_by:
            return stated
        return Batch(stated.sequences, max(stated.seq_len - self._shorter_by, 0))

    def remove(self) -> None:
        """Take the probe away, if the first batch never ended."""
        if self._probe is not None:
            self._probe.remove()

    def _stated_shape(self, batch: Any) -> tuple[Batch | None, bool]:
        if self._batch_shape is None:
            return discovery.shape_of(batch)
        try:
            sequences, seq_len = self._batch_shape(batch)
            return Batch(int(sequences), int(seq_len)), True
        except Exception as error:
            self._say(f"batch_shape failed: {type(error).__name__}: {str(error)[:200]}")
            return None, False

    def _work(self, shape: Batch | None) -> Work:
        architecture = self._architecture
        if architecture is None or shape is None:
            return Work("withheld", self.note if architecture is None else "the first batch's shape cannot be told")
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
