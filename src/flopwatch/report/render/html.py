"""The report as one HTML page that needs no network. The only user of jinja2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jinja2

from flopwatch import units
from flopwatch.report.comparison import Entry
from flopwatch.report.render import charts, facts
from flopwatch.report.render.document import TIME_LINE, WHAT_TO_DO, Section, sections
from flopwatch.report.report import Report


def render(report: Report) -> str:
    """Render the page; everything supplied by a user is escaped."""
    parts = sections(report)
    first = [section for section in parts if section.heading == WHAT_TO_DO]
    return _page(
        title=report.name or report.run_id,
        subtitle=f"{report.status} at step {report.step:,} on {report.device.count} x {report.device.name}",
        headline=facts.headline(report),
        basis=facts.headline_basis(report),
        first=first,
        sections=[section for section in parts if section not in first and section.heading != TIME_LINE],
        drawn=charts.charts(report),
    )


def render_comparison(entries: Sequence[Entry], parts: Sequence[Section]) -> str:
    """Render runs side by side, with their MFU in one chart."""
    return _page(
        title=f"{len(entries)} runs",
        subtitle="compared by flopwatch",
        headline=[],
        basis="",
        first=[],
        sections=parts,
        drawn=charts.overlay(entries),
    )


def _page(drawn: Sequence[tuple[str, str]], **values: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("flopwatch.report.render"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
    )
    script = charts.script() if drawn else ""
    return environment.get_template("report.html.j2").render(charts=drawn, plotly_script=script, **values)


def _printable(value: Any) -> Any:
    """Strip control and direction characters from foreign text; flopwatch's own markup stays."""
    return units.printable(value, lines=True) if type(value) is str else value
