"""What a trace's own page and a run's report tell alike: the operators that lose most, and notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from flopwatch import units
from flopwatch.report.render.section import Section
from flopwatch.trace import TraceAccount
from flopwatch.trace.parts import COMPUTE
from flopwatch.trace.rows import Row

OPERATORS = "Operators that lose most"
_COLUMNS = ("operator", "shapes", "calls", "a step", "FLOP/s", "of the peak", "bound by")
_MOST_ROWS, _MOST_SHAPES = 10, 3
_LONGEST_NAME, _END_OF_A_NAME = 60, 20


def operators_section(account: TraceAccount) -> Section:
    """The operators of compute that lose most, without columns that nothing is known of."""
    lossy = [row for row in account.rows if row.part in COMPUTE and row.lost_seconds > 0][:_MOST_ROWS]
    rows = [_cells(row, account.steps) for row in lossy]
    told = [place for place in range(len(_COLUMNS)) if any(row[place] for row in rows)]
    return Section(
        OPERATORS, tuple(tuple(row[place] for place in told) for row in rows), tuple(_COLUMNS[place] for place in told)
    )


def _cells(row: Row, steps: int) -> tuple[str, ...]:
    name = row.name.removeprefix("aten::").removeprefix("autograd::engine::evaluate_function: ")
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - _END_OF_A_NAME - 3]}...{name[-_END_OF_A_NAME:]}"
    phase = "" if row.phase in ("forward", "unknown") else f", {row.phase}"
    rate = "" if row.flops is None or not row.seconds else units.format_si(row.flops / row.seconds, "").strip()
    return (
        f"{name}{phase}",
        shapes_text(row.shapes),
        units.format_plain(row.calls / steps),
        units.format_milliseconds(row.seconds / steps),
        rate,
        "" if row.peak_share is None else units.format_share(row.peak_share),
        row.bound or "",
    )


def shapes_text(shapes: Iterable[Any]) -> str:
    """Sizes as words: ((8, 16), (16, 4)) is "8x16 16x4"; the first tensors, without vectors where there are others."""
    flat = list(_tensors(shapes))
    shown = [each for each in flat if len(each) > 1] or flat
    more = ["..."] if len(shown) > _MOST_SHAPES else []
    return " ".join(["x".join(str(size) for size in each) for each in shown[:_MOST_SHAPES]] + more)


def _tensors(shapes: Iterable[Any]) -> Iterator[tuple[int, ...]]:
    """Yield the sizes of each tensor, those in lists as well."""
    for each in shapes:
        if each and all(isinstance(size, int) for size in each):
            yield each
        elif isinstance(each, tuple):
            yield from _tensors(each)


def note_sentences(notes: Iterable[str]) -> list[str]:
    """Notes as sentences."""
    return [f"{note[0].upper()}{note[1:]}." for note in notes]
