"""The numbers of a running run for a terminal: a table that is redrawn, or one line per window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from tabulate import tabulate

from flopwatch import units
from flopwatch.run.metric import Form, Metric
from flopwatch.run.metric_table import METRICS
from flopwatch.wandb.live import STEP_AXIS

_BARS = "▁▂▃▄▅▆▇█"
_SPARKS = 32
_WIDE, _ABOVE = 100, 4
_WIDTH = 12


def _hours(value: float) -> str:
    return units.format_duration(value * units.SECONDS_PER_HOUR)


def _flops(value: float) -> str:
    return units.format_si(value, "FLOPs")


_FORMS: Mapping[Form, Callable[[float], str]] = MappingProxyType(
    {
        "percent": units.format_percent,
        "share": units.format_share,
        "count": units.format_count,
        "duration": units.format_duration,
        "FLOPs": _flops,
        "hours": _hours,
        "usd": units.format_usd,
        "plain": units.format_plain,
    }
)


def shown(metric: Metric, value: float) -> str:
    """Return a metric's value with its unit."""
    return f"{_FORMS[metric.form](value)} {metric.unit}".rstrip()


def screen(
    rows: Sequence[Mapping[str, Any]],
    title: str,
    columns: int = 150,
    lines: int = 50,
    budgets: Sequence[tuple[str, str]] = (),
) -> str:
    """A table of all that is known: the newest value, the lowest and highest of all windows, and the last few.

    Args:
        rows: Windows.
        title: What stands above.
        columns: Width of the terminal; a narrow one gets less in a line.
        lines: Its height; what does not fit is left out from the end.
        budgets: Name and words of each budget.
    """
    if not rows:
        return f"{title[-columns:]}\nno flopwatch window yet\n"
    cells = [_cells(rows, metric) for key, metric in METRICS.items() if any(key in row for row in rows)]
    places = (0, 1, 4) if columns < _WIDE else (0, 1, 2, 3, 4)
    headers = [("", "now", "lowest", "highest", "last windows")[place] for place in places]
    table = tabulate(
        [[row[place] for place in places] for row in cells], headers=headers, disable_numparse=True
    ).splitlines()
    step = f", step {_step(rows[-1])}"
    below = ["", *(f"{name}: {words}" for name, words in budgets)] if len(budgets) > 1 else []
    kept = [line[: columns - 1] for line in (*table[: max(lines - _ABOVE - len(below), 1)], *below)]
    return "\n".join([f"{title[-(columns - len(step)) :]}{step}", "", *kept]) + "\n"


def _cells(rows: Sequence[Mapping[str, Any]], metric: Metric) -> tuple[str, str, str, str, str]:
    values = [value for row in rows if (value := units.number(row.get(metric.key))) is not None]
    now = units.number(rows[-1].get(metric.key))
    newest = units.UNKNOWN if now is None else shown(metric, now)
    if not values:
        return metric.words, newest, "", "", ""
    return metric.words, newest, shown(metric, min(values)), shown(metric, max(values)), sparkline(values)


def sparkline(values: Sequence[float]) -> str:
    """The last values as a row of bars, from the lowest of them to the highest; nothing where they do not change."""
    return bars(values[-_SPARKS:])


def bars(values: Sequence[float]) -> str:
    """Values as a row of bars; nothing where they do not change."""
    if not any(one != other for one, other in pairwise(values)):
        return ""
    low, high = min(values), max(values)
    return "".join(_BARS[round((value - low) / (high - low) * (len(_BARS) - 1))] for value in values)


def columns_of(row: Mapping[str, Any]) -> list[str]:
    """Return the columns that lines show for a run with such a row."""
    return [key for key, metric in METRICS.items() if metric.in_lines and key in row]


def headings(columns: Sequence[str]) -> str:
    """Return the heading line."""
    return "".join(each.rjust(_WIDTH) for each in ("step", *(METRICS[key].heading for key in columns)))


def line(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    """Return a window as one line."""
    values = [(METRICS[key], units.number(row.get(key))) for key in columns]
    cells = [units.UNKNOWN if value is None else shown(metric, value) for metric, value in values]
    return "".join(each.rjust(_WIDTH) for each in (_step(row), *cells))


def _step(row: Mapping[str, Any]) -> str:
    """Return the optimizer step; Lightning's axis is one behind it."""
    step = units.number(row.get(STEP_AXIS))
    return units.UNKNOWN if step is None else f"{step + 1:,.0f}"
