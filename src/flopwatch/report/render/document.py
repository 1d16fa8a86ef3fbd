"""The report as sections of plain text, from which every form for people is made, so that all say the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

from flopwatch import units
from flopwatch.report import waterfall
from flopwatch.report.render import efficiency, facts
from flopwatch.report.render.live import bars
from flopwatch.report.report import Report
from flopwatch.report.waterfall import Part
from flopwatch.run.time_kinds import INTERRUPTION

Cells = tuple[str, ...]
_FORMS: Mapping[str, Callable[[float], str]] = MappingProxyType(
    {
        "percent": units.format_percent,
        "count": units.format_count,
        "flops": lambda value: units.format_si(value, "FLOPs"),
        "rate": lambda value: units.format_si(value, "FLOP/s"),
        "plain": units.format_plain,
        "duration": units.format_duration,
        "usd": units.format_usd,
    }
)
WHAT_TO_DO, TIME_LINE = "What to do", "Timeline"
_STRETCHES = 60
_IN_TIME: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("MFU", "mfu", units.format_percent),
    ("MFU at clock", "mfu_at_clock", units.format_percent),
    ("tokens/s", "tokens_per_second", units.format_count),
    ("SM clock", "sm_clock_hz", units.format_clock),
    ("throttled", "throttled_frac", units.format_share),
)
_NOTHING_TO_DO = "No change was found that would recover 2% or more."
_NOTHING_KNOWN = "Nothing was found in the training loop; where time went outside it is unknown."
_MOST_LINES = 200
_BETWEEN = "The total includes downtime, which is not billed."
_DEFINITION = (
    "MFU is model FLOPs (forward and backward, no recomputation) / seconds / devices / dense peak per device (PaLM,"
    " arXiv 2204.02311, appendix B). Unknown values read n/a; nothing is clamped."
)


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it: rows of a table, or sentences.

    Without `columns` a row is a name and a value. `shares` draw a bar for each row; by `keys`, the numbers behind the
    cells, a reader can sort a table of a page.
    """

    heading: str
    rows: tuple[Cells, ...] = ()
    columns: Cells = ()
    shares: tuple[float | None, ...] = ()
    sentences: tuple[str, ...] = ()
    keys: tuple[tuple[float | None, ...], ...] = ()


def sections(report: Report) -> list[Section]:
    """Return all sections with content, in order."""
    everything = [
        Section("The run", tuple(facts.run_lines(report))),
        Section("Speed and totals", tuple(facts.speed_lines(report))),
        _plan(report),
        _what_to_do(report),
        _waterfall(report),
        _wall_time(report),
        _time_line(report),
        Section("Anomalies", sentences=tuple(efficiency.unusual_lines(report))),
        Section("Restarts", tuple(facts.restart_lines(report))),
        Section("GPUs", tuple(facts.hardware_lines(report))),
        Section("How FLOPs were counted", tuple(facts.work_lines(report.work))),
        _conventions(report),
        _components(report),
        Section("Notes", sentences=_some((*report.notes, *(event.message for event in report.events)))),
        Section("Versions", tuple(report.versions.items())),
        Section("Definitions", sentences=(_DEFINITION,)),
    ]
    return [section for section in everything if section.rows or section.sentences]


def _some(sentences: Cells) -> Cells:
    """Return the first sentences, and a count of those left out."""
    left_out = len(sentences) - _MOST_LINES
    return sentences if left_out <= 0 else (*sentences[:_MOST_LINES], f"and {left_out:,} more")


def _what_to_do(report: Report) -> Section:
    lines = [efficiency.finding_words(finding) for finding in report.findings]
    if not lines and report.points:
        lines = [_NOTHING_TO_DO if report.parts else _NOTHING_KNOWN]
    known = efficiency.known_words(report.known)
    return Section(WHAT_TO_DO, sentences=(*lines, *([known] if known else [])))


def _plan(report: Report) -> Section:
    rows = tuple(
        (each.words, form(each.planned), form(each.actual), _ratio(each.actual, each.planned))
        for each in report.plan
        for form in (_FORMS[each.form],)
    )
    return Section("Against the plan", rows, ("", "planned", "actual", "actual / planned"))


def _ratio(actual: float, planned: float) -> str:
    return units.format_percent(actual / planned) if planned else units.UNKNOWN


def _waterfall(report: Report) -> Section:
    total = sum(part.device_seconds for part in report.parts)
    paid = any(part.usd is not None for part in report.parts)
    counted = any(part.flops is not None for part in report.parts)
    shares = waterfall.shares(report.parts)
    rows = [
        _part_row(efficiency.part_words(part.kind), share, part, counted, paid)
        for part, share in zip(report.parts, shares, strict=True)
    ]
    if rows:
        flops, money = sum(part.flops or 0 for part in report.parts), sum(part.usd or 0.0 for part in report.parts)
        whole = Part("", flops, total, money)
        rows.append(_part_row("total", 1.0, whole, counted, paid))
        shares.append(None)
    columns = ("", "share", *(["FLOPs"] if counted else []), "device-hours", *(["cost"] if paid else []))
    between = any(part.kind == INTERRUPTION for part in report.parts)
    return Section("Where the peak went", tuple(rows), columns, tuple(shares), (_BETWEEN,) if between else ())


def _part_row(words: str, share: float | None, part: Part, counted: bool, paid: bool) -> Cells:
    flops = [units.format_si(part.flops, "FLOPs")] if counted else []
    money = [units.format_usd(part.usd)] if paid else []
    hours = units.format_plain(part.device_seconds / units.SECONDS_PER_HOUR)
    return (words, units.format_share(share), *flops, hours, *money)


def _wall_time(report: Report) -> Section:
    lines = facts.time_lines(report)
    rows = tuple((label, units.format_duration(seconds), units.format_share(share)) for label, seconds, share in lines)
    return Section("Where wall time went", rows, ("", "time", "share"), tuple(share for _, _, share in lines))


def _time_line(report: Report) -> Section:
    """Means over stretches of the same number of windows, for forms without charts."""
    rows = []
    for words, name, form in _IN_TIME:
        values = [value for point in report.points if not point.first and (value := getattr(point, name)) is not None]
        if len(values) > 1:
            drawn = bars(_means(values))
            rows.append((words, form(min(values)), form(max(values)), drawn or "even"))
    return Section(TIME_LINE, tuple(rows), ("", "lowest", "highest", "from start to end"))


def _means(values: Sequence[float]) -> list[float]:
    if len(values) <= _STRETCHES:
        return list(values)
    edges = [place * len(values) // _STRETCHES for place in range(_STRETCHES + 1)]
    return [sum(values[first:last]) / (last - first) for first, last in pairwise(edges)]


def _conventions(report: Report) -> Section:
    rows = tuple(
        (each.convention, units.format_percent(each.mfu), units.format_plain(each.flops_ratio), each.description)
        for each in report.conventions
    )
    return Section(
        "MFU under other conventions, by the first batch",
        rows,
        ("convention", "MFU", "relative FLOPs", "what it counts"),
    )


def _components(report: Report) -> Section:
    rows = tuple(
        (name, f"{parameters:,}", units.format_si(flops, "FLOPs"), units.format_share(share))
        for name, parameters, flops, share in facts.component_lines(report.work)[:_MOST_LINES]
    )
    return Section("Model: first batch on one device", rows, ("component", "parameters", "forward", "share"))
