"""A profile of three steps: its parts add up to its time, its products to three steps' FLOPs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from flopwatch import units
from flopwatch.check.fits import watched_fit
from flopwatch.check.gpt import Shape, shape_for
from flopwatch.check.isolation import without_stderr
from flopwatch.check.machine import Machine
from flopwatch.check.results import CheckLine, between, compared, is_near
from flopwatch.errors import FlopwatchError
from flopwatch.lightning.recorder import ACTIVE_STEPS
from flopwatch.report.inside import profile_of
from flopwatch.trace.account import TraceAccount

TIME, FLOPS = "profile: time", "profile: FLOPs"
_STEPS = 16  # it begins after ten, and one is the profiler's own
_ROUNDING = 1e-6
_LEAST, _MOST = 0.9, 1.1  # of the time by the check's own marks
_BETWEEN_STEPS_SECONDS = 0.01  # the next batch, the Trainer's callbacks


def check_profile(machine: Machine, folder: Path, shape: Shape | None = None) -> Iterator[CheckLine]:
    """Fit with a profile; yield whether it adds up.

    Args:
        machine: Where.
        folder: A new folder for the run file and the trace.
        shape: Sizes of model and batch; by default those for the device.
    """
    sizes = shape or shape_for(machine.device)
    with without_stderr():
        watched = watched_fit(machine, sizes, folder, steps=_STEPS, profile=True)
    profiled, note = profile_of(watched.run)
    if profiled is None:
        raise FlopwatchError(note or "expected a profile of three steps, got none")
    last = profiled.profile.step
    yield time(profiled.trace.first, sum(watched.step_seconds[last - ACTIVE_STEPS : last]))
    yield flops(profiled.trace.first, sizes)


def time(account: TraceAccount, own_seconds: float) -> CheckLine:
    """The parts of the device's time add up to all of it, and that is what the steps took.

    Args:
        account: Of the profiled steps.
        own_seconds: What they took by marks of the check's own, each from its begin to its end.
    """
    total = sum(account.parts.values())
    if not is_near(total, account.seconds, _ROUNDING):
        return compared(TIME, False, expected=account.seconds, found=total, words="of all parts", unit="s")
    largest = max(account.parts, key=lambda part: account.parts[part])
    words = f"in {sum(seconds > 0 for seconds in account.parts.values())} parts, most of it {largest.replace('_', ' ')}"
    words += f" ({units.format_share(account.parts[largest] / total)})" if total else ""
    words += f"; by the check's own marks {units.format_milliseconds(own_seconds)}"
    return between(
        TIME,
        account.seconds,
        least=_LEAST * own_seconds,
        most=_MOST * own_seconds + ACTIVE_STEPS * _BETWEEN_STEPS_SECONDS,
        words=words,
        unit="s",
    )


def flops(account: TraceAccount, shape: Shape) -> CheckLine:
    """The products and attention of the trace are three steps' FLOPs by hand."""
    expected = ACTIVE_STEPS * shape.training_flops
    words = f"{account.steps} steps, from the shapes in the trace"
    return compared(FLOPS, account.flops == expected, expected=expected, found=account.flops, words=words, unit="FLOPs")
