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
        seconds: Wall time that the run's processes have used so far.
    """

    def __init__(self, trainer: Any, budgets: tuple[Budget, ...], seconds: float) -> None:
        self.budgets = budgets or _trainers_budgets(trainer, seconds)
        self.last_step = next((budget.amount for budget in self.budgets if budget.unit == "steps"), None)

    def project(self, totals: Totals, step: int, recent: Iterable[Window]) -> Projection | None:
        """Where the run stands, at the pace of the recent windows."""
        done: dict[BudgetUnit, float | None] = {
            "flops": totals.flops,
            "tokens": totals.tokens,
            "samples": totals.samples,
            "steps": step,
            "seconds": totals.seconds,
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


def _trainers_budgets(trainer: Any, seconds: float) -> tuple[Budget, ...]:
    budgets = []
    steps = float(trainer.max_steps)
    if trainer.lightning_module.automatic_optimization and not _accumulation_varies(trainer):
        steps = float(trainer.estimated_stepping_batches)
    if 0 < steps < float("inf"):
        budgets.append(Budget(int(steps), "steps"))
    left = [each.time_remaining("train") for each in trainer.callbacks if type(each).__name__ == "Timer"]
    budgets += [Budget(seconds + each, "seconds") for each in left if each is not None]
    return tuple(budgets)


def _accumulation_varies(trainer: Any) -> bool:
    """Whether a GradientAccumulationScheduler changes the batches in a step, which Lightning's total misses."""
    return any(len(getattr(each, "scheduling", None) or ()) > 1 for each in trainer.callbacks)
