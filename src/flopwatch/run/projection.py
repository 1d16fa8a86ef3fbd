"""How long a run will still take: its pace as it is now, the pauses that come back, and how sure that is.

It knows no budget, no clock and no Trainer: amounts and seconds in, seconds out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_MOST_BLOCKS = 256
_FEWEST_BLOCKS = 6
_REFIT_GROWTH = 1.05
_WIDEST = 10.0  # an interval that is wider says nothing
_Z80 = 1.2816  # 80% of a normal distribution lie within so many standard deviations
# What a run that has been even so far may still do: a change of this share of its pace over as long as it has run.
_UNSEEN_CHANGE = 0.004
_SMALLEST_NOISE = 1e-4
_ONE_MORE_OR_LESS = 1 / 24
_PRIOR_TRUST = 0.5
_DRIFT_OF_SLOPE = 2.0  # 1.5 by the formula; a short history sees too little of a slow drift
_TINY = 1e-12
_PERIOD_FROM_ONE = 0.25


@dataclass(frozen=True)
class TimeLeft:
    """Seconds left, and between which two they lie four times out of five; `None` while too little was seen."""

    seconds: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class _Spread:
    """How a block's pace varies, as shares of the pace: by itself, and by the level's wandering from block to block."""

    noise: float
    drift: float


class Pace:
    """How many seconds an amount of work takes, learned from the windows of a process.

    The model is a local level (Harvey 1989, section 2.3): every block of windows has the pace of the moment with
    some noise, and the pace of the moment wanders. How much of either there is shows in how far means over longer and
    longer neighbouring stretches lie apart (Allan variance). Pauses that come back, as validation and
    checkpoints do, are kept out of the pace and counted by themselves.
    """

    def __init__(self) -> None:
        self._blocks: list[tuple[float, float]] = []
        self._windows_per_block = 1
        self._open: list[tuple[float, float]] = []
        self._amount = 0.0
        self._pauses: dict[str, _Pause] = {}
        self._spread, self._fitted_at = _Spread(0.0, 0.0), 0
        self._trust = 1.0

    def add(self, amount: float, seconds: float, pauses: Mapping[str, float]) -> None:
        """Add a window.

        Args:
            amount: What was done in it; windows without any are left out.
            seconds: What it took, without the pauses.
            pauses: Seconds of the pauses that ended in it, by kind.
        """
        if amount <= 0 or seconds <= 0:
            return
        self._amount += amount
        for kind, length in pauses.items():
            self._pauses.setdefault(kind, _Pause()).add(length, self._amount)
        self._open.append((amount, seconds))
        if len(self._open) < self._windows_per_block:
            return
        self._blocks.append(_sum(self._open))
        self._open = []
        if len(self._blocks) > _MOST_BLOCKS:
            self._blocks = [_sum(self._blocks[place : place + 2]) for place in range(0, len(self._blocks) - 1, 2)]
            self._windows_per_block *= 2
            self._fitted_at = 0

    def left(self, amount: float) -> TimeLeft | None:
        """Time for so much more work; `None` before anything was seen, without an interval where paces vary wildly."""
        if self._amount <= 0:
            return None
        coming = [each.left(amount, self._amount) for each in self._pauses.values()]
        pauses = sum(seconds for seconds, _ in coming)
        if len(self._blocks) < _FEWEST_BLOCKS:
            done, took = _sum([*self._blocks, *self._open])
            return TimeLeft(amount * took / done + pauses)
        pace, uncertainty = self._now()
        ahead = max(amount / (sum(done for done, _ in self._blocks) / len(self._blocks)), 1e-9)
        spread = self._spread
        change = _UNSEEN_CHANGE**2 * ahead / len(self._blocks)
        variance = uncertainty + spread.drift * ahead / 3 + spread.noise / max(ahead, 1.0) + change
        training = amount * pace
        seconds = training + pauses
        deviation = math.sqrt(training**2 * variance + sum(squared for _, squared in coming))
        power = _Z80 * _for_few(len(self._blocks)) * deviation / seconds
        if power >= math.log(_WIDEST):
            return TimeLeft(seconds)
        return TimeLeft(seconds, seconds / math.exp(power), seconds * math.exp(power))

    def _now(self) -> tuple[float, float]:
        """The pace to go on with, and its variance as a share of its square."""
        mean = sum(seconds for _, seconds in self._blocks) / sum(done for done, _ in self._blocks)
        shares = [seconds / done / mean for done, seconds in self._blocks]
        if len(shares) >= self._fitted_at * _REFIT_GROWTH:
            self._spread, self._fitted_at = _fit(shares), len(shares)
            self._trust = _trust([level for level, _ in _levels(shares, self._spread)], shares)
        *_, (level, variance) = _levels(shares, self._spread)
        return mean * (self._trust * level + (1 - self._trust)), variance / level**2


class _Pause:
    """A pause that comes back after about the same amount of work."""

    def __init__(self) -> None:
        self._count, self._seconds, self._squares = 0, 0.0, 0.0
        self._first_at = self._last_at = 0.0

    def add(self, seconds: float, at: float) -> None:
        if seconds <= 0:
            return
        if not self._count:
            self._first_at = at
        self._count, self._last_at = self._count + 1, at
        self._seconds, self._squares = self._seconds + seconds, self._squares + seconds**2

    def left(self, amount: float, now: float) -> tuple[float, float]:
        """Seconds of those that fall into the next `amount` of work, and the square of how far they may be off.

        Each may be as much longer or shorter as those before were, and one more or less may fall into it.
        """
        if not self._count:
            return 0.0, 0.0
        # After a restart the first one comes early: where there are two, the time between them tells.
        between = self._last_at - self._first_at
        period = between / (self._count - 1) if between else self._last_at
        times = math.floor((now - self._last_at + amount) / period)
        mean = self._seconds / self._count
        one = max(self._squares / self._count - mean**2, 0.0)
        unsure = _ONE_MORE_OR_LESS + (times * _PERIOD_FROM_ONE) ** 2 * (self._count == 1)
        return times * mean, times * one * (1 + times / self._count) + mean**2 * unsure


def _sum(parts: list[tuple[float, float]]) -> tuple[float, float]:
    return sum(amount for amount, _ in parts), sum(seconds for _, seconds in parts)


def _for_few(count: int) -> float:
    """What a few blocks make the interval wider by, as their own spread is not well known."""
    return 1 + 2 / count


def _fit(shares: list[float]) -> _Spread:
    """Noise and drift from the distances of neighbouring means over 1, 2, 4, ... blocks.

    Means over m blocks lie sqrt(2 noise / m + 2/3 drift m) apart: with x = m squared that times m is a line in x.
    """
    sums = [0.0]
    for share in shares:
        sums.append(sums[-1] + share)
    points = []
    length = 1
    while 2 * length <= len(shares):
        squares = [
            ((sums[place + length] - 2 * sums[place] + sums[place - length]) / length) ** 2
            for place in range(length, len(shares) - length + 1)
        ]
        points.append((length, sum(squares) / len(squares)))
        length *= 2
    return _line(points, len(shares))


def _levels(shares: list[float], spread: _Spread) -> Iterator[tuple[float, float]]:
    """After each block the level and its variance (Kalman filter of the local level)."""
    level, variance = shares[0], spread.noise
    yield level, variance
    for share in shares[1:]:
        variance += spread.drift
        gain = variance / (variance + spread.noise)
        level += gain * (share - level)
        variance *= 1 - gain
        yield level, variance


def _trust(levels: list[float], shares: list[float]) -> float:
    """How much of the level, and how much of the mean of all, would have projected best so far, from 0 to 1.

    A device that throttles now and then comes back to its mean; one that gets slower does not. Least squares over what
    a third of the blocks took after each of the moments before; the prior is the level.
    """
    ahead, sums = max(len(shares) // 3, 1), list(itertools.accumulate(shares, initial=0.0))
    product = square = _TINY
    for seen in range(max(len(shares) // 8, 3), len(shares) - ahead + 1):
        mean, came = sums[seen] / seen, (sums[seen + ahead] - sums[seen]) / ahead
        off = levels[seen - 1] - mean
        product += off * (came - mean)
        square += off**2
    prior = _PRIOR_TRUST * square
    return min(max((product + prior) / (square + prior), 0.0), 1.0)


def _line(points: list[tuple[int, float]], count: int) -> _Spread:
    """Least squares of the relative errors, the longer stretches counting less as there are fewer of them."""
    best = _Spread(max(points[0][1] / 2, _SMALLEST_NOISE**2), 0.0)
    weights = [count / length / max(apart * length, 1e-18) ** 2 for length, apart in points]
    xs, ys = [length**2 for length, _ in points], [apart * length for length, apart in points]
    total = sum(weights)
    x_mean = sum(w * x for w, x in zip(weights, xs, strict=True)) / total
    y_mean = sum(w * y for w, y in zip(weights, ys, strict=True)) / total
    spread_x = sum(w * (x - x_mean) ** 2 for w, x in zip(weights, xs, strict=True))
    if len(points) < 2 or not spread_x:
        return best
    slope = sum(w * (x - x_mean) * (y - y_mean) for w, x, y in zip(weights, xs, ys, strict=True)) / spread_x
    slope = max(slope, 0.0)
    noise = max((y_mean - slope * x_mean) / 2, _SMALLEST_NOISE**2)
    return _Spread(noise, _DRIFT_OF_SLOPE * slope)
