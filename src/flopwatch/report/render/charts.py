"""What the charts of the page show: lines over time, and the marks that are common to all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from flopwatch import units
from flopwatch.report.anomalies import Dip
from flopwatch.report.comparison import Entry
from flopwatch.report.points import Point
from flopwatch.report.render.axes import upper_end
from flopwatch.report.render.document import BUDGETS, TIME_LINE
from flopwatch.report.render.efficiency import unusual_lines
from flopwatch.report.report import Report

MOST_POINTS = 1000  # of a line
_MOST_PROCESSES = 100  # beyond as many the gaps between them cannot be seen
MOST_LINES, MOST_OF_A_RUN = 12, 500  # of a comparison
_MOST_MARKS, _LONGEST = 100, 300
_PAUSES = ("validation", "checkpoint")
_SAME_SHARE = 0.02  # what a run does after its last window
_TELLING_SHARE = 0.1  # of a chart's height; a line below would read as zero

Series = tuple[tuple[float, float | None], ...]
Style = Literal["solid", "dashed", "dots"]


@dataclass(frozen=True)
class Line:
    """A named line of (seconds since the start or another amount, value), with a gap where the value is `None`.

    `tone` is the name of its colour in the page's style; of dots each value stands alone.
    """

    name: str
    tone: str
    points: Series
    style: Style = "solid"


@dataclass(frozen=True)
class Area:
    """A named area between corners."""

    name: str
    tone: str
    corners: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Mark:
    """Something that happened: from when on, for how long, in which words."""

    kind: str
    seconds: float
    words: str = ""
    lasted: float = 0.0


@dataclass(frozen=True)
class Chart:
    """Lines from zero to `until`, between `low` and `high`.

    `form` is how values are written, `across` what they are over: time, or an amount in one of the forms.
    """

    heading: str
    form: str
    lines: tuple[Line, ...]
    until: float
    high: float
    low: float = 0.0
    areas: tuple[Area, ...] = ()
    across: str = "time"


@dataclass(frozen=True)
class Stack:
    """Charts with a horizontal axis in common, one above the other, and the marks that all of them have."""

    charts: tuple[Chart, ...]
    marks: tuple[Mark, ...] = ()


def charts(report: Report) -> Mapping[str, Stack]:
    """Return the charts over time that have something to show, by the heading of the section that they belong to."""
    over_time = [_mfu(report), _pace(report), _clock(report), _throttled(report), _flops(report)]
    drawn = tuple(chart for chart in over_time if chart is not None)
    budget = _budget(report)
    found = {TIME_LINE: Stack(drawn, tuple(_marks(report)))} if drawn else {}
    return {**found, **({BUDGETS: Stack((budget,))} if budget is not None else {})}


def overlay(entries: Sequence[Entry]) -> Stack | None:
    """Chart the MFU of runs over the time since their start, for as many runs as a reader can distinguish."""
    shown = [entry for entry in entries if entry.points][:MOST_LINES]
    lines = [
        Line(entry.name, f"run{place}", points)
        for place, entry in enumerate(shown)
        if (points := _steady(entry.points, lambda point: point.mfu, MOST_OF_A_RUN))
    ]
    heading, known = "MFU", sum(bool(entry.points) for entry in entries)
    if known > len(shown):
        heading += f" of the first {len(shown)} of {known} runs with a timeline"
    chart = _chart(heading, "percent", lines, max((entry.points[-1].seconds for entry in shown), default=0.0))
    return None if chart is None else Stack((chart,))


def thinned(points: Sequence[tuple[float, float]], most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """Return a limited number of points, including the lowest and highest of every stretch."""
    if len(points) <= most:
        return list(points)
    stretch = -(-len(points) * 2 // most)
    kept = []
    for first in range(0, len(points), stretch):
        part = points[first : first + stretch]
        low, high = min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])
        kept += [low] if low == high else sorted((low, high))
    return kept


def _mfu(report: Report) -> Chart | None:
    lines = [
        Line("MFU", "mfu", _steady(report.points, lambda point: point.mfu)),
        Line("MFU at clock", "mfu-at-clock", _steady(report.points, lambda point: point.mfu_at_clock)),
    ]
    return _chart("MFU", "percent", lines, _longest(report))


def _pace(report: Report) -> Chart | None:
    """Tokens a second or, where batches have none, samples."""
    tokens = Line("tokens/s", "pace", _steady(report.points, lambda point: point.tokens_per_second or None))
    if tokens.points:
        return _chart("Tokens per second", "count", [tokens], _longest(report))
    samples = Line("samples/s", "pace", _steady(report.points, lambda point: point.samples_per_second or None))
    return _chart("Samples per second", "count", [samples], _longest(report))


def _clock(report: Report) -> Chart | None:
    """The clock and the one that the peak is for, on an axis that ends around them."""
    points = _steady(report.points, lambda point: point.sm_clock_hz)
    lines = [Line("SM clock", "clock", points)]
    boost = report.device.boost_clock_hz
    if boost is not None and points:
        lines.append(Line("the peak's clock", "reference", ((0.0, boost), (_longest(report), boost)), style="dashed"))
    known = [value for line in lines for _, value in line.points if value is not None]
    low = 0.9 * min(known, default=0.0)
    return _chart("SM clock", "clock", lines, _longest(report), low=low, high=1.05 * max(known, default=0.0))


def _throttled(report: Report) -> Chart | None:
    line = Line("time throttled", "throttled", _steady(report.points, lambda point: point.throttled_frac))
    return _chart("Time throttled", "share", [line], _longest(report), high=1.0)


def _flops(report: Report) -> Chart | None:
    """FLOPs so far and, where it is near enough to be seen beside them, their budget."""
    points = series(report.points, lambda point: point.total_flops)
    lines = [Line("model FLOPs so far", "useful", points)]
    reached = max((value for _, value in points if value is not None), default=0.0)
    for budget in report.budgets:
        if budget.unit == "flops" and reached >= _TELLING_SHARE * budget.amount:
            ends = ((0.0, budget.amount), (_longest(report), budget.amount))
            lines.append(Line(f"budget of {budget.text}", "reference", ends, style="dashed"))
    return _chart("Model FLOPs so far", "flops", lines, _longest(report))


def _budget(report: Report) -> Chart | None:
    """The share of the budget that ends the run first and, where the run has not ended, when it will be used up."""
    points = series(report.points, lambda point: point.budget_fraction)
    lines, until = [Line("used", "mfu", points)], _longest(report)
    areas: tuple[Area, ...] = ()
    left = report.seconds_left
    if left is not None and points:
        at, used = until, report.points[-1].budget_fraction or 0.0
        until += left.high or left.middle
        areas = _fan(report, at, used)
        lines.append(Line("projected", "reference", ((at, used), (at + left.middle, 1.0)), style="dashed"))
    most = max((value for _, value in points if value is not None), default=0.0)
    high = 1.0 if most <= 1 and (left is not None or most >= _TELLING_SHARE) else None
    return _chart(f"Share used of {_first_budget(report)}", "share", lines, until, high=high, areas=areas)


def _fan(report: Report, at: float, used: float) -> tuple[Area, ...]:
    left = report.seconds_left
    if left is None or left.low is None or left.high is None or left.low == left.high:
        return ()
    return (Area("80% interval", "mfu", ((at, used), (at + left.low, 1.0), (at + left.high, 1.0))),)


def _first_budget(report: Report) -> str:
    """The name of the budget that runs out first, whose share the windows tell; in words where it cannot be told."""
    timed = [(each.left.middle, each.text) for each in report.budgets if each.left is not None]
    if timed:
        return min(timed)[1]
    told = report.points[-1].budget_fraction if report.points else None
    for each in report.budgets:
        if each.fraction is not None and told is not None and abs(each.fraction - told) <= _SAME_SHARE:
            return each.text
    return "the budget that runs out first"


def _marks(report: Report) -> list[Mark]:
    """Restarts, validations, checkpoints, slow stretches and notes, of very many only some."""
    began = report.started_at
    dips = list(zip(report.anomalies.dips, unusual_lines(report), strict=False))
    ends = {point.step: point.seconds for point in report.points}
    found = [
        [Mark("restart", each.started_at - began) for each in report.each_process[1:]],
        *([Mark(kind, each.seconds) for each in report.points if kind in each.pauses] for kind in _PAUSES),
        [
            Mark("slow stretch", dip.started_at - began, words, _lasted(dip, ends.get(dip.last_step), began))
            for dip, words in dips
        ],
        [Mark("note", event.time - began, event.message[:_LONGEST]) for event in report.events],
    ]
    within = [[mark for mark in marks if 0 <= mark.seconds <= _longest(report)] for marks in found]
    return [mark for marks in within for mark in marks[:: max(-(-len(marks) // _MOST_MARKS), 1)]]


def _lasted(dip: Dip, end: float | None, began: float) -> float:
    """Seconds from a dip's start to its end, pauses included, where its last window is known."""
    return dip.seconds if end is None else max(end - (dip.started_at - began), 0.0)


def _chart(
    heading: str,
    form: str,
    lines: Sequence[Line],
    until: float,
    low: float = 0.0,
    high: float | None = None,
    areas: tuple[Area, ...] = (),
) -> Chart | None:
    """Make a chart of the lines that are lines; `None` where there is none."""
    drawn = tuple(line for line in lines if len([value for _, value in line.points if value is not None]) > 1)
    if not drawn or until <= 0:
        return None
    highest = max(value for line in drawn for _, value in line.points if value is not None)
    return Chart(heading, form, drawn, until, upper_end(highest) if high is None else high, low, areas)


def _longest(report: Report) -> float:
    return report.points[-1].seconds if report.points else 0.0


def _steady(points: Sequence[Point], value: Callable[[Point], float | None], most: int = MOST_POINTS) -> Series:
    """Return the values of all windows except the first of every process."""
    return series(points, lambda point: None if point.first else value(point), most)


def series(
    points: Sequence[Point],
    value: Callable[[Point], float | None],
    most: int = MOST_POINTS,
    across: Callable[[Point], float | None] = lambda point: point.seconds,
) -> Series:
    """Return values over time, or another amount, with a gap wherever no process ran."""
    processes: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point.first:
            processes.append([])
        x, y = across(point), value(point)
        if x is not None and y is not None and units.number(float(y)) is not None:
            processes[-1].append((float(x), float(y)))
    processes = [each for each in processes if each]
    if len(processes) > _MOST_PROCESSES:
        processes = [[point for process in processes for point in process]]
    found: list[tuple[float, float | None]] = []
    for process in processes:
        found += [(process[0][0], None)] if found else []
        found += thinned(process, most // len(processes))
    return tuple(found)
