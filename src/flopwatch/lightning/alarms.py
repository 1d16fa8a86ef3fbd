"""What a person should hear of while a run goes on: a budget that is used up, an MFU that has been low for long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flopwatch import units
from flopwatch.budget import Budget, Projection


class LowMfu:
    """Tells once when the MFU has been below a bound for so long, and again after it has recovered.

    Args:
        bound: From 0 to 1; `None` for no alarm.
        seconds: How long it may be lower.
    """

    def __init__(self, bound: float | None, seconds: float) -> None:
        self._bound, self._seconds = bound, seconds
        self._low_seconds = 0.0
        self._told = False

    def add(self, mfu: float | None, wall_seconds: float) -> str | None:
        """Add a window; returns what to say, if anything. A window without an MFU changes nothing."""
        if self._bound is None or mfu is None:
            return None
        if mfu >= self._bound:
            self._low_seconds, self._told = 0.0, False
            return None
        self._low_seconds += wall_seconds
        if self._told or self._low_seconds < self._seconds:
            return None
        self._told = True
        low, bound = units.format_percent(mfu), units.format_percent(self._bound)
        return f"the MFU has been below {bound} for {units.format_duration(self._low_seconds)}; it is {low} now"


class ReachedBudgets:
    """Tells of each budget once when it is reached."""

    def __init__(self) -> None:
        self._told: set[Budget] = set()

    def new(self, projections: Sequence[Projection]) -> Iterator[Budget]:
        """Those that were reached since the last call."""
        for each in projections:
            if each.fraction >= 1 and each.budget not in self._told:
                self._told.add(each.budget)
                yield each.budget
