"""The report as one HTML page that needs no network. The only user of jinja2 and plotly."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import jinja2
import plotly.io
import plotly.offline

from flopwatch import units
from flopwatch.comparison import Entry
from flopwatch.render import facts
from flopwatch.render.document import Section, sections
from flopwatch.report import Point, Report

_MOST_POINTS = 2000
_COLOURS = {
    "mfu": "#0072B2",
    "mfu_at_clock": "#D55E00",
    "flops": "#009E73",
    "clock": "#CC79A7",
    "throttled": "#E69F00",
    "budget": "#888888",
}
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#888888", "#B8A900")
_MOST_LINES = 12
_CONFIG = {"displayModeBar": False, "responsive": True}


def render(report: Report) -> str:
    """The page; everything that a user supplied is escaped."""
    drawn = (
        ("MFU over time", _mfu_chart(report)),
        ("SM clock and what held it down", _clock_chart(report)),
        ("FLOPs so far", _flops_chart(report)),
    )
    charts = [(heading, chart) for heading, chart in drawn if chart is not None]
    return _page(
        title=report.name or report.run_id,
        subtitle=f"{report.status} at step {report.step:,} on {report.device.count} x {report.device.name}",
        headline=facts.headline(report),
        basis=facts.headline_basis(report),
        sections=sections(report),
        charts=charts,
    )


def render_comparison(entries: Sequence[Entry], parts: Sequence[Section]) -> str:
    """Runs side by side, their MFU in one chart."""
    chart = _overlay(entries)
    return _page(
        title=f"{len(entries)} runs",
        subtitle="compared by flopwatch",
        headline=[],
        basis="",
        sections=parts,
        charts=[] if chart is None else [("MFU over time", chart)],
    )


def _page(charts: Sequence[tuple[str, str]], **values: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("flopwatch.render"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    script = plotly.offline.get_plotlyjs() if charts else ""
    return environment.get_template("report.html.j2").render(charts=charts, plotly_script=script, **values)


def _overlay(entries: Sequence[Entry]) -> str | None:
    """The MFU of every run over the time since its start."""
    shown = [entry for entry in entries if entry.points][:_MOST_LINES]
    lines = []
    longest = max((entry.points[-1].seconds for entry in shown), default=0.0)
    for place, entry in enumerate(shown):
        points = _series(entry.points, lambda point: None if point.first else point.mfu, longest)
        name = html.escape(entry.name)
        if points:
            lines.append(_line(name, _PALETTE[place % len(_PALETTE)], points, f"%{{y:.2%}}<extra>{name}</extra>"))
    axis = {"title": {"text": "MFU"}, "tickformat": ".1~%", "rangemode": "tozero"}
    return _chart(longest, lines, axis) if lines else None


def thinned(points: Sequence[tuple[float, float]], most: int = _MOST_POINTS) -> list[tuple[float, float]]:
    """At most so many points, the lowest and highest of every stretch among them."""
    if len(points) <= most:
        return list(points)
    stretch = -(-len(points) * 2 // most)
    kept = []
    for first in range(0, len(points), stretch):
        part = points[first : first + stretch]
        low, high = min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])
        kept += [low] if low == high else sorted((low, high))
    return kept


def _time_axis(longest: float) -> tuple[float, str]:
    if longest > 2 * units.SECONDS_PER_DAY:
        return units.SECONDS_PER_DAY, "days since start"
    if longest > 2 * units.SECONDS_PER_HOUR:
        return units.SECONDS_PER_HOUR, "hours since start"
    return (units.SECONDS_PER_MINUTE, "minutes since start") if longest > 120 else (1, "seconds since start")


def _series(
    time_line: Sequence[Point], value: Callable[[Point], float | None], longest: float | None = None
) -> list[tuple[float, float | None]]:
    """The values over time, with a gap wherever no process ran."""
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
        lines += thinned(process, _MOST_POINTS // len(processes))
    return lines


def _line(name: str, colour: str, points: Sequence[tuple[float, float | None]], hover: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(points) <= 60 else "lines",
        "name": name,
        "x": [x for x, _ in points],
        "y": [y for _, y in points],
        "line": {"color": colour, "width": 2},
        "hovertemplate": hover,
    }


def _mfu_chart(report: Report) -> str | None:
    if not report.points:
        return None
    lines = []
    mfu = _series(report.points, lambda point: None if point.first else point.mfu)
    if mfu:
        lines.append(_line("MFU", _COLOURS["mfu"], mfu, "%{y:.2%}<extra>MFU</extra>"))
    at_clock = _series(report.points, lambda point: None if point.first else point.mfu_at_clock)
    if at_clock:
        lines.append(_line("MFU at clock", _COLOURS["mfu_at_clock"], at_clock, "%{y:.2%}<extra>MFU at clock</extra>"))
    if not lines:
        return None
    return _chart(
        report.points[-1].seconds, lines, {"title": {"text": "MFU"}, "tickformat": ".1~%", "rangemode": "tozero"}
    )


def _clock_chart(report: Report) -> str | None:
    clocks = _series(report.points, lambda point: None if point.first else point.sm_clock_hz) if report.points else []
    if not clocks:
        return None
    lines = [_line("SM clock", _COLOURS["clock"], clocks, "%{y:.4s}Hz<extra>SM clock</extra>")]
    boost = report.device.boost_clock_hz
    if boost is not None:
        ends = [(clocks[0][0], boost), (clocks[-1][0], boost)]
        lines.append(_line("clock of the peak", _COLOURS["budget"], ends, "%{y:.4s}Hz<extra>clock of the peak</extra>"))
    throttled = _series(report.points, lambda point: None if point.first else point.throttled_frac)
    if throttled:
        share = _line("held down", _COLOURS["throttled"], throttled, "%{y:.1%}<extra>of the time held down</extra>")
        lines.append({**share, "yaxis": "y2"})
    second = {"title": {"text": "of the time held down"}, "tickformat": ".0%", "dtick": 0.25, "range": [0, 1.02]}
    axes = {"title": {"text": "SM clock"}, "exponentformat": "SI", "ticksuffix": "Hz", "rangemode": "tozero"}
    return _chart(report.points[-1].seconds, lines, axes, second if throttled else None)


def _flops_chart(report: Report) -> str | None:
    if not report.points:
        return None
    points = _series(report.points, lambda point: point.total_flops)
    if not points:
        return None
    lines = [_line("FLOPs so far", _COLOURS["flops"], points, "%{y:.3s}FLOPs<extra></extra>")]
    for budget in report.budgets:
        if budget.unit == "flops":
            ends = [(points[0][0], float(budget.amount)), (points[-1][0], float(budget.amount))]
            lines.append(_line(f"budget {budget.text}", _COLOURS["budget"], ends, "%{y:.3s}FLOPs<extra>budget</extra>"))
    return _chart(
        report.points[-1].seconds,
        lines,
        {"title": {"text": "model FLOPs so far"}, "exponentformat": "SI", "rangemode": "tozero"},
    )


def _chart(
    longest: float, lines: list[dict[str, Any]], y_axis: dict[str, Any], second: dict[str, Any] | None = None
) -> str:
    layout: dict[str, Any] = {
        "xaxis": {
            "title": {"text": _time_axis(longest)[1]},
            "rangemode": "tozero",
            "gridcolor": "rgba(128,128,128,.25)",
        },
        "yaxis": {"gridcolor": "rgba(128,128,128,.25)", "automargin": True, **y_axis},
        "margin": {"l": 60, "r": 16, "t": 16, "b": 48},
        "height": 320,
        "showlegend": len(lines) > 1,
        "legend": {"orientation": "h", "y": 1.12},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "color": "#808080"},
        "hovermode": "x unified",
    }
    if second is not None:
        layout["yaxis2"] = {"overlaying": "y", "side": "right", "showgrid": False, "automargin": True, **second}
        layout["margin"]["r"] = 60
    figure = {"data": lines, "layout": layout}
    return str(plotly.io.to_html(figure, config=_CONFIG, include_plotlyjs=False, full_html=False, validate=False))
