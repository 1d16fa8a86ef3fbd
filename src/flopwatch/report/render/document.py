"""The report as sections of plain text, from which every form for people is made, so that all say the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

from flopwatch import units
from flopwatch.report import waterfall
from flopwatch.report.render import efficiency, facts, gpu_facts
from flopwatch.report.render.inside import inside_sections
from flopwatch.report.render.live import bars
from flopwatch.report.render.parts import parts_table
from flopwatch.report.render.section import Bar, Cells, Section
from flopwatch.report.report import Report
from flopwatch.run import rates
from flopwatch.run.time_kinds import BY_A_PROFILE, INTERRUPTION, TRAINING, USEFUL

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
WHAT_TO_DO, LOSS, TIME_LINE, BUDGETS = "What to do", "Loss", "Timeline", "Budgets"
PEAK, WALL_TIME = "Where the peak went", "Where wall time went"
# What a reader looks up rather than reads; a terminal shows it on demand.
CONVENTIONS = "MFU under other conventions, by the first batch"
LOOKED_UP = frozenset(
    (
        *(CONVENTIONS, CONVENTIONS.replace("MFU", "FLOPs")),
        *("Model: first batch on one device", "Versions", "Definitions"),
    )
)
_STRETCHES = 40
_IN_TIME: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("MFU", "mfu", units.format_percent),
    ("MFU at clock", "mfu_at_clock", units.format_percent),
    ("tokens/s", "tokens_per_second", units.format_count),
    ("samples/s", "samples_per_second", units.format_count),
    ("SM clock", "sm_clock_hz", units.format_clock),
    ("throttled", "throttled_frac", units.format_share),
)
_NOTHING_TO_DO = "No change was found that would recover 2% or more."
_NOTHING_KNOWN = "Nothing was found in the training loop; where time went outside it is unknown."
_MOST_LINES, _LONGEST, _MOST_ADVICE = 200, 500, 3
_BETWEEN = "Downtime is not billed: it counts in shares and wall time, not in device-hours and cost."
_DEFINITION = (
    "MFU is model FLOPs (forward and backward, no recomputation) / seconds / devices / dense peak per device (PaLM,"
    " arXiv 2204.02311, appendix B). Unknown values read n/a; nothing is clamped."
)


def sections(report: Report) -> list[Section]:
    """Return all sections with content, in order."""
    everything = [
        _what_to_do(report),
        _plan(report),
        _parts(report),
        *inside_sections(report),
        _loss(report),
        _time_line(report),
        _budgets(report),
        Section("Anomalies", sentences=tuple(efficiency.unusual_lines(report))),
        Section("Restarts", tuple(facts.restart_lines(report))),
        Section("In the training loop, without warm-up", tuple(facts.speed_lines(report))),
        Section("Over the whole run", tuple(facts.total_lines(report))),
        Section("The run", tuple(facts.run_lines(report))),
        Section("How FLOPs were counted", tuple(facts.work_lines(report.work))),
        Section("GPUs", tuple(gpu_facts.hardware_lines(report))),
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
    shown = tuple(each if len(each) <= _LONGEST else f"{each[:_LONGEST]}..." for each in sentences[:_MOST_LINES])
    return shown if left_out <= 0 else (*shown, f"and {left_out:,} more")


def _what_to_do(report: Report) -> Section:
    lines = [efficiency.finding_words(finding) for finding in report.findings]
    if not lines and report.points:
        lines = [_NOTHING_TO_DO if report.parts else _NOTHING_KNOWN]
    lines += [f"Round up a size: {words}." for words in _shape_advice(report)]
    known = efficiency.known_words(report.known)
    return Section(WHAT_TO_DO, sentences=(*lines, *([known] if known else [])))


def _shape_advice(report: Report) -> Cells:
    return () if report.work is None else report.work.shape_advice[:_MOST_ADVICE]


def _plan(report: Report) -> Section:
    rows = tuple(
        (each.words, form(each.planned), form(each.actual), _ratio(each.actual, each.planned))
        for each in report.plan
        for form in (_FORMS[each.form],)
    )
    return Section("Against the plan", rows, ("", "planned", "actual", "actual / planned"))


def _ratio(actual: float, planned: float) -> str:
    return units.format_percent(actual / planned) if planned else units.UNKNOWN


def _parts(report: Report) -> Section:
    """What the devices' time and, where FLOPs are known, their peak went into: one table of both."""
    if not report.parts:
        return _wall_time(report)
    counted = any(part.kind == USEFUL for part in report.parts)
    table = parts_table(report, counted=counted)
    return Section(
        PEAK if counted else WALL_TIME,
        table.rows,
        table.columns,
        bars=(*_bars(report), None),
        sentences=tuple(_remarks(report, counted=counted)),
        short_names=(*(efficiency.part_words(part.kind, short=True) for part in report.parts), "total"),
    )


def _remarks(report: Report, *, counted: bool) -> Iterator[str]:
    training = report.seconds.get(TRAINING)
    if counted and training:
        share = units.format_share(rates.fraction(training, sum(report.seconds.values())))
        time = units.format_duration(training)
        yield f"Training steps took {time}, {share} of wall time; their parts are divided in proportion to FLOPs."
    if counted and any(part.kind in BY_A_PROFILE for part in report.parts):
        yield "What steps lost is divided as in the profiled ones, which are a sample."
    if any(part.kind == INTERRUPTION for part in report.parts):
        yield _BETWEEN


def _bars(report: Report) -> list[Bar | None]:
    """Losses one below the other, each from where the one before ended, down to what was useful."""
    bars: list[Bar | None] = []
    left, whole = 1.0, waterfall.shares(report.parts)
    for part, share in zip(report.parts, whole, strict=True):
        length = max(share or 0.0, 0.0)  # where the MFU is above 1, the rest is below zero
        left -= share or 0.0
        if part.kind in (USEFUL, TRAINING):
            bars.append(Bar(min(length, 1.0), tone="useful"))
        else:
            start = min(max(left, 0.0), 1.0)
            bars.append(Bar(min(length, 1.0 - start), start, "loss"))
    return bars


def _wall_time(report: Report) -> Section:
    lines = facts.time_lines(report)
    rows = tuple((label, units.format_duration(seconds), units.format_share(share)) for label, seconds, share in lines)
    return Section(WALL_TIME, rows, ("", "time", "share"), tuple(Bar(share or 0.0) for _, _, share in lines))


def _budgets(report: Report) -> Section:
    rows = facts.budget_lines(report.budgets)
    return Section(BUDGETS, tuple((each.text, words) for each, (_, words) in zip(report.budgets, rows, strict=True)))


def _time_line(report: Report) -> Section:
    """Means over stretches of the same number of windows, for forms without charts."""
    rows = []
    has_tokens = any(point.tokens_per_second for point in report.points)
    for words, name, form in _IN_TIME:
        if words == ("samples/s" if has_tokens else "tokens/s"):
            continue
        values = [value for point in report.points if not point.first and (value := getattr(point, name)) is not None]
        if len(values) > 1:
            drawn = bars(_means(values))
            rows.append((words, form(min(values)), form(max(values)), drawn or "even"))
    return Section(TIME_LINE, tuple(rows), ("", "lowest", "highest", "from start to end"))


def _loss(report: Report) -> Section:
    """The losses along the run: how low they came, and where they ended."""
    known = {
        "training loss": [point.loss for point in report.points if point.loss is not None],
        "validation loss": [point.validation_loss for point in report.points if point.validation_loss is not None],
    }
    rows = tuple(
        (words, units.format_loss(min(values)), units.format_loss(values[-1]), bars(_means(values)) or "even")
        for words, values in known.items()
        if values
    )
    return Section(LOSS, rows, ("", "lowest", "last", "from start to end"))


def _means(values: Sequence[float]) -> list[float]:
    if len(values) <= _STRETCHES:
        return list(values)
    edges = [place * len(values) // _STRETCHES for place in range(_STRETCHES + 1)]
    return [sum(values[first:last]) / (last - first) for first, last in pairwise(edges)]


def _conventions(report: Report) -> Section:
    known = any(each.mfu is not None for each in report.conventions)
    rows = tuple(
        (
            each.convention,
            *([units.format_percent(each.mfu)] if known else []),
            units.format_plain(each.flops_ratio),
            each.description,
        )
        for each in report.conventions
    )
    columns = ("convention", *(["MFU"] if known else []), "relative FLOPs", "what it counts")
    return Section(CONVENTIONS if known else CONVENTIONS.replace("MFU", "FLOPs"), rows, columns)


def _components(report: Report) -> Section:
    rows = facts.component_rows(report.work, _MOST_LINES)
    return Section("Model: first batch on one device", rows, ("component", "parameters", "forward", "share"))
