"""Whether torch and the driver mean the same device, and what a reading of it costs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from flopwatch import units
from flopwatch.check.asking import Asked, DriverDevice, find
from flopwatch.check.machine import WHY_NO_DRIVER, Machine
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
        yield not_here(SAME, WHY_NO_DRIVER)
        yield not_here(COSTS, WHY_NO_DRIVER)
        return
    found = find(machine.address)
    yield same_device(machine, found)
    yield costs(Asked(lambda: call_seconds(found)).answer())


def same_device(machine: Machine, found: DriverDevice) -> CheckLine:
    """The same UUID, name and number of SMs, as far as both tell them."""
    described = machine.described
    theirs = {"UUID": _digits(found.uuid), "name": found.name, "SMs": found.sm_count}
    ours = {"UUID": _digits(described.uuid), "name": described.name, "SMs": described.sm_count}
    known = [what for what in ours if ours[what] is not None and theirs[what] is not None]
    differing = [what for what in known if ours[what] != theirs[what]]
    words = [found.gpu.doubt or ("a MIG slice" if found.gpu.is_slice else "")]
    words += [f"by {' and '.join(known) or 'nothing'} only"] if "UUID" not in known else []
    words += [f"another {' and '.join(differing)}"] if differing else []
    return compared(
        SAME,
        bool(known) and not differing,
        expected=_words(*ours.values()),
        found=_words(*theirs.values()),
        words="; ".join(filter(None, words)),
    )


def _digits(uuid: str | None) -> str | None:
    return None if uuid is None else uuid.removeprefix("GPU-").removeprefix("MIG-")


def _words(uuid: Any, name: Any, sms: Any) -> str:
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
    """The slowest reading is quick enough to be taken every second with the others."""
    seconds = {name: each for name, each in taken.items() if isinstance(each, float)}
    refused = {name: each for name, each in taken.items() if isinstance(each, str)}
    if not seconds:
        return not_here(COSTS, "; ".join(f"{name}: {why}" for name, why in refused.items()))
    slowest = max(seconds, key=lambda name: seconds[name])
    words = [f"for the slowest of {len(seconds)} readings, {slowest}"]
    words += [f"all together {units.format_milliseconds(sum(seconds.values()))}"]
    words += [f"not readable: {', '.join(refused)}"] if refused else []
    return compared(
        COSTS,
        seconds[slowest] <= _SLOW_SECONDS,
        expected=_SLOW_SECONDS,
        found=seconds[slowest],
        words="; ".join(words),
        unit="s at most",
    )
