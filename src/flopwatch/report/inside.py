"""What is known of the inside of steps: phases, PyTorch's memory, and a profile of a few of them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from flopwatch import units
from flopwatch.errors import FlopwatchError, LargeTraceError
from flopwatch.run import phases, rates
from flopwatch.run.records import Device, Memory, Profile, StepPhases, Window
from flopwatch.run.run_file import Run
from flopwatch.run.time_kinds import kind_of_part
from flopwatch.trace import Limits, TraceReport, read_trace
from flopwatch.trace.account import PRODUCTS, TraceAccount
from flopwatch.trace.parts import IDLE_DATA

_OF_A_REPORT = Limits(unpacked_bytes=128 * 2**20, events=500_000, characters=4 * 2**20)
_ENDINGS = (".json", ".json.gz")
_FEWEST_WINDOWS = 10
_APART = 0.15  # how far a step by its trace and by the run's clock may be apart
_GROWS, _GROWTH = 0.9, 0.02  # in so many of the windows, by so much of the device's memory in all


@dataclass(frozen=True)
class MemoryUse:
    """The fullest device's memory over a run, and whether it fills up.

    `held` is the most that was held in any process, with the retries of all of them. `growth_bytes_per_step` is what
    tensors gain from window to window of the last process, `full_at_step` when that fills the device; `None` where they
    do not grow, or where the run has passed that step.
    """

    held: Memory
    growth_bytes_per_step: float | None = None
    full_at_step: int | None = None

    @property
    def peak_frac(self) -> float | None:
        """The most that tensors have held, as a share of the device's memory."""
        return rates.fraction(self.held.peak_bytes, self.held.total_bytes)

    @property
    def reserved_frac(self) -> float | None:
        """The most that PyTorch has held, as a share of the device's memory."""
        return rates.fraction(self.held.reserved_bytes, self.held.total_bytes)


@dataclass(frozen=True)
class ProfiledSteps:
    """A profile: what was recorded, and what its trace says."""

    profile: Profile
    trace: TraceReport

    def slower(self, step_seconds: float | None) -> float | None:
        """How much longer profiled steps took on their device than the others did, as a fraction.

        Args:
            step_seconds: How long the others took on average.
        """
        ratio = rates.fraction(self.trace.first.seconds / self.trace.first.steps, step_seconds)
        return None if ratio is None else ratio - 1

    def to_json(self) -> dict[str, Any]:
        """The profile and its account as JSON."""
        return {
            "step": self.profile.step,
            "step_seconds": self.profile.step_seconds,
            "extra_seconds": self.profile.extra_seconds,
            "trace": self.trace.to_json(),
        }


@dataclass(frozen=True)
class Inside:
    """What is known of a run's steps; each may be unknown."""

    phases: StepPhases | None = None
    forward_mfu: float | None = None
    backward_mfu: float | None = None
    memory: MemoryUse | None = None
    profiled: ProfiledSteps | None = None

    def to_json(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            "phases": None if self.phases is None else asdict(self.phases),
            "forward_mfu": self.forward_mfu,
            "backward_mfu": self.backward_mfu,
            "memory": None if self.memory is None else asdict(self.memory),
            "profile": None if self.profiled is None else self.profiled.to_json(),
        }


def inside(
    windows: Sequence[Window], device: Device, profiled: ProfiledSteps | None, memory: MemoryUse | None = None
) -> Inside:
    """Return what windows tell of their steps.

    Args:
        windows: Those after warm-up, in order.
        device: What they are held against.
        profiled: The profile of a few steps.
        memory: How full the fullest device was.
    """
    step = phases.together(window.phases for window in windows)
    return Inside(
        phases=step,
        forward_mfu=phases.forward_mfu(step, device),
        backward_mfu=phases.backward_mfu(step, device),
        memory=memory,
        profiled=profiled,
    )


def memory_use(processes: Sequence[Sequence[Window]], step: int) -> MemoryUse | None:
    """Return how full the fullest device was, and whether what tensors hold grows from window to window.

    Args:
        processes: All windows of each process, in order.
        step: The run's last step.
    """
    readings = [[window.memory for window in windows if window.memory is not None] for windows in processes]
    last_ones = [each[-1] for each in readings if each]
    if not last_ones:
        return None
    held = _most([memory for each in readings for memory in each], sum(memory.retries for memory in last_ones))
    growing = [(window.step, window.memory) for window in processes[-1] if window.memory and not window.first]
    growth = _growth([(at, memory.allocated_bytes) for at, memory in growing], held.total_bytes)
    if growth is None:
        return MemoryUse(held)
    at, last = growing[-1]
    full = at + int((last.total_bytes - last.peak_bytes) / growth)
    return MemoryUse(held, growth, full if full > step else None)


def _most(readings: Sequence[Memory], retries: int) -> Memory:
    """Return the most of what was held on devices of the last one's size; one may be resumed on others."""
    last = readings[-1]
    alike = [memory for memory in readings if memory.total_bytes == last.total_bytes]
    return replace(
        last,
        peak_bytes=max(memory.peak_bytes for memory in alike),
        reserved_bytes=max(memory.reserved_bytes for memory in alike),
        retries=retries,
    )


def _growth(held: Sequence[tuple[int, int]], total_bytes: int) -> float | None:
    """Bytes a step, if they grow nearly always, in the second half of the windows, too, and by what counts."""
    half = held[len(held) // 2 :]
    if len(held) < _FEWEST_WINDOWS or half[-1][0] <= half[0][0]:
        return None
    rises = sum(after > before for (_, before), (_, after) in pairwise(held[1:]))
    gained = held[-1][1] - held[1][1]
    gained_late = half[-1][1] - half[0][1]
    if rises < _GROWS * (len(held) - 2) or gained < _GROWTH * total_bytes or gained_late <= 0:
        return None
    return gained_late / (half[-1][0] - half[0][0])


def profile_of(run: Run, limits: Limits = _OF_A_REPORT) -> tuple[ProfiledSteps | None, str | None]:
    """Read the newest profile of the first rank, if its trace is there.

    Args:
        run: The run.
        limits: A larger trace is not read.

    Returns:
        The profile, and what a reader should know if it could not be read.
    """
    profiles = [each for segment in run.segments for each in segment.profiles if each.rank == 0]
    if not profiles:
        return None, None
    newest = profiles[-1]
    if not newest.trace.endswith(_ENDINGS):
        expected = f"expected a name that ends in {' or '.join(_ENDINGS)}"
        return None, f"the trace of the profiled steps is not read: {expected}, got {units.quoted(newest.trace)}"
    path = _found(Path(newest.trace), run.path)
    if path is None:
        return None, f"the trace of the profiled steps is not there: {newest.trace}"
    return _read(newest, path, limits)


def _found(path: Path, run_file: Path) -> Path | None:
    """Return a trace beside the run file, as the folder may have been moved or copied, or where it was written."""
    try:
        return next((each for each in (run_file.parent / path.name, path) if each.is_file()), None)
    except (OSError, ValueError):
        return None


def _read(profile: Profile, path: Path, limits: Limits) -> tuple[ProfiledSteps | None, str | None]:
    """Read a trace; a run file may name any file, so that nothing is told of what is in one that is no trace."""
    command = f"`flopwatch trace {shlex.quote(str(path))}`"
    try:
        return _checked(ProfiledSteps(profile, read_trace(path, limits=limits)), command)
    except LargeTraceError:
        return None, f"the trace of the profiled steps is large; {command} reads it"
    except (FlopwatchError, OSError):
        return None, f"the trace of the profiled steps cannot be read; {command} says why"


def _checked(profiled: ProfiledSteps, command: str) -> tuple[ProfiledSteps | None, str | None]:
    """Leave out a trace that does not show the steps that the run timed: its shares are not those of steps."""
    timed, traced = profiled.profile.step_seconds, profiled.trace.first.host_step_seconds
    if traced is None or abs(traced - timed) <= _APART * timed:
        return profiled, None
    words = f"steps of {units.format_duration(traced)}, by the run's clock {units.format_duration(timed)}"
    return None, f"the trace of the profiled steps is left out, as it shows {words}; {command} reads it all the same"


def rest_shares(account: TraceAccount, peak_flops_per_second: float | None) -> Mapping[str, float] | None:
    """What training steps lost besides their FLOPs, by part, without waiting for data: shares that add up to 1.

    Args:
        account: Of profiled steps.
        peak_flops_per_second: What a device can do at the clock that it ran at.

    Returns:
        `None` where the peak, or the FLOPs of some products are not known, or products were faster than the peak.
    """
    if peak_flops_per_second is None or not account.has_all_flops:
        return None
    lost = {}
    for part, seconds in account.parts.items():
        if part == IDLE_DATA:
            continue  # booked beside training steps
        flops = sum(row.flops or 0 for row in account.rows if row.part == part) if part in PRODUCTS else 0
        lost[kind_of_part(part, on_cpu=account.on_cpu)] = seconds - flops / peak_flops_per_second
    total = sum(lost.values())
    if total <= 0 or min(lost.values()) < 0:
        return None
    return {kind: seconds / total for kind, seconds in lost.items()}
