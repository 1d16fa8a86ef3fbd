"""What bounds a run, its user's budgets or its Trainer's own limits, and when the nearest will be reached."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from flopwatch import units
from flopwatch.lightning.apart import Apart
from flopwatch.lightning.output.epochs import Epochs
from flopwatch.run import metrics
from flopwatch.run.budget import Budget, BudgetUnit, Projection, project
from flopwatch.run.projection import Pace, TimeLeft
from flopwatch.run.records import Totals, Window

_logger = logging.getLogger("flopwatch")
_OF_STEPS: tuple[BudgetUnit, ...] = ("flops", "tokens", "samples", "steps", "epochs")
_BY_PACE: tuple[BudgetUnit, ...] = (*_OF_STEPS, "joules")
_SEEN_AT_EVERY_STEP: tuple[BudgetUnit, ...] = ("seconds", "device_seconds", "usd", "epochs")
_ROUNDING = 1e-9
_PROJECTING = "projecting the time left"


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
        budgets: The user's; without any, the Trainer's `max_steps`, `max_epochs` and `max_time` count.
        initial: The totals that this process goes on from.
        elapsed_seconds: Wall time of this process so far.
        spending: What the run spends.
    """

    def __init__(
        self, trainer: Any, budgets: tuple[Budget, ...], initial: Totals, elapsed_seconds: float, spending: Spending
    ) -> None:
        self.are_users = bool(budgets)
        self.epochs = Epochs(trainer)
        self._apart = Apart()
        self._initial, self._spending, self._speaks = initial, spending, trainer.is_global_zero
        seconds = initial.seconds + elapsed_seconds
        self.budgets = tuple(self._resolved(budgets)) or _trainers_budgets(trainer, seconds)
        self.last_step = next((budget.amount for budget in self.budgets if budget.unit == "steps"), None)
        self._foreseen = (*self.budgets, *(self._steps_of_trainer(trainer) if self.are_users else ()))
        self._paces = {each.unit: Pace() for each in self._foreseen if each.unit in _BY_PACE}
        self._epochs_before: float | None = None
        self._tell_unknown_length()

    def add(self, window: Window) -> None:
        """Learn from a window; the first one is warm-up."""
        for unit, pace in self._paces.items() if not window.first else ():
            self._apart.run(_PROJECTING, self._add_to, pace, unit, window)
        self._epochs_before = window.epochs

    def _add_to(self, pace: Pace, unit: BudgetUnit, window: Window) -> None:
        amount = self._amount(unit, window)
        if unit == "joules":
            pace.add(amount or 0.0, window.wall_seconds, {})
        else:
            pauses = window.pause_seconds
            pace.add(amount or 0.0, window.wall_seconds - sum(pauses.values()), pauses)

    def project(self, window: Window) -> list[Projection]:
        """Where the run stands against every budget, and the Trainer's `max_steps`, the nearest first."""
        return project(self._foreseen, self._done(window.totals, window.step, window.epochs), self._time_left)

    def steps_to_go(self, projection: Projection, window: Window) -> int | None:
        """Steps until a budget of work is reached, at the amount of each step of a window; `None` where it is not."""
        budget = projection.budget
        if budget.unit not in _OF_STEPS or not window.counts.steps:
            return None
        done = self._done(window.totals, window.step, window.epochs)[budget.unit]
        if budget.unit == "epochs":
            amount = self._epochs_ahead(budget, done, window)
        else:
            amount = self._amount(budget.unit, window)
        if not amount or done is None:
            return None
        return max(math.ceil((budget.amount - done) * window.counts.steps / amount - _ROUNDING), 0)

    def _epochs_ahead(self, budget: Budget, done: float | None, window: Window) -> float | None:
        """Epochs in as many batches as a window has, in the epoch that the budget ends within; no other is foreseen.

        Where one has just ended, the next one's length is not known yet.
        """
        length = self.epochs.length
        if done is None or not length or done.is_integer() or math.floor(done) != math.floor(budget.amount):
            return None
        return window.counts.batches / length

    def is_used_up(self, elapsed_seconds: float) -> bool:
        """Whether a user's budget of time, of what time costs, or of a part of an epoch is reached at this moment."""
        totals = replace(
            self._initial,
            seconds=self._initial.seconds + elapsed_seconds,
            device_seconds=self._initial.device_seconds + elapsed_seconds * self._spending.devices,
        )
        done = self._done(totals, 0, self.epochs.done())
        return any(
            (done[each.unit] or 0.0) >= each.amount * (1 - _ROUNDING)
            for each in (self.budgets if self.are_users else ())
            if each.unit in _SEEN_AT_EVERY_STEP and not ends_with_an_epoch(each)
        )

    def ends_here(self) -> bool:
        """Whether the epoch that has just ended reaches a user's budget of epochs; all ranks find the same."""
        done = self.epochs.done() if self.are_users else None
        return done is not None and any(done >= each.amount for each in self.budgets if each.unit == "epochs")

    def _resolved(self, budgets: tuple[Budget, ...]) -> Iterator[Budget]:
        """The budgets that this run can be held against."""
        for budget in budgets:
            if budget.unit != "tokens_per_parameter":
                yield budget
            elif self._spending.parameters:
                yield Budget(int(budget.amount * self._spending.parameters), "tokens")
            elif self._speaks:
                _logger.warning("ignoring the budget of %s: the number of parameters is unknown", budget)

    def _tell_unknown_length(self) -> None:
        budget = next((each for each in self.budgets if each.unit == "epochs"), None)
        if budget is not None and self.epochs.length is None and self._speaks:
            _logger.log(
                logging.WARNING if self.are_users else logging.INFO,
                "the data loader does not report its length: the used share of %s is known only after the first epoch",
                budget,
            )

    def _steps_of_trainer(self, trainer: Any) -> tuple[Budget, ...]:
        if trainer.max_steps <= 0 or any(each.unit == "steps" for each in self.budgets):
            return ()
        return (Budget(int(trainer.max_steps), "steps"),)

    def _done(self, totals: Totals, step: int, epochs: float | None) -> dict[str, float | None]:
        return metrics.used(totals, step, epochs=epochs, usd_per_device_hour=self._spending.usd_per_device_hour)

    def _amount(self, unit: BudgetUnit, window: Window) -> float | None:
        if unit == "epochs":
            before, now = self._epochs_before, window.epochs
            return None if before is None or now is None else now - before
        if unit == "joules":
            return metrics.joules(window)
        amount: int | None = getattr(window.counts, unit)
        return amount

    def _time_left(self, unit: BudgetUnit, amount: float) -> TimeLeft | None:
        if unit in _BY_PACE:
            return self._apart.run(_PROJECTING, self._paces[unit].left, amount)
        spending = self._spending
        price = spending.usd_per_device_hour or math.inf
        per_second = {"device_seconds": spending.devices, "usd": spending.devices * price / units.SECONDS_PER_HOUR}
        seconds = amount / per_second.get(unit, 1.0)
        return TimeLeft(seconds, seconds, seconds)


def ends_with_an_epoch(budget: Budget) -> bool:
    """Whether a budget is of whole epochs, so that the end of one ends it on all ranks."""
    return budget.unit == "epochs" and float(budget.amount).is_integer()


def _trainers_budgets(trainer: Any, seconds: float) -> tuple[Budget, ...]:
    """The Trainer's limits; epochs stay epochs, since how many steps one has can change until its end."""
    budgets = []
    if trainer.max_steps > 0:
        budgets.append(Budget(int(trainer.max_steps), "steps"))
    if (trainer.max_epochs or 0) > 0:
        budgets.append(Budget(float(trainer.max_epochs), "epochs"))
    left = [each.time_remaining("train") for each in trainer.callbacks if type(each).__name__ == "Timer"]
    budgets += [Budget(seconds + each, "seconds") for each in left if each is not None]
    return tuple(budgets)
