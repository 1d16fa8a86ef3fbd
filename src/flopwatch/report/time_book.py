"""What all of a run's wall time was: one book, from which table, waterfall and findings are taken.

A process books its own time by kind, and the totals add it up. What lies between the last sign of a process and the
next one's start is an interruption. What a process's books do not hold of its own time is unknown, as where the machine
slept. Where the machine's clock was set back between two of them, how long that was is not known, and is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from flopwatch import units
from flopwatch.run import rates
from flopwatch.run.records import Start, Totals, Window
from flopwatch.run.run_file import Run, Segment
from flopwatch.run.time_kinds import INTERRUPTION, LOST, UNKNOWN

_NOTICED_SECONDS = 0.05  # what two clocks differ by is no interruption
_MOST_APART_SECONDS = 1.0  # two clocks of one process, while none of them is set


@dataclass(frozen=True)
class Stretch:
    """A time with the same devices: what it was spent on, what they could have done a second, and its windows.

    `seconds` by kind add up to its wall time, unless a clock was set back: then `is_whole` is false, and they are what
    was booked.
    """

    rate: float | None
    devices: float
    boost_clock_hz: float | None
    seconds: Mapping[str, float]
    windows: tuple[Window, ...] = ()
    is_whole: bool = True


def standing(segment: Segment) -> tuple[Totals, int, float]:
    """Totals, step and time (unix seconds) of the last that is known of a process."""
    if segment.end is not None:
        return segment.end.totals, segment.end.step, segment.end.time
    if not segment.windows:
        return segment.start.totals, segment.start.step, segment.start.time
    last = segment.windows[-1]
    return last.totals, last.step, last.ended_at


def time_book(run: Run) -> tuple[Stretch, ...]:
    """The stretches of a run, one a process with the time until the next; nothing where its totals hold no kinds."""
    totals, _, ended_at = standing(run.segments[-1])
    return tuple(_stretches(run, totals, ended_at)) if totals.seconds_by_kind else ()


def clock_words(run: Run) -> str | None:
    """Says so where a clock was set back between two processes."""
    seconds = run.segments[-1].start.set_back_seconds
    if seconds < _MOST_APART_SECONDS:
        return None
    back = units.format_duration(seconds)
    return f"the clock was set back between two processes by at least {back}: the time between them is left out"


def seconds_by_kind(run: Run) -> dict[str, float]:
    """Return all wall time of a run by kind, as its records have it."""
    stretches = time_book(run)
    if not stretches:
        return _by_process(run)
    seconds: dict[str, float] = defaultdict(float)
    for stretch in stretches:
        for kind, amount in stretch.seconds.items():
            seconds[kind] += amount
    return {kind: amount for kind, amount in seconds.items() if amount}


def _stretches(run: Run, totals: Totals, ended_at: float) -> Iterator[Stretch]:
    first = run.segments[0].start
    if first.time > first.started_at:
        yield _before(first)
    for segment, later in pairwise(run.segments):
        _, _, seen_at = standing(segment)
        yield _stretch(segment, later.start.totals, seen_at, later.start.time)
    yield _stretch(run.segments[-1], totals, ended_at, ended_at)


def _stretch(segment: Segment, after: Totals, seen_at: float, until: float) -> Stretch:
    """A process and the time until the next one began."""
    before, device = segment.start.totals, segment.start.device
    peak = device.peak_flops_per_second
    booked = _booked(before, after)
    left = until - segment.start.time - sum(booked.values())
    seconds = _with_the_rest(booked, left, between=max(until - seen_at, 0.0))
    return Stretch(
        rate=None if peak is None else peak * device.count,
        devices=device.count,
        boost_clock_hz=device.boost_clock_hz,
        seconds=seconds,
        windows=segment.windows,
        is_whole=left >= -_MOST_APART_SECONDS,
    )


def _before(start: Start) -> Stretch:
    """Processes whose files are gone; the totals have their seconds, the start what their devices could have done."""
    seconds = start.time - start.started_at
    booked = _booked(Totals(), start.totals)
    left = seconds - sum(booked.values())
    return Stretch(
        rate=rates.fraction(start.capacity_flops, seconds),
        devices=rates.fraction(start.totals.device_seconds, start.totals.seconds) or start.device.count,
        boost_clock_hz=None,
        seconds=_with_the_rest(booked, left, between=seconds),
        is_whole=left >= -_MOST_APART_SECONDS,
    )


def _booked(before: Totals, after: Totals) -> dict[str, float]:
    """Return the seconds by kind between two totals."""
    booked = {kind: amount - before.seconds_by_kind.get(kind, 0.0) for kind, amount in after.seconds_by_kind.items()}
    lost = after.lost_seconds - before.lost_seconds
    return {kind: amount for kind, amount in (*booked.items(), (LOST, lost)) if amount}


def _with_the_rest(booked: Mapping[str, float], left: float, *, between: float) -> dict[str, float]:
    """Add the wall time that the records do not cover.

    Args:
        booked: Seconds by kind.
        left: Wall time that they do not hold; below zero where a clock was set back.
        between: So much of the wall time at most lay between two processes.
    """
    seconds = defaultdict(float, booked)
    if left < -_MOST_APART_SECONDS:
        return seconds
    interruption = min(max(left, 0.0), between)
    inside = left - interruption
    seconds[INTERRUPTION if interruption >= _NOTICED_SECONDS else "other"] += interruption
    seconds[UNKNOWN if inside >= _MOST_APART_SECONDS else "other"] += inside
    if abs(seconds["other"]) < _NOTICED_SECONDS:
        seconds["setup"] += seconds.pop("other")
    return {kind: amount for kind, amount in seconds.items() if amount}


def _by_process(run: Run) -> dict[str, float]:
    """For files whose totals do not have it; of a killed process only what its windows hold is known."""
    seconds: dict[str, float] = defaultdict(float)
    for segment in run.segments:
        if segment.end is not None:
            for kind, amount in segment.end.seconds.items():
                seconds[kind] += amount
        elif segment.windows:
            in_loop = sum(window.seconds - window.data_wait_seconds for window in segment.windows)
            waiting = sum(window.data_wait_seconds for window in segment.windows)
            rest = segment.windows[-1].ended_at - segment.start.time - in_loop - waiting
            seconds["training"] += in_loop
            seconds["data_wait"] += waiting
            seconds["other"] += max(rest, 0.0)
    for earlier, later in pairwise(run.segments):
        _, _, ended_at = standing(earlier)
        seconds[INTERRUPTION] += max(later.start.time - ended_at, 0.0)
    return dict(seconds)
