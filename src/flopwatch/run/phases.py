"""What the phases of a step come to: shares of its time, and how close forward and backward get to the peak."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Literal

from flopwatch.run import rates
from flopwatch.run.counts import add
from flopwatch.run.records import Device, StepPhases

Part = Literal["transfer_seconds", "forward_seconds", "backward_seconds", "clip_seconds", "optimizer_seconds"]


def share(phases: StepPhases | None, part: Part) -> float | None:
    """Return the share of the step that a phase takes."""
    return None if phases is None else rates.fraction(getattr(phases, part), phases.seconds)


def forward_mfu(phases: StepPhases | None, device: Device) -> float | None:
    """Return the MFU of the forward pass on its device."""
    if phases is None:
        return None
    return rates.utilization(phases.forward_flops, phases.forward_seconds, 1, device.peak_flops_per_second)


def backward_mfu(phases: StepPhases | None, device: Device) -> float | None:
    """Return the MFU of the backward pass on its device; recomputation counts as no model FLOPs."""
    if phases is None:
        return None
    return rates.utilization(phases.backward_flops, phases.backward_seconds, 1, device.peak_flops_per_second)


def together(each: Iterable[StepPhases | None]) -> StepPhases | None:
    """Return several steps as one, which has their sums; `None` without any.

    Args:
        each: Steps. Of FLOPs that one of them does not tell, the sum is unknown.
    """
    known = [phases for phases in each if phases is not None]
    if not known:
        return None
    sums: dict[str, Any] = {
        each.name: functools.reduce(add, [getattr(phases, each.name) for phases in known])
        for each in fields(StepPhases)
    }
    return StepPhases(**sums)
