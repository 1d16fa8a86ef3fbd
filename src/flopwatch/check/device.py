"""Whether torch and the driver mean the same device, and what a reading of it costs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from flopwatch import units
from flopwatch.check.asking import Asked, DriverDevice, find
from flopwatch.check.machine import Machine
from flopwatch.check.results import CheckLine, compared, not_here
from flopwatch.hardware.nvml import gauges
from flopwatch.hardware.nvml.driver import Answer

SAME, COSTS = "torch and driver agree", "driver readings"
_SLOW_SECONDS = 0.005  # what the sampler asks less often
_CALLS = 5
_SHOWN = 8  # digits of a UUID: enough to see a difference, too few to tell whose GPU it is
_READINGS: Mapping[str, Callable[[Any], Answer[Any]]] = MappingProxyType(
    {
        "SM clock": gauges.sm_clock_hz,
        "throttle reasons": gauges.event_reasons,
        "throttle counters": gauges.reason_seconds,
        "energy": gauges.energy_joules,
        "power": gauges.power_watts,
        "utilization": gauges.utilization,
    }
)


def check_device(machine: Machine) -> Iterator[CheckLine]:
    """Find the driver's handle of torch's device; yield whether they are the same, and what readings cost."""
    if machine.address is None:
        yield not_here(SAME, machine.why_no_driver)
        yield not_here(COSTS, machine.why_no_driver)
        return
    found = find(machine.address)
    yield same_device(machine, found)
    yield costs(Asked(lambda: call_seconds(found)).answer())


def same_device(machine: Machine, found: DriverDevice) -> CheckLine:
    """The same UUID (without one, the same name) and as many SMs."""
    described = machine.described
    theirs = (_digits(found.uuid), found.name, found.sm_count)
    ours = (_digits(described.uuid), described.name, described.sm_count)
    known = [(one, other) for one, other in zip(ours, theirs, strict=True) if one is not None and other is not None]
    is_same = bool(known) and all(one == other for one, other in known)
    words = found.gpu.doubt or ("a MIG slice" if found.gpu.is_slice else "")
    return compared(SAME, is_same, expected=_words(*ours), found=_words(*theirs), words=words)


def _digits(uuid: str | None) -> str | None:
    return None if uuid is None else uuid.removeprefix("GPU-").removeprefix("MIG-")


def _words(uuid: str | None, name: str | None, sms: int | None) -> str:
    known = (name, uuid and f"UUID {uuid[:_SHOWN]}...", sms and f"{sms} SMs")
    return ", ".join(each for each in known if each) or units.UNKNOWN


def call_seconds(found: DriverDevice) -> Mapping[str, float | str]:
    """Median seconds of every reading, or why it cannot be had."""
    return {name: _seconds_of(read, found.gpu.whole) for name, read in _READINGS.items()}


def _seconds_of(read: Callable[[Any], Answer[Any]], gpu: Any) -> float | str:
    taken = []
    for _ in range(_CALLS):
        began = time.perf_counter()
        answer = read(gpu)
        taken.append(time.perf_counter() - began)
        if answer.error is not None:
            return answer.error
    return statistics.median(taken)


def costs(taken: Mapping[str, float | str]) -> CheckLine:
    """All readings together are quick enough to be taken every second."""
    seconds = {name: each for name, each in taken.items() if isinstance(each, float)}
    refused = {name: each for name, each in taken.items() if isinstance(each, str)}
    if not seconds:
        return not_here(COSTS, "; ".join(f"{name}: {why}" for name, why in refused.items()))
    slow = [f"{name} {units.format_milliseconds(each)}" for name, each in seconds.items() if each > _SLOW_SECONDS]
    words = [f"the slowest takes {units.format_milliseconds(max(seconds.values()))}"]
    words += [f"slow: {', '.join(slow)}"] if slow else []
    words += [f"not readable: {', '.join(refused)}"] if refused else []
    return compared(
        COSTS,
        not slow,
        expected=_SLOW_SECONDS * len(seconds),
        found=sum(seconds.values()),
        words=f"for {len(seconds)} readings; {'; '.join(words)}",
        unit="s at most",
    )
