"""What a check found: a line that passed, failed, or cannot be had on this machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Outcome = Literal["pass", "fail", "not here"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
Value = int | float | str | None
AT_MOST, AT_LEAST = " at most", " at least"


@dataclass(frozen=True)
class CheckLine:
    """One line.

    Attributes:
        name: What was checked.
        outcome: How it went.
        expected: What had to come, in the unit below; `None` where nothing was compared.
        found: What came.
        words: What a reader should know beside, or why there is nothing here.
        unit: A base unit, "share" for a fraction, or nothing for texts and counts; behind it " at most" or " at least"
            where `expected` is a limit.
    """

    name: str
    outcome: Outcome
    expected: Value = None
    found: Value = None
    words: str = ""
    unit: str = ""


def compared(name: str, holds: bool, *, expected: Value, found: Value, words: str = "", unit: str = "") -> CheckLine:
    """Return a line that passes if something holds."""
    return CheckLine(name, "pass" if holds else "fail", expected, found, words, unit)


def between(name: str, found: float, *, least: float, most: float, words: str = "", unit: str = "") -> CheckLine:
    """Return a line that passes if a number is neither too low nor too high; it tells the limit that counts.

    Args:
        name: Of the line.
        found: The number.
        least: The lowest that passes.
        most: The highest that passes.
        words: What a reader should know beside.
        unit: Of all three.
    """
    limit, which = (least, AT_LEAST) if found < least else (most, AT_MOST)
    return compared(name, least <= found <= most, expected=limit, found=found, words=words, unit=f"{unit}{which}")


def not_here(name: str, why: str) -> CheckLine:
    """Return a line that says why something cannot be checked on this machine."""
    return CheckLine(name, "not here", words=why)


def is_near(found: float, expected: float, tolerance: float) -> bool:
    """Return whether two numbers differ by at most a fraction of the expected one."""
    return abs(found - expected) <= tolerance * abs(expected)


def counts(lines: Sequence[CheckLine]) -> dict[Outcome, int]:
    """Return how many lines had each outcome."""
    found = Counter(line.outcome for line in lines)
    return {outcome: found[outcome] for outcome in OUTCOMES}
