"""What bounds a run, its user's budgets or its Trainer's own limits, and when the nearest will be reached."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from flopwatch import units
from flopwatch.run import metrics
from flopwatch.run.budget import Budget, BudgetUnit, Projection, project
from flopwatch.run.projection import Pace, TimeLeft
from flopwatch.run.records import Totals, Window

_logger = logging.getLogger("flopwatch")
_OF_STEPS: tuple[BudgetUnit, ...] = ("flops", "tokens", "samples", "steps", "epochs")
_BY_PACE: tuple[BudgetUnit, ...] = (*_OF_STEPS, "joules")
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Spending:
    """What decides how budgets are used up.

    `devices` train at a time, one hour of one costs `usd_per_device_hour`; the model has so many `parameters`.
    """

    devices: int
    usd_per_device_hour: float | None = None
    parameters: int | None = None


class Bounds:
    """The budgets of one fit.

    Args:
        trainer: The Trainer, with its data loaders set up.
        budgets: The user's; without any, the Trainer's steps (`max_steps` or `max_epochs`) and `max_time` count.
        initial: The totals that this process goes on from.
        elapsed_seconds: Wall time of this process so far.
        spending: What the run spends.
    """

    def __init__(
        self, trainer: Any, budgets: tuple[Budget, ...], initial: Totals, elapsed_seconds: float, spending: Spending
    ) -> None:
        self.are_users = bool(budgets)
        self._initial, self._spending, self._speaks = initial, spending, trainer.is_global_zero
        self._epochs_before, self.batches_per_epoch = _epochs(trainer)
        seconds = initial.seconds + elapsed_seconds
        self.budgets = tuple(self._resolved(budgets)) or _trainers_budgets(trainer, seconds)
        self.last_step = next((budget.amount for budget in self.budgets if budget.unit == "steps"), None)
        self._foreseen = (*self.budgets, *(self._steps_of_trainer(trainer) if self.are_users else ()))
        self._paces = {each.unit: Pace() for each in self._foreseen if each.unit in _BY_PACE}

    def add(self, window: Window) -> None:
        """Learn from a window."""
        for unit, pace in self._paces.items():
            amount = self._amount(unit, window)
            if unit == "joules":
                pace.add(amount or 0.0, window.wall_seconds, {})
            else:
                pauses = window.pause_seconds
                pace.add(amount or 0.0, window.wall_seconds - sum(pauses.values()), pauses)

    def project(self, totals: Totals, step: int) -> list[Projection]:
        """Where the run stands against every budget, and the Trainer's `max_steps`, the nearest first."""
        return project(self._foreseen, self._done(totals, step), self._time_left)

    def steps_to_go(self, projection: Projection, totals: Totals, window: Window) -> int | None:
        """Steps until a budget of work is reached, at the amount of each step of a window; `None` where it is not."""
        budget = projection.budget
        if budget.unit not in _OF_STEPS or not window.steps:
            return None
        amount, done = self._amount(budget.unit, window), self._done(totals, window.step)[budget.unit]
        if not amount or done is None:
            return None
        return max(math.ceil((budget.amount - done) * window.steps / amount - _ROUNDING), 0)

    def seconds_to_go(self, elapsed_seconds: float) -> float:
        """Seconds until the first budget of time or of what time costs is reached."""
        totals = replace(
            self._initial,
            seconds=self._initial.seconds + elapsed_seconds,
            device_seconds=self._initial.device_seconds + elapsed_seconds * self._spending.devices,
        )
        done = self._done(totals, 0)
        left = (
            self._time_left(each.unit, each.amount - (done[each.unit] or 0.0))
            for each in self.budgets
            if each.unit in ("seconds", "device_seconds", "usd")
        )
        return min((each.seconds for each in left if each is not None), default=math.inf)

    def _resolved(self, budgets: tuple[Budget, ...]) -> Iterator[Budget]:
        """The budgets that this run can be held against."""
        for budget in budgets:
            if budget.unit == "epochs" and not self.batches_per_epoch:
                self._leave_out(budget, "the data loader does not report its length")
            elif budget.unit != "tokens_per_parameter":
                yield budget
            elif self._spending.parameters:
                yield Budget(int(budget.amount * self._spending.parameters), "tokens")
            else:
                self._leave_out(budget, "the number of parameters is unknown")

    def _steps_of_trainer(self, trainer: Any) -> tuple[Budget, ...]:
        if trainer.max_steps <= 0 or any(each.unit == "steps" for each in self.budgets):
            return ()
        return (Budget(int(trainer.max_steps), "steps"),)

    def _leave_out(self, budget: Budget, why: str) -> None:
        if self._speaks:
            _logger.warning("ignoring the budget of %s: %s", budget, why)

    def _done(self, totals: Totals, step: int) -> dict[str, float | None]:
        batches = totals.batches - self._initial.batches
        epochs = self._epochs_before + batches / self.batches_per_epoch if self.batches_per_epoch else None
        return metrics.used(totals, step, epochs=epochs, usd_per_device_hour=self._spending.usd_per_device_hour)

    def _amount(self, unit: BudgetUnit, window: Window) -> float | None:
        if unit == "epochs":
            return window.batches / self.batches_per_epoch if self.batches_per_epoch else None
        if unit == "joules":
            return metrics.joules(window)
        amount: int | None = getattr(window, unit)
        return amount

    def _time_left(self, unit: BudgetUnit, amount: float) -> TimeLeft | None:
        if unit in _BY_PACE:
            return self._paces[unit].left(amount)
        spending = self._spending
        price = spending.usd_per_device_hour or math.inf
        per_second = {"device_seconds": spending.devices, "usd": spending.devices * price / units.SECONDS_PER_HOUR}
        seconds = amount / per_second.get(unit, 1.0)
        return TimeLeft(seconds, seconds, seconds)


def _epochs(trainer: Any) -> tuple[float, int | None]:
    """Epochs that are done, and batches of one; none where a loader has no length."""
    batches = trainer.num_training_batches
    if not batches or batches == float("inf"):
        return 0.0, None
    return trainer.current_epoch + trainer.fit_loop.epoch_loop.batch_progress.current.ready / batches, int(batches)


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
