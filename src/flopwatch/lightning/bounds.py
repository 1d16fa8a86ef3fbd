"""What bounds a run, its user's budgets or its Trainer's own limits, and when the nearest will be reached."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flopwatch import rates
from flopwatch.budget import Budget, BudgetUnit, Projection, project
from flopwatch.records import Totals, Window


class Bounds:
    """The budgets of one fit.

    Args:
        trainer: The Trainer, with its data loaders set up.
        budgets: The user's; without any, the Trainer's steps (`max_steps` or `max_epochs`) and `max_time` count.
    """

    def __init__(self, trainer: Any, budgets: tuple[Budget, ...]) -> None:
        self._timer = None if budgets else _timer(trainer)
        self.budgets = budgets or _trainers_budgets(trainer, self._timer)
        self.last_step = next((budget.amount for budget in self.budgets if budget.unit == "steps"), None)

    def project(self, totals: Totals, step: int, devices: int, recent: Iterable[Window]) -> Projection | None:
        """Where the run stands, at the pace of the recent windows."""
        seconds = totals.device_seconds / devices
        if self._timer is not None:
            seconds = float(self._timer.time_elapsed("train"))
        done: dict[BudgetUnit, float | None] = {
            "flops": totals.flops,
            "tokens": totals.tokens,
            "samples": totals.samples,
            "steps": step,
            "seconds": seconds,
        }
        return project(self.budgets, done, recent_rates(list(recent)))


def recent_rates(windows: list[Window]) -> dict[BudgetUnit, float | None]:
    """Use per second of wall time, with the validation and the checkpoints that fell into the windows."""
    seconds = sum(window.wall_seconds for window in windows)

    def rate(amounts: list[int | None]) -> float | None:
        known = [amount for amount in amounts if amount is not None]
        return rates.per_second(sum(known), seconds) if known and len(known) == len(amounts) else None

    return {
        "flops": rate([window.flops for window in windows]),
        "tokens": rate([window.tokens for window in windows]),
        "samples": rate([window.samples for window in windows]),
        "steps": rate([window.steps for window in windows]),
        "seconds": 1.0,
    }


def _timer(trainer: Any) -> Any | None:
    timers = (each for each in trainer.callbacks if type(each).__name__ == "Timer")
    return next((each for each in timers if each.time_remaining("train") is not None), None)


def _trainers_budgets(trainer: Any, timer: Any | None) -> tuple[Budget, ...]:
    budgets = []
    steps = float(trainer.max_steps)
    if trainer.lightning_module.automatic_optimization:
        steps = float(trainer.estimated_stepping_batches)
    if 0 < steps < float("inf"):
        budgets.append(Budget(int(steps), "steps"))
    if timer is not None:
        budgets.append(Budget(timer.time_elapsed("train") + timer.time_remaining("train"), "seconds"))
    return tuple(budgets)
