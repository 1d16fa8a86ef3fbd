"""Budgets: what a run may use, how much of it is used, and when the rest will be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from flopwatch import units
from flopwatch.errors import QuantityError
from flopwatch.run.projection import TimeLeft
from flopwatch.units import quoted

BudgetUnit = Literal[
    "flops",
    "tokens",
    "samples",
    "steps",
    "epochs",
    "seconds",
    "device_seconds",
    "joules",
    "usd",
    "tokens_per_parameter",
]
# Hoffmann et al., arXiv 2203.15556, table 3: 20.2 tokens per parameter at Chinchilla's own size, rounded as in use.
CHINCHILLA_TOKENS_PER_PARAMETER = 20
_SURE_AFTER_WINDOWS = 3

_DURATIONS = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "min": units.SECONDS_PER_MINUTE,
    "minute": units.SECONDS_PER_MINUTE,
    "h": units.SECONDS_PER_HOUR,
    "hour": units.SECONDS_PER_HOUR,
    "d": units.SECONDS_PER_DAY,
    "day": units.SECONDS_PER_DAY,
    "week": 7 * units.SECONDS_PER_DAY,
}
_ENERGIES = {
    "j": 1,
    "kj": 10**3,
    "mj": 10**6,
    "gj": 10**9,
    "wh": units.JOULES_PER_KWH // 10**3,
    "kwh": units.JOULES_PER_KWH,
    "mwh": units.JOULES_PER_KWH * 10**3,
    "gwh": units.JOULES_PER_KWH * 10**6,
}
_COUNTED: dict[str, BudgetUnit] = {"token": "tokens", "sample": "samples", "step": "steps"}
_DEVICE_TIME = re.compile(
    r"(?P<prefix>[KMB]?)\s*(?:device|gpu|tpu|accelerator|chip)[ -]?(?P<time>[a-z]+)", re.IGNORECASE
)
_MONEY = re.compile(r"(?P<prefix>[KMB]?)\s*(?:usd|dollars?)?", re.IGNORECASE)
_EXAMPLES = (
    "'3.14e23 FLOPs', '1.4T tokens', '2M samples', '50K steps', '3 epochs', '2 days', '500 device-hours', '50 kWh',"
    " '$20k' or 'chinchilla'"
)


@dataclass(frozen=True)
class Budget:
    """An amount of something; FLOPs, tokens, samples and steps are whole, everything else may be broken."""

    amount: float
    unit: BudgetUnit

    def __str__(self) -> str:
        if self.unit == "flops":
            return units.format_si(self.amount, "FLOPs")
        if self.unit == "seconds":
            return units.format_duration(self.amount)
        if self.unit == "device_seconds":
            return f"{units.format_count(self.amount / units.SECONDS_PER_HOUR)} device-hours"
        if self.unit == "joules":
            return f"{units.format_plain(self.amount / units.JOULES_PER_KWH)} kWh"
        if self.unit == "usd":
            return units.format_usd(self.amount)
        return f"{units.format_count(self.amount)} {self.unit.replace('_', ' ')}"


def parse_budget(text: str) -> Budget:
    """Parse a budget as people write it.

    "3.14e23 FLOPs", "314 ZFLOPs", "1.4T tokens", "2M samples", "50K steps", "3 epochs", "36 h", "2 days", "500
    device-hours", "50 kWh", "$20k" and "chinchilla" (20 tokens per parameter) are understood; whole amounts are kept
    exactly.

    Raises:
        QuantityError: If the number is missing, not positive or too large, or the unit is none of these.
    """
    plain = text.strip()
    if plain.lower() == "chinchilla":
        return Budget(CHINCHILLA_TOKENS_PER_PARAMETER, "tokens_per_parameter")
    dollars = plain.startswith("$")
    try:
        number, word = units.split_number(plain.removeprefix("$"))
    except QuantityError:
        raise QuantityError(f"expected a budget like {_EXAMPLES}, got {quoted(text)}") from None
    if number <= 0:
        raise QuantityError(f"expected a positive budget like {_EXAMPLES}, got {quoted(text)}")
    readers = (_money,) if dollars or re.search("usd|dollar", word.lower()) else (_time, _energy, _flops, _counted)
    for read in readers:
        budget = read(number, word, text)
        if budget is not None:
            return budget
    raise QuantityError(f"expected a budget like {_EXAMPLES}, got {quoted(text)}")


def _money(number: Fraction, word: str, text: str) -> Budget | None:
    found = _MONEY.fullmatch(word)
    return None if found is None else Budget(float(number * units.COUNT_PREFIXES[found["prefix"].upper()]), "usd")


def _time(number: Fraction, word: str, text: str) -> Budget | None:
    """Parse a duration, or device-hours."""
    found = _DEVICE_TIME.fullmatch(word)
    name = (word if found is None else found["time"]).lower()
    seconds = _DURATIONS.get(name) or _DURATIONS.get(name.removesuffix("s"))
    if not seconds:
        return None
    if found is None:
        return Budget(float(number * seconds), "seconds")
    return Budget(float(number * seconds * units.COUNT_PREFIXES[found["prefix"].upper()]), "device_seconds")


def _energy(number: Fraction, word: str, text: str) -> Budget | None:
    joules = _ENERGIES.get(word.lower())
    return Budget(float(number * joules), "joules") if joules else None


def _flops(number: Fraction, word: str, text: str) -> Budget | None:
    *prefixes, unit = word.split() or [""]
    if not unit.upper().rstrip("S").endswith("FLOP") or len(prefixes) > 1:
        return None
    prefix = "".join(prefixes) or unit.upper().rstrip("S").removesuffix("FLOP")
    factor = {**units.SI_PREFIXES, "B": 10**9}.get(prefix.upper())
    return Budget(units.positive_whole(number * factor, text), "flops") if factor else None


def _counted(number: Fraction, word: str, text: str) -> Budget | None:
    *prefixes, unit = word.split() or [""]
    if unit.lower().removesuffix("s") == "epoch" and not prefixes:
        return Budget(float(number), "epochs")
    counted = _COUNTED.get(unit.lower().removesuffix("s"))
    prefix = "".join(prefixes).upper()
    if not counted or len(prefixes) > 1 or prefix not in units.COUNT_PREFIXES:
        return None
    return Budget(units.positive_whole(number * units.COUNT_PREFIXES[prefix], text), counted)


@dataclass(frozen=True)
class Projection:
    """Where a run stands against a budget.

    The time left lies between `seconds_left_low` and `seconds_left_high` four times out of five.
    """

    budget: Budget
    fraction: float
    seconds_left: float | None
    seconds_left_low: float | None = None
    seconds_left_high: float | None = None


def project(
    budgets: Iterable[Budget],
    done: Mapping[str, float | None],
    time_left: Callable[[BudgetUnit, float], TimeLeft | None],
) -> list[Projection]:
    """Project every budget that can be measured; the one to be reached first comes first.

    Args:
        budgets: What bounds the run.
        done: Amount used so far, by unit; `None` where it is not known.
        time_left: How long so much more of a unit will take, `None` where nothing tells.

    Returns:
        A reached budget has zero seconds left; one without a pace has `None` and comes last.
    """
    projections = [
        _standing(budget, used, time_left) for budget in budgets if (used := done.get(budget.unit)) is not None
    ]
    return sorted(projections, key=lambda each: (each.seconds_left is None, each.seconds_left or 0.0, -each.fraction))


class Headline:
    """The budget that stands for all, the one that will be reached first; another takes its place only for sure.

    Of what is still to come, only estimates that say so in three windows in a row are sure.
    """

    def __init__(self) -> None:
        self._budget: Budget | None = None
        self._overtaken = 0

    def choose(self, projections: Sequence[Projection], *, settle: bool = True) -> Projection | None:
        """The projection to show.

        Args:
            projections: Of all budgets, the nearest first.
            settle: Whether paces are known well enough to stay with the choice.
        """
        kept = next((each for each in projections if each.budget == self._budget), None)
        sure = (each for each in projections if kept is not None and _comes_first_for_sure(each, kept))
        other = next(sure, None)
        self._overtaken = 0 if other is None else self._overtaken + 1
        if kept is not None and (other is None or self._is_too_early(other, kept)):
            return kept
        chosen = other or next(iter(projections), None)
        if settle and chosen is not None:
            self._budget, self._overtaken = chosen.budget, 0
        return chosen

    def _is_too_early(self, other: Projection, kept: Projection) -> bool:
        is_an_estimate = other.fraction < 1 and kept.seconds_left is not None
        return is_an_estimate and self._overtaken < _SURE_AFTER_WINDOWS


def _comes_first_for_sure(other: Projection, kept: Projection) -> bool:
    """Whether a budget is used up before the other, even if it comes late and the other one early."""
    if kept.fraction >= 1 or other.fraction >= 1:
        return kept.fraction < 1
    if kept.seconds_left is None:
        return other.seconds_left is not None
    if kept.seconds_left_low is None or other.seconds_left_high is None:
        return False
    return other.seconds_left_high < kept.seconds_left_low


def _standing(budget: Budget, used: float, time_left: Callable[[BudgetUnit, float], TimeLeft | None]) -> Projection:
    left = budget.amount - used
    if left <= 0:
        return Projection(budget, used / budget.amount, 0.0, 0.0, 0.0)
    time = time_left(budget.unit, left)
    if time is None:
        return Projection(budget, used / budget.amount, None)
    return Projection(budget, used / budget.amount, time.seconds, time.low, time.high)
