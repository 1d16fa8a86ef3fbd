"""Ratios of a window and of a run, as defined."""

from __future__ import annotations

from flopwatch import units
from flopwatch.hardware.telemetry import FEWEST_SAMPLES
from flopwatch.run import rates
from flopwatch.run.records import Device, Totals, Window


def mfu(window: Window, device: Device) -> float | None:
    """Return the MFU of a window, relative to the peak."""
    return rates.utilization(window.counts.flops, window.seconds, device.count, device.peak_flops_per_second)


def hfu(window: Window, device: Device) -> float | None:
    """Return the HFU of a window, relative to the peak."""
    return rates.utilization(window.counts.hardware_flops, window.seconds, device.count, device.peak_flops_per_second)


def doubt(value: float | None, device: Device) -> str | None:
    """What to check where an MFU above 1 was computed; it is shown as it is."""
    if value is None or value <= 1:
        return None
    return (
        f"MFU is above 100%: check the peak ({device.peak_source}), whether matrix multiplications run in"
        f" {device.dtype}, and the number of devices ({device.count})"
    )


def mfu_at_clock(window: Window, device: Device) -> float | None:
    """MFU of a window, against what the device could do at the clock that it ran at; absent below three samples."""
    if window.sm_clock_hz is None or device.flops_per_clock is None or window.clock_samples < FEWEST_SAMPLES:
        return None
    peak = device.flops_per_clock * window.sm_clock_hz
    return rates.utilization(window.counts.flops, window.seconds, device.count, peak)


def tensor_mfu(window: Window, device: Device) -> float | None:
    """The MFU that the tensor cores' activity would be if they never multiplied anything but model FLOPs.

    Share of cycles x FLOPs per clock x clock / peak, so the clock is needed to come from cycles to seconds.
    """
    if window.sm_clock_hz is None or device.flops_per_clock is None or window.tensor_active is None:
        return None
    if window.clock_samples < FEWEST_SAMPLES:
        return None
    return rates.fraction(
        window.tensor_active * device.flops_per_clock * window.sm_clock_hz, device.peak_flops_per_second
    )


def joules(window: Window) -> float | None:
    """Energy of a window: its mean power, which is known to within a second of its ends, times its wall time."""
    return None if window.power_watts is None else window.power_watts * window.wall_seconds


def goodput(totals: Totals, wall_seconds: float | None) -> float | None:
    """Share of all wall time since the run's start that went into training steps whose work was kept.

    Start-up, waiting for data, validation, checkpoints, interruptions and steps done again after a restart are what
    it lacks to 1.
    """
    return rates.fraction(totals.seconds_by_kind.get("training"), wall_seconds)


def used(
    totals: Totals, step: int, *, epochs: float | None, usd_per_device_hour: float | None
) -> dict[str, float | None]:
    """Return the used amount of every unit that a budget can have.

    Args:
        totals: The run's totals.
        step: Its optimizer step.
        epochs: Epochs done.
        usd_per_device_hour: Price of a device hour.
    """
    device_hours = totals.device_seconds / units.SECONDS_PER_HOUR
    return {
        "flops": totals.counts.flops,
        "tokens": totals.counts.tokens,
        "samples": totals.counts.samples,
        "steps": step,
        "epochs": epochs,
        "seconds": totals.seconds,
        "device_seconds": totals.device_seconds,
        "joules": totals.joules,
        "usd": None if usd_per_device_hour is None else device_hours * usd_per_device_hour,
    }


def capacity_flops(before: float | None, seconds: float, device: Device) -> float | None:
    """What the run's devices could have done at their peak: `before` this process, and in its wall time so far."""
    if before is None or device.peak_flops_per_second is None:
        return None
    return before + max(seconds, 0.0) * device.count * device.peak_flops_per_second
