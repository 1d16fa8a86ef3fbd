"""Round numbers for the axes of charts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flopwatch import units

_SECONDS = (
    *(1, 2, 5, 10, 15, 30),
    *(minutes * units.SECONDS_PER_MINUTE for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * units.SECONDS_PER_HOUR for hours in (1, 2, 3, 6, 12)),
)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return at most that many round numbers from `low` to `high`, 1, 2 or 5 times a power of ten apart."""
    if not high > low or not math.isfinite(high - low):
        return []
    step = _round_up((high - low) / most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [place * step for place in range(first, last + 1)]


def upper_end(highest: float, most: int = 5) -> float:
    """Return where an axis from zero ends: at the round number above the highest value."""
    if highest <= 0:
        return 1.0
    step = _round_up(highest * 1.02 / most)
    return math.ceil(highest * 1.02 / step - 1e-9) * step


def _round_up(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def time_ticks(until: float, most: int = 8) -> list[tuple[float, str]]:
    """Return the ticks of a time axis from zero, in seconds, with their words."""
    step = _time_step(until / most)
    return [(place * step, time_words(place * step)) for place in range(int(until / step + 1e-9) + 1)]


def _time_step(least: float) -> float:
    known: Sequence[float] = _SECONDS
    days = 1.0 if least <= units.SECONDS_PER_DAY else _round_up(least / units.SECONDS_PER_DAY)
    return next((step for step in known if step >= least), days * units.SECONDS_PER_DAY)


def time_words(seconds: float) -> str:
    """Return a time since the start in its units that are not zero: "1h 30m"."""
    left, words = round(seconds), []
    for size, unit in ((units.SECONDS_PER_DAY, "d"), (units.SECONDS_PER_HOUR, "h"), (units.SECONDS_PER_MINUTE, "m")):
        amount, left = divmod(left, size)
        words += [f"{amount:,}{unit}"] if amount else []
    return " ".join([*words, f"{left}s"] if left else words) or "0"
