"""What the driver says of a GPU while products run on it."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flopwatch.check.asking import Asked, DriverDevice
from flopwatch.check.machine import Machine
from flopwatch.check.products import Load, multiply
from flopwatch.hardware.nvml import gauges
from flopwatch.hardware.nvml.driver import Answer

CLOCK, REASONS, POWER, COUNTERS, ENERGY, TENSOR = (
    "SM clock",
    "throttle reasons",
    "power",
    "throttle counters",
    "energy counter",
    "tensor activity",
)
_LOAD_SECONDS, _WARM_UP_SECONDS = 3.0, 1.5  # power is a mean over the last second
_PAUSE_SECONDS = 0.12
_T = TypeVar("_T")


@dataclass(frozen=True)
class Readings:
    """What the driver said over some seconds.

    Attributes:
        seconds: From the first reading of the counters to the last one.
        clocks_hz: SM clocks.
        bits: Throttle reasons, as the driver's bits.
        watts: Power.
        joules: By the energy counter; `None` where it cannot be read.
        reason_seconds: By the throttle counters, by reason; `None` where they cannot be read.
        tensor_active: Share of cycles in which tensor cores worked; `None` where it cannot be read.
        refused: Why a reading is missing, by its name.
    """

    seconds: float
    clocks_hz: tuple[float, ...] = ()
    bits: tuple[int, ...] = ()
    watts: tuple[float, ...] = ()
    joules: float | None = None
    reason_seconds: Mapping[str, float] | None = None
    tensor_active: float | None = None
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def clock_hz(self) -> float | None:
        """The mean SM clock."""
        return statistics.fmean(self.clocks_hz) if self.clocks_hz else None

    def why_not(self, *names: str) -> str:
        """Why readings are missing."""
        return "; ".join(f"{name}: {self.refused.get(name, 'not read')}" for name in names)


@dataclass(frozen=True)
class _Counters:
    at: float
    joules: float | None
    reason_seconds: Mapping[str, float] | None


class _Reader:
    """Reads a GPU until it is told to stop; what is refused once is not asked for again.

    Args:
        found: The GPU.
    """

    def __init__(self, found: DriverDevice) -> None:
        self._gpu, self._stopped = found.gpu, threading.Event()
        self._refused: dict[str, str] = {}

    def stop(self) -> None:
        """Read a last time."""
        self._stopped.set()

    def read(self) -> Readings:
        """Read the counters, then the gauges over and over, then the counters."""
        whole, gauge = self._gpu.whole, gauges.TensorGauge(self._gpu.handle, self._gpu.whole)
        first = self._counters()
        gauge.read()
        clocks, bits, watts = list[float](), list[int](), list[float]()
        while not self._stopped.wait(_PAUSE_SECONDS):
            _append(clocks, self._ask(CLOCK, lambda: gauges.sm_clock_hz(whole)))
            _append(bits, self._ask(REASONS, lambda: gauges.event_reasons(whole)))
            _append(watts, self._ask(POWER, lambda: gauges.power_watts(whole)))
        active = self._ask(TENSOR, gauge.read)
        last = self._counters()
        gauge.close()
        return Readings(
            seconds=last.at - first.at,
            clocks_hz=tuple(clocks),
            bits=tuple(bits),
            watts=tuple(watts),
            joules=None if first.joules is None or last.joules is None else last.joules - first.joules,
            reason_seconds=_between(first.reason_seconds, last.reason_seconds),
            tensor_active=active,
            refused=self._refused,
        )

    def _counters(self) -> _Counters:
        whole = self._gpu.whole
        counted = self._ask(COUNTERS, lambda: gauges.reason_seconds(whole))
        return _Counters(time.monotonic(), self._ask(ENERGY, lambda: gauges.energy_joules(whole)), counted)

    def _ask(self, name: str, read: Callable[[], Answer[_T]]) -> _T | None:
        if name in self._refused:
            return None
        answer = read()
        if answer.error is not None:
            self._refused[name] = answer.error
        return answer.value


def _append(values: list[Any], value: Any) -> None:
    if value is not None:
        values.append(value)


def _between(first: Mapping[str, float] | None, last: Mapping[str, float] | None) -> Mapping[str, float] | None:
    if first is None or last is None:
        return None
    return {reason: seconds - first.get(reason, seconds) for reason, seconds in last.items()}


def read_under_load(
    machine: Machine, found: DriverDevice, seconds: float = _LOAD_SECONDS, warm_up_seconds: float = _WARM_UP_SECONDS
) -> tuple[Load, Readings]:
    """Run products, and read the GPU meanwhile.

    Args:
        machine: What runs them.
        found: What is read.
        seconds: How long.
        warm_up_seconds: How long products run before.

    Raises:
        DriverError: If the driver stops answering.
    """
    multiply(machine, warm_up_seconds)
    reader = _Reader(found)
    asked = Asked(reader.read)
    try:
        load = multiply(machine, seconds)
    finally:
        reader.stop()
    return load, asked.answer()
