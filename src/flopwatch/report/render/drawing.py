"""Charts as coordinates: whole parts of 100,000 of the axes, from which the page's script tells values again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from flopwatch import units
from flopwatch.report.render.axes import ticks, time_ticks
from flopwatch.report.render.charts import Chart, Line, Mark, Stack

SIZE = 100_000
_MOST_TICKS = 8  # across
_TICK_TOP = 93_000  # of validations and checkpoints, which stand at the bottom
_NARROWEST = 250  # a slow stretch that can be seen
_KINDS = ("restart", "validation", "checkpoint", "slow stretch", "note")
_FORMS: Mapping[str, Callable[[float], str]] = MappingProxyType(
    {
        "percent": units.format_percent,
        "share": units.format_percent,
        "count": units.format_count,
        "clock": units.format_clock,
        "flops": lambda value: units.format_si(value, "FLOPs"),
        "usd": units.format_usd,
        "plain": units.format_loss,
    }
)


@dataclass(frozen=True)
class Stroke:
    """An SVG path and its tone."""

    tone: str
    path: str


@dataclass(frozen=True)
class Key:
    """An entry of a legend; `has_values` where the script shows the value at the cursor."""

    name: str
    tone: str
    has_values: bool = False


@dataclass(frozen=True)
class Label:
    """Words at a place of an axis, in percent of its length."""

    at: str
    words: str


@dataclass(frozen=True)
class Drawing:
    """A chart as a template draws it."""

    chart: Chart
    keys: tuple[Key, ...]
    spoken: str
    grid: str
    bands: tuple[tuple[int, int, str], ...]
    ticks: tuple[Stroke, ...]
    areas: tuple[Stroke, ...]
    lines: tuple[Stroke, ...]
    values: tuple[Label, ...]
    across: tuple[Label, ...]
    notes: tuple[Label, ...]


def drawings(stack: Stack) -> tuple[Drawing, ...]:
    """Return the charts of a stack as coordinates; the words of its marks stand in the first one alone."""
    silent = [replace(mark, words="") for mark in stack.marks]
    return tuple(_drawing(chart, silent if place else stack.marks) for place, chart in enumerate(stack.charts))


def shared_keys(stack: Stack) -> tuple[Key, ...]:
    """Return the legend of the marks that all charts of a stack have."""
    found = {mark.kind for mark in stack.marks}
    return tuple(Key(kind, kind.replace(" ", "-")) for kind in _KINDS if kind in found)


def _drawing(chart: Chart, marks: Sequence[Mark]) -> Drawing:
    place = _Place(chart)
    keys = [Key(line.name, _tone(line), has_values=True) for line in chart.lines]
    values = ticks(chart.low, chart.high, 4)
    return Drawing(
        chart=chart,
        keys=(*keys, *(Key(area.name, f"{area.tone} area") for area in chart.areas)),
        spoken=_spoken(chart),
        grid="".join(f"M0 {place.y(value)}H{SIZE}" for value in values),
        bands=tuple(_band(place, mark) for mark in marks if mark.kind == "slow stretch"),
        ticks=tuple(
            Stroke(kind, "".join(f"M{place.x(mark.seconds)} {top}V{SIZE}" for mark in marks if mark.kind == kind))
            for kind, top in (("restart", 0), ("validation", _TICK_TOP), ("checkpoint", _TICK_TOP))
            if any(mark.kind == kind for mark in marks)
        ),
        areas=tuple(Stroke(area.tone, f"{place.path(area.corners)}Z") for area in chart.areas),
        lines=tuple(Stroke(_tone(line), place.of_line(line)) for line in chart.lines),
        values=tuple(Label(_percent(SIZE - place.y(value)), _FORMS[chart.form](value)) for value in values),
        across=tuple(Label(_percent(place.x(at)), words) for at, words in _ticks_across(chart)),
        notes=tuple(Label(_percent(place.x(mark.seconds)), mark.words) for mark in marks if mark.kind == "note"),
    )


def _ticks_across(chart: Chart) -> list[tuple[float, str]]:
    if chart.across == "time":
        return time_ticks(chart.until, _MOST_TICKS)
    return [(at, _FORMS[chart.across](at)) for at in ticks(0.0, chart.until, _MOST_TICKS)]


@dataclass(frozen=True)
class _Place:
    """Where in a chart's drawing a time, or what it is over else, and a value are."""

    chart: Chart

    def x(self, seconds: float) -> int:
        return round(seconds / self.chart.until * SIZE)

    def y(self, value: float) -> int:
        return round((1 - (value - self.chart.low) / (self.chart.high - self.chart.low)) * SIZE)

    def of_line(self, line: Line) -> str:
        """Draw a line or, as strokes of no length with round ends, dots."""
        if line.style != "dots":
            return self.path(line.points)
        return "".join(f"M{self.x(at)} {self.y(value)}h0" for at, value in line.points if value is not None)

    def path(self, points: Sequence[tuple[float, float | None]]) -> str:
        """Move to the first point and to that after a gap, draw to every other one."""
        words, pen = [], "M"
        for seconds, value in points:
            if value is not None:
                words.append(f"{pen}{self.x(seconds)} {self.y(value)}")
            pen = "M" if value is None else "L"
        return "".join(words)


def _band(place: _Place, mark: Mark) -> tuple[int, int, str]:
    return place.x(mark.seconds), max(place.x(mark.lasted), _NARROWEST), mark.words


def _tone(line: Line) -> str:
    return line.tone if line.style == "solid" else f"{line.tone} {line.style}"


def _percent(place: int) -> str:
    return f"{100 * place / SIZE:.2f}"


def _spoken(chart: Chart) -> str:
    """The chart for those who do not see it: the range of each line, and where it ends."""
    form, parts = _FORMS[chart.form], [chart.heading]
    for line in chart.lines:
        values = [value for _, value in line.points if value is not None]
        parts.append(f"{line.name} from {form(min(values))} to {form(max(values))}, last {form(values[-1])}")
    return f"{'; '.join(parts)}."
