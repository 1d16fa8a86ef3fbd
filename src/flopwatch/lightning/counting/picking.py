"""From a batch to its FLOPs: how to count is settled once, then every batch is an addition of whole numbers."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from flopwatch.batch import Batch
from flopwatch.errors import ConfigError, FlopwatchError, MeasurementError
from flopwatch.lightning.counting import discovery
from flopwatch.lightning.counting.closed_form import ClosedForm, Cost
from flopwatch.lightning.counting.discovery import FoundModel
from flopwatch.lightning.counting.lengths import LengthReading, Lengths, reading_of
from flopwatch.lightning.counting.shapes import BatchShape, has_pairs_of_its_own, is_plain, samples_of, shape_of
from flopwatch.lightning.counting.watched import WatchedCosts, Watcher, cost_of
from flopwatch.measure.results import Measurement
from flopwatch.meter import Amounts
from flopwatch.records import Verification, Work
from flopwatch.tree import AttentionConvention
from flopwatch.units import quoted

_logger = logging.getLogger("flopwatch")
_OWN_MASK = (
    "the batch says for every pair, or by cu_seqlens alone, which ones are attended, and that is not read, so all pairs"
    " of masks given as tensors count"
)
_UNKNOWN = Amounts(None, None, None, None, None)
_NOTHING = Amounts()


class BatchCounter:
    """Counts batches of one module; FLOPs are withheld, with a reason, where they would not be right.

    The closed form of the model's config is taken where a watched batch bears it out to the FLOP; otherwise what
    watched batches cost.

    Args:
        module: The LightningModule, with its parameters.
        config: The model's config, if the user gave one.
        attention: Attention convention.
        batch_shape: The user's function from a batch to (sequences, tokens per sequence) or to a `Batch`.
        flops_per_batch: The user's function from a batch to its training FLOPs; else the module's method of that name.
        strategy: Class name of the Trainer's strategy.
        several_ranks: Whether other ranks wait for this one.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        config: object | None,
        attention: AttentionConvention,
        batch_shape: BatchShape | None,
        strategy: str,
        flops_per_batch: Callable[[Any], int] | None = None,
        several_ranks: bool = False,
    ) -> None:
        self._module = module
        self._attention = attention
        self._batch_shape = batch_shape
        self._sharded = discovery.is_sharded(module, strategy)
        self._watcher = Watcher(module, several_ranks=several_ranks)
        self._seen: tuple[Measurement, Measurement] | MeasurementError | None = None
        self._found: FoundModel | None = None
        self._closed: ClosedForm | None = None
        self._watched: WatchedCosts | None = None
        method = getattr(module, "flops_per_batch", None)
        self._given = flops_per_batch or (method if callable(method) else None)
        self._packed = False
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

    def parameters(self) -> int | None:
        """Parameters of the model: the config's, else the live module's; unknown where it is sharded."""
        if self._found is not None:
            return self._found.architecture.parameters()
        return None if self._sharded else sum(each.numel() for each in self._module.parameters()) or None

    def plan(self, batch: Any, *, due: bool) -> None:
        """Decide whether the batch that comes is watched; `due` asks for it, as a check."""
        known = self._closed is not None or self._watched is None or self._watched.knows(batch)
        self._watcher.plan(due=due, known=known)

    def batch_begins(self) -> None:
        """The batch that was planned begins to run."""
        self._watcher.start()

    def batch_ends(self) -> None:
        """It has been run, or was given up."""
        self._watcher.stop()

    def release(self) -> None:
        """Stop looking, whatever happens."""
        self._watcher.stop()

    def look(self) -> None:
        """Take what was seen of the batch that was run."""
        try:
            self._seen = self._watcher.take(self._attention)
        except MeasurementError as error:
            self._seen = error

    def first(self, batch: Any) -> Work:
        """Settle how to count, on the first batch that was trained on, and describe it.

        Args:
            batch: The batch, as the DataLoader gave it.
        """
        self._trains = discovery.training_signature(self._module)
        if self._given is not None:
            work = self._settle_given(self._given, batch)
            if work is not None:
                return work
        if self._found is not None:
            try:
                return self._settle_closed_form(self._found, batch)
            except ConfigError as error:
                self.note = str(error)
        return self._settle_watched(batch)

    def _settle_given(self, given: Callable[[Any], int], batch: Any) -> Work | None:
        """Take the user's own count, and say beside it what was seen; `None` where the function fails."""
        flops = self._flops_given(given, batch)
        if flops is None:
            self._given = None
            return None
        if self._batch_shape is None and not is_plain(batch):
            self._shorter_by = None
        seen = self._seen[0] if isinstance(self._seen, tuple) else None
        beside = "no batch was watched beside it"
        if seen is not None:
            beside = f"a watched batch ran {seen.forward_flops + seen.backward_flops:,}, it gives {flops:,}"
        shape = self._shape(batch)
        return Work(
            verification="given",
            note=f"given by flops_per_batch of the user's; {beside}",
            method="measured",
            model_type=type(self._module).__name__,
            parameters=None if self._sharded else sum(each.numel() for each in self._module.parameters()),
            trainable_parameters=None if self._sharded else _trainable_parameters(self._module),
            attention=self._attention,
            sequences=samples_of(batch) if shape is None else shape.sequences,
            seq_len=None if shape is None else shape.seq_len,
            tokens=None if shape is None else shape.tokens or None,
            training_flops=flops,
        )

    def _flops_given(self, given: Callable[[Any], int], batch: Any) -> int | None:
        flops: Any = None
        try:
            flops = given(batch)
        except Exception as error:
            flops = f"{type(error).__name__}"
        if isinstance(flops, int) and not isinstance(flops, bool) and flops >= 0:
            return flops
        self._say(f"flops_per_batch failed: expected a whole number of FLOPs, got {quoted(flops)}; FLOPs are unknown")
        return None

    def _settle_closed_form(self, found: FoundModel, batch: Any) -> Work:
        """Count by the closed form, if what was seen of the batch bears it out.

        Raises:
            ConfigError: If it does not, but the watched batch may be counted as it is.
        """
        if self._attention == "causal" and has_pairs_of_its_own(batch):
            raise ConfigError(_OWN_MASK)
        stated = self._stated_shape(batch)
        if stated is None or stated.empty:
            raise ConfigError("no tensor that the model is fed was found in the batch; pass FlopWatch(batch_shape=...)")
        trainable = discovery.trainable_of(found)
        checkpointing = discovery.checkpointing_of(found.module)
        closed = ClosedForm(found.architecture, self._attention, trainable, checkpointing)
        if not isinstance(self._seen, tuple):
            return self._unchecked(closed, stated, batch)
        shape = self._shape_that_fits(closed, stated, self._seen[1])
        self._shorter_by = stated.seq_len - shape.seq_len
        if self._seen[1].recomputed_flops != closed.as_it_runs(shape)[1]:
            closed = ClosedForm(found.architecture, self._attention, trainable, None)
        self._closed = closed
        self._packed = closed.packs and not self._keeps_documents_back(batch)
        return self._described(closed, shape, "verified", "a watched batch agrees to the FLOP")

    def _keeps_documents_back(self, batch: Any) -> bool:
        """Whether the model was not told of the documents in a batch: then its attention is causal without a mask."""
        if not isinstance(self._seen, tuple):
            return False
        causal, full = self._seen
        reading = reading_of(batch, packed=True)
        packed = reading is not None and reading.ready() and reading.lengths().documents is not None
        return packed and causal.forward_flops != full.forward_flops

    def _shape_that_fits(self, closed: ClosedForm, stated: Batch, seen: Measurement) -> Batch:
        """The batch's shape, or one token less where the last one is only a target.

        Raises:
            ConfigError: If the closed form gives for neither what was seen.
        """
        cost_of_seen = seen.training_flops if seen.complete else None
        shapes = [stated, replace(stated, seq_len=stated.seq_len - 1)] if stated.seq_len > 1 else [stated]
        for shape in shapes:
            if closed.as_it_runs(shape)[0] == cost_of_seen:
                return shape
        expected = closed.as_it_runs(stated)[0]
        raise ConfigError(
            f"the step ran {seen.forward_flops + seen.backward_flops:,} FLOPs over all pairs of attention, where the"
            f" closed form of {closed.architecture.model_type} gives {expected:,}"
        )

    def _unchecked(self, closed: ClosedForm, stated: Batch, batch: Any) -> Work:
        why = str(self._seen) if self._seen is not None else self._watcher.why_not or "it was not watched"
        if self._batch_shape is None and not is_plain(batch):
            raise ConfigError(f"{why}, and it is not sure that the model is fed what the batch holds")
        self._closed, self._packed = closed, closed.packs
        return self._described(closed, stated, "formula only", f"no batch could be watched to check: {why}")

    def _settle_watched(self, batch: Any) -> Work:
        if self._batch_shape is None and not is_plain(batch):
            self._shorter_by = None
        try:
            if self._seen is None:
                raise MeasurementError(self._watcher.why_not or "the batch was not watched")
            if isinstance(self._seen, MeasurementError):
                raise self._seen
            seen = self._seen[0]
            cost = cost_of(seen)
        except MeasurementError as error:
            return self._withheld(f"{self.note}; and {error}")
        self._watched, self._seen = WatchedCosts(), None
        self._watched.learn(batch, cost)
        return self._described_watched(seen, batch)

    def _withheld(self, why: str) -> Work:
        self.note = why
        self._closed = self._watched = None
        return Work("withheld", why)

    def holds(self, batch: Any) -> Work | None:
        """Check what is counted against a later batch that was watched; how it is counted from now on, if otherwise."""
        if self._closed is None or not isinstance(self._seen, tuple):
            return None
        shape = self._shape(batch)
        if shape is None or shape.empty:
            return None
        self._packed = self._packed and not self._keeps_documents_back(batch)
        seen = self._seen[1]
        if seen.complete and seen.training_flops == self._closed.as_it_runs(shape)[0]:
            return None
        expected = self._closed.as_it_runs(shape)[0]
        self._closed, self._found = None, None
        self._known.clear()
        self.note = (
            f"the step no longer runs what its closed form says: {seen.forward_flops + seen.backward_flops:,} FLOPs,"
            f" not {expected:,}"
        )
        _logger.warning("FLOPs are counted from watched batches from here on: %s", self.note)
        return self._settle_watched(batch)

    def changed(self, work: Work) -> Work | None:
        """What is to be said at the end, where batches turned out to cost differently; else nothing."""
        if self._watched is None or self._watched.status == work.verification:
            return None
        return replace(work, verification=self._watched.status, note=f"{work.note}; {self._watched.spread()}")

    def still_trains(self) -> bool:
        """Whether the same parameters train as before; if not, FLOPs end here, since it is not known since when."""
        if self._closed is None and self._watched is None:
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
        elif self._watched is not None:
            self._watched.forget()

    def _end(self, why: str) -> bool:
        self.note = why
        self._closed = self._watched = None
        _logger.warning("FLOPs and MFU end here: %s", why)
        return False

    def count(self, batch: Any) -> Amounts:
        """Work of a batch; where its lengths are still on their way from the device, nothing yet (see `settle`)."""
        if self._given is not None:
            flops = self._flops_given(self._given, batch)
            shape = self._shape(batch)
            return Amounts(flops, None if shape is None else shape.tokens, samples_of(batch), None, None)
        if self._watched is not None:
            return self._count_watched(batch, self._watched)
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

    def _count_watched(self, batch: Any, watched: WatchedCosts) -> Amounts:
        shape = self._shape(batch)
        tokens = None if shape is None else shape.tokens
        seen, self._seen = self._seen, None
        try:
            cost = self._learned(batch, watched, seen)
        except MeasurementError as error:
            self._say(f"a batch could not be counted: {error}; its FLOPs are not known")
            return Amounts(None, tokens, samples_of(batch), None, None)
        return Amounts(cost.flops, tokens, samples_of(batch), cost.hardware_flops, None)

    def _learned(self, batch: Any, watched: WatchedCosts, seen: Any) -> Cost:
        if isinstance(seen, MeasurementError):
            raise seen
        if seen is None:
            return watched.cost(batch)
        cost = cost_of(seen[0])
        watched.learn(batch, cost)
        return cost

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

    def _described(self, closed: ClosedForm, shape: Batch, verification: Verification, how: str) -> Work:
        architecture, cost = closed.architecture, closed.cost(shape)
        self.note = f"{self.note}; {how}"
        return Work(
            verification=verification,
            note=self.note,
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

    def _described_watched(self, seen: Measurement, batch: Any) -> Work:
        shape = self._shape(batch)
        notes = [f"counted as it ran, since {self.note}", *seen.assumptions]
        if seen.uncounted:
            notes.append(f"without a formula and left out: {', '.join(each.operator for each in seen.uncounted)}")
        return Work(
            verification="watched",
            note="; ".join(notes),
            method="measured",
            model_type=type(self._module).__name__,
            parameters=sum(each.numel() for each in self._module.parameters()),
            trainable_parameters=_trainable_parameters(self._module),
            attention=self._attention,
            sequences=samples_of(batch) if shape is None else shape.sequences,
            seq_len=None if shape is None else shape.seq_len,
            tokens=None if shape is None else shape.tokens or None,
            forward_flops=seen.forward_flops,
            training_flops=seen.training_flops,
            hardware_flops=seen.hardware_flops,
            components=seen.rows(self._module),
        )


def _trainable_parameters(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters() if each.requires_grad)
