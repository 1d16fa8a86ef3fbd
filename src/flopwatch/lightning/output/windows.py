"""Windows from their last step on: closed at once, complete when the device and all ranks have come there."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from flopwatch.lightning.apart import Apart
from flopwatch.lightning.losses import WindowLosses
from flopwatch.lightning.ranks.reading import PendingSum, Sum
from flopwatch.lightning.timing.phases import Sample
from flopwatch.lightning.timing.stopwatch import Lap, LapTicket, together
from flopwatch.run.counts import UNKNOWN, Counts
from flopwatch.run.meter import NOTHING_DONE, Mark
from flopwatch.run.records import Totals, Window

_logger = logging.getLogger("flopwatch")
_PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 0.005


@dataclass(frozen=True)
class Insight:
    """What a window tells of its steps beside their work; each may be on its way from the device still."""

    sample: Sample | None = None
    losses: WindowLosses | None = None
    profiled: bool = False

    def has_arrived(self) -> bool:
        """Return whether the losses are here; the device comes by the marks of a sample before the window's end."""
        return self.losses is None or self.losses.have_arrived()


@dataclass(frozen=True)
class Boundary:
    """What is known at a window's last step.

    `at` is the unix time, `closed_at` the same on a clock that nobody sets. `own` is this process's work; `axis` is the
    step on Lightning's axis; `elapsed_seconds` is the process's wall time; `epochs` are done, where that is known.
    """

    step: int
    axis: int
    at: float
    elapsed_seconds: float
    own: Mark
    ticket: LapTicket
    sum: PendingSum
    first: bool
    epochs: float | None = None
    insight: Insight = Insight()
    closed_at: float = field(default_factory=time.monotonic)

    def device_is_there(self) -> bool:
        """Whether the device has come to the window's end, and to what was asked of it there."""
        return self.ticket.lap is not None and self.insight.has_arrived()

    def ready(self) -> bool:
        """Whether the device has come there and all have published, or it is too late for that."""
        published = self.device_is_there() and self.sum.done.is_set()
        return published or time.monotonic() - self.closed_at > _PATIENCE_SECONDS


@dataclass(frozen=True)
class Closed:
    """A complete window's parts: of all ranks where `total` is known."""

    boundary: Boundary
    lap: Lap
    counts: Counts
    total: Sum | None


class Windows:
    """The windows that are closed and not yet complete, in order."""

    def __init__(self) -> None:
        self._waiting: deque[Boundary] = deque()
        self._before: Mark | None = NOTHING_DONE
        self._own_before = NOTHING_DONE
        self._passed_over: Lap | None = None
        self._told = False

    def close(self, boundary: Boundary) -> None:
        """Close a window after its last step."""
        self._waiting.append(boundary)

    def complete(self) -> Iterator[Closed]:
        """Windows that have become complete; one whose end a rank has passed over becomes a part of the next."""
        while self._waiting and self._waiting[0].ready():
            boundary = self._waiting.popleft()
            lap = boundary.ticket.lap
            if lap is None:
                self._before, self._own_before = None, boundary.own
                continue
            if self._passed_over is not None:
                lap = together(self._passed_over, lap)
            self._passed_over = lap if boundary.sum.passed_over else None
            if self._passed_over is None:
                yield self._closed(boundary, lap)

    def _closed(self, boundary: Boundary, lap: Lap) -> Closed:
        total = boundary.sum.value
        if total is None and not self._told:
            self._told = True
            _logger.warning("totals over all ranks are unknown: %s", boundary.sum.why_unknown)
        counts = self._counts(boundary.own, total)
        self._before = None if total is None else total.work
        self._own_before = boundary.own
        return Closed(boundary, lap, counts, total)

    def wait_for_device(self, seconds: float, look: Callable[[], None]) -> None:
        """Wait for so long at most until the device has come to the last window's end.

        Args:
            seconds: How long.
            look: Asks the device how far it is.
        """
        deadline = time.monotonic() + seconds
        look()
        while self._waiting and not self._waiting[-1].device_is_there() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            look()

    def sums(self) -> list[PendingSum]:
        """Return what incomplete windows are waiting for."""
        return [boundary.sum for boundary in self._waiting]

    def _counts(self, own: Mark, total: Sum | None) -> Counts:
        if total is None or self._before is None:
            return own.since(self._own_before) + UNKNOWN
        return total.work.since(self._before)


def window_of(closed: Closed, totals: Totals, world_size: int, apart: Apart) -> Window:
    """Build the record of a window.

    Args:
        closed: Its parts.
        totals: The run's totals at its end.
        world_size: Number of ranks.
        apart: Keeps an error in what is seen inside of steps away from the rest.
    """
    boundary, lap, counts, total = closed.boundary, closed.lap, closed.counts, closed.total
    return Window(
        step=boundary.step,
        ended_at=boundary.at,
        seconds=lap.seconds,
        wall_seconds=lap.wall_seconds,
        data_wait_seconds=lap.data_wait_seconds,
        pause_seconds=lap.pause_seconds,
        counts=counts,
        totals=totals,
        first=boundary.first or boundary.insight.profiled,
        epochs=boundary.epochs,
        slowest_rank=total.slowest if total is not None and world_size > 1 else None,
        slowest_rank_ratio=slowest_rank_ratio(lap.seconds, total) if total is not None and world_size > 1 else None,
        memory=None if total is None else total.memory,
        profiled=boundary.insight.profiled,
        **_inside(boundary.insight, apart),
        **({} if total is None else vars(total.telemetry)),
    )


def _inside(insight: Insight, apart: Apart) -> dict[str, Any]:
    training, validation = insight.losses or (None, None)
    each = {
        "phases": None if insight.sample is None else insight.sample.phases,
        "loss": None if training is None else training.value,
        "validation_loss": None if validation is None else validation.value,
    }
    return {part: None if read is None else apart.run(f"the {part} of a window", read) for part, read in each.items()}


def slowest_rank_ratio(seconds: float, total: Sum) -> float | None:
    """How many times longer a step takes than if the slowest rank's own part of it were as short as the mean rank's.

    The others wait for the slowest rank, so what it spends more than the mean is what the step is longer by.
    """
    without = seconds - (total.slowest_seconds - total.mean_seconds)
    return seconds / without if without > 0 else None
