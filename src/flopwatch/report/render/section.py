"""A section of a report: a heading with rows or sentences, as plain text for every form."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flopwatch import units

Cells = tuple[str, ...]
_SIZES = re.compile(r"\dx\d")  # of a matrix, which are words


@dataclass(frozen=True)
class Bar:
    """A bar beside a row: from which share of the whole on, how long, and what it means ("loss", "useful", "part")."""

    share: float
    start: float = 0.0
    tone: str = "part"


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it: rows of a table, or sentences.

    Without `columns` a row is a name and a value. `bars` stand beside rows, `None` where there is none; by `keys`, the
    numbers behind the cells, a reader can sort a table of a page; `short_names` are rows' first cells for short lines.
    """

    heading: str
    rows: tuple[Cells, ...] = ()
    columns: Cells = ()
    bars: tuple[Bar | None, ...] = ()
    sentences: tuple[str, ...] = ()
    keys: tuple[tuple[float | None, ...], ...] = ()
    short_names: Cells = ()

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Whether a column holds numbers, which are aligned to the right; the first one never does."""
        cells = list(zip(*self.rows, strict=True))
        return tuple(place > 0 and all(_is_number(cell) for cell in column) for place, column in enumerate(cells))


def _is_number(cell: str) -> bool:
    begins_so = cell.lstrip("★ $<-")[:1].isdigit()
    return not cell or cell == units.UNKNOWN or (begins_so and _SIZES.search(cell) is None)
