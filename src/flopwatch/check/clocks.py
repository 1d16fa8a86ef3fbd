"""A GPU under load: clock, throttling, energy and tensor activity, each held against another way to know it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from flopwatch import units
from flopwatch.check.asking import DriverDevice, find
from flopwatch.check.machine import WHY_NO_DRIVER, Machine
from flopwatch.check.products import Load
from flopwatch.check.readings import (
    CLOCK,
    COUNTERS,
    ENERGY,
    POWER,
    REASONS,
    TENSOR,
    Readings,
    read_under_load,
)
from flopwatch.check.results import CheckLine, between, compared, is_near, not_here
from flopwatch.hardware.nvml import gauges
from flopwatch.hardware.telemetry import REASONS as REASON_WORDS

UNDER_LOAD, AT_CLOCK = "SM clock under load", "product at that clock"
THROTTLING, JOULES, ACTIVITY = "throttling, two ways", "energy, two ways", "tensor activity"
NAMES = (UNDER_LOAD, AT_CLOCK, THROTTLING, JOULES, ACTIVITY)
_CLOCK_STEP_HZ = 15e6
_MOST_OF_SHEET = 1.5  # drivers allow up to 1.25 of the datasheet's clock
_LEAST_OF_ALLOWED = 0.1  # an idle GPU's clock
_LEAST_AT_CLOCK, _MOST_AT_CLOCK = 0.5, 1.02  # the mean of readings is not quite the mean of the clock
_SHARES_APART = 0.15
_ENERGY_APART = 0.15  # the counter moves by steps, and power is a mean over the second before
_LEAST_ACTIVITY, _MOST_ACTIVITY = 0.95, 1.3  # of the share of the peak at that clock


def check_clocks(machine: Machine) -> Iterator[CheckLine]:
    """Read the GPU while it multiplies; yield a line for each pair of ways."""
    if machine.address is None:
        yield from (not_here(name, WHY_NO_DRIVER) for name in NAMES)
        return
    found = find(machine.address)
    load, read = read_under_load(machine, found)
    yield from lines(machine, found, load, read)


def lines(machine: Machine, found: DriverDevice, load: Load, read: Readings) -> Iterator[CheckLine]:
    """The lines of one stretch under load.

    Args:
        machine: What ran.
        found: The device as the driver describes it.
        load: What it ran.
        read: What the driver said meanwhile.
    """
    yield clock(machine, found, read)
    yield at_clock(machine, load, read)
    yield throttling(read)
    yield energy(read, found)
    yield activity(machine, load, read)


def clock(machine: Machine, found: DriverDevice, read: Readings) -> CheckLine:
    """The driver allows the clock that the table's peak is for, and the GPU runs at no higher one than allowed."""
    sheet, most, mean = machine.described.boost_clock_hz, found.max_sm_clock_hz, read.clock_hz
    if mean is None or most is None:
        return not_here(UNDER_LOAD, read.why_not(CLOCK))
    allowed, highest = _allowed(sheet, most), max(read.clocks_hz)
    if allowed.outcome == "fail":
        return allowed
    words = f"{len(read.clocks_hz)} readings"
    if highest > most + _CLOCK_STEP_HZ:
        return compared(
            UNDER_LOAD, False, expected=most, found=highest, words=f"the highest of {words}", unit="Hz at most"
        )
    if sheet is not None:
        words += f"; the table's peak is for {units.format_clock(sheet)}"
        if mean < sheet - _CLOCK_STEP_HZ:
            words += f", held down by: {', '.join(_reasons(read)) or 'no reason given'}"
    limit = most + _CLOCK_STEP_HZ
    return between(UNDER_LOAD, mean, least=_LEAST_OF_ALLOWED * most, most=limit, words=words, unit="Hz")


def _allowed(sheet: float | None, most: float) -> CheckLine:
    """Whether the clock that the driver allows goes with the datasheet's."""
    if sheet is None:
        return not_here(UNDER_LOAD, "no clock in the table")
    return between(
        UNDER_LOAD,
        most,
        least=sheet - _CLOCK_STEP_HZ,
        most=_MOST_OF_SHEET * sheet,
        words=f"the highest clock that the driver allows; the table's peak is for {units.format_clock(sheet)}",
        unit="Hz",
    )


def _reasons(read: Readings) -> list[str]:
    return sorted({REASON_WORDS[reason] for bits in read.bits for reason in gauges.reasons_of(bits)})


def at_clock(machine: Machine, load: Load, read: Readings) -> CheckLine:
    """No product is faster than SMs x FLOPs per clock x the clock that was read, and a large one half as fast."""
    per_clock, mean = machine.described.flops_per_clock, read.clock_hz
    if per_clock is None or mean is None:
        why = read.why_not(CLOCK) if mean is None else f"no FLOPs per clock known for {machine.described.name}"
        return not_here(AT_CLOCK, why)
    limit = per_clock * mean
    return between(
        AT_CLOCK,
        load.flops_per_second,
        least=_LEAST_AT_CLOCK * limit,
        most=_MOST_AT_CLOCK * limit,
        words=f"{load.flops_per_second / limit:.1%} of what the clock allows",
        unit="FLOP/s",
    )


def throttling(read: Readings) -> CheckLine:
    """The share of readings with a reason is the share of time that the driver's counters tell."""
    if not read.bits or not read.reason_seconds:
        missing = [*([] if read.bits else [REASONS]), *([] if read.reason_seconds else [COUNTERS])]
        return not_here(THROTTLING, read.why_not(*missing))
    counted = {reason: seconds / read.seconds for reason, seconds in read.reason_seconds.items()}
    sampled = {
        reason: sum(reason in gauges.reasons_of(bits) for bits in read.bits) / len(read.bits) for reason in counted
    }
    worst = max(counted, key=lambda reason: abs(counted[reason] - sampled[reason]))
    return compared(
        THROTTLING,
        abs(counted[worst] - sampled[worst]) <= _SHARES_APART,
        expected=sampled[worst],
        found=counted[worst],
        words=f"share of time by the driver's counter of {REASON_WORDS[worst]}; {sampled[worst]:.0%} of readings",
        unit="share",
    )


def energy(read: Readings, found: DriverDevice) -> CheckLine:
    """The energy counter rises by mean power times seconds."""
    if read.joules is None or not read.watts:
        missing = [*([ENERGY] if read.joules is None else []), *([] if read.watts else [POWER])]
        return not_here(JOULES, read.why_not(*missing))
    watts, limit = statistics.fmean(read.watts), found.power_limit_watts
    words = f"by the counter; mean power {units.format_si(watts, 'W')}"
    words += f" of {units.format_si(limit, 'W')}" if limit else ""
    expected = watts * read.seconds
    return compared(
        JOULES,
        is_near(read.joules, expected, _ENERGY_APART),
        expected=expected,
        found=read.joules,
        words=words,
        unit="J",
    )


def activity(machine: Machine, load: Load, read: Readings) -> CheckLine:
    """Tensor cores were at work for at least the share of cycles that the product's FLOPs need."""
    per_clock, mean = machine.described.flops_per_clock, read.clock_hz
    if read.tensor_active is None or mean is None:
        return not_here(ACTIVITY, read.why_not(*([TENSOR] if read.tensor_active is None else [CLOCK])))
    if per_clock is None:
        return not_here(ACTIVITY, f"no FLOPs per clock known for {machine.described.name}")
    needed = load.flops_per_second / (per_clock * mean)
    return compared(
        ACTIVITY,
        _LEAST_ACTIVITY * needed <= read.tensor_active <= _MOST_ACTIVITY * needed,
        expected=needed,
        found=read.tensor_active,
        words=f"share of cycles by the counters; the product's FLOPs need {needed:.1%}",
        unit="share",
    )
