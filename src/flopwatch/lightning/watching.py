"""What batches cost, from those that were watched while they ran, and which ones are watched."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from flopwatch.errors import MeasurementError
from flopwatch.lightning.costs import Cost
from flopwatch.lightning.shapes import Signatures
from flopwatch.measure.compiled import is_compiled
from flopwatch.measure.results import Measurement
from flopwatch.measure.watching import CAN_WATCH_COMPILED, StepCounter
from flopwatch.tree import AttentionConvention

_FIRST_BATCHES, _STRIDE = 16, 64
_USUAL_SHARE, _LARGEST_SHARE = 0.003, 0.02  # of the time, for batches that should be known and those that are not
_USUAL_FREE_SECONDS, _MOST_FREE_SECONDS = 0.25, 2.0
_MOST_SIGNATURES = 10_000


@dataclass
class Known:
    """What watched batches of one signature cost: the last one, how many, sums over all, and the range."""

    last: Cost
    batches: int = 0
    flops: int = 0
    hardware_flops: int = 0
    least: int = 0
    most: int = 0

    def add(self, cost: Cost) -> None:
        """Another batch."""
        self.least = min(self.least, cost.flops) if self.batches else cost.flops
        self.most = max(self.most, cost.flops)
        self.last = cost
        self.batches += 1
        self.flops += cost.flops
        self.hardware_flops += cost.flops if cost.hardware_flops is None else cost.hardware_flops

    def mean(self) -> Cost:
        """The mean batch.

        Raises:
            MeasurementError: If there was none.
        """
        if not self.batches:
            raise MeasurementError("no batch was watched yet since other parameters train")
        return Cost(round(self.flops / self.batches), round(self.hardware_flops / self.batches))


class Watcher:
    """Puts the counter around batches, and keeps the time that this costs within bounds.

    Where ranks wait for each other, all watch the same batches: which ones depends on their number alone.

    Args:
        module: The LightningModule.
        several_ranks: Whether there are others.
        clock: Monotonic seconds.
    """

    def __init__(
        self, module: nn.Module, *, several_ranks: bool, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._module, self._several_ranks, self._clock = module, several_ranks, clock
        self._started = self._began = clock()
        self._batches = 0
        self._wanted = False
        self._counter: StepCounter | None = None
        self._seconds = {True: 0.0, False: 0.0}
        self._counts = {True: 0, False: 0}
        self._first: Measurement | None = None
        self.why_not: str | None = None
        if not CAN_WATCH_COMPILED and any(is_compiled(each) for each in module.modules()):
            self.why_not = "this version of torch cannot watch compiled modules; torch 2.13 can"

    def plan(self, *, due: bool, known: bool) -> None:
        """Decide whether the batch that comes is watched.

        Args:
            due: Whether one is to be, as a check.
            known: Whether its cost is known already.
        """
        self._batches += 1
        free, share = (_USUAL_FREE_SECONDS, _USUAL_SHARE) if known else (_MOST_FREE_SECONDS, _LARGEST_SHARE)
        self._wanted = self.why_not is None and (due or self._may(free, share))

    def _may(self, free_seconds: float, share: float) -> bool:
        if self._several_ranks and self._batches > _FIRST_BATCHES and self._batches % _STRIDE:
            return False
        return self.extra_seconds() < free_seconds + share * (self._clock() - self._started)

    def extra_seconds(self) -> float:
        """How much longer watched batches took than the others; half of their time where there were no others."""
        watched, count = self._seconds[True], self._counts[True]
        if not self._counts[False]:
            return watched / 2
        return max(watched - count * self._seconds[False] / self._counts[False], 0.0)

    def start(self) -> None:
        """The batch begins to run."""
        self._began = self._clock()
        self._counter = None
        if self._wanted:
            self._counter = StepCounter(self._module)
            self._counter.start()

    def stop(self) -> None:
        """The batch has been run, or was given up."""
        if self._counter is not None:
            self._counter.stop()
        if self._batches > 1:  # the first one is warm-up
            self._seconds[self._wanted] += self._clock() - self._began
            self._counts[self._wanted] += 1
        self._wanted = False

    def take(self, attention: AttentionConvention) -> tuple[Measurement, Measurement] | None:
        """What the last batch cost, under a convention and over all pairs; `None` if it was not watched.

        Raises:
            MeasurementError: If it could not be counted.
        """
        counter, self._counter = self._counter, None
        return None if counter is None else (counter.result(attention), counter.result("full"))


class WatchedCosts:
    """Costs of batches by their signatures.

    Equal signatures cost the same until a watched batch shows otherwise; from then on what is not watched is the mean.
    """

    def __init__(self) -> None:
        self._signatures = Signatures()
        self._known: dict[Any, Known] = {}
        self._all = Known(Cost(0, 0))
        self._varies = False
        self._guessed = 0

    @property
    def status(self) -> Literal["watched", "sampled"]:
        """Whether each batch was watched, or is like one that was."""
        return "sampled" if self._guessed else "watched"

    def spread(self) -> str:
        """How far the costs of watched batches lie apart, in words."""
        return (
            f"{self._all.batches:,} watched batches ran {self._all.least:,} to {self._all.most:,} FLOPs,"
            f" {self._guessed:,} others are taken as their mean"
        )

    def knows(self, batch: Any) -> bool:
        """Whether a batch of the same signature was watched, and all of them cost the same."""
        return not self._varies and self._signatures.of(batch) in self._known

    def learn(self, batch: Any, cost: Cost) -> None:
        """Keep what a watched batch cost."""
        signature = self._signatures.of(batch)
        known = self._known.get(signature)
        if known is None:
            if len(self._known) >= _MOST_SIGNATURES:
                self._known.clear()
            known = self._known[signature] = Known(cost)
        self._varies = self._varies or known.last.flops != cost.flops
        for each in (known, self._all):
            each.add(cost)

    def cost(self, batch: Any) -> Cost:
        """What a batch that was not watched is taken to cost."""
        known = self._known.get(self._signatures.of(batch))
        if known is not None and not self._varies:
            return known.last
        self._guessed += 1
        return (known or self._all).mean()

    def forget(self) -> None:
        """What was known holds no more, since other parameters train."""
        self._known.clear()
        self._all = Known(Cost(0, 0))


def cost_of(measured: Measurement) -> Cost:
    """The cost of a batch that was watched.

    Raises:
        MeasurementError: If something could not be counted into which weights went, or that is known for heavy work,
            or was not seen.
    """
    if measured.missing:
        lost = measured.missing[0]
        modules = sorted({each.rpartition(".")[0] for each in lost.parameters})
        where = f", with weights of {modules[0] or 'the module'}" if modules else ""
        raise MeasurementError(
            f"{lost.operator} ran {lost.calls} times{where} and has no formula; flopwatch.measure.register gives it one"
        )
    if measured.unseen:
        raise MeasurementError(
            f"{measured.unseen[0]} got a gradient, but torch.compile runs products of it, or of one of its shape, where"
            " they cannot be seen (Triton templates, CUDA graphs); its default mode shows them"
        )
    if not measured.training_flops:
        raise MeasurementError("no matrix product was seen in the batch; pass FlopWatch(config=...) if there are some")
    return Cost(measured.training_flops, measured.hardware_flops)
