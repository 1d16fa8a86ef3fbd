"""What is written once about a run: its start record, the loggers' hyperparameters, the final summary."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Any

from flopwatch import units
from flopwatch.report.render.facts import component_lines, time_lines
from flopwatch.report.report import Report
from flopwatch.report.verdict import verdict
from flopwatch.run.budget import Budget
from flopwatch.run.records import Device, Work
from flopwatch.wandb.live import Table

_PACKAGES = ("flopwatch", "torch", "pytorch-lightning", "lightning", "wandb", "nvidia-ml-py")


def hyperparameters(
    work: Work, device: Device, budgets: tuple[Budget, ...], driver: str | None = None
) -> dict[str, Any]:
    """Return how FLOPs were counted and against which peak; unknown values are absent."""
    facts = {
        "model_type": work.model_type,
        "parameters": work.parameters,
        "active_parameters": work.active_parameters,
        "trainable_parameters": work.trainable_parameters,
        "method": work.method,
        "convention": "model FLOPs: forward and the gradients that are computed, nothing recomputed",
        "attention": work.attention,
        "verification": work.verification,
        "verification_note": work.note,
        "training_flops_per_token": work.training_flops_per_token,
        **_forward_flops_by_component(work),
        "device": device.name,
        "device_count": device.count,
        "dtype": device.dtype,
        "peak_flops_per_second": device.peak_flops_per_second,
        "peak_source": device.peak_source,
        "flops_per_clock": device.flops_per_clock,
        "boost_clock_hz": device.boost_clock_hz,
        "driver": driver,
        "first_batch": {
            "sequences": work.sequences,
            "seq_len": work.seq_len,
            "tokens": work.tokens,
            "forward_flops": work.forward_flops,
            "training_flops": work.training_flops,
            "hardware_flops": work.hardware_flops,
        },
        "parameters_by_component": {row.name: row.parameters for row in work.components} or None,
        "budget": ", ".join(str(budget) for budget in budgets) or None,
        "versions": versions(),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _forward_flops_by_component(work: Work) -> dict[str, dict[str, float]]:
    """Forward FLOPs of every component for one token or, where there are none, one sample of the first batch."""
    unit, amount = ("token", work.tokens) if work.tokens else ("sample", work.sequences)
    if not amount or not work.components:
        return {}
    return {f"forward_flops_per_{unit}": {row.name: row.forward_flops / amount for row in work.components}}


def tables(report: Report) -> dict[str, Table]:
    """What W&B shows of a run that ended: FLOPs by component, and where its time went."""
    components = [
        (name, float(parameters), float(flops), share)
        for name, parameters, flops, share in component_lines(report.work)
    ]
    found = {"time": Table(("kind", "seconds", "share"), time_lines(report))}
    if components:
        found["components"] = Table(
            ("component", "parameters", "forward FLOPs of the first batch", "share"), components
        )
    return found


def summary(report: Report) -> dict[str, float | str | None]:
    """Return totals and means, under names that no logged metric uses."""
    totals, counts = report.totals, report.totals.counts
    return {
        "mfu_mean": report.mfu,
        "hfu_mean": report.hfu,
        "mfu_at_clock_mean": report.mfu_at_clock,
        "run_mfu": report.run_mfu,
        "tokens_per_sec_mean": report.tokens_per_second,
        "flops_total": None if counts.flops is None else float(counts.flops),
        "hardware_flops_total": None if counts.hardware_flops is None else float(counts.hardware_flops),
        "useful_tokens_total": None if counts.useful_tokens is None else float(counts.useful_tokens),
        "tokens_total": None if counts.tokens is None else float(counts.tokens),
        "kwh_total": None if totals.joules is None else totals.joules / units.JOULES_PER_KWH,
        "joules_per_token_mean": report.joules_per_token,
        "sm_clock_mhz_mean": None if report.sm_clock_hz is None else report.sm_clock_hz / units.SI_PREFIXES["M"],
        "throttled_frac_mean": report.throttled_frac,
        "driver": None if report.hardware is None else report.hardware.driver,
        "device_hours_total": totals.device_seconds / units.SECONDS_PER_HOUR,
        "loss_last": report.loss,
        "validation_loss_last": report.validation_loss,
        "wall_seconds": report.wall_seconds,
        "status": report.status,
        "verdict": " ".join(verdict(report)) or None,
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape the numbers."""
    found = {package: _version(package) for package in _PACKAGES}
    return {"python": sys.version.split()[0], **{name: version for name, version in found.items() if version}}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
