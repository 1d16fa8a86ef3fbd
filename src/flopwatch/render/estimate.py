"""An estimate as text and as JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from tabulate import tabulate

from flopwatch import conventions, units
from flopwatch.estimate import Estimate, PlannedRun

_ATTENTION = {"causal": "causal, the pairs that masks and windows keep", "full": "full, all pairs"}


def render_json(result: Estimate) -> str:
    """The estimate as JSON; FLOPs are integers, however large."""
    values: dict[str, Any] = {
        "model_type": result.model_type,
        "method": "config",
        "parameters": result.parameters,
        "active_parameters": result.active_parameters,
        "convention": result.convention,
        "attention": result.attention if result.convention == "model" else None,
        "batch": result.batch,
        "seq_len": result.seq_len,
        "forward_flops": result.forward_flops,
        "training_flops": result.training_flops,
        "hardware_flops": result.hardware_flops,
        "exact_training_flops": result.exact_training_flops,
        "training_flops_per_token": result.training_flops_per_token,
        "components": [dataclasses.asdict(row) for row in result.components],
    }
    if result.tokens is not None:
        values["tokens"] = result.tokens
        values["total_training_flops"] = result.total_training_flops
        values["exact_total_training_flops"] = result.exact_total_training_flops
    if result.planned is not None:
        values.update(dataclasses.asdict(result.planned))
    return json.dumps(values, indent=2) + "\n"


def render_text(result: Estimate) -> str:
    """The estimate for a terminal."""
    table = tabulate(
        [
            (row.name, f"{row.parameters:,}", f"{row.forward_flops:,}", _share(row.forward_flops, result))
            for row in result.components
        ],
        headers=("component", "parameters", "forward FLOPs", "share"),
        colalign=("left", "right", "right", "right"),
        disable_numparse=True,
    )
    summary = tabulate(_lines(result), tablefmt="plain", disable_numparse=True)
    return f"{table}\n\n{summary}\n"


def _share(flops: int, result: Estimate) -> str:
    return units.format_share(flops / result.forward_flops)


def _lines(result: Estimate) -> list[tuple[str, str]]:
    per_token = units.format_si(result.training_flops_per_token, "FLOPs")
    lines = [
        ("model", f"{result.model_type}, {result.parameters:,} parameters"),
        ("convention", f"{result.convention}: {conventions.DESCRIPTIONS[result.convention]}"),
        ("batch", f"{result.batch} x {result.seq_len} tokens"),
        ("forward", f"{result.forward_flops:,} FLOPs"),
        ("training", f"{result.training_flops:,} FLOPs, {per_token} per token"),
    ]
    if result.convention == "model":
        lines.insert(2, ("attention", _ATTENTION[result.attention]))
    if result.tokens is not None:
        total = f"{result.total_training_flops:.4g} FLOPs for {units.format_count(result.tokens)} tokens"
        lines.append(("whole run", total))
    if result.convention != "model":
        exact = result.exact_total_training_flops or result.exact_training_flops
        counted = result.total_training_flops or result.training_flops
        lines.append(("exact", f"{exact:.4g} FLOPs ({_ATTENTION[result.attention]}), {exact / counted - 1:+.2%}"))
    if result.planned is not None:
        lines += _plan_lines(result.planned, whole_run=result.tokens is not None)
    return lines


def _plan_lines(planned: PlannedRun, *, whole_run: bool) -> list[tuple[str, str]]:
    peak = units.format_si(planned.peak_flops_per_second, "FLOP/s")
    money = units.format_usd(planned.usd) if planned.usd is not None else "n/a (give --usd-per-gpu-hour)"
    return [
        ("hardware", f"{planned.count:,} x {planned.gpu} at {units.format_percent(planned.mfu)} MFU"),
        ("peak", f"{peak} dense {planned.dtype} each ({planned.peak_source})"),
        ("time" if whole_run else "time of one batch", units.format_duration(planned.seconds)),
        ("GPU-hours", f"{planned.gpu_hours:,.0f}" if planned.gpu_hours >= 100 else f"{planned.gpu_hours:.3g}"),
        ("money", money),
    ]
