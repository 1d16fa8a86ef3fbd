"""Means over the windows of a run, each over those that know the value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from flopwatch.hardware.telemetry import FEWEST_SAMPLES, REASONS
from flopwatch.run import metrics, rates
from flopwatch.run.records import Device, Window


def mean(windows: Sequence[Window], value: Callable[[Window], float | None]) -> float | None:
    """Mean over the wall time of the windows that know the value."""
    known = [(found, window.wall_seconds) for window in windows if (found := value(window)) is not None]
    return rates.fraction(sum(found * seconds for found, seconds in known), sum(seconds for _, seconds in known))


def throttled_by_reason(windows: Sequence[Window]) -> dict[str, float] | None:
    """Return the share of the time for each reason to throttle that drivers are known to give."""
    reasons = {reason for window in windows for reason in window.throttled or {} if reason in REASONS}
    if not reasons:
        return None
    known = [window for window in windows if window.throttled is not None]
    seconds = sum(window.wall_seconds for window in known)
    shares = {
        reason: rates.fraction(
            sum((window.throttled or {}).get(reason, 0.0) * window.wall_seconds for window in known), seconds
        )
        for reason in sorted(reasons)
    }
    return {reason: share for reason, share in shares.items() if share is not None} or None


def coverage(windows: Sequence[Window]) -> float | None:
    """Share of time in which the GPU's clock was read often enough."""
    read = [each.wall_seconds for each in windows if each.clock_samples >= FEWEST_SAMPLES]
    return rates.fraction(sum(read), sum(each.wall_seconds for each in windows)) if read else None


def energy_of_one(windows: Sequence[Window], amount: Callable[[Window], int | None]) -> float | None:
    """Joules per token or per FLOP, over the windows that know both."""
    known = [(metrics.joules(window), amount(window)) for window in windows]
    pairs = [(joules, count) for joules, count in known if joules is not None and count is not None]
    return rates.fraction(sum(joules for joules, _ in pairs), sum(count for _, count in pairs))


def mean_tensor_mfu(steady: Sequence[tuple[Device, Window]]) -> float | None:
    """Return the MFU that the activity of the tensor cores would be at the actual clock."""
    known = [(metrics.tensor_mfu(window, device), window.wall_seconds) for device, window in steady]
    pairs = [(value, seconds) for value, seconds in known if value is not None]
    return rates.fraction(sum(value * seconds for value, seconds in pairs), sum(seconds for _, seconds in pairs))


def mean_clock(windows: Sequence[Window]) -> float | None:
    """Return the mean SM clock in Hz, weighed by its samples."""
    clocked = [(window.sm_clock_hz, window.clock_samples) for window in windows if window.sm_clock_hz is not None]
    return rates.fraction(sum(hz * samples for hz, samples in clocked), sum(samples for _, samples in clocked))


def total(values: Iterable[int | None]) -> int | None:
    """Return a sum, or `None` as soon as a part of it is unknown."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


def mean_utilization(parts: Iterable[tuple[Window, int, float | None]], *, hardware: bool = False) -> float | None:
    """All (hardware) FLOPs over all capacity; absent as soon as one window's work or peak is unknown."""
    flops, capacity = 0, 0.0
    for window, devices, peak in parts:
        work = window.counts.hardware_flops if hardware else window.counts.flops
        if work is None or peak is None:
            return None
        flops += work
        capacity += window.seconds * devices * peak
    return rates.fraction(flops, capacity)


def peak_at_clock(window: Window, device: Device) -> float | None:
    """Return the peak in FLOP/s at the clock of a window in which it was read often enough."""
    if window.sm_clock_hz is None or device.flops_per_clock is None:
        return None
    return device.flops_per_clock * window.sm_clock_hz if window.clock_samples >= FEWEST_SAMPLES else None
