"""How wide texts may be: the terminal's width, or that of one where there is none."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence

_NARROWEST, _WIDEST = 40, 200


def columns() -> int:
    """Columns of the terminal (`COLUMNS` goes first), 80 without one."""
    return min(max(shutil.get_terminal_size((80, 24)).columns, _NARROWEST), _WIDEST)


def facts(lines: Sequence[tuple[str, str]], width: int) -> str:
    """Names and what is said of them in two columns, long words wrapped below themselves."""
    indent = max((len(name) for name, _ in lines), default=0) + 2
    room = max(width - indent, _NARROWEST // 2)
    wrapped = (textwrap.wrap(words, room, break_long_words=False, break_on_hyphens=False) or [""] for _, words in lines)
    return "\n".join(
        f"{name if not number else '':{indent}}{part}".rstrip()
        for (name, _), parts in zip(lines, wrapped, strict=True)
        for number, part in enumerate(parts)
    )
