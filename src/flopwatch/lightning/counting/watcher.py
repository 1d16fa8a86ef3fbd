"""Which batches are watched, so that watching costs no more than its share of the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch
from torch import nn

from flopwatch.errors import MeasurementError
from flopwatch.lightning.counting.counter import Look, Seen
from flopwatch.measure.compiled import compiles_anything
from flopwatch.measure.watching import CAN_WATCH_COMPILED, StepCounter
from flopwatch.model.architecture import AttentionConvention

_FIRST_BATCHES, _STRIDE = 16, 64
_USUAL_SHARE, _LARGEST_SHARE = 0.003, 0.02  # of the time, for batches that should be known and those that are not
_USUAL_FREE_SECONDS, _MOST_FREE_SECONDS = 0.25, 2.0


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
        self.holds = False

    def plan(self, *, due: bool, known: bool) -> None:
        """Decide whether to watch the next batch.

        Args:
            due: Whether one is to be, as a check.
            known: Whether its cost is known already.
        """
        self._batches += 1
        free, share = (_USUAL_FREE_SECONDS, _USUAL_SHARE) if known else (_MOST_FREE_SECONDS, _LARGEST_SHARE)
        self._wanted = self.can_watch and (due or self._may(free, share))

    @property
    def why_not(self) -> str | None:
        """Return why nothing can be watched.

        Under a dispatch mode older torches compile again, or never again, whatever is compiled in the process.
        """
        if CAN_WATCH_COMPILED or not compiles_anything():
            return None
        return f"torch {torch.__version__} cannot be watched where torch.compile is used; torch 2.10 and later can"

    @property
    def can_watch(self) -> bool:
        """Return whether watching is possible, and not on hold while something else looks at the steps."""
        return self.why_not is None and not self.holds

    def want(self) -> None:
        """Watch the next batch, if watching is possible."""
        self._wanted = self.can_watch

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
        """Note that the batch begins."""
        self.release()
        self._began = self._clock()
        self._counter = None
        if self._wanted:
            self._counter = StepCounter(self._module)
            self._counter.start()

    def release(self) -> None:
        """Watch no longer."""
        if self._counter is not None:
            self._counter.stop()

    def stop(self) -> None:
        """Note that the batch has run or was aborted."""
        self.release()
        if self._batches > 1:  # the first one is warm-up
            self._seconds[self._wanted] += self._clock() - self._began
            self._counts[self._wanted] += 1
        self._wanted = False

    def products(self) -> Mapping[torch.dtype, int]:
        """Return FLOPs of the last batch by the dtype of the factors, or nothing if it was not watched."""
        return {} if self._counter is None else self._counter.flops_by_dtype

    def take(self, attention: AttentionConvention) -> Look:
        """Return what the last batch ran, or `None` if it was not watched.

        Args:
            attention: The run's convention.
        """
        self.release()
        counter, self._counter = self._counter, None
        if counter is None:
            return None
        try:
            return Seen(counter.result(attention), counter.result("full"))
        except MeasurementError as error:
            return error
