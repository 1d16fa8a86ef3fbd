"""Windows from their last step on: closed at once, complete when the device and the other ranks have answered."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from flopwatch.lightning.ranks import PendingSum, Sum
from flopwatch.lightning.timing import Lap, LapTicket
from flopwatch.meter import AMOUNTS, NOTHING_DONE, Counts, Mark, between
from flopwatch.records import Totals, Window

_PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 0.005


@dataclass(frozen=True)
class Boundary:
    """What is known at a window's last step.

    `at` is the unix time, `closed_at` the same on a clock that nobody sets. `own` is this process's work; `axis` is the
    step on Lightning's axis; `elapsed_seconds` is the process's wall time.
    """

    step: int
    axis: int
    at: float
    elapsed_seconds: float
    own: Mark
    ticket: LapTicket
    sum: PendingSum
    first: bool
    closed_at: float = field(default_factory=time.monotonic)

    def ready(self) -> bool:
        """Whether all have answered, or it is too late for an answer."""
        answered = self.ticket.lap is not None and self.sum.ready()
        return answered or time.monotonic() - self.closed_at > _PATIENCE_SECONDS


@dataclass(frozen=True)
class Closed:
    """A complete window's parts: of all ranks where `total` is known."""

    boundary: Boundary
    lap: Lap
    counts: Counts
    total: Sum | None


class Windows:
    """The windows that are closed and not yet complete, in order.

    Args:
        ranks_per_replica: How many ranks count the same batch.
    """

    def __init__(self, ranks_per_replica: int) -> None:
        self._ranks_per_replica = ranks_per_replica
        self._waiting: deque[Boundary] = deque()
        self._before: Mark | None = NOTHING_DONE
        self._own_before = NOTHING_DONE

    def close(self, boundary: Boundary) -> None:
        """A window has had its last step."""
        self._waiting.append(boundary)

    def complete(self) -> Iterator[Closed]:
        """Windows that have become complete."""
        while self._waiting and self._waiting[0].ready():
            boundary = self._waiting.popleft()
            total = boundary.sum.result() if boundary.sum.ready() else None
            counts = self._counts(boundary.own, total)
            self._before = None if total is None else total.work
            self._own_before = boundary.own
            if boundary.ticket.lap is not None:
                yield Closed(boundary, boundary.ticket.lap, counts, total)

    def wait(self, seconds: float, look: Callable[[], None]) -> None:
        """Wait for the windows that are closed, for so long at most; `look` asks the device how far it is."""
        deadline = time.monotonic() + seconds
        look()
        while self._waiting and not self._waiting[-1].ready() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            look()

    def _counts(self, own: Mark, total: Sum | None) -> Counts:
        if total is None or self._before is None:
            return unknown_work(between(self._own_before, own))
        return between(self._before, total.work, self._ranks_per_replica)


def unknown_work(own: Counts) -> Counts:
    """What is left of one rank's work where the other ranks' is not known: its batches and steps."""
    return Counts(**dict.fromkeys(AMOUNTS), batches=own.batches, steps=own.steps)


def window_of(closed: Closed, totals: Totals, world_size: int) -> Window:
    """The record of a window."""
    boundary, lap, counts, total = closed.boundary, closed.lap, closed.counts, closed.total
    return Window(
        step=boundary.step,
        ended_at=boundary.at,
        seconds=lap.seconds,
        wall_seconds=lap.wall_seconds,
        data_wait_seconds=lap.data_wait_seconds,
        pause_seconds=lap.pause_seconds,
        steps=counts.steps,
        batches=counts.batches,
        flops=counts.flops,
        tokens=counts.tokens,
        samples=counts.samples,
        hardware_flops=counts.hardware_flops,
        useful_tokens=counts.useful_tokens,
        totals=totals,
        first=boundary.first,
        slowest_rank=total.slowest if total is not None and world_size > 1 else None,
        slowest_rank_ratio=slowest_rank_ratio(lap.seconds, total) if total is not None and world_size > 1 else None,
        **({} if total is None else vars(total.telemetry)),
    )


def slowest_rank_ratio(seconds: float, total: Sum) -> float | None:
    """How many times longer a step takes than if the slowest rank's own part of it were as short as the mean rank's.

    The others wait for the slowest rank, so what it spends more than the mean is what the step is longer by.
    """
    without = seconds - (total.slowest_seconds - total.mean_seconds)
    return seconds / without if without > 0 else None
