"""The report as one HTML page that needs no network. The only user of jinja2."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jinja2

from flopwatch import units
from flopwatch.report.comparison import Entry
from flopwatch.report.render import charts, facts
from flopwatch.report.render.charts import Stack
from flopwatch.report.render.document import LOSS, PEAK, TIME_LINE, sections
from flopwatch.report.render.drawing import SIZE, Drawing, Key, drawings, shared_keys
from flopwatch.report.render.loss_charts import loss_charts, loss_overlay
from flopwatch.report.render.section import Section
from flopwatch.report.render.stacked import StackedBars, stacked_bars
from flopwatch.report.report import Report
from flopwatch.report.verdict import verdict

_OVER_TIME = "Over time"
_NO_BARS = StackedBars()


@dataclass(frozen=True)
class _Stack:
    """Charts that have their horizontal axis in common, and the legend of their marks."""

    keys: tuple[Key, ...]
    drawings: tuple[Drawing, ...]


@dataclass(frozen=True)
class _Part:
    """A section of the page with the charts that belong to it; `anchor` is what the contents list leads to."""

    heading: str
    anchor: str
    section: Section
    stacks: tuple[_Stack, ...] = ()
    bars: StackedBars = _NO_BARS


def render(report: Report) -> str:
    """Render the page; everything supplied by a user is escaped."""
    stacks = {heading: (stack,) for heading, stack in charts.charts(report).items()}
    return _page(
        title=report.name or report.run_id,
        subtitle=facts.subtitle(report),
        verdict=verdict(report),
        headline=facts.headline(report),
        basis=facts.headline_basis(report) if report.mfu is not None else "",
        parts=_parts(sections(report), {**stacks, LOSS: loss_charts(report)}),
    )


def render_comparison(entries: Sequence[Entry], parts: Sequence[Section]) -> str:
    """Render runs side by side: their MFU in one chart, their losses in another, and a bar of its parts for each."""
    page = _parts(parts, {})
    drawn = ((LOSS, loss_overlay(entries)), (_OVER_TIME, charts.overlay(entries)))
    page = [replace(part, bars=stacked_bars(entries)) if part.heading == PEAK else part for part in page]
    page[1:1] = [_part(Section(heading), (stack,)) for heading, stack in drawn if stack is not None]
    return _page(
        title=f"{len(entries)} runs",
        subtitle="compared by flopwatch",
        verdict=(),
        headline=[],
        basis="",
        parts=page,
    )


def _parts(parts: Sequence[Section], stacks: Mapping[str, Sequence[Stack]]) -> list[_Part]:
    return [_part(section, stacks.get(section.heading, ())) for section in parts]


def _part(section: Section, stacks: Sequence[Stack]) -> _Part:
    """A section and its charts, which say all that the bars along time of other forms do."""
    heading, shown = section.heading, section
    if stacks and heading == TIME_LINE:
        heading, shown = _OVER_TIME, Section(_OVER_TIME)
    elif stacks and heading == LOSS:
        shown = replace(section, rows=tuple(row[:-1] for row in section.rows), columns=section.columns[:-1])
    drawn = tuple(_Stack(shared_keys(stack), drawings(stack)) for stack in stacks)
    return _Part(heading, _anchor(heading), shown, drawn)


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")


def _page(**values: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("flopwatch.report.render"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(size=SIZE, **values)


def _printable(value: Any) -> Any:
    """Strip control and direction characters from foreign text; flopwatch's own markup stays."""
    return units.printable(value, lines=True) if type(value) is str else value
