"""Windows of very long runs, merged so that they need no more memory: sums stay sums, means are weighted by time."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from flopwatch.run import phases
from flopwatch.run.counts import together
from flopwatch.run.records import Window

_T = TypeVar("_T")
_NAMES = tuple(each.name for each in dataclasses.fields(Window))
_values = operator.attrgetter(*_NAMES)
MOST_WINDOWS = 2**15
_MOST_APART, _SHARE_APART = 1000, 4


class WindowList:
    """Keeps windows in order; if there are too many, pairs of neighbors are merged.

    The first window of a process and those that were profiled, which say nothing of the run's speed, stay as they are.
    Of very many, pairs are merged too, but never with the others.

    Args:
        most: How many are kept at most; those that stay apart are a quarter of them at most.
    """

    def __init__(self, most: int = MOST_WINDOWS) -> None:
        self._most = most
        self._most_apart = min(_MOST_APART, most // _SHARE_APART)
        self._kept: list[Window] = []
        self._open: list[Window] = []
        self._in_each = 1
        self._added = 0
        self._apart = 0

    def add(self, window: Window) -> None:
        """Add a window."""
        if _is_apart(window):
            self._close()
            self._kept.append(window)
            self._apart += 1
        else:
            self._open.append(window)
            self._added += 1
            if len(self._open) >= self._in_each:
                self._close()
        if self._apart > self._most_apart:
            self._kept = _in_pairs(self._kept, apart=True)
            self._apart = sum(map(_is_apart, self._kept))
        if len(self._kept) > self._most:
            self._kept = _in_pairs(self._kept, apart=False)
            if self._in_each * self._most < self._added:
                self._in_each *= 2

    def drop_after(self, step: int) -> int:
        """Forget windows that end after a step, as they are done again; returns how many that were.

        A merged one that the step lies in goes as a whole.
        """
        self._close()
        before = len(self._kept)
        while self._kept and self._kept[-1].step > step:
            self._apart -= _is_apart(self._kept.pop())
        return before - len(self._kept)

    @property
    def last(self) -> Window | None:
        """Return the newest window."""
        newest = self._open or self._kept
        return newest[-1] if newest else None

    def windows(self) -> tuple[Window, ...]:
        """Return the windows kept."""
        self._close()
        return tuple(self._kept)

    def _close(self) -> None:
        if self._open:
            self._kept.append(merged(self._open))
            self._open = []


def _is_apart(window: Window) -> bool:
    return window.first or window.profiled


def _in_pairs(windows: Sequence[Window], *, apart: bool) -> list[Window]:
    """Merge the windows of one kind in twos; each takes the place of its later one, so that all stay in order."""
    places = [place for place, window in enumerate(windows) if _is_apart(window) == apart]
    earlier = dict(zip(places[1::2], places[::2], strict=False))
    gone = set(earlier.values())
    return [
        merged([windows[earlier[place]], window]) if place in earlier else window
        for place, window in enumerate(windows)
        if place not in gone
    ]


def merged(windows: Sequence[Window]) -> Window:
    """Windows in a row as one; the slowest rank is the one that cost most time, its ratio the mean over all of them.

    With one that says nothing of the run's speed, all of it says nothing.
    """
    if len(windows) == 1:
        return windows[0]
    last = windows[-1]
    of = dict(zip(_NAMES, zip(*map(_values, windows), strict=True), strict=True))
    walls, samples = of["wall_seconds"], of["clock_samples"]
    return Window(
        step=last.step,
        ended_at=last.ended_at,
        seconds=sum(of["seconds"]),
        wall_seconds=sum(walls),
        data_wait_seconds=sum(of["data_wait_seconds"]),
        counts=together(of["counts"]),
        totals=last.totals,
        first=any(map(_is_apart, windows)),
        sm_clock_hz=_mean(of["sm_clock_hz"], samples),
        sm_clock_hz_min=min(_known(of["sm_clock_hz_min"]), default=None),
        clock_samples=sum(samples),
        budget_fraction=last.budget_fraction,
        seconds_left=last.seconds_left,
        throttled=_means(of["throttled"], walls),
        throttled_frac=_mean(of["throttled_frac"], walls),
        throttle_counted=all(of["throttle_counted"]),
        slow_clock_frac=_mean(of["slow_clock_frac"], walls),
        power_watts=_mean(of["power_watts"], walls),
        tensor_active=_mean(of["tensor_active"], walls),
        phases=phases.together(of["phases"]),
        memory=_last(of["memory"]),
        loss=_mean(of["loss"], [counts.batches for counts in of["counts"]]),
        validation_loss=_last(of["validation_loss"]),
        seconds_left_low=last.seconds_left_low,
        seconds_left_high=last.seconds_left_high,
        slowest_rank=_costliest_rank(windows),
        slowest_rank_ratio=_mean(of["slowest_rank_ratio"], walls),
        pause_seconds=_sums(of["pause_seconds"]),
        epochs=last.epochs,
        budgets=last.budgets,
        profiled=any(of["profiled"]),
    )


def _costliest_rank(windows: Sequence[Window]) -> int | None:
    cost: dict[int, float] = {}
    for window in windows:
        if window.slowest_rank is not None and window.slowest_rank_ratio is not None:
            longer = (window.slowest_rank_ratio - 1) * window.wall_seconds
            cost[window.slowest_rank] = cost.get(window.slowest_rank, 0.0) + longer
    return max(cost, key=lambda rank: cost[rank], default=None)


def _last(values: Iterable[_T | None]) -> _T | None:
    """Return the last known value."""
    return next((value for value in reversed(list(values)) if value is not None), None)


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    """Return the weighted mean of known values."""
    if None in values:
        pairs = [(value, weight) for value, weight in zip(values, weights, strict=True) if value is not None]
        values, weights = [value for value, _ in pairs], [weight for _, weight in pairs]
    if not values or values.count(values[0]) == len(values):
        return values[0] if values else None
    total = sum(weights)
    return sum(map(float.__mul__, map(float, values), map(float, weights))) / total if total > 0 else values[0]  # type: ignore[arg-type]


def _means(shares: Sequence[Mapping[str, float] | None], weights: Sequence[float]) -> Mapping[str, float] | None:
    known = [each for each in shares if each is not None]
    if not known:
        return None
    keys = dict.fromkeys(key for each in known for key in each)
    means = {key: _mean([each.get(key) if each is not None else None for each in shares], weights) for key in keys}
    return {key: value for key, value in means.items() if value is not None}


def _sums(amounts: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    keys = dict.fromkeys(key for each in amounts for key in each)
    return {key: sum([each.get(key, 0.0) for each in amounts]) for key in keys}
