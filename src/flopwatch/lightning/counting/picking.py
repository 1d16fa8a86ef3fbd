"""Picks how to count on the first batch, and holds it against batches that are watched from then on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from flopwatch.errors import ConfigError, FlopwatchError, MeasurementError
from flopwatch.hardware.chips import Dtype
from flopwatch.lightning.counting import discovery
from flopwatch.lightning.counting.backwards import Backwards
from flopwatch.lightning.counting.batches import BatchReader
from flopwatch.lightning.counting.closed_form import ClosedFormCounter
from flopwatch.lightning.counting.contents import Contents
from flopwatch.lightning.counting.counter import (
    Cost,
    Counter,
    Look,
    Pattern,
    Seen,
    Subject,
    TrainingParameters,
    Warnings,
)
from flopwatch.lightning.counting.discovery import FoundModel
from flopwatch.lightning.counting.given import FlopsPerBatch, GivenCounter
from flopwatch.lightning.counting.lengths import LateLengths
from flopwatch.lightning.counting.shapes import BatchShape
from flopwatch.lightning.counting.watched import WatchedCounter
from flopwatch.lightning.counting.watcher import Watcher
from flopwatch.model.architecture import AttentionConvention
from flopwatch.run.counts import Counts
from flopwatch.run.records import Work

_logger = logging.getLogger("flopwatch")


class WithheldCounter:
    """Counts tokens and samples alone; FLOPs are withheld, since they would not be right."""

    def __init__(self, subject: Subject, batch: Any, why: str, error: MeasurementError) -> None:
        self._contents, self._why = Contents(subject, batch), why
        self.work = Work("withheld", f"{why}; and {error}")

    def count(self, batch: Any, look: Look, training: Pattern) -> Counts:
        """Count everything except FLOPs."""
        return self._contents.amounts(batch, None, None)

    def knows(self, batch: Any, training: Pattern) -> bool:
        """Watching one more batch tells nothing; a check now and then does."""
        return True

    def cost(self, batch: Any, training: Pattern) -> Cost | None:
        """Return `None`: it is withheld."""
        return None

    def objection(self, batch: Any, seen: Seen, training: Pattern) -> str | None:
        """A batch that could be watched after all is a reason to count."""
        return self._why

    def at_the_end(self) -> Work:
        """Return the description of the first batch, unchanged."""
        return self.work


class Counting:
    """Counts the batches of one module.

    The closed form of the model's config is taken where a watched batch bears it out to the FLOP; otherwise what
    watched batches cost; a function of the user's takes precedence over both.

    Args:
        module: The LightningModule, with its parameters.
        config: The model's config, if the user gave one.
        attention: Attention convention.
        batch_shape: The user's function from a batch to (sequences, tokens per sequence) or to a `Batch`.
        flops_per_batch: The user's function from a batch to its training FLOPs; else the module's method of that name.
        strategy: Class name of the Trainer's strategy.
        several_ranks: Whether other ranks wait for this one.
        tensor_core_dtype: Tells, once a batch has run, the precision that tensor cores multiply in; `None` without any.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        config: object | None,
        attention: AttentionConvention,
        batch_shape: BatchShape | None,
        strategy: str,
        flops_per_batch: FlopsPerBatch | None = None,
        several_ranks: bool = False,
        tensor_core_dtype: Callable[[], Dtype | None] = lambda: None,
    ) -> None:
        self._found, self._note = _find(module, config, strategy)
        method = getattr(module, "flops_per_batch", None)
        self._given = flops_per_batch or (method if callable(method) else None)
        self._watcher = Watcher(module, several_ranks=several_ranks)
        self._training = TrainingParameters(module)
        self._backwards = Backwards(module)
        self._planned = self._last = Pattern()
        self._checked: set[Pattern] = set()
        self._warnings = Warnings()
        self._counter: Counter | None = None
        self._news: Work | None = None
        self._contents: Contents | None = None
        self.was_watched = self._was_given_up = False
        inputs = None if self._found is None else self._found.architecture.inputs
        sharded = discovery.is_sharded(module, strategy)
        self._subject = Subject(
            *(module, attention, BatchReader(batch_shape, inputs), LateLengths(), sharded, self._warnings),
            tensor_core_dtype,
        )

    def parameters(self) -> int | None:
        """Parameters of the model: the config's, else the live module's; unknown where it is sharded."""
        if self._found is not None:
            return self._found.architecture.parameters()
        return self._subject.parameters() or None

    def check_soon(self) -> None:
        """Have the next batch watched, to hold the count against it."""
        self._checked.clear()
        self._training.list_again()

    def plan(self, batch: Any) -> None:
        """Decide whether to watch the next batch."""
        self._planned = self._last
        known = self._counter is None or self._counter.knows(batch, self._planned)
        self._watcher.plan(due=self._planned not in self._checked, known=known)

    def batch_begins(self) -> None:
        """The batch that was planned begins to run; what was frozen or thawed since is watched."""
        parameters = self._training.now()
        if parameters != self._planned.parameters:
            self._planned = self._planned._replace(parameters=parameters)
            if self._planned not in self._checked:
                self._watcher.want()
        self._backwards.take()
        self._watcher.start()

    def hold(self, holds: bool) -> None:
        """Watch no batch for a while, or go on watching."""
        self._watcher.holds = holds

    def backward_begins(self, loss: Any) -> None:
        """A backward pass from this loss begins."""
        self._backwards.begin(loss)

    def backward_ends(self) -> None:
        """It has finished."""
        self._backwards.end()

    def batch_ends(self) -> None:
        """Note that the batch has run or was aborted."""
        self._watcher.stop()

    def release(self) -> None:
        """Stop watching, whatever happens."""
        self._watcher.release()

    def products(self) -> Mapping[torch.dtype, int]:
        """FLOPs of the batch that has just run by the dtype of the factors; empty where it was not watched."""
        return self._watcher.products()

    def count(self, batch: Any) -> Counts:
        """Work of a batch that was run; where its lengths are late, nothing yet (see `settle`)."""
        look = self._watcher.take(self._subject.attention)
        self.was_watched, self._was_given_up = look is not None, False
        training = Pattern(self._training.now(), *self._backwards.take())
        if look is not None:
            self._checked |= {training, self._planned}
        if training.given_up and self._given is None:
            return self._given_up(batch, look)
        self._last = training
        if self._counter is None:
            self._counter = self._pick(batch, look, training)
        elif not isinstance(look, Seen) or not self._denied(self._counter, batch, look, training):
            return self._counted(self._counter, batch, look, training)
        return self._counter.count(batch, None, training)

    def _counted(self, counter: Counter, batch: Any, look: Look, training: Pattern) -> Counts:
        try:
            return counter.count(batch, look, training)
        except ConfigError as error:
            self._warnings.say(f"the FLOPs of a batch are unknown; watching the next one: {error}")
            self._found, self._note = None, str(error)
            self._counter = WithheldCounter(self._subject, batch, self._note, MeasurementError("it was not watched"))
            self._checked.clear()
            return self._counter.count(batch, look, training)

    def _given_up(self, batch: Any, look: Look) -> Counts:
        """Work of a batch whose backward pass ended on its way: what was seen of it, else it is not known."""
        self._was_given_up = True
        self._warnings.say("a backward pass did not finish: FLOPs of similar batches are known only where watched")
        if isinstance(look, Seen):
            return self.contents(batch, look.counted.training_flops, look.counted.hardware_flops)
        return self.contents(batch)

    def contents(self, batch: Any, flops: int | None = None, hardware_flops: int | None = None) -> Counts:
        """Work of a batch by its tokens and samples, and by FLOPs where they are known otherwise."""
        if self._contents is None:
            self._contents = Contents(self._subject, batch)
        return self._contents.amounts(batch, flops, hardware_flops)

    def cost(self, batch: Any) -> Cost | None:
        """What the batch that was counted last cost, its forward pass told apart; `None` where that is not known."""
        return None if self._counter is None or self._was_given_up else self._counter.cost(batch, self._last)

    def skip(self) -> None:
        """The batch was skipped by training: it is no training work."""
        self._watcher.take(self._subject.attention)
        self._warnings.say("training_step returned None: skipped batches count as no work")

    def _denied(self, counter: Counter, batch: Any, seen: Seen, training: Pattern) -> bool:
        """Whether what was seen speaks against the way of counting, and another one was picked."""
        try:
            why = counter.objection(batch, seen, training)
        except ConfigError as error:
            why = str(error)
        if why is None:
            return False
        self._found, self._note = None, why
        self._counter = self._pick(batch, seen, training)
        if self._counter.work.verification == counter.work.verification:
            self._news = None
        elif self._counter.work.verification == "withheld":
            _logger.warning("FLOPs and MFU end here: %s", why)
        else:
            _logger.warning("FLOPs are counted from watched batches from here on: %s", why)
        return True

    def _pick(self, batch: Any, look: Look, training: Pattern) -> Counter:
        counter = self._best(batch, look, training)
        self._news = counter.work
        return counter

    def _best(self, batch: Any, look: Look, training: Pattern) -> Counter:
        if look is None and self._watcher.why_not is not None:
            look = MeasurementError(self._watcher.why_not)
        if self._given is not None:
            try:
                return GivenCounter(self._subject, self._given, batch, look)
            except ConfigError as error:
                _logger.warning("%s; ignoring it", error)
                self._given = None
        if self._found is not None:
            try:
                return ClosedFormCounter(self._subject, self._found, self._note, batch, look, training)
            except ConfigError as error:
                self._note = str(error)
        try:
            return WatchedCounter(self._subject, batch, look, training, self._note)
        except MeasurementError as error:
            return WithheldCounter(self._subject, batch, self._note, error)

    def settle(self, *, last: bool = False) -> list[Counts]:
        """Work of earlier batches whose lengths have arrived in the meantime; at the `last` call, of all."""
        return self._subject.late.settle(last=last)

    def news(self) -> Work | None:
        """How batches are counted from now on, once after it was picked; else nothing."""
        news, self._news = self._news, None
        return news

    def at_the_end(self) -> Work | None:
        """How batches were counted, where it turned out to be otherwise than was said; else nothing."""
        if self._counter is None:
            return None
        work = self._counter.at_the_end()
        return None if work is self._counter.work else work


def _find(module: nn.Module, config: object | None, strategy: str) -> tuple[FoundModel | None, str]:
    """Return the model's config if it fits the live module, and how the two were compared."""
    try:
        found = discovery.find_model(module, config)
        fits, note = discovery.matches(found, module, strategy)
    except FlopwatchError as error:
        return None, str(error)
    return (found if fits else None), note
