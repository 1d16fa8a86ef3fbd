"""An estimate as text and as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

from flopwatch import units
from flopwatch.hardware.short_names import source_words
from flopwatch.model import conventions
from flopwatch.model.architecture import ComponentRow
from flopwatch.model.batch import Batch
from flopwatch.model.estimate import Estimate, PlannedRun
from flopwatch.report.render.widths import facts

_ATTENTION = {"causal": "causal, unmasked pairs only", "full": "full, all pairs"}
_SHORTEST_NAME, _LEAST_OF_A_NAME = 24, 16
_OF_THE_HARDWARE = ("gpu", "dtype", "count", "peak_flops_per_second", "peak_source")


def render_json(result: Estimate) -> str:
    """Render the estimate as JSON; FLOPs are integers of any size."""
    return json.dumps(_values(result), indent=2) + "\n"


def render_json_table(results: Mapping[str, Estimate]) -> str:
    """Render several estimates as JSON: a list, each with its name."""
    return (
        json.dumps({"estimates": [{"name": name, **_values(each)} for name, each in results.items()]}, indent=2) + "\n"
    )


def _values(result: Estimate) -> dict[str, Any]:
    values: dict[str, Any] = {
        "model_type": result.model_type,
        "method": result.method,
        "parameters": result.parameters,
        "active_parameters": result.active_parameters,
        "trained_parameters": result.trained_parameters or result.parameters,
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
        "advice": [dataclasses.asdict(each) for each in result.advice],
    }
    if result.tokens is not None or result.samples is not None:
        values["tokens" if result.tokens is not None else "samples"] = result.tokens or result.samples
        values["total_training_flops"] = result.total_training_flops
        values["exact_total_training_flops"] = result.exact_total_training_flops
    if result.planned is not None:
        values.update(dataclasses.asdict(result.planned))
    if result.scenarios:
        each_has = dataclasses.asdict(result.scenarios[0])
        values.update({name: each_has[name] for name in _OF_THE_HARDWARE})
        values["scenarios"] = [
            {"mfu": each.mfu, "seconds": each.seconds, "gpu_hours": each.gpu_hours, "usd": each.usd}
            for each in result.scenarios
        ]
    return values


def render_text(result: Estimate, width: int = 120) -> str:
    """Render the estimate for a terminal.

    Args:
        result: The estimate.
        width: Columns of the terminal.
    """
    parts = [_component_table(result, width), facts(_lines(result), width)]
    if result.scenarios:
        parts.append(_scenario_table(result))
    if result.advice:
        parts.append(facts([("advice", f"{each.words} ({each.source})") for each in result.advice], width))
    return "\n\n".join(parts) + "\n"


def render_table(results: Mapping[str, Estimate], width: int = 120) -> str:
    """Render several estimates as a table with a row for each.

    Args:
        results: Estimates by the names of their configs.
        width: Columns of the terminal.
    """
    columns = [_columns(each) for each in results.values()]
    headers = list(dict.fromkeys(name for each in columns for name in each))
    rows = [[name, *(each.get(header, "") for header in headers)] for name, each in zip(results, columns, strict=True)]
    table = tabulate(
        rows, headers=["", *headers], disable_numparse=True, colalign=("left", *("right" for _ in headers))
    )
    first = next(iter(results.values()))
    lines = [("convention", _convention_words(first)), ("batch", _batch_words(first.batch))]
    plan = first.planned or next(iter(first.scenarios), None)
    if plan is not None:
        lines += [("hardware", f"{plan.count:,} x {plan.gpu}"), ("peak", _peak_words(plan))]
    return f"{table}\n\n{facts(lines, width)}\n"


def _columns(result: Estimate) -> dict[str, str]:
    """The cells of an estimate in a table of several."""
    cells = {"parameters": units.format_count(result.parameters)}
    if result.active_parameters != result.parameters:
        cells["active"] = units.format_count(result.active_parameters)
    per_token = result.training_flops_per_token
    if per_token is not None:
        cells["per token"] = units.format_si(per_token, _unit(result))
    else:
        cells["per sample"] = units.format_si(result.training_flops / result.batch.sequences, _unit(result))
    if result.total_training_flops is not None:
        cells["run"] = units.format_si(result.total_training_flops, "FLOPs")
    for each in result.scenarios:
        cells[f"at {units.format_percent(each.mfu)}"] = units.format_duration(each.seconds)
    if result.planned is not None:
        cells["time"] = units.format_duration(result.planned.seconds)
        cells["GPU-hours"] = _hours(result.planned)
        if result.planned.usd is not None:
            cells["cost"] = units.format_usd(result.planned.usd)
    return cells


def _component_table(result: Estimate, width: int) -> str:
    """The table of parts.

    Where it is too wide for the terminal, names lose their beginning; where too little of them would be left, numbers
    are rounded.
    """
    routed = result.active_parameters != result.parameters
    headers = ("component", "parameters", *(("active",) if routed else ()), "forward FLOPs", "share")
    align = ("left", *("right" for _ in headers[1:]))
    longest = max((len(row.name) for row in result.components), default=0)
    for exact in (True, False):
        rows = [_row(row, result, routed, exact) for row in result.components]
        table = tabulate(rows, headers=headers, colalign=align, disable_numparse=True)
        room = longest - max(max(map(len, table.splitlines())) - width, 0)
        if room >= min(longest, _SHORTEST_NAME):
            break
    short = [(_shortened(row[0], max(room, _LEAST_OF_A_NAME)), *row[1:]) for row in rows]
    return tabulate(short, headers=headers, colalign=align, disable_numparse=True)


def _shortened(name: str, room: int) -> str:
    return name if len(name) <= room else f"...{name[-(room - 3) :]}"


def _scenario_table(result: Estimate) -> str:
    """Time, GPU-hours and cost at usual utilizations."""
    priced = any(each.usd is not None for each in result.scenarios)
    rows = [
        (
            units.format_percent(each.mfu),
            units.format_duration(each.seconds),
            _hours(each),
            *((units.format_usd(each.usd),) if priced else ()),
        )
        for each in result.scenarios
    ]
    headers = ("MFU", "time" if result.total_training_flops is not None else "one batch", "GPU-hours", "cost")
    chosen = headers[: len(rows[0])]
    return tabulate(rows, headers=chosen, disable_numparse=True, colalign=["right"] * len(chosen))


def _row(row: ComponentRow, result: Estimate, routed: bool, exact: bool) -> tuple[str, ...]:
    def count(value: int | None) -> str:
        return f"{value:,}" if exact and value is not None else units.format_count(value)

    flops = f"{row.forward_flops:,}" if exact else units.format_si(row.forward_flops, _unit(result))
    share = row.forward_flops / result.forward_flops if result.forward_flops else None
    active = (count(row.active_parameters),) if routed else ()
    return row.name, count(row.parameters), *active, flops, units.format_share(share)


def _lines(result: Estimate) -> list[tuple[str, str]]:
    active = f", {result.active_parameters:,} active" if result.active_parameters != result.parameters else ""
    lines = [("model", f"{result.model_type}, {result.parameters:,} parameters{active}")]
    if result.trained_parameters is not None:
        share = units.format_share(result.trained_parameters / result.parameters)
        lines.append(("trained", f"{result.trained_parameters:,} parameters ({share}): {result.tuning}"))
    if result.method == "measured":
        lines.append(("counted", "measured on the meta device: this model has no closed form"))
    lines.append(("convention", _convention_words(result)))
    if result.convention == "model" and result.is_masked:
        lines.append(("attention", _ATTENTION[result.attention]))
    lines += [
        ("batch", _batch_words(result.batch)),
        ("forward", f"{result.forward_flops:,} {_unit(result)}"),
        ("training", _training_words(result)),
    ]
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
        how = f" ({_ATTENTION[result.attention]})" if result.is_masked else ""
        lines.append(("exact", f"{exact:.4g} FLOPs{how}, {exact / counted - 1:+.2%}"))
    if result.planned is not None:
        lines += _plan_lines(result.planned, whole_run=result.total_training_flops is not None)
    elif result.scenarios:
        plan = result.scenarios[0]
        lines += [("hardware", f"{plan.count:,} x {plan.gpu}"), ("peak", _peak_words(plan))]
    return lines + [("note", note) for note in result.notes]


def _convention_words(result: Estimate) -> str:
    if result.convention == "model" and not result.is_masked:
        return "model: exact: every matrix multiplication"
    return f"{result.convention}: {conventions.DESCRIPTIONS[result.convention]}"


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
    parts = [f"{batch.seq_len:,} tokens"] if batch.seq_len else []
    parts += [f"{batch.source_len:,} source positions"] if batch.source_len else []
    if batch.image_size:
        parts += ["{} x {} pixels".format(*batch.image_size)]
    if not parts:
        return f"{batch.sequences} image{'' if batch.sequences == 1 else 's'} at the config's size"
    return f"{batch.sequences} x {' and '.join(parts)}"


def _peak_words(planned: PlannedRun) -> str:
    peak = units.format_si(planned.peak_flops_per_second, "FLOP/s")
    return f"{peak} dense {planned.dtype} per GPU ({source_words(planned.peak_source)})"


def _hours(planned: PlannedRun) -> str:
    return f"{planned.gpu_hours:,.0f}" if planned.gpu_hours >= 100 else f"{planned.gpu_hours:.3g}"


def _plan_lines(planned: PlannedRun, *, whole_run: bool) -> list[tuple[str, str]]:
    money = units.format_usd(planned.usd) if planned.usd is not None else "n/a (pass --usd-per-gpu-hour)"
    return [
        ("hardware", f"{planned.count:,} x {planned.gpu} at {units.format_percent(planned.mfu)} MFU"),
        ("peak", _peak_words(planned)),
        ("time" if whole_run else "time of one batch", units.format_duration(planned.seconds)),
        ("GPU-hours", _hours(planned)),
        ("cost", money),
    ]
