"""From a batch to its FLOPs: the model is found and checked once, then every batch is an addition of whole numbers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from torch import nn

from flopwatch.components import Architecture, AttentionConvention, Batch
from flopwatch.errors import FlopwatchError
from flopwatch.lightning import discovery
from flopwatch.records import Work

BatchShape = Callable[[Any], tuple[int, int]]
Amounts = tuple[int | None, int | None, int | None]
_logger = logging.getLogger("flopwatch")
_HEAD_UNSEEN = (
    "its LM head would share the embedding's weight, and no logits were seen in what the model returns, so it is not"
    " sure that the head is computed; pass FlopWatch(config=...) if it is"
)


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
        self._module = module
        self._attention = attention
        self._batch_shape = batch_shape
        self._architecture: Architecture | None = None
        self._head: bool | None = None
        self._probe: discovery.Probe | None = None
        self._shorter_by: int | None = 0
        self._flops_of: dict[Batch, int] = {}
        self._said: set[str] = set()
        self._formula_only = strategy in discovery.SHARDING_STRATEGIES
        try:
            found = discovery.find_model(module, config)
            matches, self.note = discovery.matches(found, module, strategy)
        except FlopwatchError as error:
            self.note = str(error)
            return
        if matches:
            self._head = discovery.has_head(found)
            self._architecture = found.architecture.counted_with(attention)
            self._probe = discovery.Probe(found)

    def watch(self) -> None:
        """Look at what the model is fed during the batch that comes."""
        if self._probe is not None:
            self._probe.attach()

    def unwatch(self) -> None:
        """Stop looking."""
        if self._probe is not None:
            self._probe.detach()

    def first(self, batch: Any) -> Work:
        """Check the counting against the first batch that was trained on, and describe it."""
        self.unwatch()
        if self._architecture is not None:
            self._shorter_by, why = self._reconciled(batch)
            if not discovery.all_trainable(self._module):
                why = "some parameters were frozen when training started; this is not counted yet"
            elif self._shorter_by is not None:
                if self._head or (self._probe and self._probe.saw_logits):
                    return self._work(self._shape(batch))
                why = _HEAD_UNSEEN
            self._withhold(why)
        elif self._batch_shape is None and not discovery.is_plain(batch):
            self._shorter_by = None
        return self._work(None)

    def holds(self, batch: Any) -> bool:
        """Whether a later batch that was watched still reaches the model as it is counted; if not, FLOPs end here."""
        self.unwatch()
        shape = self._stated_shape(batch)
        if self._architecture is None or shape is None or not shape.tokens:
            return True
        shorter_by, why = self._reconciled(batch)
        if shorter_by == self._shorter_by:
            return True
        self._withhold(f"the model is no longer fed what is counted: {why}")
        self._shorter_by = None
        _logger.warning("FLOPs and MFU end here: %s", self.note)
        return False

    def all_trainable(self) -> bool:
        """Whether still no parameter is frozen; if one is, FLOPs end here."""
        if self._architecture is None or discovery.all_trainable(self._module):
            return True
        self._withhold("parameters were frozen during training; this is not counted yet")
        _logger.warning("FLOPs and MFU end here: %s", self.note)
        return False

    def count(self, batch: Any) -> Amounts:
        """Training FLOPs, tokens and sequences of a batch on one device; `None` for what cannot be told."""
        if self._shorter_by is None:
            return None, None, None
        shape = self._shape(batch)
        if shape is None:
            self._say("a batch came whose shape cannot be told; FLOPs and tokens are unknown from here on")
            return None, None, None
        if not shape.tokens:
            self._say(f"a batch without tokens came ({shape.sequences} x {shape.seq_len}); it counts as no work")
        return self._flops(shape), shape.tokens, shape.sequences

    def skip(self) -> Amounts:
        """A batch that training skipped: no backward pass, no update, no training work."""
        self._say("training_step returned None: batches that it skips count as no work")
        return 0, 0, 0

    def _withhold(self, why: str) -> None:
        self.note, self._architecture = why, None
        self._probe = None

    def _reconciled(self, batch: Any) -> tuple[int | None, str]:
        shape = self._stated_shape(batch)
        if self._batch_shape is not None:
            return (None, "batch_shape gave no shape") if shape is None else (0, "shapes are those of batch_shape")
        return discovery.reconcile(shape, self._probe.seen if self._probe is not None else [])

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
        stated = self._stated_shape(batch)
        if stated is None or not self._shorter_by:
            return stated
        return Batch(stated.sequences, max(stated.seq_len - self._shorter_by, 0))

    def _stated_shape(self, batch: Any) -> Batch | None:
        if self._batch_shape is None:
            return discovery.shape_of(batch)
        try:
            sequences, seq_len = self._batch_shape(batch)
            return Batch(int(sequences), int(seq_len))
        except Exception as error:
            self._say(f"batch_shape failed: {type(error).__name__}: {str(error)[:200]}")
            return None

    def _work(self, shape: Batch | None) -> Work:
        architecture = self._architecture
        if architecture is None or shape is None:
            return Work("withheld", self.note)
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
            components=tuple(architecture.rows(shape)),
        )
