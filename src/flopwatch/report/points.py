"""The windows of a run as points of its time line, and the losses along them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from flopwatch import units
from flopwatch.run import metrics, rates
from flopwatch.run.run_file import Run


@dataclass(frozen=True)
class Point:
    """One window in the time line; seconds are since the run's first start, `pauses` what kinds of them were in it.

    Totals and `usd`, what the run had cost, are those at its end. `loss` is the mean of its batches, `validation_loss`
    the last one in it.
    """

    seconds: float
    step: int
    mfu: float | None
    mfu_at_clock: float | None
    tokens_per_second: float | None
    total_flops: int | None
    sm_clock_hz: float | None
    first: bool
    throttled_frac: float | None = None
    budget_fraction: float | None = None
    pauses: tuple[str, ...] = ()
    samples_per_second: float | None = None
    total_tokens: int | None = None
    usd: float | None = None
    loss: float | None = None
    validation_loss: float | None = None


@dataclass(frozen=True)
class Losses:
    """The last losses that a run knows, and the lowest one of validation."""

    training: float | None
    validation: float | None
    lowest_validation: float | None


def points_of(run: Run) -> Iterator[Point]:
    """Yield the windows of steps that were kept, in order; all is paid at the last process's price."""
    started_at, price = run.segments[0].start.started_at, run.segments[-1].start.usd_per_device_hour
    for segment in run.segments:
        device = segment.start.device
        for window in segment.windows:
            hours = window.totals.device_seconds / units.SECONDS_PER_HOUR
            yield Point(
                seconds=window.ended_at - started_at,
                step=window.step,
                mfu=metrics.mfu(window, device),
                mfu_at_clock=metrics.mfu_at_clock(window, device),
                tokens_per_second=rates.per_second(window.counts.tokens, window.seconds),
                total_flops=window.totals.counts.flops,
                sm_clock_hz=window.sm_clock_hz,
                first=window.first,
                throttled_frac=window.throttled_frac,
                budget_fraction=window.budget_fraction,
                samples_per_second=rates.per_second(window.counts.samples, window.seconds),
                pauses=tuple(kind for kind, spent in window.pause_seconds.items() if spent > 0),
                total_tokens=window.totals.counts.tokens,
                usd=None if price is None else hours * price,
                loss=window.loss,
                validation_loss=window.validation_loss,
            )


def losses_of(points: Sequence[Point]) -> Losses:
    """Return the last losses along a run, and the lowest one of validation."""
    validation = [point.validation_loss for point in points if point.validation_loss is not None]
    return Losses(
        training=_last(point.loss for point in points),
        validation=_last(validation),
        lowest_validation=min(validation, default=None),
    )


def loss_over_flops(points: Sequence[Point]) -> list[tuple[int, float]]:
    """Return the training loss of each window at the model FLOPs that the run had done by its end."""
    along = ((point.total_flops, point.loss) for point in points)
    return [(flops, loss) for flops, loss in along if flops is not None and loss is not None]


def between(curve: Sequence[tuple[int, float]], flops: int) -> float | None:
    """Return the loss at an amount of FLOPs, on a straight line between two windows; `None` outside of them.

    Args:
        curve: As `loss_over_flops` returns it.
        flops: Model FLOPs since the run's start.
    """
    for (before, loss), (after, next_loss) in pairwise(curve):
        if before <= flops <= after:
            share = rates.fraction(flops - before, after - before)
            return next_loss if share is None else loss + share * (next_loss - loss)
    return curve[0][1] if len(curve) == 1 and curve[0][0] == flops else None


def _last(values: Iterable[float | None]) -> float | None:
    return next((value for value in reversed(list(values)) if value is not None), None)
