"""The live view: charts of what changes, every number with its name and unit, and the budgets, in one screen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flopwatch import units
from flopwatch.report.render.braille import plot
from flopwatch.report.render.live import fitting, heading_line, newest, shown
from flopwatch.run.metric import Metric
from flopwatch.run.metric_table import METRICS

# What is worth a chart, the first ones where there is room for few.
_CHARTS = (
    *("perf/mfu", "loss/train", "perf/tokens_per_sec", "perf/samples_per_sec", "perf/step_seconds"),
    *("step/data_wait_frac", "loss/validation", "perf/mfu_at_clock", "gpu/sm_clock_mhz", "gpu/throttled_frac"),
    *("gpu/memory_peak_frac", "step/optimizer_frac", "perf/goodput", "gpu/joules_per_token"),
    *("gpu/slowest_rank_ratio", "budget/fraction", "budget/hours_left"),
)
_CELL, _FEWEST_LINES, _MOST_LINES, _MOST_CHART_ROWS = 38, 4, 8, 4
_ROOM_FOR_BOTH = 18  # lines, from which numbers leave a row to charts
_GAP = "  "

Row = Mapping[str, Any]


def screen(rows: Sequence[Row], title: str, columns: int, lines: int, budgets: Sequence[tuple[str, str]] = ()) -> str:
    """Draw one screen.

    Args:
        rows: Windows.
        title: What stands above.
        columns: Width of the terminal.
        lines: Its height; charts give way to numbers, and numbers to those that matter most.
        budgets: Name and words of each budget.
    """
    if not rows:
        return f"{title[-columns:]}\nno flopwatch window yet\n"
    in_a_row = max(columns // (_CELL + len(_GAP)), 1)
    width = (columns - 1 - len(_GAP) * (in_a_row - 1)) // in_a_row
    below = [f"{name}: {words}"[: columns - 1] for name, words in budgets] if len(budgets) > 1 else []
    room = lines - 3 - (len(below) + 1 if below else 0)
    known = [metric for key, metric in METRICS.items() if any(key in row for row in rows)]
    for_charts = _FEWEST_LINES + 2 if room >= _ROOM_FOR_BOTH and _changing(rows) else 0
    numbers = fitting(known, in_a_row * (room - for_charts))
    number_lines = _side_by_side([[cell] for cell in _number_cells(rows, numbers, width)], in_a_row, down=True)
    charts = _charts(rows, in_a_row, width, room - len(number_lines))
    parts = [*_side_by_side(charts, in_a_row), *number_lines, *(["", *below] if below else [])]
    return "\n".join([heading_line(rows[-1], title, columns), "", *parts]) + "\n"


def _charts(rows: Sequence[Row], in_a_row: int, width: int, room: int) -> list[list[str]]:
    """As many charts as there is room for, and as tall."""
    most = min(max(room // (_FEWEST_LINES + 2), 0), _MOST_CHART_ROWS)
    keys = _changing(rows)[: in_a_row * most]
    if not keys:
        return []
    tall = min(room // math.ceil(len(keys) / in_a_row) - 2, _MOST_LINES)
    return [_chart(rows, METRICS[key], width, tall) for key in keys]


def _values(rows: Iterable[Row], key: str) -> list[float]:
    return [value for row in rows if (value := units.number(row.get(key))) is not None]


def _changing(rows: Sequence[Row]) -> list[str]:
    """Keys that are worth a chart: with values that differ as they are shown; a run without tokens has samples."""
    keys = [key for key in _CHARTS if _differs(METRICS[key], _values(rows, key))]
    return [key for key in keys if key != "perf/samples_per_sec" or "perf/tokens_per_sec" not in keys]


def _differs(metric: Metric, values: Sequence[float]) -> bool:
    return bool(values) and shown(metric, min(values)) != shown(metric, max(values))


def _number_cells(rows: Sequence[Row], metrics: Sequence[Metric], width: int) -> list[str]:
    return [_spread(metric.words, newest(rows, metric), width) for metric in metrics]


def _spread(name: str, value: str, width: int) -> str:
    """A name on the left and its value on the right; the value stays whole, the name is cut where it must be."""
    room = max(width - len(value) - 1, 0)
    return f"{name[:room]:{room}} {value}"[:width]


def _chart(rows: Sequence[Row], metric: Metric, width: int, lines: int) -> list[str]:
    """A title with the newest value, the line, and the highest and lowest value beside it."""
    values = _values(rows, metric.key)
    labels = [shown(metric, max(values)), *[""] * (lines - 2), shown(metric, min(values))]
    left = max(map(len, labels))
    drawn = plot(values, max(width - left - 1, 2), lines)
    body = [f"{label:>{left}} {line}"[:width] for label, line in zip(labels, drawn, strict=True)]
    return [_spread(metric.words, newest(rows, metric), width), *body, ""]


def _side_by_side(blocks: Sequence[Sequence[str]], in_a_row: int, *, down: bool = False) -> list[str]:
    """Blocks of equal height in rows; with `down` read down the columns."""
    if not blocks:
        return []
    tall, height = math.ceil(len(blocks) / in_a_row), len(blocks[0])
    grid = [blocks[row::tall] if down else blocks[row * in_a_row :][:in_a_row] for row in range(tall)]
    width = max(len(line) for block in blocks for line in block)
    return [_GAP.join(f"{block[line]:{width}}" for block in cells).rstrip() for cells in grid for line in range(height)]
