"""The charts of losses: over what they cost, of one run and of several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from flopwatch import units
from flopwatch.report.comparison import Entry
from flopwatch.report.points import Point
from flopwatch.report.render.charts import MOST_LINES, MOST_OF_A_RUN, MOST_POINTS, Chart, Line, Stack, series
from flopwatch.report.report import Report

_BEGINNING = 0.1  # of a run, whose losses need not fit on the axis
_TALLEST = 3.0  # times what comes after it; a higher one is cut off
_MARGIN = 0.05  # of the axis, below the lowest loss and above the highest


@dataclass(frozen=True)
class _Cost:
    """What losses are over: its words, its form, and how much of it had been spent at a point."""

    words: str
    form: str
    spent: Callable[[Point], float | None]


_FLOPS = _Cost("model FLOPs", "flops", lambda point: point.total_flops)
_TOKENS = _Cost("tokens", "count", lambda point: point.total_tokens)
_USD = _Cost("cost", "usd", lambda point: point.usd)
_TIME = _Cost("time", "time", lambda point: point.seconds)


def loss_charts(report: Report) -> tuple[Stack, ...]:
    """Chart the losses over FLOPs or, where they are unknown, tokens, and over dollars or, without a price, time."""
    work = next(_drawn(report.points, (_FLOPS, _TOKENS)), None)
    spent = next(_drawn(report.points, (_USD, _TIME)), None)
    return tuple(Stack((chart,)) for chart in (work, spent) if chart is not None)


def loss_overlay(entries: Sequence[Entry]) -> Stack | None:
    """Chart the training loss of runs over model FLOPs, each in the colour that its MFU has."""
    shown = [entry for entry in entries if entry.points][:MOST_LINES]
    lines = [
        Line(entry.name, f"run{place}", _losses(entry.points, _FLOPS, _training, MOST_OF_A_RUN))
        for place, entry in enumerate(shown)
    ]
    chart = _chart(_FLOPS, lines)
    return None if chart is None else Stack((chart,))


def _drawn(points: Sequence[Point], costs: Sequence[_Cost]) -> Iterator[Chart]:
    for cost in costs:
        training = Line("training loss", "training-loss", _losses(points, cost, _training))
        validation = Line("validation loss", "validation", _losses(points, cost, _validation), "dots")
        chart = _chart(cost, [training, validation])
        if chart is not None:
            yield chart


def _training(point: Point) -> float | None:
    return point.loss


def _validation(point: Point) -> float | None:
    return point.validation_loss


def _losses(
    points: Sequence[Point], cost: _Cost, loss: Callable[[Point], float | None], most: int = MOST_POINTS
) -> tuple[tuple[float, float | None], ...]:
    return series(points, loss, most, cost.spent)


def _chart(cost: _Cost, lines: Sequence[Line]) -> Chart | None:
    """Make a chart of the lines that have more than a point, and of dots; `None` where there is none."""
    drawn = tuple(line for line in lines if len(_known(line)) > (0 if line.style == "dots" else 1))
    until = max((at for line in drawn for at, _ in _known(line)), default=0.0)
    if until <= 0 or all(len(_known(line)) < 2 for line in drawn):
        return None
    low, high = _axis(drawn)
    highest = max(loss for line in drawn for _, loss in _known(line))
    above = f" (up to {units.format_loss(highest)} at first)" if highest > high else ""
    return Chart(f"Loss over {cost.words}{above}", "plain", drawn, until, high, low, across=cost.form)


def _axis(lines: Sequence[Line]) -> tuple[float, float]:
    """The ends of an axis on which what comes after the beginnings can be seen, however high those were."""
    values = [loss for line in lines for _, loss in _known(line)]
    later = [loss for line in lines for loss in _after_beginning(_known(line))]
    low, high, settled = min(values), max(values), max(later)
    if high - low > _TALLEST * (settled - low) > 0:
        high = settled
    margin = _MARGIN * ((high - low) or abs(low) or 1.0)
    return low - margin, high + margin


def _after_beginning(points: Sequence[tuple[float, float]]) -> list[float]:
    first, last = points[0][0], points[-1][0]
    return [loss for at, loss in points if at >= first + _BEGINNING * (last - first)]


def _known(line: Line) -> list[tuple[float, float]]:
    return [(at, loss) for at, loss in line.points if loss is not None]
