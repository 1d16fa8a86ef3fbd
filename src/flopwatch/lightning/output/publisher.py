"""What becomes of a complete window on the first rank: its projection, its record, its metrics, and whom it alarms."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from flopwatch.errors import in_words
from flopwatch.lightning.apart import Apart
from flopwatch.lightning.options import Options
from flopwatch.lightning.output.alarms import Heat, LowMfu, MissedGoals, ReachedBudgets
from flopwatch.lightning.output.fit_budgets import Bounds, ends_with_an_epoch
from flopwatch.lightning.output.run_output import Output
from flopwatch.lightning.output.windows import Closed, window_of
from flopwatch.lightning.ranks.ranks import Ranks
from flopwatch.run import clock, metrics
from flopwatch.run.budget import Headline, Projection
from flopwatch.run.metric_table import logger_metrics, name
from flopwatch.run.moment import Moment, hours
from flopwatch.run.records import BudgetShare, Device, Totals, Window

_logger = logging.getLogger("flopwatch")
_WINDOWS_AHEAD = 2


class Publisher:
    """Writes, logs and shows windows, and heeds budgets.

    Args:
        options: What the user asked for.
        trainer: The Trainer.
        output: Where numbers go.
        bounds: The budgets.
        ranks: The run's processes, which end at the same step where the user wants a budget to end training.
        started_at: When the run first started (unix seconds, by this process's clock).
    """

    def __init__(
        self,
        options: Options,
        trainer: Any,
        output: Output,
        bounds: Bounds,
        ranks: Ranks,
        started_at: float,
    ) -> None:
        self._options, self._trainer, self._output = options, trainer, output
        self._bounds, self._ranks = bounds, ranks
        self._started_at = started_at
        self._reached, self._missed = ReachedBudgets(), MissedGoals()
        self._low_mfu = LowMfu(options.alert_below_mfu, options.alert_after_seconds)
        self._heat = Heat(options.alert_after_seconds)
        self._doubted = False
        self._apart = Apart()
        self._headline = Headline()
        self._last: Window | None = None
        self._axis = 0

    def publish(
        self, closed: Closed, totals: Totals, device: Device, capacity_flops: float | None, step_now: int
    ) -> None:
        """Write the window down and, warm-up aside, log it and show it.

        Args:
            closed: The window's parts.
            totals: The run's totals at its end.
            device: The device and its peak.
            capacity_flops: What the run's devices could have done so far.
            step_now: The step that training has come to meanwhile.
        """
        window = window_of(closed, totals, self._ranks.world_size, self._apart)
        self._bounds.add(window)
        self._last, self._axis = window, closed.boundary.axis
        projections = self._projections(window)
        self._apart.run("heeding budgets", self._heed_budgets, projections, window, step_now)
        projection = self._headline.choose(projections, settle=not window.first)
        window = replace(_with_projection(window, projection), budgets=self._shares(projections))
        if not window.first:
            self._apart.run("judging budgets", self._judge_budgets, window)
        moment = self._moment(window, device, capacity_flops)
        values = self._apart.run("computing metrics", logger_metrics, moment, self._options.prefix) or {}
        self._output.window(moment, values, self._axis)
        if not window.first:
            self._apart.run("judging a window", self._judge, metrics.mfu(window, device), window, device)

    def conclude(self, epochs: float | None) -> None:
        """Log what is used of the epochs, and the time left, where one has ended without another step."""
        if self._last is None or epochs is None or epochs == self._last.epochs:
            return
        projections = self._projections(replace(self._last, epochs=epochs))
        self._tell_reached(projections, self._last.step)
        projection = self._headline.choose(projections)
        if projection is not None and projection.budget.unit == "epochs":
            values = {"budget/fraction": projection.fraction, "budget/hours_left": hours(projection.seconds_left)}
            known = {name(key, self._options.prefix): value for key, value in values.items() if value is not None}
            self._output.loggers.log_metrics(known, self._axis)

    def _moment(self, window: Window, device: Device, capacity_flops: float | None) -> Moment:
        return Moment(
            window=window,
            device=device,
            totals=window.totals,
            capacity_flops=capacity_flops,
            wall_seconds=clock.now() - self._started_at,
            usd_per_device_hour=self._options.usd_per_device_hour,
            kg_co2_per_kwh=self._options.kg_co2_per_kwh,
        )

    def _judge_budgets(self, window: Window) -> None:
        for missed in self._missed.new(self._bounds.project(window)):
            self._say(missed, "budget will be missed")

    def _judge(self, mfu: float | None, window: Window, device: Device) -> None:
        low = self._low_mfu.add(mfu, window.seconds)
        if low:
            self._say(low, "low MFU")
        heat = self._heat.add(window.throttled, window.seconds)
        if heat:
            self._say(heat, "throttled")
        doubt = metrics.doubt(mfu, device)
        if doubt and not self._doubted:
            self._doubted = True
            _logger.warning("%s", doubt)

    def _heed_budgets(self, projections: Sequence[Projection], window: Window, step_now: int) -> None:
        """Say that a budget of the user's is reached, and aim at the step that will reach it where it ends the run."""
        self._tell_reached(projections, window.step)
        if not self._bounds.are_users or self._options.on_budget != "stop":
            return
        for each in projections:
            if ends_with_an_epoch(each.budget):
                continue
            to_go = self._bounds.steps_to_go(each, window)
            if (to_go is not None and to_go <= _WINDOWS_AHEAD * window.counts.steps) or each.fraction >= 1:
                self._ranks.aim_to_stop(
                    window.step + (to_go or 0), step_now, window.wall_seconds / max(window.counts.steps, 1)
                )

    def _tell_reached(self, projections: Sequence[Projection], step: int) -> None:
        for budget in self._reached.new(projections) if self._bounds.are_users else ():
            self._say(f"the budget of {budget} is used up at step {step:,}", "budget used up")
            if callable(self._options.on_budget):
                self._call(self._options.on_budget, str(budget))

    def _projections(self, window: Window) -> list[Projection]:
        """Where the run stands against its budgets, the nearest first."""
        foreseen = self._apart.run("projecting budgets", self._bounds.project, window) or []
        return [each for each in foreseen if each.budget in self._bounds.budgets]

    def _shares(self, projections: Sequence[Projection]) -> tuple[BudgetShare, ...]:
        """What is used of every budget, in the user's order."""
        known = {each.budget: each for each in projections}
        return tuple(_share(known.get(budget)) for budget in self._bounds.budgets)

    def _call(self, function: Callable[[Any, str], None], budget: str) -> None:
        try:
            function(self._trainer, budget)
        except Exception as error:
            _logger.warning("on_budget failed: %s; training continues", in_words(error))

    def _say(self, message: str, title: str) -> None:
        """Tell whoever watches: the log, the run file, and W&B's alerts."""
        _logger.warning("%s", message)
        self._output.event(title, message)


def _with_projection(window: Window, projection: Projection | None) -> Window:
    share = _share(projection)
    return replace(
        window,
        budget_fraction=share.fraction,
        seconds_left=share.seconds_left,
        seconds_left_low=share.seconds_left_low,
        seconds_left_high=share.seconds_left_high,
    )


def _share(projection: Projection | None) -> BudgetShare:
    if projection is None:
        return BudgetShare()
    return BudgetShare(
        projection.fraction, projection.seconds_left, projection.seconds_left_low, projection.seconds_left_high
    )
