"""Budgets: what a run may use, how much of it is used, and when the rest will be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from flopwatch import units
from flopwatch.errors import QuantityError

BudgetUnit = Literal["flops", "tokens", "samples", "steps", "seconds"]

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
_COUNTED: dict[str, BudgetUnit] = {"token": "tokens", "sample": "samples", "step": "steps"}
_EXAMPLES = "'3.14e23 FLOPs', '1.4T tokens', '2M samples', '50K steps' or '2 days'"


@dataclass(frozen=True)
class Budget:
    """An amount of something; FLOPs, tokens, samples and steps are whole, seconds may be broken."""

    amount: float
    unit: BudgetUnit

    def __str__(self) -> str:
        if self.unit == "flops":
            return units.format_si(self.amount, "FLOPs")
        if self.unit == "seconds":
            return units.format_duration(self.amount)
        return f"{units.format_count(self.amount)} {self.unit}"


def parse_budget(text: str) -> Budget:
    """Read a budget as a person writes it.

    "3.14e23 FLOPs", "314 ZFLOPs", "1.4T tokens", "300B tokens", "2M samples", "50K steps", "36 h" and "2 days" are
    understood; whole amounts are kept exactly.

    Raises:
        QuantityError: If the number is missing, not positive or too large, or the unit is none of these.
    """
    try:
        number, word = units.split_number(text)
    except QuantityError:
        raise QuantityError(f"expected a budget like {_EXAMPLES}, got {text[:100]!r}") from None
    if number <= 0:
        raise QuantityError(f"expected a positive budget like {_EXAMPLES}, got {text!r}")
    duration = _DURATIONS.get(word.lower()) or _DURATIONS.get(word.lower().removesuffix("s"))
    if duration:
        return Budget(float(number * duration), "seconds")
    *prefixes, unit = word.split() or [""]
    if unit.upper().rstrip("S").endswith("FLOP") and len(prefixes) <= 1:
        prefix = "".join(prefixes) or unit.upper().rstrip("S").removesuffix("FLOP")
        known = {**units.SI_PREFIXES, "B": 10**9}
        if prefix.upper() in known:
            return Budget(units.positive_whole(number * known[prefix.upper()], text), "flops")
    counted = _COUNTED.get(unit.lower().removesuffix("s"))
    prefix = "".join(prefixes).upper()
    if counted and len(prefixes) <= 1 and prefix in units.COUNT_PREFIXES:
        return Budget(units.positive_whole(number * units.COUNT_PREFIXES[prefix], text), counted)
    raise QuantityError(f"expected a budget like {_EXAMPLES}, got {text!r}")


@dataclass(frozen=True)
class Projection:
    """Where a run stands against the budget that it will reach first."""

    budget: Budget
    fraction: float
    seconds_left: float | None


def project(
    budgets: Iterable[Budget], done: dict[BudgetUnit, float | None], per_wall_second: dict[BudgetUnit, float | None]
) -> Projection | None:
    """Project every budget and return the one to be reached first.

    Args:
        budgets: What bounds the run.
        done: Amount used so far, by unit; `None` where it is not known.
        per_wall_second: Recent use per second of wall time, validation and checkpoints included.

    Returns:
        The projection with the least time left, `None` if no budget can be measured. A reached budget has zero seconds
        left; one without a rate has `None`.
    """
    projections = [
        Projection(budget, used / budget.amount, _seconds_left(budget, used, per_wall_second.get(budget.unit)))
        for budget in budgets
        if (used := done.get(budget.unit)) is not None
    ]
    if not projections:
        return None
    return min(projections, key=lambda each: (each.seconds_left is None, each.seconds_left or 0.0, -each.fraction))


def _seconds_left(budget: Budget, used: float, rate: float | None) -> float | None:
    left = budget.amount - used
    if left <= 0:
        return 0.0
    return left / rate if rate and rate > 0 else None
