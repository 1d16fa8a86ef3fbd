"""Windows of very long runs, merged so that they need no more memory: sums stay sums, means are weighted by time."""

from __future__ import annotations

from collections.abc import Mapping

from flopwatch.records import Window

MOST_WINDOWS = 2**16
_Shares = Mapping[str, float] | None


class WindowList:
    """Keeps windows in order; where they become too many, neighbours are merged, each two into one.

    Args:
        most: How many are kept at most. The first window of a process stays as it is.
    """

    def __init__(self, most: int = MOST_WINDOWS) -> None:
        self._most = most
        self._kept: list[Window] = []
        self._merged = 1  # windows in each that is kept
        self._open: Window | None = None
        self._in_open = 0

    def add(self, window: Window) -> None:
        """Add a window."""
        if window.first:
            self._close()
            self._kept.append(window)
            return
        self._open = window if self._open is None else merged(self._open, window)
        self._in_open += 1
        if self._in_open >= self._merged:
            self._close()
        if len(self._kept) > self._most:
            self._halve()

    def windows(self) -> tuple[Window, ...]:
        """What is kept."""
        return (*self._kept, *([self._open] if self._open is not None else []))

    def _close(self) -> None:
        if self._open is not None:
            self._kept.append(self._open)
        self._open, self._in_open = None, 0

    def _halve(self) -> None:
        halved: list[Window] = []
        waiting: Window | None = None
        for window in self._kept:
            if window.first or waiting is None:
                halved += [each for each in (waiting, window if window.first else None) if each is not None]
                waiting = None if window.first else window
            else:
                halved.append(merged(waiting, window))
                waiting = None
        self._kept = halved if waiting is None else [*halved, waiting]
        self._merged *= 2


def merged(one: Window, two: Window) -> Window:
    """Two windows in a row as one."""
    walls = (one.wall_seconds, two.wall_seconds)
    slower = max(one, two, key=lambda each: each.slowest_rank_ratio or 0.0)
    samples = one.clock_samples + two.clock_samples
    return Window(
        step=two.step,
        ended_at=two.ended_at,
        seconds=one.seconds + two.seconds,
        wall_seconds=sum(walls),
        data_wait_seconds=one.data_wait_seconds + two.data_wait_seconds,
        steps=one.steps + two.steps,
        batches=one.batches + two.batches,
        flops=_sum(one.flops, two.flops),
        tokens=_sum(one.tokens, two.tokens),
        samples=_sum(one.samples, two.samples),
        totals=two.totals,
        sm_clock_hz=_mean(one.sm_clock_hz, two.sm_clock_hz, (one.clock_samples, two.clock_samples)),
        sm_clock_hz_min=min((hz for hz in (one.sm_clock_hz_min, two.sm_clock_hz_min) if hz is not None), default=None),
        clock_samples=samples,
        budget_fraction=two.budget_fraction,
        seconds_left=two.seconds_left,
        hardware_flops=_sum(one.hardware_flops, two.hardware_flops),
        useful_tokens=_sum(one.useful_tokens, two.useful_tokens),
        throttled=_means(one.throttled, two.throttled, walls),
        throttled_frac=_mean(one.throttled_frac, two.throttled_frac, walls),
        throttle_counted=one.throttle_counted and two.throttle_counted,
        slow_clock_frac=_mean(one.slow_clock_frac, two.slow_clock_frac, walls),
        power_watts=_mean(one.power_watts, two.power_watts, walls),
        tensor_active=_mean(one.tensor_active, two.tensor_active, walls),
        seconds_left_low=two.seconds_left_low,
        seconds_left_high=two.seconds_left_high,
        slowest_rank=slower.slowest_rank,
        slowest_rank_ratio=_mean(one.slowest_rank_ratio, two.slowest_rank_ratio, (one.seconds, two.seconds)),
        pause_seconds=_sums(one.pause_seconds, two.pause_seconds),
    )


def _sum(one: int | None, two: int | None) -> int | None:
    return None if one is None or two is None else one + two


def _mean(one: float | None, two: float | None, weights: tuple[float, float]) -> float | None:
    """Weighted mean of what is known."""
    if one is None or two is None:
        return two if one is None else one
    total = weights[0] + weights[1]
    return one if one == two or total <= 0 else (one * weights[0] + two * weights[1]) / total


def _means(one: _Shares, two: _Shares, weights: tuple[float, float]) -> _Shares:
    if one is None or two is None:
        return two if one is None else one
    means = {key: _mean(one.get(key), two.get(key), weights) for key in {**one, **two}}
    return {key: value for key, value in means.items() if value is not None}


def _sums(one: Mapping[str, float], two: Mapping[str, float]) -> Mapping[str, float]:
    if not one or not two:
        return one or two
    return {key: one.get(key, 0.0) + two.get(key, 0.0) for key in {**one, **two}}
