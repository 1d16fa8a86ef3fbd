"""Tables of text that fit a width: cells of words are wrapped, and columns that find no room stand below."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest

GAP = "  "
_NARROWEST, _WIDEST_NAME = 14, 28  # of a column that is wrapped, and of names where columns go below each other

Rows = Sequence[Sequence[str]]


def table(rows: Rows, columns: Sequence[str], numeric: Sequence[bool], width: int) -> list[str]:
    """Return the lines of a table whose first column names the rows.

    Args:
        rows: Cells of one line each.
        columns: Names of the columns; none for pairs of a name and a value.
        numeric: Which columns hold numbers: aligned to the right, and never wrapped but for their names.
        width: How long a line may be.
    """
    widths = _fitted(rows, columns, numeric, width)
    lines: list[str] = []
    for places in _groups(widths, width):
        lines += ["", *_lines(rows, columns, numeric, widths, places)]
    return lines[1:]


def table_width(rows: Rows, columns: Sequence[str]) -> int:
    """Return how long the lines of a table would be if nothing was wrapped."""
    return sum(_widths([*([columns] if columns else []), *rows])) + len(GAP) * (len(rows[0]) - 1)


def _widths(lines: Rows) -> list[int]:
    return [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]


def _fitted(rows: Rows, columns: Sequence[str], numeric: Sequence[bool], width: int) -> list[int]:
    """Widths of columns; words, those in names of columns as well, give way, the widest first.

    Where that is not enough columns go below each other, and the names of rows have room again.
    """
    widths, numbers = _widths([*([columns] if columns else []), *rows]), _widths(rows)
    names = [max(map(len, name.split()), default=0) for name in columns or [""] * len(widths)]
    natural = widths[0]
    least = [max(numbers[place], names[place]) if is_number else _NARROWEST for place, is_number in enumerate(numeric)]
    while sum(widths) + len(GAP) * (len(widths) - 1) > width:
        giving = [place for place, floor in enumerate(least) if widths[place] > floor]
        if not giving:
            widths[0] = min(natural, _WIDEST_NAME)
            break
        widths[max(giving, key=lambda place: widths[place])] -= 1
    return widths


def _groups(widths: Sequence[int], width: int) -> Iterator[list[int]]:
    """Yield columns that fit beside each other, each time with the first one."""
    group = [0]
    for place in range(1, len(widths)):
        if len(group) > 1 and sum(widths[each] + len(GAP) for each in group) + widths[place] > width:
            yield group
            group = [0]
        group.append(place)
    yield group


def _lines(
    rows: Rows, columns: Sequence[str], numeric: Sequence[bool], widths: Sequence[int], places: Sequence[int]
) -> Iterator[str]:
    def row_lines(row: Sequence[str]) -> Iterator[str]:
        cells = [_wrapped(row[place], widths[place]) for place in places]
        for parts in zip_longest(*cells, fillvalue=""):
            aligned = (
                part.rjust(widths[place]) if numeric[place] else part.ljust(widths[place])
                for part, place in zip(parts, places, strict=True)
            )
            yield GAP.join(aligned).rstrip()

    if columns:
        yield from row_lines(columns)
        yield GAP.join("-" * widths[place] for place in places)
    for row in rows:
        yield from row_lines(row)


def _wrapped(cell: str, width: int) -> list[str]:
    return textwrap.wrap(cell, width) if len(cell) > width else [cell]
