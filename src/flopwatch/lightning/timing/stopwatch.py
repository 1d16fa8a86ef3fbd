"""Which kind of time every second was: a stack of kinds over one clock, set right by what the device says later."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from flopwatch.lightning.timing.device_time import DeviceTimer, HostTimer, QueueMark
from flopwatch.run.time_kinds import kinds_at

Kind = Literal["setup", "training", "data_wait", "validation", "checkpoint", "callbacks", "flopwatch", "other"]
Clock = Callable[[], float]
_IN_LOOP = kinds_at("steps", "between steps")
_BETWEEN_STEPS = kinds_at("between steps")
_PAUSES: tuple[Kind, ...] = ("validation", "checkpoint")
_OWN: tuple[str, ...] = ("data_wait", "other", *_BETWEEN_STEPS)


@dataclass(frozen=True)
class Lap:
    """Time from one boundary to the next: in the training loop, waiting for data within it, and altogether.

    `own_seconds` are those in which this process did not wait for others: data, time between steps and, where it was
    marked, the forward pass. `pause_seconds` are those of validation and of checkpoints.
    """

    seconds: float
    data_wait_seconds: float
    wall_seconds: float
    own_seconds: float = 0.0
    pause_seconds: Mapping[str, float] = field(default_factory=dict)


def together(first: Lap, second: Lap) -> Lap:
    """Join two consecutive laps."""
    kinds = {*first.pause_seconds, *second.pause_seconds}
    return Lap(
        first.seconds + second.seconds,
        first.data_wait_seconds + second.data_wait_seconds,
        first.wall_seconds + second.wall_seconds,
        first.own_seconds + second.own_seconds,
        {kind: first.pause_seconds.get(kind, 0.0) + second.pause_seconds.get(kind, 0.0) for kind in kinds},
    )


@dataclass
class LapTicket:
    """A lap whose end the device may not have reached yet; `lap` is `None` until then."""

    mark: QueueMark
    lap: Lap | None = None


@dataclass
class _Gap:
    """What the process did between two batches, in order, and the device's marks around it."""

    start: QueueMark
    intervals: list[tuple[Kind, float]] = field(default_factory=list)
    end: QueueMark | None = None


@dataclass
class _Forward:
    """A forward pass, between two marks."""

    start: QueueMark
    end: QueueMark


class Stopwatch:
    """Books every second since its creation under exactly one kind.

    Kinds nest: a checkpoint saved during validation is a checkpoint's time, and then validation's again. A device that
    works through a queue is often still training while the process is already at something else. So between two batches
    a mark is put into its queue at either end; once it has passed both, it is known for how long it stood still, which
    is the last part of that time, and the part before is training. Nothing ever waits for the device.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self.clock = clock
        self._timer: DeviceTimer = HostTimer(clock)
        self._kinds: list[Kind] = ["setup"]
        self._booked: dict[Kind, float] = defaultdict(float)
        self._since = self._started = clock()
        self._gap: _Gap | None = None
        self._resumed: QueueMark | None = None
        self._batch_began: QueueMark | None = None
        self._lap_from: QueueMark | None = None
        self._lap_opened = self._started
        self._pending: deque[_Gap | _Forward | LapTicket] = deque()
        self._out_of_loop = self._waited = 0.0
        self._paused: dict[str, float] = defaultdict(float)
        self._own = self._own_before = self._out_before = self._waited_before = 0.0

    def use(self, timer: DeviceTimer) -> None:
        """Put marks into this device's queue from now on; before the first batch."""
        self._timer = timer

    def become(self, kind: Kind) -> None:
        """Replace the outermost kind."""
        before = self._book()
        self._kinds[0] = kind
        self._shifted(before)
        if kind == "training":
            self._batch_began = self._resumed

    def enter(self, kind: Kind) -> None:
        """Begin a kind inside the present one."""
        before = self._book()
        self._kinds.append(kind)
        self._shifted(before)

    def leave(self, kind: Kind) -> None:
        """End a kind and whatever is still open inside it; nothing happens if it was never begun."""
        if kind in self._kinds[1:]:
            before = self._book()
            del self._kinds[self._kinds.index(kind, 1) :]
            self._shifted(before)

    def fetching(self) -> None:
        """Note that a batch is fetched: between two batches, or by a training step that does so itself."""
        if self._kinds[0] == "training":
            self.enter("data_wait")
        else:
            self.become("data_wait")

    def fetched(self) -> None:
        """Note that a batch was fetched; between two batches it has yet to be moved to the device."""
        self.leave("data_wait")

    def in_loop(self) -> bool:
        """Return whether the process is in its training loop now; any thread may call it."""
        return self._kinds[-1] in _IN_LOOP

    def forward_ended(self) -> None:
        """Note that the batch's forward pass is in the queue, for processes that wait for others in backward only."""
        if self._batch_began is not None:
            self._pending.append(_Forward(self._batch_began, self._timer.mark()))
            self._batch_began = None

    def lap(self) -> LapTicket:
        """Close a lap at the end of the last batch."""
        ticket = LapTicket(self._timer.mark() if self._gap is None else self._gap.start)
        self._pending.append(ticket)
        self._lap_opened = self.clock()
        self.resolve()
        return ticket

    def lap_seconds(self) -> float:
        """Return the process's wall time since the last lap was closed."""
        return self.clock() - self._lap_opened

    def own_seconds(self) -> float:
        """Return this rank's own seconds, up to what the device has finished."""
        return self._own

    def resolve(self) -> None:
        """Book what the device has finished in the meantime."""
        pending = self._pending
        while pending:
            first = pending[0]
            last_mark = first.mark if isinstance(first, LapTicket) else first.end
            if last_mark is None or not last_mark.passed():
                return
            pending.popleft()
            if isinstance(first, _Gap):
                self._settle(first, first.start.seconds_until(last_mark))
            elif isinstance(first, _Forward):
                self._own += first.start.seconds_until(first.end)
            else:
                first.lap = self._close(first)

    def seconds_by_kind(self) -> dict[str, float]:
        """Everything booked so far; the values add up to `elapsed_seconds`."""
        self._book()
        return {kind: seconds for kind, seconds in self._booked.items() if seconds}

    def elapsed_seconds(self) -> float:
        """Wall time since the stopwatch was made."""
        return self.clock() - self._started

    def _book(self) -> Kind:
        now, kind = self.clock(), self._kinds[-1]
        seconds = now - self._since
        self._booked[kind] += seconds
        self._since = now
        if self._gap is not None:
            self._gap.intervals.append((kind, seconds))
        return kind

    def _shifted(self, before: Kind) -> None:
        """Open a gap where training pauses, and close it where training resumes."""
        now = self._kinds[-1]
        if before == now or (before != "training" and now != "training"):
            return
        mark = self._timer.mark()
        if now != "training":
            self._gap = _Gap(mark)
            return
        self._resumed = mark
        if self._lap_from is None:
            self._lap_from = mark
        gap, self._gap = self._gap, None
        if gap is None:
            return
        if self._timer.is_immediate:
            for kind, seconds in gap.intervals:
                self._leave_out(kind, seconds)
            return
        gap.end = mark
        self._pending.append(gap)
        self.resolve()

    def _settle(self, gap: _Gap, still_seconds: float) -> None:
        """Give the part of a gap in which the device was busy to training; the rest keeps its kinds."""
        busy = sum(seconds for _, seconds in gap.intervals) - still_seconds
        if busy < 0:
            self._lengthen(gap, -busy)
        for kind, seconds in gap.intervals:
            moved = min(max(busy, 0.0), seconds)
            busy -= moved
            if kind in _BETWEEN_STEPS and not self._timer.sees_stalls:
                moved = seconds
            if moved:
                self._move(kind, "training", moved)
            self._leave_out(kind, seconds - moved)

    def _lengthen(self, gap: _Gap, seconds: float) -> None:
        """The device was at validation for longer than the process: the next batch had to wait for it."""
        if any(kind == "validation" for kind, _ in gap.intervals):
            self._move("training", "validation", seconds)
            self._leave_out("validation", seconds)

    def _move(self, source: Kind, target: Kind, seconds: float) -> None:
        self._booked[source] -= seconds
        self._booked[target] += seconds

    def _leave_out(self, kind: Kind, seconds: float) -> None:
        if kind == "data_wait":
            self._waited += seconds
        elif kind != "training":
            self._out_of_loop += seconds
        if kind in _PAUSES and seconds > 0:
            self._paused[kind] += seconds
        if kind in _OWN:
            self._own += seconds

    def _close(self, ticket: LapTicket) -> Lap:
        start = ticket.mark if self._lap_from is None else self._lap_from
        wall_seconds = start.seconds_until(ticket.mark)
        lap = Lap(
            seconds=wall_seconds - (self._out_of_loop - self._out_before),
            data_wait_seconds=self._waited - self._waited_before,
            wall_seconds=wall_seconds,
            own_seconds=self._own - self._own_before,
            pause_seconds=dict(self._paused),
        )
        self._paused.clear()
        self._lap_from = ticket.mark
        self._out_before, self._waited_before, self._own_before = self._out_of_loop, self._waited, self._own
        return lap
