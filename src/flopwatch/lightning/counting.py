"""From a batch to its FLOPs: how to count is settled once, then every batch is an addition of whole numbers."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from flopwatch.backward import Checkpointing, Trainable
from flopwatch.batch import Batch
from flopwatch.errors import ConfigError, FlopwatchError, MeasurementError
from flopwatch.lightning import discovery
from flopwatch.lightning.costs import ClosedForm, Measured
from flopwatch.lightning.discovery import FoundModel
from flopwatch.lightning.lengths import LengthReading, Lengths, reading_of
from flopwatch.lightning.looking import Probe, reconcile, reconcile_images
from flopwatch.lightning.shapes import BatchShape, has_pairs_of_its_own, is_plain, samples_of, shape_of, signature
from flopwatch.measure import Measurement
from flopwatch.measure.probe import Verdict, cross_check
from flopwatch.meter import Amounts
from flopwatch.records import Verification, Work
from flopwatch.tree import AttentionConvention
from flopwatch.units import quoted

_logger = logging.getLogger("flopwatch")
_HEAD_UNSEEN = (
    "its LM head would share the embedding's weight, and no logits were seen in what the model returns, so it is not"
    " sure that the head is computed; pass FlopWatch(config=...) if it is"
)


_OWN_MASK = (
    "the batch says for every pair, or by cu_seqlens alone, which ones are attended, and that is not read; pass"
    " FlopWatch(attention='full') to count all pairs"
)


_SAME_COST = "batches of the same shapes are taken to cost the same"


_UNKNOWN = Amounts(None, None, None, None, None)
_NOTHING = Amounts()


class BatchCounter:
    """Counts batches of one module; FLOPs are withheld, with a reason, where they would not be exact.

    The closed form of the model's config is taken where there is one and the live module bears it out; otherwise a copy
    of the module is measured without data, once for every shape.

    Args:
        module: The LightningModule, with its parameters.
        config: The model's config, if the user gave one.
        attention: Attention convention.
        batch_shape: The user's function from a batch to (sequences, tokens per sequence) or to a `Batch`.
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
        self._optimizers: Sequence[Any] = ()
        self._sharded = discovery.is_sharded(module, strategy)
        self._stated = config is not None
        self._found: FoundModel | None = None
        self._closed: ClosedForm | None = None
        self._measured: Measured | None = None
        self._probe: Probe | None = None
        self._packed = False
        self._fed: dict[Any, list[Batch]] = {}
        self._shorter_by: int | None = 0
        self._said: set[str] = set()
        self._known: dict[Any, Amounts] = {}
        self._pending: deque[tuple[LengthReading, Batch]] = deque()
        self._trains = discovery.training_signature(module)
        try:
            found = discovery.find_model(module, config)
            fits, self.note = discovery.matches(found, module, strategy)
        except FlopwatchError as error:
            self.note = str(error)
            return
        if fits:
            self._found = found
            self._probe = Probe(found)

    def parameters(self) -> int | None:
        """Parameters of the model: the config's, else the live module's; unknown where it is sharded."""
        if self._found is not None:
            return self._found.architecture.parameters()
        return None if self._sharded else sum(each.numel() for each in self._module.parameters()) or None

    def watch(self) -> None:
        """Look at what the model is fed during the batch that comes."""
        if self._probe is not None:
            self._probe.attach()

    def unwatch(self) -> None:
        """Stop looking."""
        if self._probe is not None:
            self._probe.detach()

    def first(self, batch: Any, optimizers: Sequence[Any] = ()) -> Work:
        """Settle how to count, on the first batch that was trained on, and describe it.

        Args:
            batch: The batch, as the DataLoader gave it.
            optimizers: The module's optimizers.
        """
        self.unwatch()
        self._optimizers = optimizers
        self._trains = discovery.training_signature(self._module)
        if self._found is not None:
            try:
                return self._settle_closed_form(self._found, batch)
            except ConfigError as error:
                self.note = str(error)
        if self._stated:
            return self._withheld(batch)
        return self._settle_measurement(batch)

    def _settle_closed_form(self, found: FoundModel, batch: Any) -> Work:
        """Count by the closed form, if the live module bears it out.

        Raises:
            ConfigError: If it does not, but a measurement may.
        """
        self._shorter_by, why = self._reconciled(batch)
        if self._shorter_by is None:
            raise ConfigError(why)
        trainable = discovery.trainable_of(found)
        checkpointing = discovery.checkpointing_of(found.module)
        shape = self._shape(batch)
        assert shape is not None
        self._check_passes(shape)
        if self._attention == "causal" and has_pairs_of_its_own(batch):
            self._found, self.note = None, _OWN_MASK
            return self._withheld(batch)
        verdict = self._cross_checked(found, shape, trainable, checkpointing)
        if verdict.outcome == "disagree":
            self._found, self.note = None, verdict.sentence
            return self._withheld(batch, "disagree")
        if verdict.outcome == "impossible" and not self._head_is_sure(found):
            raise ConfigError(_HEAD_UNSEEN)
        if not verdict.recomputation_known:
            checkpointing = None
        self._closed = ClosedForm(found.architecture, self._attention, trainable, checkpointing)
        self._packed = self._closed.packs and not (self._probe and self._probe.position_ids_kept_back)
        self.note = f"{self.note}; {verdict.sentence}" if verdict.outcome == "verified" else self.note
        return self._described(self._closed, shape, verdict)

    def _cross_checked(
        self, found: FoundModel, shape: Batch, trainable: Trainable, checkpointing: Checkpointing | None
    ) -> Verdict:
        if self._sharded:
            return Verdict("impossible", "parameters are sharded")
        return cross_check(found.module, found.architecture, shape, trainable=trainable, checkpointing=checkpointing)

    def _check_passes(self, shape: Batch) -> None:
        """A step is one pass with gradients, and its head runs on every token; some scripts do otherwise.

        Raises:
            ConfigError: If it does otherwise.
        """
        if not getattr(self._module, "automatic_optimization", True):
            raise ConfigError("training_step decides itself what runs backward")
        if self._probe is None or not shape.seq_len:
            return
        if self._probe.saw_logits and not self._probe.saw_backward_of_logits:
            raise ConfigError("the loss does not come from its logits")
        if any(each in self._probe.seen for each in self._probe.seen_without_gradients):
            raise ConfigError("the tokens pass through it without gradients, too")
        seen = self._probe.logit_rows
        if seen is not None and seen != shape.sequences * shape.seq_len:
            raise ConfigError(f"the head ran on {seen} of {shape.sequences * shape.seq_len} tokens")

    def _head_is_sure(self, found: FoundModel) -> bool:
        return bool(discovery.has_head(found)) or (self._probe is not None and self._probe.saw_logits)

    def _settle_measurement(self, batch: Any) -> Work:
        if self._batch_shape is None and not is_plain(batch):
            self._shorter_by = None
        try:
            if self._sharded:
                raise MeasurementError("its parameters are sharded over devices, so it cannot be copied for measuring")
            measured = Measured(self._module, self._attention, self._optimizers)
            measurement = measured.measurement(batch)
        except MeasurementError as error:
            self.note = f"{self.note}; and {error}"
            return self._withheld(batch)
        self._measured = measured
        if self._probe is not None:
            self._fed[signature(batch)] = list(self._probe.seen)
        return self._described_measurement(measurement, batch)

    def _withheld(self, batch: Any, verification: Verification = "withheld") -> Work:
        self._closed = self._probe = None
        if self._batch_shape is None and not is_plain(batch):
            self._shorter_by = None
        return Work(verification, self.note)

    def holds(self, batch: Any) -> bool:
        """Whether a later batch that was watched still reaches the model as it is counted; if not, FLOPs end here."""
        self.unwatch()
        if self._probe is None:
            return True
        if self._measured is not None:
            fed = self._fed.setdefault(signature(batch), list(self._probe.seen))
            return fed == self._probe.seen or self._end("the model is no longer fed what was measured")
        shape = self._stated_shape(batch)
        if self._closed is None or shape is None or shape.empty:
            return True
        shorter_by, why = self._reconciled(batch)
        if shorter_by == self._shorter_by:
            return True
        self._shorter_by = None
        return self._end(f"the model is no longer fed what is counted: {why}")

    def still_trains(self) -> bool:
        """Whether the same parameters train as before; if not, FLOPs end here, since it is not known since when."""
        if self._closed is None and self._measured is None:
            return True
        if discovery.training_signature(self._module) == self._trains:
            return True
        return self._end("parameters were frozen or thawed in the middle of an epoch")

    def epoch_started(self) -> None:
        """Take note of what was frozen or thawed between two epochs."""
        trains = discovery.training_signature(self._module)
        if trains == self._trains:
            return
        self._trains = trains
        if self._closed is not None and self._found is not None:
            try:
                trainable = discovery.trainable_of(self._found)
            except ConfigError as error:
                self._end(str(error))
                return
            self._closed = ClosedForm(self._found.architecture, self._attention, trainable, self._closed.checkpointing)
            self._known.clear()
        elif self._measured is not None:
            self._measured = Measured(self._module, self._attention, self._optimizers)

    def _end(self, why: str) -> bool:
        self.note = why
        self._closed = self._measured = self._probe = None
        _logger.warning("FLOPs and MFU end here: %s", why)
        return False

    def count(self, batch: Any) -> Amounts:
        """Work of a batch; where its lengths are still on their way from the device, nothing yet (see `settle`)."""
        if self._measured is not None:
            return self._count_measured(batch, self._measured)
        like = self._like(batch)
        known = self._known.get(like) if like is not None else None
        if known is not None:
            return known
        if self._shorter_by is None:
            return _UNKNOWN._replace(samples=samples_of(batch))
        shape = self._shape(batch)
        if shape is None:
            self._say("a batch came whose shape cannot be told; FLOPs and tokens are unknown from here on")
            return _UNKNOWN._replace(samples=samples_of(batch))
        if shape.empty:
            self._say(f"a batch without tokens came ({shape.sequences} x {shape.seq_len}); it counts as no work")
            return _NOTHING._replace(samples=shape.sequences)
        reading = reading_of(batch, packed=self._closed is not None and self._packed)
        if reading is None:
            amounts = self._amounts(shape, Lengths())
            if like is not None:
                self._known[like] = amounts
            return amounts
        if reading.ready() and not self._pending:
            return self._amounts(shape, reading.lengths())
        self._pending.append((reading, shape))
        return _NOTHING

    def _like(self, batch: Any) -> Any:
        """What batches have in common that cost the same, where that is plain at first sight."""
        if self._closed is None or self._batch_shape is not None or not isinstance(batch, (list, tuple)) or not batch:
            return None
        first = batch[0]
        return (first.shape, first.dtype) if isinstance(first, torch.Tensor) else None

    def settle(self, *, last: bool = False) -> list[Amounts]:
        """Work of earlier batches whose lengths have arrived in the meantime; at the `last` call, of all."""
        settled = []
        while self._pending and (self._pending[0][0].ready(wait=last) or last):
            reading, shape = self._pending.popleft()
            settled.append(self._amounts(shape, reading.lengths()) if reading.ready() else _UNKNOWN)
        return settled

    def skip(self) -> Amounts:
        """A batch that training skipped: no backward pass, no update, no training work."""
        self._say("training_step returned None: batches that it skips count as no work")
        return _NOTHING

    def _amounts(self, shape: Batch, lengths: Lengths) -> Amounts:
        tokens = (shape.tokens if self._found is None else self._found.architecture.tokens(shape)) or None
        if lengths.documents is not None and sum(lengths.documents) == shape.tokens:
            shape = Batch(shape.sequences, shape.seq_len, documents=lengths.documents)
        if self._closed is None:
            return Amounts(None, tokens, shape.sequences, None, lengths.useful_tokens)
        cost = self._closed.cost(shape)
        return Amounts(cost.flops, tokens, shape.sequences, cost.hardware_flops, lengths.useful_tokens)

    def _count_measured(self, batch: Any, measured: Measured) -> Amounts:
        shape = self._shape(batch)
        tokens = None if shape is None else shape.tokens
        try:
            cost = measured.cost(batch)
        except MeasurementError as error:
            self._end(str(error))
            return Amounts(None, tokens, samples_of(batch), None, None)
        return Amounts(cost.flops, tokens, samples_of(batch), cost.hardware_flops, None)

    def _reconciled(self, batch: Any) -> tuple[int | None, str]:
        shape = self._stated_shape(batch)
        if self._batch_shape is not None:
            return (None, "batch_shape gave no shape") if shape is None else (0, "shapes are those of batch_shape")
        if shape is not None and not shape.tokens:
            return reconcile_images(shape, self._probe.seen if self._probe is not None else [])
        if shape is not None and self._found is not None and self._found.architecture.inputs == "frames and tokens":
            shape = Batch(shape.sequences, shape.seq_len)
        return reconcile(shape, self._probe.seen if self._probe is not None else [])

    def _say(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            _logger.warning("%s", message)

    def _shape(self, batch: Any) -> Batch | None:
        """The shape of a batch as the model sees it."""
        if self._shorter_by is None:
            return None
        stated = self._stated_shape(batch)
        if stated is None or not self._shorter_by:
            return stated
        return replace(stated, seq_len=max(stated.seq_len - self._shorter_by, 0))

    def _stated_shape(self, batch: Any) -> Batch | None:
        if self._batch_shape is None:
            return shape_of(batch, "tokens" if self._found is None else self._found.architecture.inputs)
        shape: Any = None
        try:
            shape = self._batch_shape(batch)
            if isinstance(shape, Batch):
                return shape
            sequences, seq_len = shape
            return Batch(int(sequences), int(seq_len))
        except Exception as error:
            got = f"it returned {quoted(shape)}" if shape is not None else f"{type(error).__name__}: {str(error)[:200]}"
            self._say(f"batch_shape failed: expected (sequences, tokens per sequence) or a Batch; {got}")
            return None

    def _described(self, closed: ClosedForm, shape: Batch, verdict: Verdict) -> Work:
        architecture, cost = closed.architecture, closed.cost(shape)
        verified = verdict.outcome == "verified"
        note = self.note if verified else f"{self.note}; its own code was not run to check: {verdict.sentence}"
        return Work(
            verification="verified" if verified else "formula only",
            note=note,
            method="config",
            model_type=architecture.model_type,
            parameters=architecture.parameters(),
            active_parameters=architecture.active_parameters(),
            trainable_parameters=_trainable_parameters(self._module),
            attention=self._attention,
            sequences=shape.sequences,
            seq_len=shape.seq_len,
            tokens=architecture.tokens(shape) or None,
            source_len=shape.source_len or None,
            image_size=shape.image_size,
            forward_flops=closed.forward_flops(shape),
            training_flops=cost.flops,
            hardware_flops=cost.hardware_flops,
            components=closed.rows(shape),
            conventions=closed.by_convention(shape),
        )

    def _described_measurement(self, measured: Measurement, batch: Any) -> Work:
        shape = self._shape(batch)
        parameters = sum(each.numel() for each in self._module.parameters())
        return Work(
            verification="measured only",
            note="; ".join((f"measured on a copy without data, since {self.note}", _SAME_COST, *_notes(measured))),
            method="measured",
            model_type=type(self._module).__name__,
            parameters=parameters,
            trainable_parameters=_trainable_parameters(self._module),
            attention=self._attention,
            sequences=samples_of(batch) if shape is None else shape.sequences,
            seq_len=None if shape is None else shape.seq_len,
            tokens=None if shape is None else shape.tokens or None,
            forward_flops=measured.forward_flops,
            training_flops=measured.training_flops,
            hardware_flops=measured.hardware_flops,
            components=measured.rows(self._module),
        )


def _notes(measured: Measurement) -> list[str]:
    """What was taken for granted and what was left out."""
    notes = list(measured.assumptions)
    if measured.uncounted:
        notes.append(f"without a formula and left out: {', '.join(each.operator for each in measured.uncounted)}")
    return notes


def _trainable_parameters(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters() if each.requires_grad)
