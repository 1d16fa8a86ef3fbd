"""Warnings during a run, sent once, and again only after the problem went away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from flopwatch import units
from flopwatch.hardware.telemetry import REASONS
from flopwatch.run.budget import Budget, Projection

# A power cap is how a GPU that works hard is run; sync boost follows another GPU, which tells of itself.
_HEAT = ("software_thermal", "hardware_thermal", "hardware_power_brake", "hardware_slowdown")
_MUCH = 0.1
_SPENT = ("seconds", "device_seconds", "joules", "usd")
_WINDOWS_IN_A_ROW = 3


class _Lasting:
    """Tells once how long something has lasted, as soon as that is long enough.

    Args:
        seconds: How long it may last.
    """

    def __init__(self, seconds: float) -> None:
        self._limit = seconds
        self._lasted = 0.0
        self._told = False

    def add(self, bad: bool, seconds: float) -> float | None:
        """Add a stretch of time; returns for how long it has been bad, the first time that this is too long."""
        if not bad:
            self._lasted, self._told = 0.0, False
            return None
        self._lasted += seconds
        if self._told or self._lasted < self._limit:
            return None
        self._told = True
        return self._lasted


class LowMfu:
    """Warns when MFU has stayed below a bound for a given time.

    Args:
        bound: From 0 to 1; `None` for no alarm.
        seconds: How long it may be lower.
    """

    def __init__(self, bound: float | None, seconds: float) -> None:
        self._bound, self._lasting = bound, _Lasting(seconds)

    def add(self, mfu: float | None, seconds: float) -> str | None:
        """Add a window; returns what to say, if anything. A window without an MFU changes nothing."""
        if self._bound is None or mfu is None:
            return None
        lasted = self._lasting.add(mfu < self._bound, seconds)
        if lasted is None:
            return None
        low, bound = units.format_percent(mfu), units.format_percent(self._bound)
        return f"MFU has been below {bound} for {units.format_duration(lasted)}; it is {low} now"


class Heat:
    """Tells when heat, or the server's power brake, has held the clock down for so long.

    Args:
        seconds: How long it may.
    """

    def __init__(self, seconds: float) -> None:
        self._lasting = _Lasting(seconds)

    def add(self, throttled: Mapping[str, float] | None, seconds: float) -> str | None:
        """Add a window's shares of time; returns what to say, if anything. A window without them changes nothing."""
        if throttled is None:
            return None
        reason = max(_HEAT, key=lambda each: throttled.get(each, 0.0))
        share = throttled.get(reason, 0.0)
        lasted = self._lasting.add(share > _MUCH, seconds)
        if lasted is None:
            return None
        return (
            f"the GPUs have been throttled for {units.format_duration(lasted)} by {REASONS[reason]}"
            f" ({units.format_share(share)} of the last window); check their cooling and power"
        )


class MissedGoals:
    """Tells when time, energy or money will be used up before the work that they are for is done."""

    def __init__(self) -> None:
        self._windows: dict[Budget, int] = {}

    def new(self, projections: Sequence[Projection]) -> Iterator[str]:
        """What to say of goals that have been out of reach for three windows in a row.

        Args:
            projections: Of budgets and limits, the nearest first.
        """
        limit = next((each for each in projections if each.budget.unit in _SPENT and each.seconds_left), None)
        for goal in projections:
            if goal.budget.unit in _SPENT:
                continue
            missed = limit is not None and _is_missed(goal, limit)
            self._windows[goal.budget] = self._windows.get(goal.budget, 0) + 1 if missed else 0
            if limit is not None and self._windows[goal.budget] == _WINDOWS_IN_A_ROW:
                yield _missed_words(goal, limit)


def _is_missed(goal: Projection, limit: Projection) -> bool:
    """Whether the limit comes first even if it comes late and the goal comes early."""
    if goal.seconds_left_low is None or limit.seconds_left_high is None:
        return False
    return limit.seconds_left_high < goal.seconds_left_low


def _missed_words(goal: Projection, limit: Projection) -> str:
    goal_seconds, limit_seconds = goal.seconds_left or 0.0, limit.seconds_left or 0.0
    reached = goal.fraction + (1 - goal.fraction) * limit_seconds / goal_seconds
    missing = units.format_duration(goal_seconds - limit_seconds)
    words = f"the limit of {limit.budget} will be used up {missing} before {goal.budget} are done"
    return f"{words}, at {units.format_percent(reached)} of them"


class ReachedBudgets:
    """Reports every budget once, when it is reached."""

    def __init__(self) -> None:
        self._told: set[Budget] = set()

    def new(self, projections: Sequence[Projection]) -> Iterator[Budget]:
        """Return the budgets reached since the last call."""
        for each in projections:
            if each.fraction >= 1 and each.budget not in self._told:
                self._told.add(each.budget)
                yield each.budget
