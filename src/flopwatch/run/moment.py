"""The end of a window, and what is told there besides its ratios."""

from __future__ import annotations

from dataclasses import dataclass

from flopwatch import units
from flopwatch.run import rates
from flopwatch.run.records import Device, Totals, Window


@dataclass(frozen=True)
class Moment:
    """The end of a window.

    `capacity_flops` is what the run's devices could have done at their peak in all wall time so far, `wall_seconds` all
    wall time since the run's start, the time between its processes included.
    """

    window: Window
    device: Device
    totals: Totals
    capacity_flops: float | None = None
    wall_seconds: float | None = None
    usd_per_device_hour: float | None = None
    kg_co2_per_kwh: float | None = None

    def device_tflops(self) -> float | None:
        """Model TFLOP/s of one device."""
        rate = rates.per_second(rates.fraction(self.window.counts.flops, self.device.count), self.window.seconds)
        return None if rate is None else rate / units.SI_PREFIXES["T"]

    def megahertz(self, clock_hz: float | None) -> float | None:
        """A clock of the window; unknown where none was read."""
        return clock_hz / units.SI_PREFIXES["M"] if clock_hz and self.window.clock_samples > 0 else None

    def memory_peak_frac(self) -> float | None:
        """The most that tensors have held of the fullest device's memory, as a share of it."""
        memory = self.window.memory
        return None if memory is None else rates.fraction(memory.peak_bytes, memory.total_bytes)

    def device_hours(self) -> float:
        """Devices x hours of the run's processes."""
        return self.totals.device_seconds / units.SECONDS_PER_HOUR

    def kwh(self) -> float | None:
        """Energy of the run so far."""
        return None if self.totals.joules is None else self.totals.joules / units.JOULES_PER_KWH

    def kg_co2(self) -> float | None:
        """What that energy emitted, by the grid's factor."""
        kwh = self.kwh()
        return None if kwh is None or self.kg_co2_per_kwh is None else kwh * self.kg_co2_per_kwh


def as_float(value: float | None) -> float | None:
    """A number as loggers take it."""
    return None if value is None else float(value)


def hours(seconds: float | None) -> float | None:
    """Seconds as hours."""
    return None if seconds is None else seconds / units.SECONDS_PER_HOUR
