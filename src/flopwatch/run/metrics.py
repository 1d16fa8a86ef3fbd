"""The numbers that a logger receives: their names, what each means, and how each is made from a window."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from flopwatch import units
from flopwatch.hardware.telemetry import FEWEST_SAMPLES
from flopwatch.run import rates
from flopwatch.run.records import Device, Totals, Window

_MEGA = units.SI_PREFIXES["M"]
METRICS: Mapping[str, str] = MappingProxyType(
    {
        "perf/mfu": "model FLOPs / seconds / devices / peak over the window, 0 to 1",
        "perf/mfu_at_clock": "the same against SMs x FLOPs per clock and SM x mean SM clock of the window",
        "perf/hfu": "the same as mfu with hardware FLOPs: with what activation checkpointing recomputes",
        "perf/run_mfu": "model FLOPs of the whole run / all wall time since its start / devices / peak",
        "perf/goodput": "time in kept training steps / all wall time since the run's start, 0 to 1",
        "perf/device_tflops_per_sec": "model TFLOP/s of one device over the window",
        "perf/tokens_per_sec": "tokens per second of all devices over the window, padding included",
        "perf/step_seconds": "seconds per optimizer step over the window, validation and checkpoints left out",
        "perf/data_wait_frac": "share of the window that the training loop waited for the data loader",
        "budget/flops": "model FLOPs so far, all devices, restarts included",
        "budget/tokens": "tokens so far, all devices, restarts included, padding included",
        "budget/device_hours": "devices x hours of the run's processes so far",
        "budget/kwh": "energy of the GPUs so far, each once, restarts included",
        "budget/usd": "device_hours x the price that was given",
        "budget/fraction": "share used of the budget that will be reached first",
        "budget/hours_left": "hours to the budget that will be reached first, validation and checkpoints included",
        "budget/hours_left_low": "lower end of the 80% interval of hours_left",
        "budget/hours_left_high": "upper end of the 80% interval of hours_left",
        "gpu/sm_clock_mhz": "mean SM clock of all devices over the window, while they were not idle",
        "gpu/sm_clock_mhz_min": "lowest SM clock of any device in the window",
        "gpu/throttled_frac": "share of the window in which power, heat or another device held the clock down",
        "gpu/slowest_rank_ratio": "how many times longer steps take than if the slowest rank were as quick as the mean",
        "gpu/joules_per_token": "energy of the GPUs over the window / its tokens, padding included",
    }
)


def name(key: str, prefix: str = "") -> str:
    """A key as it is logged, with the user's word before its section."""
    return f"{prefix}/{key}" if prefix else key


def mfu(window: Window, device: Device) -> float | None:
    """MFU of a window, against the peak."""
    return rates.utilization(window.flops, window.seconds, device.count, device.peak_flops_per_second)


def hfu(window: Window, device: Device) -> float | None:
    """HFU of a window, against the peak."""
    return rates.utilization(window.hardware_flops, window.seconds, device.count, device.peak_flops_per_second)


def doubt(value: float | None, device: Device) -> str | None:
    """What to check where an MFU above 1 was computed; it is shown as it is."""
    if value is None or value <= 1:
        return None
    return (
        f"the MFU is above 100%: check the peak ({device.peak_source}), whether matrix multiplications run in"
        f" {device.dtype}, and the number of devices ({device.count})"
    )


def mfu_at_clock(window: Window, device: Device) -> float | None:
    """MFU of a window, against what the device could do at the clock that it ran at; absent below three samples."""
    if window.sm_clock_hz is None or device.flops_per_clock is None or window.clock_samples < FEWEST_SAMPLES:
        return None
    peak = device.flops_per_clock * window.sm_clock_hz
    return rates.utilization(window.flops, window.seconds, device.count, peak)


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
    """How much of each thing that a budget can be of is used.

    Args:
        totals: The run's totals.
        step: Its optimizer step.
        epochs: Epochs done.
        usd_per_device_hour: Price of a device hour.
    """
    device_hours = totals.device_seconds / units.SECONDS_PER_HOUR
    return {
        "flops": totals.flops,
        "tokens": totals.tokens,
        "samples": totals.samples,
        "steps": step,
        "epochs": epochs,
        "seconds": totals.seconds,
        "device_seconds": totals.device_seconds,
        "joules": totals.joules,
        "usd": None if usd_per_device_hour is None else device_hours * usd_per_device_hour,
    }


def _hours(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / units.SECONDS_PER_HOUR


def capacity_flops(before: float | None, seconds: float, device: Device) -> float | None:
    """What the run's devices could have done at their peak: `before` this process, and in its wall time so far."""
    if before is None or device.peak_flops_per_second is None:
        return None
    return before + max(seconds, 0.0) * device.count * device.peak_flops_per_second


def logger_metrics(
    window: Window,
    device: Device,
    totals: Totals,
    *,
    capacity_flops: float | None,
    wall_seconds: float | None = None,
    usd_per_device_hour: float | None = None,
    prefix: str = "",
) -> dict[str, float]:
    """What to log at the end of a window.

    Args:
        window: The window.
        device: The device and its peak.
        totals: The run's totals at the window's end.
        capacity_flops: What the run's devices could have done at their peak in all wall time so far.
        wall_seconds: All wall time since the run's start, the time between its processes included.
        usd_per_device_hour: Price of a device hour.
        prefix: A word put before every section.

    Returns:
        Values by key; a key whose value is unknown is absent.
    """
    device_hours = totals.device_seconds / units.SECONDS_PER_HOUR
    device_rate = rates.per_second(rates.fraction(window.flops, device.count), window.seconds)
    clock_known = window.clock_samples > 0
    values: dict[str, float | None] = {
        "perf/mfu": mfu(window, device),
        "perf/mfu_at_clock": mfu_at_clock(window, device),
        "perf/hfu": hfu(window, device),
        "perf/run_mfu": rates.fraction(totals.flops, capacity_flops),
        "perf/goodput": goodput(totals, wall_seconds),
        "perf/device_tflops_per_sec": None if device_rate is None else device_rate / units.SI_PREFIXES["T"],
        "perf/tokens_per_sec": rates.per_second(window.tokens, window.seconds),
        "perf/step_seconds": rates.fraction(window.seconds, window.steps),
        "perf/data_wait_frac": rates.fraction(window.data_wait_seconds, window.seconds),
        "budget/flops": None if totals.flops is None else float(totals.flops),
        "budget/tokens": None if totals.tokens is None else float(totals.tokens),
        "budget/device_hours": device_hours,
        "budget/kwh": None if totals.joules is None else totals.joules / units.JOULES_PER_KWH,
        "budget/usd": None if usd_per_device_hour is None else device_hours * usd_per_device_hour,
        "budget/fraction": window.budget_fraction,
        "budget/hours_left": _hours(window.seconds_left),
        "budget/hours_left_low": _hours(window.seconds_left_low),
        "budget/hours_left_high": _hours(window.seconds_left_high),
        "gpu/sm_clock_mhz": window.sm_clock_hz / _MEGA if clock_known and window.sm_clock_hz else None,
        "gpu/sm_clock_mhz_min": window.sm_clock_hz_min / _MEGA if clock_known and window.sm_clock_hz_min else None,
        "gpu/throttled_frac": window.throttled_frac,
        "gpu/slowest_rank_ratio": window.slowest_rank_ratio,
        "gpu/joules_per_token": rates.fraction(joules(window), window.tokens),
    }
    return {name(key, prefix): value for key, value in values.items() if value is not None}
