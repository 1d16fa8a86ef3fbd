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
_WIDE, _ABOVE = 110, 4  # a narrow terminal has room for the numbers alone
_WIDTH = 12
_FIRST = ("perf/mfu", "budget/hours_left", "budget/fraction", "perf/tokens_per_sec", "loss/train")


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


def newest(rows: Sequence[Mapping[str, Any]], metric: Metric) -> str:
    """Return a metric's value in the newest window, of one that lasts its last one with its step, else `n/a`."""
    value = units.number(rows[-1].get(metric.key))
    if value is not None:
        return shown(metric, value)
    for row in reversed(rows) if metric.lasts else ():
        value = units.number(row.get(metric.key))
        if value is not None:
            return f"{shown(metric, value)} (step {_step(row)})"
    return units.UNKNOWN


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
        lines: Its height; what matters least is left out where it does not fit.
        budgets: Name and words of each budget.
    """
    if not rows:
        return f"{title[-columns:]}\nno flopwatch window yet\n"
    below = ["", *(f"{name}: {words}" for name, words in budgets)] if len(budgets) > 1 else []
    known = [metric for key, metric in METRICS.items() if any(key in row for row in rows)]
    cells = [_cells(rows, metric) for metric in fitting(known, lines - _ABOVE - 2 - len(below))]
    places = (0, 1, 2, 3) if columns < _WIDE else (0, 1, 2, 3, 4)
    headers = [("", "now", "lowest", "highest", "last windows")[place] for place in places]
    shown_cells = [[row[place] for place in places] for row in cells]
    table = tabulate(shown_cells, headers=headers, disable_numparse=True).splitlines()
    kept = [line[: columns - 1] for line in (*table[: max(lines - _ABOVE - len(below), 1)], *below)]
    return "\n".join([heading_line(rows[-1], title, columns), "", *kept]) + "\n"


def fitting(metrics: Sequence[Metric], most: int) -> list[Metric]:
    """The metrics that there is room for, in their order: first those that matter most, then those that lines have."""

    def rank(metric: Metric) -> int:
        return _FIRST.index(metric.key) if metric.key in _FIRST else len(_FIRST) + (not metric.in_lines)

    chosen = sorted(metrics, key=rank)[: max(most, 1)]
    return [metric for metric in metrics if metric in chosen]


def heading_line(row: Mapping[str, Any], title: str, columns: int) -> str:
    """The title, cut at its beginning where there is no room, with the step of a window."""
    step = f", step {_step(row)}"
    return f"{title[-(columns - len(step)) :]}{step}"


def _cells(rows: Sequence[Mapping[str, Any]], metric: Metric) -> tuple[str, str, str, str, str]:
    values = [value for row in rows if (value := units.number(row.get(metric.key))) is not None]
    now = newest(rows, metric)
    if not values:
        return metric.words, now, "", "", ""
    lowest, highest = shown(metric, min(values)), shown(metric, max(values))
    return metric.words, now, lowest, highest, "" if lowest == highest else sparkline(values)


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
