"""The charts of the HTML report. The only user of plotly."""

from __future__ import annotations

import html
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import plotly.io
import plotly.offline

from flopwatch import units
from flopwatch.report.comparison import Entry
from flopwatch.report.render.efficiency import part_words, unusual_lines
from flopwatch.report.report import Point, Report

_MOST_POINTS = 2000
_MOST_LINES, _MOST_EVENTS = 12, 200
_COLOURS = {
    "mfu": "#0072B2",
    "mfu_at_clock": "#D55E00",
    "flops": "#009E73",
    "tokens": "#56B4E9",
    "clock": "#CC79A7",
    "throttled": "#E69F00",
    "budget": "#888888",
    "loss": "#D55E00",
}
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#888888", "#B8A900")
_GRID = "rgba(128,128,128,.25)"
_CONFIG = {"displayModeBar": False, "responsive": True}

Series = Sequence[tuple[float, float | None]]


def script() -> str:
    """What the charts need to be drawn, to be written into the page."""
    return str(plotly.offline.get_plotlyjs())


def charts(report: Report) -> list[tuple[str, str]]:
    """Heading and HTML of every chart that has something to show."""
    drawn = (
        ("Where the peak went", _waterfall(report)),
        ("MFU over time", _mfu(report)),
        ("Tokens per second", _tokens(report)),
        ("SM clock and throttling", _clock(report)),
        ("FLOPs so far", _flops(report)),
        ("The budget", _budget(report)),
    )
    return [(heading, chart) for heading, chart in drawn if chart is not None]


def overlay(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """Chart the MFU of runs over the time since their start, for as many runs as a reader can distinguish."""
    shown = [entry for entry in entries if entry.points][:_MOST_LINES]
    longest = max((entry.points[-1].seconds for entry in shown), default=0.0)
    lines = []
    for place, entry in enumerate(shown):
        points = _series(entry.points, lambda point: None if point.first else point.mfu, longest)
        name = html.escape(entry.name)
        if points:
            lines.append(_line(name, _PALETTE[place % len(_PALETTE)], points, f"%{{y:.2%}}<extra>{name}</extra>"))
    axis = {"title": {"text": "MFU"}, "tickformat": ".1~%", "rangemode": "tozero"}
    heading = "MFU over time"
    if len(entries) > len(shown):
        heading += f", for the first {len(shown)} of {len(entries)} runs with a timeline"
    return [(heading, _chart(longest, lines, axis))] if lines else []


def thinned(points: Sequence[tuple[float, float]], most: int = _MOST_POINTS) -> list[tuple[float, float]]:
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


def _waterfall(report: Report) -> str | None:
    """From all that the devices could have done, loss by loss, to what was useful."""
    total = sum(part.flops or 0 for part in report.parts)
    kinds = [part for part in report.parts if part.kind != "useful"]
    if total <= 0 or len(kinds) == len(report.parts):
        return None
    shares = [(part.flops or 0) / total for part in kinds]
    useful = 1 - sum(shares)
    lowest = min(0.0, useful, *(1 - each for each in itertools.accumulate(shares)))
    highest = max(1.0, *(1 - each for each in itertools.accumulate(shares)))
    names = [
        "full peak",
        *(part_words(part.kind, short=True) for part in kinds),
        part_words("useful", short=True),
    ]
    trace = {
        "type": "waterfall",
        "orientation": "h",
        "measure": ["absolute", *(["relative"] * len(kinds)), "total"],
        "y": names,
        "x": [1.0, *(-share for share in shares), useful],
        "text": ["100%", *(units.format_share(share) for share in shares), units.format_share(useful)],
        "textposition": "outside",
        "cliponaxis": False,
        "hovertemplate": "%{y}: %{text}<extra></extra>",
        "decreasing": {"marker": {"color": _COLOURS["loss"]}},
        "increasing": {"marker": {"color": _COLOURS["throttled"]}},
        "totals": {"marker": {"color": _COLOURS["flops"]}},
        "connector": {"line": {"color": _GRID}},
    }
    layout = {
        **_layout(height=60 + 34 * len(names)),
        "xaxis": {"tickformat": ".0%", "range": [lowest * 1.2, highest * 1.12], "gridcolor": _GRID, "fixedrange": True},
        "yaxis": {"autorange": "reversed", "automargin": True, "fixedrange": True},
        "showlegend": False,
        "hovermode": "closest",
    }
    return _figure([trace], layout)


def _mfu(report: Report) -> str | None:
    lines = []
    for name, key in (("MFU", "mfu"), ("MFU at clock", "mfu_at_clock")):
        points = _steady(report, key)
        if points:
            lines.append(_line(name, _COLOURS[key], points, f"%{{y:.2%}}<extra>{name}</extra>"))
    if not lines:
        return None
    marks = [*_pauses(report), *_events(report)]
    axis = {"title": {"text": "MFU"}, "tickformat": ".1~%", "rangemode": "tozero"}
    return _chart(_longest(report), [*lines, *marks], axis, shapes=_restarts(report))


def _tokens(report: Report) -> str | None:
    points = _steady(report, "tokens_per_second")
    if not points:
        return None
    line = _line("tokens/s", _COLOURS["tokens"], points, "%{y:.4s} tokens/s<extra></extra>")
    return _chart(_longest(report), [line], {"title": {"text": "tokens per second"}, "rangemode": "tozero"})


def _clock(report: Report) -> str | None:
    clocks = _steady(report, "sm_clock_hz")
    if not clocks:
        return None
    lines = [_line("SM clock", _COLOURS["clock"], clocks, "%{y:.4s}Hz<extra>SM clock</extra>")]
    boost = report.device.boost_clock_hz
    if boost is not None:
        ends = [(clocks[0][0], boost), (clocks[-1][0], boost)]
        lines.append(_line("the peak's clock", _COLOURS["budget"], ends, "%{y:.4s}Hz<extra>the peak's clock</extra>"))
    throttled = _steady(report, "throttled_frac")
    if throttled:
        share = _line("throttled", _COLOURS["throttled"], throttled, "%{y:.1%}<extra>of the time throttled</extra>")
        lines.append({**share, "yaxis": "y2"})
    second = {"title": {"text": "of the time throttled"}, "tickformat": ".0%", "dtick": 0.25, "range": [0, 1.02]}
    axes = {"title": {"text": "SM clock"}, "exponentformat": "SI", "ticksuffix": "Hz", "rangemode": "tozero"}
    return _chart(_longest(report), lines, axes, second if throttled else None)


def _flops(report: Report) -> str | None:
    points = _series(report.points, lambda point: point.total_flops)
    if not points:
        return None
    lines = [_line("FLOPs so far", _COLOURS["flops"], points, "%{y:.3s}FLOPs<extra></extra>")]
    for budget in report.budgets:
        if budget.unit == "flops":
            ends = [(points[0][0], float(budget.amount)), (points[-1][0], float(budget.amount))]
            name = html.escape(f"budget {budget.text}")
            lines.append(_line(name, _COLOURS["budget"], ends, "%{y:.3s}FLOPs<extra>budget</extra>"))
    axis = {"title": {"text": "model FLOPs so far"}, "exponentformat": "SI", "rangemode": "tozero"}
    return _chart(_longest(report), lines, axis)


def _budget(report: Report) -> str | None:
    """The share of the budget that ends the run first and, where the run has not ended, when it will be used up."""
    points = _series(report.points, lambda point: point.budget_fraction)
    if not points:
        return None
    lines = [_line("used", _COLOURS["mfu"], points, "%{y:.1%}<extra>used</extra>")]
    left, longest = report.seconds_left, _longest(report)
    if left is not None:
        longest += left.high or left.middle
        last = report.points[-1]
        lines += _fan(last.seconds, last.budget_fraction or 0.0, report, longest)
        again = _series(report.points, lambda point: point.budget_fraction, longest)
        lines[0] = _line("used", _COLOURS["mfu"], again, "%{y:.1%}<extra>used</extra>")
    axis = {"title": {"text": "share of the budget that ends the run first"}, "tickformat": ".0%", "range": [0, 1.05]}
    return _chart(longest, lines, axis)


def _fan(at: float, used: float, report: Report, longest: float) -> list[dict[str, Any]]:
    """From the last window to the end that is expected, and to the ends of its 80% interval."""
    left = report.seconds_left
    assert left is not None
    scale, _ = _time_axis(longest)
    lines = []
    if left.low is not None and left.high is not None:
        corners = [(at, used), (at + left.low, 1.0), (at + left.high, 1.0), (at, used)]
        lines.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": "80% interval",
                "x": [x / scale for x, _ in corners],
                "y": [y for _, y in corners],
                "fill": "toself",
                "fillcolor": "rgba(0,114,178,.18)",
                "line": {"width": 0},
                "hoverinfo": "skip",
            }
        )
    ends: Series = [(at / scale, used), ((at + left.middle) / scale, 1.0)]
    expected = _line("expected", _COLOURS["budget"], ends, "%{y:.1%}<extra>expected</extra>")
    return [*lines, {**expected, "line": {"color": _COLOURS["budget"], "dash": "dash"}}]


def _pauses(report: Report) -> list[dict[str, Any]]:
    """Validations and checkpoints, as ticks on the time axis; of very many only some."""
    scale, _ = _time_axis(_longest(report))
    marks = []
    for kind, colour in (("validation", _COLOURS["flops"]), ("checkpoint", _COLOURS["clock"])):
        at = [point.seconds / scale for point in report.points if kind in point.pauses]
        kept = at[:: -(-len(at) // _MOST_EVENTS)] if at else []
        marks.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": kind,
                "x": kept,
                "y": [0.0] * len(kept),
                "marker": {"symbol": "line-ns-open", "size": 9, "color": colour},
                "hovertemplate": f"{kind}<extra></extra>",
            }
        )
    return [each for each in marks if each["x"]]


def _events(report: Report) -> list[dict[str, Any]]:
    """Notes of the run and what was unusual, as marks on the time axis with their words."""
    found = [(event.time - report.started_at, event.message) for event in report.events]
    dips = report.anomalies.dips
    found += [
        (dip.started_at - report.started_at, words)
        for dip, words in zip(dips, unusual_lines(report)[: len(dips)], strict=True)
    ]
    if not found:
        return []
    scale, _ = _time_axis(_longest(report))
    kept = sorted(found)[:_MOST_EVENTS]
    marks = {
        "type": "scatter",
        "mode": "markers",
        "name": "events",
        "x": [seconds / scale for seconds, _ in kept],
        "y": [0.0] * len(kept),
        "text": [html.escape(words) for _, words in kept],
        "marker": {"symbol": "triangle-up", "size": 10, "color": _COLOURS["throttled"]},
        "hovertemplate": "%{text}<extra></extra>",
    }
    return [marks]


def _restarts(report: Report) -> list[dict[str, Any]]:
    """Return vertical lines where later processes began."""
    scale, _ = _time_axis(_longest(report)) if report.points else (1.0, "")
    starts = [(each.started_at - report.started_at) / scale for each in report.each_process[1:]][:_MOST_EVENTS]
    line = {"color": _COLOURS["budget"], "dash": "dot", "width": 1}
    return [{"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "line": line} for x in starts]


def _longest(report: Report) -> float:
    return report.points[-1].seconds if report.points else 0.0


def _time_axis(longest: float) -> tuple[float, str]:
    if longest > 2 * units.SECONDS_PER_DAY:
        return units.SECONDS_PER_DAY, "days since start"
    if longest > 2 * units.SECONDS_PER_HOUR:
        return units.SECONDS_PER_HOUR, "hours since start"
    return (units.SECONDS_PER_MINUTE, "minutes since start") if longest > 120 else (1, "seconds since start")


def _steady(report: Report, name: str) -> list[tuple[float, float | None]]:
    """Return the values of all windows except the first of every process."""
    return _series(report.points, lambda point: None if point.first else getattr(point, name))


def _series(
    time_line: Sequence[Point], value: Callable[[Point], float | None], longest: float | None = None
) -> list[tuple[float, float | None]]:
    """The values over time, with a gap wherever no process ran."""
    if not time_line:
        return []
    scale, _ = _time_axis(time_line[-1].seconds if longest is None else longest)
    processes: list[list[tuple[float, float]]] = [[]]
    for point in time_line:
        if point.first:
            processes.append([])
        if (y := value(point)) is not None:
            processes[-1].append((point.seconds / scale, float(y)))
    processes = [each for each in processes if each]
    lines: list[tuple[float, float | None]] = []
    for process in processes:
        if lines:
            lines.append((process[0][0], None))
        lines += thinned(process, max(_MOST_POINTS // len(processes), 2))
    return lines


def _line(name: str, colour: str, points: Series, hover: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(points) <= 60 else "lines",
        "name": name,
        "x": [x for x, _ in points],
        "y": [y for _, y in points],
        "line": {"color": colour, "width": 2},
        "hovertemplate": hover,
    }


def _chart(
    longest: float,
    lines: list[dict[str, Any]],
    y_axis: dict[str, Any],
    second: dict[str, Any] | None = None,
    shapes: Sequence[dict[str, Any]] = (),
) -> str:
    layout = {
        **_layout(height=320),
        "xaxis": {"title": {"text": _time_axis(longest)[1]}, "rangemode": "tozero", "gridcolor": _GRID},
        "yaxis": {"gridcolor": _GRID, "automargin": True, **y_axis},
        "showlegend": len(lines) > 1,
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02},
        "hovermode": "x unified",
        "shapes": list(shapes),
    }
    if second is not None:
        layout["yaxis2"] = {"overlaying": "y", "side": "right", "showgrid": False, "automargin": True, **second}
        layout["margin"]["r"] = 60
    return _figure(lines, layout)


def _layout(height: int) -> dict[str, Any]:
    return {
        "margin": {"l": 60, "r": 16, "t": 16, "b": 48},
        "height": height,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "color": "#767676"},
    }


def _figure(traces: list[dict[str, Any]], layout: dict[str, Any]) -> str:
    figure = {"data": traces, "layout": layout}
    return str(plotly.io.to_html(figure, config=_CONFIG, include_plotlyjs=False, full_html=False, validate=False))
