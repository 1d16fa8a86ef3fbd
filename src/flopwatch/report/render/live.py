"""The numbers of a run that goes on, for a terminal: a table that is drawn anew, or a line for every window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from tabulate import tabulate

from flopwatch import units
from flopwatch.wandb.live import STEP_AXIS

_BARS = "▁▂▃▄▅▆▇█"
_SPARKS = 32
_WIDE, _ABOVE = 100, 4
_WIDTH = 12

Form = Callable[[float], str]


def _hours(value: float) -> str:
    return units.format_duration(value * units.SECONDS_PER_HOUR)


def _plain(unit: str) -> Form:
    return lambda value: f"{units.format_plain(value)} {unit}"


# Key, heading of its column, words, form.
_LINES: tuple[tuple[str, str, str, Form], ...] = (
    ("perf/mfu", "MFU", "MFU", units.format_percent),
    ("perf/mfu_at_clock", "at clock", "MFU at clock", units.format_percent),
    ("perf/hfu", "HFU", "HFU", units.format_percent),
    ("perf/run_mfu", "run MFU", "MFU of the whole run", units.format_percent),
    ("perf/goodput", "goodput", "goodput", units.format_share),
    ("perf/device_tflops_per_sec", "TFLOP/s", "speed of one device", _plain("TFLOP/s")),
    ("perf/tokens_per_sec", "tokens/s", "tokens per second", units.format_count),
    ("perf/step_seconds", "step time", "time of a step", units.format_duration),
    ("perf/data_wait_frac", "data wait", "waiting for data", units.format_share),
    ("gpu/sm_clock_mhz", "SM clock", "SM clock", _plain("MHz")),
    ("gpu/throttled_frac", "throttled", "clock held down", units.format_share),
    ("gpu/slowest_rank_ratio", "slow rank", "slowdown by the slowest rank", _plain("x")),
    ("gpu/joules_per_token", "J/token", "energy per token", _plain("J")),
    ("budget/flops", "FLOPs", "model FLOPs so far", lambda value: units.format_si(value, "FLOPs")),
    ("budget/tokens", "tokens", "tokens so far", units.format_count),
    ("budget/device_hours", "dev-hours", "device-hours so far", units.format_plain),
    ("budget/kwh", "kWh", "energy so far", _plain("kWh")),
    ("budget/usd", "money", "money so far", units.format_usd),
    ("budget/fraction", "budget", "share of the budget", units.format_percent),
    ("budget/hours_left", "left", "time left", _hours),
    ("budget/hours_left_low", "from", "at least, four times of five", _hours),
    ("budget/hours_left_high", "to", "at most, four times of five", _hours),
)
FORMS: Mapping[str, Form] = MappingProxyType({key: form for key, _, _, form in _LINES})
_COLUMNS = (
    *("perf/mfu", "perf/mfu_at_clock", "perf/tokens_per_sec", "perf/step_seconds", "perf/data_wait_frac"),
    *("gpu/sm_clock_mhz", "gpu/throttled_frac", "budget/flops", "budget/fraction", "budget/hours_left"),
)


def screen(rows: Sequence[Mapping[str, Any]], title: str, columns: int = 150, lines: int = 50) -> str:
    """A table of all that is known: the newest value, the lowest and highest of all windows, and the last few.

    Args:
        rows: Windows.
        title: What stands above.
        columns: Width of the terminal; a narrow one gets less in a line.
        lines: Its height; what does not fit is left out from the end.
    """
    if not rows:
        return f"{title[-columns:]}\nno window of flopwatch yet\n"
    cells = [_cells(rows, key, words, form) for key, _, words, form in _LINES if any(key in row for row in rows)]
    shown = (0, 1, 4) if columns < _WIDE else (0, 1, 2, 3, 4)
    headers = [("", "now", "lowest", "highest", "last windows")[place] for place in shown]
    table = tabulate(
        [[row[place] for place in shown] for row in cells], headers=headers, disable_numparse=True
    ).splitlines()
    step = f", step {_step(rows[-1])}"
    kept = [line[: columns - 1] for line in table[: max(lines - _ABOVE, 1)]]
    return "\n".join([f"{title[-(columns - len(step)) :]}{step}", "", *kept]) + "\n"


def _cells(rows: Sequence[Mapping[str, Any]], key: str, words: str, form: Form) -> tuple[str, str, str, str, str]:
    values = [value for row in rows if (value := units.number(row.get(key))) is not None]
    now = units.number(rows[-1].get(key))
    shown = units.UNKNOWN if now is None else form(now)
    if not values:
        return words, shown, "", "", ""
    return words, shown, form(min(values)), form(max(values)), sparkline(values)


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
    """What lines show of a run with such a row."""
    return [key for key in _COLUMNS if key in row]


def headings(columns: Sequence[str]) -> str:
    """The line above the lines."""
    names = {key: name for key, name, _, _ in _LINES}
    return "".join(each.rjust(_WIDTH) for each in ("step", *(names[key] for key in columns)))


def line(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    """A window in one line."""
    values = [(FORMS[key], units.number(row.get(key))) for key in columns]
    cells = [units.UNKNOWN if value is None else form(value) for form, value in values]
    return "".join(each.rjust(_WIDTH) for each in (_step(row), *cells))


def _step(row: Mapping[str, Any]) -> str:
    """The optimizer step: Lightning's axis is one behind it."""
    step = units.number(row.get(STEP_AXIS))
    return units.UNKNOWN if step is None else f"{step + 1:,.0f}"
