"""An estimate as text and as JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from tabulate import tabulate

from flopwatch import units
from flopwatch.model import conventions
from flopwatch.model.architecture import ComponentRow
from flopwatch.model.batch import Batch
from flopwatch.model.estimate import Estimate, PlannedRun

_ATTENTION = {"causal": "causal, unmasked pairs only", "full": "full, all pairs"}


def render_json(result: Estimate) -> str:
    """Render the estimate as JSON; FLOPs are integers of any size."""
    values: dict[str, Any] = {
        "model_type": result.model_type,
        "method": result.method,
        "parameters": result.parameters,
        "active_parameters": result.active_parameters,
        "convention": result.convention,
        "attention": result.attention if result.convention == "model" else None,
        "batch": result.batch.sequences,
        "seq_len": result.batch.seq_len,
        "source_len": result.batch.source_len or None,
        "image_size": result.batch.image_size,
        "forward_flops": result.forward_flops,
        "training_flops": result.training_flops,
        "hardware_flops": result.hardware_flops,
        "checkpointing": result.checkpointing,
        "exact_training_flops": result.exact_training_flops,
        "training_flops_per_token": result.training_flops_per_token,
        "components": [dataclasses.asdict(row) for row in result.components],
        "notes": list(result.notes),
    }
    if result.tokens is not None or result.samples is not None:
        values["tokens" if result.tokens is not None else "samples"] = result.tokens or result.samples
        values["total_training_flops"] = result.total_training_flops
        values["exact_total_training_flops"] = result.exact_total_training_flops
    if result.planned is not None:
        values.update(dataclasses.asdict(result.planned))
    return json.dumps(values, indent=2) + "\n"


def render_text(result: Estimate) -> str:
    """Render the estimate for a terminal."""
    routed = result.active_parameters != result.parameters
    table = tabulate(
        [_row(row, result, routed) for row in result.components],
        headers=("component", "parameters", *(("active",) if routed else ()), "forward FLOPs", "share"),
        colalign=("left", "right", *(("right",) if routed else ()), "right", "right"),
        disable_numparse=True,
    )
    summary = tabulate(_lines(result), tablefmt="plain", disable_numparse=True)
    return f"{table}\n\n{summary}\n"


def _row(row: ComponentRow, result: Estimate, routed: bool) -> tuple[str, ...]:
    active = (units.UNKNOWN if row.active_parameters is None else f"{row.active_parameters:,}",) if routed else ()
    share = row.forward_flops / result.forward_flops if result.forward_flops else None
    return row.name, f"{row.parameters:,}", *active, f"{row.forward_flops:,}", units.format_share(share)


def _lines(result: Estimate) -> list[tuple[str, str]]:
    active = f", {result.active_parameters:,} active" if result.active_parameters != result.parameters else ""
    lines = [
        ("model", f"{result.model_type}, {result.parameters:,} parameters{active}"),
        ("convention", f"{result.convention}: {conventions.DESCRIPTIONS[result.convention]}"),
        ("batch", _batch_words(result.batch)),
        ("forward", f"{result.forward_flops:,} {_unit(result)}"),
        ("training", _training_words(result)),
    ]
    if result.method == "measured":
        lines.insert(1, ("counted", "measured on the meta device: this model has no closed form"))
    if result.convention == "model":
        lines.insert(2, ("attention", _ATTENTION[result.attention]))
    if result.hardware_flops != result.training_flops:
        again = result.hardware_flops / result.training_flops - 1
        lines.append(
            ("hardware FLOPs", f"{result.hardware_flops:,}, {again:+.1%} with {result.checkpointing} checkpointing")
        )
    if result.total_training_flops is not None:
        lines.append(("whole run", f"{result.total_training_flops:.4g} {_unit(result)} for {_run_words(result)}"))
    if result.convention != "model":
        exact = result.exact_total_training_flops or result.exact_training_flops
        counted = result.total_training_flops or result.training_flops
        lines.append(("exact", f"{exact:.4g} FLOPs ({_ATTENTION[result.attention]}), {exact / counted - 1:+.2%}"))
    if result.planned is not None:
        lines += _plan_lines(result.planned, whole_run=result.total_training_flops is not None)
    return lines + [("note", note) for note in result.notes]


def _unit(result: Estimate) -> str:
    return "MACs" if result.convention == "macs" else "FLOPs"


def _training_words(result: Estimate) -> str:
    per_token = result.training_flops_per_token
    words = f"{result.training_flops:,} {_unit(result)}"
    return words if per_token is None else f"{words}, {units.format_si(per_token, _unit(result))} per token"


def _run_words(result: Estimate) -> str:
    if result.tokens is not None:
        return f"{units.format_count(result.tokens)} tokens"
    return f"{units.format_count(result.samples)} samples"


def _batch_words(batch: Batch) -> str:
    parts = [f"{batch.seq_len} tokens"] if batch.seq_len else []
    parts += [f"{batch.source_len} source positions"] if batch.source_len else []
    if batch.image_size:
        parts += ["{} x {} pixels".format(*batch.image_size)]
    if not parts:
        return f"{batch.sequences} image{'' if batch.sequences == 1 else 's'} at the config's size"
    return f"{batch.sequences} x {' and '.join(parts)}"


def _plan_lines(planned: PlannedRun, *, whole_run: bool) -> list[tuple[str, str]]:
    peak = units.format_si(planned.peak_flops_per_second, "FLOP/s")
    money = units.format_usd(planned.usd) if planned.usd is not None else "n/a (pass --usd-per-gpu-hour)"
    return [
        ("hardware", f"{planned.count:,} x {planned.gpu} at {units.format_percent(planned.mfu)} MFU"),
        ("peak", f"{peak} dense {planned.dtype} per GPU ({planned.peak_source})"),
        ("time" if whole_run else "time of one batch", units.format_duration(planned.seconds)),
        ("GPU-hours", f"{planned.gpu_hours:,.0f}" if planned.gpu_hours >= 100 else f"{planned.gpu_hours:.3g}"),
        ("cost", money),
    ]
