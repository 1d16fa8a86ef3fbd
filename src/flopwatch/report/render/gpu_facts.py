"""What the GPUs of a run did, as label and text."""

from __future__ import annotations

from flopwatch import units
from flopwatch.hardware.nvml.driver import READ
from flopwatch.hardware.telemetry import REASONS
from flopwatch.report.render.facts import Line
from flopwatch.report.report import Report

_NEARLY_ALL = 0.95


def hardware_lines(report: Report) -> list[Line]:
    """Return clocks, throttling, energy and tensor activity of the GPUs, and what could not be read."""
    hardware = report.hardware
    if hardware is None:
        return []
    lines = [("driver", f"{hardware.driver or units.UNKNOWN}, {hardware.name}"), *_clock_lines(report)]
    lines += [*_energy_lines(report), *_tensor_lines(report)]
    missing = [f"{what} ({answer})" for what, answer in hardware.readable.items() if answer != READ]
    if missing:
        lines.append(("not read", "; ".join(missing)))
    return lines


def _clock_lines(report: Report) -> list[Line]:
    if report.sm_clock_hz is None:
        return []
    clock = f"{units.format_clock(report.sm_clock_hz)} mean, {units.format_clock(report.sm_clock_hz_min)} minimum"
    if report.device.boost_clock_hz is not None:
        clock += f"; the peak assumes {units.format_clock(report.device.boost_clock_hz)}"
    lines = [("SM clock", clock)]
    if report.throttled_frac is not None:
        how = "the driver's counters" if report.throttle_counted else "samples"
        lines.append(
            ("throttled", f"{units.format_share(report.throttled_frac)} of the time (by {how}){_reasons(report)}")
        )
    if report.slow_clock_frac:
        slow = f"{units.format_share(report.slow_clock_frac)} of busy time, with no reason from the driver"
        lines.append(("below that clock", slow))
    if report.telemetry_coverage is not None and report.telemetry_coverage < _NEARLY_ALL:
        lines.append(("coverage", f"readings cover only {units.format_share(report.telemetry_coverage)} of the time"))
    return lines


def _reasons(report: Report) -> str:
    shares = sorted((report.throttled or {}).items(), key=lambda item: -item[1])
    words = [f"{REASONS.get(reason, reason)} {units.format_share(share)}" for reason, share in shares if share > 0]
    return f": {', '.join(words)}" if words else ""


def _energy_lines(report: Report) -> list[Line]:
    assert report.hardware is not None
    if not report.totals.joules:
        return []
    source = report.hardware.energy_source or units.UNKNOWN
    energy = f"{units.format_plain(report.totals.joules / units.JOULES_PER_KWH)} kWh for the GPUs, from {source}"
    lines = [("energy", energy)]
    if report.kg_co2 is not None:
        lines.append(("CO2", f"{units.format_plain(report.kg_co2)} kg from that energy, at the given factor"))
    if report.power_watts is not None:
        lines.append(("mean power", f"{units.format_si(report.power_watts, 'W')} over all GPUs"))
    if report.joules_per_token is not None:
        lines.append(("energy per token", f"{units.format_plain(report.joules_per_token)} J"))
    if report.joules_per_flop is not None:
        lines.append(("energy per model FLOP", f"{units.format_plain(report.joules_per_flop * 1e12)} pJ"))
    return lines


def _tensor_lines(report: Report) -> list[Line]:
    if report.tensor_active is None:
        return []
    words = f"{units.format_percent(report.tensor_active)} of cycles (GPM)"
    if report.tensor_mfu is not None:
        words += f"; at the actual clock, equivalent to an MFU of {units.format_percent(report.tensor_mfu)}"
    return [("tensor cores active", words)]
