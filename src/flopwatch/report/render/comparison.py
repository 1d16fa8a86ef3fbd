"""Runs side by side: as text, Markdown and HTML from the same sections, and as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TextIO

from flopwatch import units
from flopwatch.report.comparison import (
    FACTS,
    MEASURES,
    Entry,
    Form,
    Measure,
    at_equal_flops,
    best_of,
    equal_flops,
    total_of,
    without_equal,
)
from flopwatch.report.differences import MOST_NAMED, differing, named_apart, written
from flopwatch.report.render.document import PEAK
from flopwatch.report.render.efficiency import part_words
from flopwatch.report.render.section import Section
from flopwatch.report.verdict import hours_words
from flopwatch.run.time_kinds import TIME_KINDS, TRAINING, kinds_at

BEST = "★"
_MOST_COLUMNS, _MOST_NAMES = 6, 4
_FORMS: Mapping[Form, Callable[[float | None], str]] = MappingProxyType(
    {
        "percent": units.format_percent,
        "share": units.format_share,
        "count": units.format_count,
        "flops": lambda value: units.format_si(value, "FLOPs"),
        "hours": hours_words,
        "kwh": units.format_plain,
        "usd": units.format_usd,
        "seconds": units.format_duration,
        "rate": units.format_plain,
        "loss": units.format_loss,
    }
)
_EXPLAINED = (
    f"{BEST} marks the best run. MFU: model FLOPs / seconds in the training loop / devices / peak, without warm-up."
    " Run MFU: kept model FLOPs / all wall time / devices / peak. Compare MFU only against the same peak, and only"
    " between models counted the same way."
)


_MOST_DIFFERENCES = 20


def sections(entries: Sequence[Entry]) -> list[Section]:
    """Return the sections of a comparison; many runs get one line per run."""
    compared = at_equal_flops(named_apart(entries))
    made = [
        _numbers(compared),
        Section("Totals", rows=tuple(_sums(entries))),
        _table(PEAK, compared, _parts(entries), short_names=[part_words(kind, short=True) for kind in _kinds(entries)]),
        _table("Hyperparameters that differ", compared, _differences(entries, compared)),
        _table("How each run was counted", compared, [*_names(entries, compared), *_facts(entries)]),
        Section("How to read it", sentences=tuple(_explained(entries))),
    ]
    return [section for section in made if section.rows or section.sentences]


def _explained(entries: Sequence[Entry]) -> Iterator[str]:
    yield _EXPLAINED
    if len({TRAINING in entry.parts for entry in entries if entry.parts}) > 1:
        yield "Where FLOPs or the peak are unknown, training steps are not divided, and parts are shares of wall time."
    flops = equal_flops(entries)
    if flops is not None:
        yield (
            f"Loss at equal FLOPs: the training loss at {units.format_si(flops, 'FLOPs')}, the most that all runs with"
            " a known loss reached, on a straight line between the windows before and after."
        )
    for why, names in without_equal(at_equal_flops(named_apart(entries))).items():
        yield f"Loss at equal FLOPs is unknown for {_some(names)}: {why}."


def _some(names: Sequence[str]) -> str:
    """The first names, and how many there are beside."""
    more = len(names) - _MOST_NAMES
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:_MOST_NAMES])} and {more} more"


def _names(entries: Sequence[Entry], compared: Sequence[Entry]) -> list[tuple[str, ...]]:
    """The names of runs that are called by their hyperparameters."""
    names = [entry.name for entry in entries]
    return [] if names == [entry.name for entry in compared] else [("run", *names)]


def _differences(entries: Sequence[Entry], compared: Sequence[Entry]) -> list[tuple[str, ...]]:
    """The hyperparameters that differ, where the names of the runs do not tell them all."""
    names = differing(entries)
    if len(names) <= MOST_NAMED and _names(entries, compared):
        return []
    return [
        (name, *(written(entry.hyperparameters.get(name)) for entry in entries)) for name in names[:_MOST_DIFFERENCES]
    ]


def _table(
    heading: str,
    entries: Sequence[Entry],
    rows: Sequence[tuple[str, ...]],
    numbers: Sequence[Sequence[float | None]] = (),
    short_names: Sequence[str] = (),
) -> Section:
    """Runs in columns or, where they are many, in lines, which can be sorted by their numbers."""
    kept = [place for place, row in enumerate(rows) if any(cell != units.UNKNOWN for cell in row[1:])]
    if not kept:
        return Section(heading)
    table = [("", *(entry.name for entry in entries)), *(rows[place] for place in kept)]
    short = tuple(short_names[place] for place in kept) if short_names else ()
    keys: list[tuple[float | None, ...]] = []
    if len(entries) > _MOST_COLUMNS:
        table, short = list(zip(*table, strict=True)), ()
        keys = list(zip([None] * len(entries), *(numbers[place] for place in kept), strict=True)) if numbers else []
    return Section(heading, rows=tuple(table[1:]), columns=table[0], keys=tuple(keys), short_names=short)


def _numbers(entries: Sequence[Entry]) -> Section:
    rows, numbers = [], []
    for measure in _measures(entries):
        best, form = best_of(measure, entries), _FORMS[measure.form]
        values = [entry.numbers.get(measure.name) for entry in entries]
        cells = [form(value) for value in values]
        marked = form(best) if best is not None and len({*cells} - {units.UNKNOWN}) > 1 else None
        rows.append((measure.words, *(f"{BEST} {cell}" if cell == marked else cell for cell in cells)))
        numbers.append(values)
    return _table("At a glance", entries, rows, numbers)


def _measures(entries: Sequence[Entry]) -> list[Measure]:
    """What to compare by; tokens per device-hour only where a run has no price."""
    priced = all("tokens_per_usd" in entry.numbers for entry in entries)
    return [measure for measure in MEASURES if measure.name != ("tokens_per_device_hour" if priced else "")]


def _sums(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    sums = [(measure, total_of(measure, entries)) for measure in MEASURES]
    known = [(measure.words, _FORMS[measure.form](total)) for measure, total in sums if total is not None]
    return [("runs", str(len(entries))), *known]


def _kinds(entries: Sequence[Entry]) -> list[str]:
    return [kind for kind in TIME_KINDS if any(kind in entry.parts for entry in entries)]


def _parts(entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    short = len(entries) > _MOST_COLUMNS
    return [
        (part_words(kind, short=short), *(units.format_share(_part_of(entry, kind)) for entry in entries))
        for kind in _kinds(entries)
    ]


def _part_of(entry: Entry, kind: str) -> float | None:
    """The share of a part; a kind of time that a run does not have took none of its time."""
    is_time = kind not in kinds_at("part of steps", "steps")
    return entry.parts.get(kind, 0.0 if entry.parts and is_time else None)


def _facts(entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    return [(words, *(entry.facts.get(name, units.UNKNOWN) for entry in entries)) for name, words in FACTS.items()]


def _text(entries: Sequence[Entry]) -> str:
    from flopwatch.report.render.text import render_sections

    return render_sections(sections(entries))


def in_terminal(entries: Sequence[Entry], stream: TextIO) -> str:
    """Return a comparison as text that fits the terminal which a stream leads to."""
    from flopwatch.report.render.text import of_terminal, render_sections

    return render_sections(sections(entries), of_terminal(stream))


def _markdown(entries: Sequence[Entry]) -> str:
    from flopwatch.report.render.markdown import render_sections

    return f"# {len(entries)} runs\n\n{render_sections(sections(entries))}\n"


def _html(entries: Sequence[Entry]) -> str:
    from flopwatch.report.render.html import render_comparison

    return render_comparison(named_apart(entries), sections(entries))


def _json(entries: Sequence[Entry]) -> str:
    compared = at_equal_flops(entries)
    rows = [
        {key: value for key, value in dataclasses.asdict(entry).items() if "points" not in key} for entry in compared
    ]
    totals = {measure.name: total for measure in MEASURES if (total := total_of(measure, entries)) is not None}
    return json.dumps({"runs": rows, "totals": totals, "equal_flops": equal_flops(entries)}, indent=2) + "\n"


RENDERERS: Mapping[str, Callable[[Sequence[Entry]], str]] = MappingProxyType(
    {"text": _text, "md": _markdown, "json": _json, "html": _html}
)
