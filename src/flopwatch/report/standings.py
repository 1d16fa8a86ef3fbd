"""Where a run stands against its budgets, and when the rest will be used up."""

from __future__ import annotations

from dataclasses import dataclass

from flopwatch.report.time_book import standing
from flopwatch.run import metrics, rates
from flopwatch.run.run_file import Segment


@dataclass(frozen=True)
class SecondsLeft:
    """The projection of a run that has not ended: to its nearest budget, from its last window on."""

    middle: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class BudgetStanding:
    """A budget and how much of it is used."""

    text: str
    amount: float
    unit: str
    fraction: float | None


def standings(last: Segment) -> tuple[BudgetStanding, ...]:
    """The budgets of a run's last process, in the user's order."""
    totals, step, _ = standing(last)
    used = metrics.used(totals, step, epochs=_epochs(last), usd_per_device_hour=last.start.usd_per_device_hour)
    return tuple(
        BudgetStanding(each.text, each.amount, each.unit, rates.fraction(used.get(each.unit), each.amount))
        for each in last.start.budgets
    )


def seconds_left(last: Segment) -> SecondsLeft | None:
    """Time to the budget that will be reached first; `None` where the run has finished, or nothing tells."""
    window = last.windows[-1] if last.windows else None
    if window is None or window.seconds_left is None or (last.end is not None and last.end.status == "finished"):
        return None
    return SecondsLeft(window.seconds_left, window.seconds_left_low, window.seconds_left_high)


def _epochs(last: Segment) -> float | None:
    """Epochs done; files of before they were written down say how many batches the first one had."""
    ends = [last.end, *reversed(last.windows[-1:])]
    told = next((each.epochs for each in ends if each is not None and each.epochs is not None), None)
    if told is not None:
        return told
    return rates.fraction(standing(last)[0].batches, last.start.batches_per_epoch)
