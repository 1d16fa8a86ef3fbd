"""The napkin answered exactly: what a training run costs in FLOPs, time, GPU-hours and money, before it starts."""

from __future__ import annotations

from dataclasses import dataclass

from flopwatch import conventions, units
from flopwatch.chips import Dtype, find_chip
from flopwatch.components import Architecture, AttentionConvention, Batch, ComponentRow
from flopwatch.conventions import Convention
from flopwatch.errors import ArgumentError


@dataclass(frozen=True)
class Plan:
    """The hardware that a run is planned on; `mfu` is the utilization that is hoped for."""

    gpu: str
    dtype: Dtype
    count: int
    mfu: float
    usd_per_gpu_hour: float | None = None


@dataclass(frozen=True)
class PlannedRun:
    """What the planned hardware needs for the work."""

    gpu: str
    dtype: Dtype
    count: int
    mfu: float
    peak_flops_per_second: float
    peak_source: str
    seconds: float
    gpu_hours: float
    usd: float | None


@dataclass(frozen=True)
class Estimate:
    """FLOPs of one batch and, where asked for, of a whole run.

    `exact_training_flops` stands beside `training_flops` so that a rule of thumb can be held against it; without
    activation checkpointing `hardware_flops` are the same as `training_flops`.
    """

    model_type: str
    parameters: int
    active_parameters: int
    convention: Convention
    attention: AttentionConvention
    batch: int
    seq_len: int
    forward_flops: int
    training_flops: int
    exact_training_flops: int
    training_flops_per_token: int | float
    components: tuple[ComponentRow, ...]
    tokens: int | None = None
    total_training_flops: int | None = None
    exact_total_training_flops: int | None = None
    planned: PlannedRun | None = None

    @property
    def hardware_flops(self) -> int:
        """FLOPs that the hardware does without recomputation."""
        return self.training_flops


def estimate(
    architecture: Architecture,
    batch: Batch,
    *,
    attention: AttentionConvention = "causal",
    convention: Convention = "model",
    tokens: int | None = None,
    plan: Plan | None = None,
) -> Estimate:
    """Count one batch, a whole run of `tokens` tokens, and the time that the planned hardware needs for either.

    Args:
        architecture: The model.
        batch: Sequences and their length.
        attention: "causal" for the pairs that masks keep, "full" for all.
        convention: "model" for the exact count, or a labelled rule of thumb.
        tokens: Tokens of the whole run.
        plan: Hardware; its time is for the whole run if `tokens` is given, else for one batch.

    Raises:
        ArgumentError: If there are no tokens, the sequence is longer than the model's learned positions, or the plan
            makes no sense.
        UnknownDeviceError: If the planned GPU has no known peak.
    """
    if not batch.tokens:
        raise ArgumentError(f"expected a batch of at least one token, got {batch.sequences} x {batch.seq_len}")
    if architecture.max_seq_len is not None and batch.seq_len > architecture.max_seq_len:
        raise ArgumentError(
            f"this {architecture.model_type} has {architecture.max_seq_len} learned positions, got sequences of"
            f" {batch.seq_len} tokens"
        )
    counted = architecture.counted_with(attention)
    exact = counted.training_flops(batch)
    training_flops = conventions.training_flops(counted, batch, convention)
    total = None if tokens is None else training_flops * tokens // batch.tokens
    work = training_flops if total is None else total
    return Estimate(
        model_type=architecture.model_type,
        parameters=architecture.parameters(),
        active_parameters=architecture.active_parameters(),
        convention=convention,
        attention=attention,
        batch=batch.sequences,
        seq_len=batch.seq_len,
        forward_flops=conventions.forward_flops(counted, batch, convention),
        training_flops=training_flops,
        exact_training_flops=exact,
        training_flops_per_token=_exact_ratio(training_flops, batch.tokens),
        components=tuple(conventions.rows(counted, batch, convention)),
        tokens=tokens,
        total_training_flops=total,
        exact_total_training_flops=None if tokens is None else exact * tokens // batch.tokens,
        planned=None if plan is None else planned_run(plan, work),
    )


def planned_run(plan: Plan, flops: int) -> PlannedRun:
    """Time, GPU-hours and money for so many FLOPs: flops / (count x peak x MFU).

    Raises:
        ArgumentError: If the MFU is not above 0 and at most 1, or there is no GPU, or the price is negative.
        UnknownDeviceError: If the GPU has no known peak in this precision.
    """
    if not 0 < plan.mfu <= 1:
        raise ArgumentError(f"expected an MFU above 0 and at most 1, like 0.4, got {plan.mfu:g}")
    if plan.count < 1:
        raise ArgumentError(f"expected at least one GPU, got a count of {plan.count}")
    if plan.usd_per_gpu_hour is not None and not 0 <= plan.usd_per_gpu_hour < float("inf"):
        raise ArgumentError(f"expected a price that is not negative, got {plan.usd_per_gpu_hour:g}")
    chip = find_chip(plan.gpu)
    peak = chip.peak_flops_per_second(plan.dtype)
    seconds = flops / (plan.count * peak * plan.mfu)
    gpu_hours = seconds * plan.count / units.SECONDS_PER_HOUR
    return PlannedRun(
        gpu=plan.gpu,
        dtype=plan.dtype,
        count=plan.count,
        mfu=plan.mfu,
        peak_flops_per_second=peak,
        peak_source=chip.source,
        seconds=seconds,
        gpu_hours=gpu_hours,
        usd=None if plan.usd_per_gpu_hour is None else gpu_hours * plan.usd_per_gpu_hour,
    )


def _exact_ratio(amount: int, parts: int) -> int | float:
    return amount // parts if amount % parts == 0 else amount / parts
