"""Every GPU of this machine, and what this driver and this user may read of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flopwatch.errors import DriverError
from flopwatch.hardware.nvml import gauges
from flopwatch.hardware.nvml.driver import READ, Answer, ask, connect, driver_version

# FP32 cores of one SM by compute capability (CUDA programming guide, throughput of native arithmetic instructions).
_CORES_PER_SM = {
    **dict.fromkeys([(6, 0), (7, 0), (7, 2), (7, 5), (8, 0)], 64),
    **dict.fromkeys([(5, 0), (5, 2), (5, 3), (6, 1), (6, 2), (8, 6), (8, 7), (8, 9), (9, 0)], 128),
    **dict.fromkeys([(10, 0), (10, 3), (11, 0), (12, 0), (12, 1)], 128),
}
_MOST_SLICES = 16


@dataclass(frozen=True)
class Slice:
    """A MIG slice of a GPU."""

    name: str
    uuid: str | None
    sm_count: int | None


@dataclass(frozen=True)
class Gpu:
    """A GPU as the driver describes it; what it does not tell is `None`.

    `readable` says of each reading "yes", or why not. `event_reasons` are what holds the clock down at this moment.
    """

    index: int
    name: str = "unknown"
    uuid: str | None = None
    driver: str | None = None
    pci_bus_id: str | None = None
    sm_count: int | None = None
    sm_clock_hz: float | None = None
    max_sm_clock_hz: float | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    temperature_celsius: int | None = None
    memory_bytes: int | None = None
    event_reasons: tuple[str, ...] | None = None
    slices: tuple[Slice, ...] = ()
    is_partitioned: bool = False
    readable: Mapping[str, str] = field(default_factory=dict)


def list_gpus() -> list[Gpu]:
    """Return every GPU that the driver lists.

    Raises:
        DriverError: If there is no binding or no driver.
    """
    connect()
    count = ask("nvmlDeviceGetCount").value or 0
    return [_gpu(index) for index in range(count)]


def _gpu(index: int) -> Gpu:
    """One GPU; one that fell off the bus is listed with what the driver says of it, and hides none of the others."""
    try:
        connect()
        found = ask("nvmlDeviceGetHandleByIndex", index)
        if found.value is not None:
            return _describe(index, found.value)
        why = str(found.error)
    except DriverError as error:
        why = str(error)
    return Gpu(index, readable={"GPU": why})


def _describe(index: int, handle: Any) -> Gpu:
    modes = ask("nvmlDeviceGetMigMode", handle).value
    pci = ask("nvmlDeviceGetPciInfo", handle).value
    bits = gauges.event_reasons(handle).value
    memory = ask("nvmlDeviceGetMemoryInfo", handle).value
    most_hz = gauges.max_sm_clock_hz(handle).value
    return Gpu(
        index=index,
        name=ask("nvmlDeviceGetName", handle).value or "unknown",
        uuid=ask("nvmlDeviceGetUUID", handle).value,
        driver=driver_version(),
        pci_bus_id=None if pci is None else str(pci.busId),
        sm_count=sm_count(handle),
        sm_clock_hz=gauges.sm_clock_hz(handle, most_hz).value,
        max_sm_clock_hz=most_hz,
        power_watts=gauges.power_watts(handle, gauges.most_watts(handle)).value,
        power_limit_watts=gauges.power_limit_watts(handle).value,
        temperature_celsius=ask("nvmlDeviceGetTemperature", handle, 0).value,
        memory_bytes=None if memory is None else int(memory.total),
        event_reasons=None if bits is None else _reason_words(bits),
        slices=tuple(_slices(handle)),
        is_partitioned=bool(modes and modes[0]),
        readable=_readable(handle),
    )


def _reason_words(bits: int) -> tuple[str, ...]:
    if gauges.is_idle(bits):
        return ("idle",)
    return tuple(sorted(gauges.reasons_of(bits))) or (() if gauges.has_no_reason(bits) else ("clock_setting",))


def sm_count(handle: Any) -> int | None:
    """SMs of a whole GPU, from its cores; NVML itself does not count SMs."""
    cores = ask("nvmlDeviceGetNumGpuCores", handle).value
    capability = ask("nvmlDeviceGetCudaComputeCapability", handle).value
    if not cores or capability is None:
        return None
    per_sm = _CORES_PER_SM.get(tuple(capability))
    if per_sm is None or cores % per_sm:
        return None
    return int(cores // per_sm)


def _slices(handle: Any) -> list[Slice]:
    found = []
    for index in range(min(ask("nvmlDeviceGetMaxMigDeviceCount", handle).value or 0, _MOST_SLICES)):
        slice_ = ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, index).value
        if slice_ is None:
            continue
        attributes = ask("nvmlDeviceGetAttributes_v2", slice_).value
        count = None if attributes is None else int(attributes.multiprocessorCount)
        name = ask("nvmlDeviceGetName", slice_).value or "unknown"
        found.append(Slice(name, ask("nvmlDeviceGetUUID", slice_).value, count))
    return found


def _readable(handle: Any) -> dict[str, str]:
    """Try every reading once and return the answers."""
    tensor = gauges.TensorGauge(handle, handle)
    first = tensor.read()
    if not first.permanent:
        time.sleep(1.2 * gauges.SHORTEST_GPM_SECONDS)
    readings: dict[str, Callable[[], Answer[Any]]] = {
        "clock": lambda: gauges.sm_clock_hz(handle),
        "throttle reasons": lambda: gauges.event_reasons(handle),
        "throttle counters": lambda: gauges.reason_seconds(handle),
        "energy counter": lambda: gauges.energy_joules(handle),
        "power": lambda: gauges.power_watts(handle),
        "utilization": lambda: gauges.utilization(handle),
        "tensor activity": lambda: first if first.permanent else tensor.read(),
    }
    answers = {name: read() for name, read in readings.items()}
    tensor.close()
    return {name: READ if each.value is not None else str(each.error) for name, each in answers.items()}
