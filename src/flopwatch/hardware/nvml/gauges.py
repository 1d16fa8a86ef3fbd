"""One reading each: SM clock, what holds it down, energy, power, how busy the GPU is, and its tensor cores."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from flopwatch import units
from flopwatch.hardware.nvml.driver import Answer, ask, binding, refusal

# Bits of nvmlDeviceGetCurrentClocksEventReasons (nvml.h, nvmlClocksEventReasons).
_IDLE = 0x1
REASON_BITS: Mapping[str, int] = MappingProxyType(
    {
        "power_cap": 0x4,
        "sync_boost": 0x10,
        "software_thermal": 0x20,
        "hardware_thermal": 0x40,
        "hardware_power_brake": 0x80,
        "hardware_slowdown": 0x8,
    }
)
# The driver sets this one together with the two that say more.
_UNSPECIFIC, _SPECIFIC = "hardware_slowdown", ("hardware_thermal", "hardware_power_brake")
# Fields of nvmlDeviceGetFieldValues that count nanoseconds (nvml.h, NVML_FI_DEV_CLOCKS_EVENT_REASON_*).
_COUNTERS: Mapping[str, int] = MappingProxyType(
    {
        "power_cap": 74,
        "sync_boost": 76,
        "software_thermal": 269,
        "hardware_thermal": 270,
        "hardware_power_brake": 271,
    }
)
_NANOSECONDS, _MILLI, _MEGA, _PERCENT = 1e-9, 1e-3, 1e6, 1e-2
# NVML says 0xFFFFFFFF for what it does not know, and no GPU is as quick or hungry as these.
MOST_HZ, MOST_WATTS = 1e10, 1e4
_CLOCK_STEP_HZ = 15e6
_LOWEST_CLOCK = 0.01  # of the highest; GPUs at rest have a tenth
_OVER_LIMIT = 3  # moments of a GPU's power are above its limit, which holds in the mean
_MOST_SHARE = 1.01  # of cycles, counted between two samples
_ALL_BITS = 2**64 - 1
_ANY_TENSOR_UTIL = 5  # nvml.h, NVML_GPM_METRIC_ANY_TENSOR_UTIL: percent
SHORTEST_GPM_SECONDS = 0.1  # nvml.h, nvmlGpmSampleGet
_PROFILERS = ("NSYS_PROFILING_SESSION_ID", "CUDA_INJECTION64_PATH", "NV_COMPUTE_PROFILER_PERFWORKS_DIR")


def sm_clock_hz(gpu: Any, most_hz: float | None = None) -> Answer[float]:
    """Current SM clock, at most as high as the driver allows; an idle GPU's can read zero, which is no clock."""
    answer = ask("nvmlDeviceGetClockInfo", gpu, binding().NVML_CLOCK_SM)
    if answer.value == 0:
        return Answer()
    if most_hz is None:
        return _possible(answer, _MEGA, MOST_HZ, units.format_clock)
    return _possible(answer, _MEGA, most_hz + _CLOCK_STEP_HZ, units.format_clock, least=_LOWEST_CLOCK * most_hz)


def max_sm_clock_hz(gpu: Any) -> Answer[float]:
    """Return the highest SM clock that the driver allows."""
    answer = ask("nvmlDeviceGetMaxClockInfo", gpu, binding().NVML_CLOCK_SM)
    if not answer.value:
        return Answer(error=answer.error or "reads zero", permanent=True)
    return _possible(answer, _MEGA, MOST_HZ, units.format_clock)


def _possible(
    answer: Answer[Any], factor: float, most: float, words: Callable[[float], str], least: float = 0.0
) -> Answer[float]:
    """Convert a reading to base units; an impossible value is an error."""
    if answer.value is None:
        return answer
    value = answer.value * factor
    if least <= value <= most:
        return Answer(value)
    error = f"the driver reports {words(value)}, but more than {words(most)} is impossible"
    if not value > most:
        error = f"the driver reports {words(value)}, but less than {words(least)} is impossible"
    return Answer(error=error, impossible=True)


def _watts(value: float) -> str:
    return units.format_si(value, "W")


def event_reasons(gpu: Any) -> Answer[int]:
    """Bits of what decides the clock at this moment; older drivers know the call by an older name."""
    answer = ask("nvmlDeviceGetCurrentClocksEventReasons", gpu)
    if answer.value is None and answer.permanent:
        answer = ask("nvmlDeviceGetCurrentClocksThrottleReasons", gpu)
    if answer.value == _ALL_BITS:
        return Answer(error="the driver reports every possible reason at once", impossible=True)
    return answer


def is_idle(bits: int) -> bool:
    """Whether the clock is low since the GPU has nothing to do."""
    return bool(bits & _IDLE)


def reasons_of(bits: int) -> frozenset[str]:
    """What holds the clock down; a GPU with nothing to do is not held down, and a clock that the user set is not."""
    if is_idle(bits):
        return frozenset()
    found = {reason for reason, bit in REASON_BITS.items() if bits & bit}
    return frozenset(found - {_UNSPECIFIC} if found.intersection(_SPECIFIC) else found)


def has_no_reason(bits: int) -> bool:
    """Whether the driver names nothing at all that would lower the clock, no setting of the user's either."""
    return bits == 0


def reason_seconds(gpu: Any) -> Answer[Mapping[str, float]]:
    """Seconds since the driver was loaded in which each reason held the clock down, of those that it counts."""
    answer = ask("nvmlDeviceGetFieldValues", gpu, list(_COUNTERS.values()))
    if answer.value is None:
        return answer
    pairs = list(zip(_COUNTERS, answer.value, strict=True))
    seconds = {reason: _integer(field) * _NANOSECONDS for reason, field in pairs if field.nvmlReturn == 0}
    return Answer(seconds) if seconds else refusal(binding(), pairs[0][1].nvmlReturn)


def _integer(field: Any) -> int:
    """The whole number that a field's union holds by its type (nvml.h, nvmlValueType_t)."""
    members = {1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}
    if field.valueType == 0:
        return int(field.value.dVal)
    return int(getattr(field.value, members.get(field.valueType, "ullVal")))


def energy_joules(gpu: Any) -> Answer[float]:
    """Return the energy of the whole board since the driver was loaded."""
    answer = ask("nvmlDeviceGetTotalEnergyConsumption", gpu)
    return answer if answer.value is None else Answer(answer.value * _MILLI)


def power_watts(gpu: Any, most_watts: float = MOST_WATTS) -> Answer[float]:
    """Power that the GPU draws; on most GPUs a mean over the last second."""
    return _possible(ask("nvmlDeviceGetPowerUsage", gpu), _MILLI, most_watts, _watts)


def power_limit_watts(gpu: Any) -> Answer[float]:
    """Return the enforced power limit."""
    return _possible(ask("nvmlDeviceGetEnforcedPowerLimit", gpu), _MILLI, MOST_WATTS, _watts)


def most_watts(gpu: Any) -> float:
    """Return the most power that the GPU can draw at any moment."""
    limit = power_limit_watts(gpu).value
    return _OVER_LIMIT * limit if limit else MOST_WATTS


def utilization(gpu: Any) -> Answer[float]:
    """Share of the driver's last sampling period (up to a second) in which a kernel ran."""
    answer = ask("nvmlDeviceGetUtilizationRates", gpu)
    if answer.value is None:
        return answer
    return _possible(Answer(answer.value.gpu), _PERCENT, 1.0, units.format_percent)


class TensorGauge:
    """Share of cycles in which tensor cores worked, between one reading and the next, from the GPM counters.

    Args:
        device: The device; of a MIG slice its own handle.
        whole: The GPU that it is a slice of, or itself.
    """

    def __init__(self, device: Any, whole: Any) -> None:
        self._device, self._whole = device, whole
        self._slice_id: int | None = None
        self._earlier: Any = None
        self._spare: Any = None
        self._sampled_at = 0.0

    def read(self) -> Answer[float]:
        """The share since the last reading; the first one has none."""
        refused = self._unavailable()
        if refused is not None:
            return refused
        if self._earlier is not None and time.monotonic() - self._sampled_at < SHORTEST_GPM_SECONDS:
            return Answer()
        taken = self._sample()
        if taken.value is None:
            return taken
        earlier, self._earlier, self._sampled_at = self._earlier, taken.value, time.monotonic()
        if earlier is None:
            return Answer()
        self._spare = earlier
        return self._between(earlier, taken.value)

    def _unavailable(self) -> Answer[float] | None:
        """Why the counters are not to be touched, asked before the first sample only."""
        if self._earlier is not None:
            return None
        if any(name in os.environ for name in _PROFILERS):
            return Answer(error="a profiler has claimed the counters", permanent=True)
        support = ask("nvmlGpmQueryDeviceSupport", self._whole)
        if support.value is None:
            return support
        if not support.value.isSupportedDevice:
            return Answer(error="this GPU has no such counters (Hopper and newer do)", permanent=True)
        return None if self._device is self._whole else self._slice_unknown()

    def _slice_unknown(self) -> Answer[float] | None:
        """Return the error if a slice cannot be identified: its GPU's counters would include its neighbors."""
        instance = ask("nvmlDeviceGetGpuInstanceId", self._device)
        self._slice_id = instance.value
        return Answer(error=instance.error, permanent=instance.permanent) if instance.value is None else None

    def _sample(self) -> Answer[Any]:
        spare, self._spare = self._spare, None
        if spare is None:
            allocated = ask("nvmlGpmSampleAlloc")
            if allocated.value is None:
                return allocated
            spare = allocated.value
        if self._device is self._whole:
            taken = ask("nvmlGpmSampleGet", self._whole, spare)
        else:
            taken = ask("nvmlGpmMigSampleGet", self._whole, self._slice_id, spare)
        if taken.value is None:
            self._spare = spare
        return taken

    def _between(self, earlier: Any, later: Any) -> Answer[float]:
        pynvml = binding()
        request = pynvml.c_nvmlGpmMetricsGet_t()
        request.version = pynvml.NVML_GPM_METRICS_GET_VERSION
        request.numMetrics = 1
        request.sample1, request.sample2 = earlier, later
        request.metrics[0].metricId = _ANY_TENSOR_UTIL
        answer = ask("nvmlGpmMetricsGet", request)
        if answer.value is None:
            return answer
        metric = answer.value.metrics[0]
        if metric.nvmlReturn != 0:
            return refusal(pynvml, metric.nvmlReturn)
        # Two samples without a cycle between them give no number.
        if not math.isfinite(metric.value):
            return Answer()
        return _possible(Answer(metric.value), _PERCENT, _MOST_SHARE, units.format_percent)

    def close(self) -> None:
        """Free the memory of the samples."""
        for sample in (self._earlier, self._spare):
            if sample is not None:
                ask("nvmlGpmSampleFree", sample)
        self._earlier = self._spare = None
