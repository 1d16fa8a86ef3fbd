"""The text of a W&B Report: runs side by side, and what the numbers of each are counted by and held against."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flopwatch import units
from flopwatch.wandb.online import EndedRun
from flopwatch.wandb.reports import Text

Row = tuple[str, Callable[[EndedRun], str]]
_MOST_COLUMNS = 6
_MARKUP = re.compile(r"([\\`*_{}\[\]<>|#!$~])")


def texts(runs: Sequence[EndedRun]) -> list[Text]:
    """What stands above the charts of a report."""
    return [
        Text("At a glance", f"{_table(runs, _NUMBERS)}\n\n{_DEFINITIONS}"),
        Text("What was counted, and against what", _table(runs, _FACTS)),
    ]


def _table(runs: Sequence[EndedRun], rows: Sequence[Row]) -> str:
    """Runs side by side; where they are many, each in a line of its own."""
    lines = [[label, *(value(run) for run in runs)] for label, value in rows]
    kept = [line for line in lines if any(cell != units.UNKNOWN for cell in line[1:])]
    table = [["", *(f"[{_plain(run.name)}]({run.url})" for run in runs)], *kept]
    if len(runs) > _MOST_COLUMNS:
        table = [list(column) for column in zip(*table, strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (table[0], ["---"] * len(table[0]), *table[1:]))


def _plain(value: Any) -> str:
    """Text that Markdown takes for nothing but text."""
    return units.UNKNOWN if value is None else _MARKUP.sub(r"\\\1", " ".join(str(value).split()))


def _number(values: Mapping[str, Any], name: str) -> float | None:
    value = values.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _of_summary(name: str, form: Callable[[float | None], str]) -> Callable[[EndedRun], str]:
    return lambda run: form(_number(run.summary, name))


def _of_facts(name: str, form: Callable[[float | None], str] | None = None) -> Callable[[EndedRun], str]:
    if form is None:
        return lambda run: _plain(run.config.get(name))
    return lambda run: form(_number(run.config, name))


_NUMBERS: tuple[Row, ...] = (
    ("MFU", _of_summary("mfu_mean", units.format_percent)),
    ("MFU at clock", _of_summary("mfu_at_clock_mean", units.format_percent)),
    ("HFU", _of_summary("hfu_mean", units.format_percent)),
    ("run MFU", _of_summary("run_mfu", units.format_percent)),
    ("tokens/s", _of_summary("tokens_per_sec_mean", units.format_count)),
    ("model FLOPs", _of_summary("flops_total", lambda value: units.format_si(value, "FLOPs"))),
    ("tokens", _of_summary("tokens_total", units.format_count)),
    ("device-hours", _of_summary("device_hours_total", units.format_plain)),
    ("energy, kWh", _of_summary("kwh_total", units.format_plain)),
    ("time throttled", _of_summary("throttled_frac_mean", units.format_share)),
    ("wall time", _of_summary("wall_seconds", units.format_duration)),
    ("ended", lambda run: _plain(run.summary.get("status"))),
)
_FACTS: tuple[Row, ...] = (
    ("model", _of_facts("model_type")),
    ("parameters", _of_facts("parameters", units.format_count)),
    ("model FLOPs per token", _of_facts("training_flops_per_token", lambda value: units.format_si(value, "FLOPs"))),
    ("attention", _of_facts("attention")),
    ("verification", _of_facts("verification")),
    ("device", _of_facts("device")),
    ("devices", _of_facts("device_count", units.format_plain)),
    ("precision", _of_facts("dtype")),
    ("peak of one device", _of_facts("peak_flops_per_second", lambda value: units.format_si(value, "FLOP/s"))),
    ("peak from", _of_facts("peak_source")),
    ("driver", _of_facts("driver")),
    ("budget", _of_facts("budget")),
)
_DEFINITIONS = (
    "MFU: model FLOPs / seconds in the training loop / devices / peak, warm-up left out. Run MFU: model FLOPs that were"
    " kept / all wall time / devices / peak. Written by flopwatch."
)
