"""Comparison of a run with the plan that `flopwatch estimate --json` printed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flopwatch import files, units
from flopwatch.errors import ArgumentError
from flopwatch.report.report import PlanLine, Report
from flopwatch.run.records import Work

_LARGEST_FILE_BYTES = 2**24
_BY_FLOPS = ("mfu", "total_training_flops", "training_flops_per_token", "seconds", "gpu_hours", "usd")


@dataclass(frozen=True)
class _Planned:
    """A number of the plan: its name, words and form."""

    name: str
    words: str
    form: str


_LINES = (
    _Planned("mfu", "MFU", "percent"),
    _Planned("parameters", "parameters", "count"),
    _Planned("total_training_flops", "model FLOPs", "flops"),
    _Planned("tokens", "tokens", "count"),
    _Planned("samples", "samples", "count"),
    _Planned("count", "devices", "plain"),
    _Planned("peak_flops_per_second", "peak per device", "rate"),
    _Planned("training_flops_per_token", "model FLOPs per token", "flops"),
    _Planned("seconds", "wall time", "duration"),
    _Planned("gpu_hours", "device-hours", "plain"),
    _Planned("usd", "cost", "usd"),
)


def read_plan(path: Path) -> Mapping[str, Any]:
    """Read a plan from a file.

    Raises:
        ArgumentError: If it cannot be read, or holds none.
    """
    try:
        values = json.loads(files.read_text(path, _LARGEST_FILE_BYTES))
    except OSError as error:
        raise ArgumentError(f"cannot read the plan {path}: {error.strerror}; check the path") from None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or "training_flops" not in values:
        raise ArgumentError(f"expected the output of `flopwatch estimate --json` in {path}, found something else")
    return values


def against(report: Report, plan: Mapping[str, Any]) -> Report:
    """Add planned and actual numbers to a report; a number unknown on either side is left out.

    FLOPs, and what was planned from them, are left out where the plan counted in another way than the run.
    """
    came = _came(report)
    if not _counts_alike(report, plan):
        came = {name: value for name, value in came.items() if name not in _BY_FLOPS}
    lines = []
    for each in _LINES:
        planned, actual = units.number(plan.get(each.name)), came.get(each.name)
        if planned is not None and planned > 0 and actual is not None:
            lines.append(PlanLine(each.words, each.form, planned, float(actual)))
    return replace(report, plan=tuple(lines))


def _counts_alike(report: Report, plan: Mapping[str, Any]) -> bool:
    attention = report.work.attention if report.work is not None else None
    return bool(plan.get("convention", "model") == "model" and plan.get("attention", attention) == attention)


def _parameters(work: Work | None) -> int | None:
    """Return the model's parameters and those of its adapters, as an estimate counts them."""
    if work is None or work.parameters is None:
        return None
    return work.parameters + sum(row.parameters for row in work.components if row.name == "adapters")


def _came(report: Report) -> dict[str, float | None]:
    work, totals = report.work, report.totals
    return {
        "mfu": report.mfu,
        "parameters": _parameters(work),
        "total_training_flops": totals.counts.flops,
        "tokens": totals.counts.tokens,
        "samples": totals.counts.samples,
        "count": report.device.count,
        "peak_flops_per_second": report.device.peak_flops_per_second,
        "training_flops_per_token": work.training_flops_per_token if work is not None else None,
        "seconds": report.wall_seconds,
        "gpu_hours": totals.device_seconds / units.SECONDS_PER_HOUR,
        "usd": report.usd,
    }
