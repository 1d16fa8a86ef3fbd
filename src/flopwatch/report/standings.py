"""Where a run stands against its budgets, and when the rest will be used up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flopwatch.report.time_book import standing
from flopwatch.run import metrics, rates
from flopwatch.run.records import BudgetLine, BudgetShare, Window
from flopwatch.run.run_file import Segment


@dataclass(frozen=True)
class SecondsLeft:
    """The projection of a run that has not ended: to the budget that ends it first, from its last window on."""

    middle: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class BudgetStanding:
    """A budget, how much of it is used, and when the rest will be."""

    text: str
    amount: float
    unit: str
    fraction: float | None
    left: SecondsLeft | None = None


def standings(last: Segment) -> tuple[BudgetStanding, ...]:
    """The budgets of a run's last process, in the user's order."""
    totals, step, _ = standing(last)
    used = metrics.used(totals, step, epochs=_epochs(last), usd_per_device_hour=last.start.usd_per_device_hour)
    return tuple(
        BudgetStanding(each.text, each.amount, each.unit, rates.fraction(used.get(each.unit), each.amount), left)
        for each, left in zip(last.start.budgets, _all_left(last), strict=True)
    )


def standings_of(budgets: Sequence[BudgetLine], window: Window) -> tuple[BudgetStanding, ...]:
    """The budgets of a run at the end of a window; nothing in files of before all of them were written down."""
    return tuple(
        BudgetStanding(each.text, each.amount, each.unit, share.fraction, _left(share))
        for each, share in zip(budgets, window.budgets, strict=False)
    )


def seconds_left(last: Segment) -> SecondsLeft | None:
    """Time to the budget that will be reached first; `None` where the run has finished, or nothing tells."""
    return _left(last.windows[-1]) if last.windows and not _has_finished(last) else None


def _all_left(last: Segment) -> Iterator[SecondsLeft | None]:
    shares = last.windows[-1].budgets if last.windows and not _has_finished(last) else ()
    yield from (_left(each) for each in shares[: len(last.start.budgets)])
    yield from (None for _ in last.start.budgets[len(shares) :])


def _left(share: BudgetShare | Window) -> SecondsLeft | None:
    if share.seconds_left is None:
        return None
    return SecondsLeft(share.seconds_left, share.seconds_left_low, share.seconds_left_high)


def _has_finished(last: Segment) -> bool:
    return last.end is not None and last.end.status == "finished"


def _epochs(last: Segment) -> float | None:
    """Epochs done; files of before they were written down say how many batches the first one had."""
    ends = [last.end, *reversed(last.windows[-1:])]
    told = next((each.epochs for each in ends if each is not None and each.epochs is not None), None)
    if told is not None:
        return told
    return rates.fraction(standing(last)[0].counts.batches, last.start.batches_per_epoch)
