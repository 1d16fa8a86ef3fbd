"""GPUs with their peaks, and what can be read on them, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from flopwatch import units
from flopwatch.errors import UnknownDeviceError
from flopwatch.hardware.amd import AmdGpu
from flopwatch.hardware.chips import DTYPES, Chip, Dtype, identify
from flopwatch.hardware.nvml.driver import READ
from flopwatch.hardware.nvml.inventory import Gpu, Slice
from flopwatch.hardware.short_names import source_words
from flopwatch.hardware.telemetry import REASONS
from flopwatch.report.render.widths import facts

Facts = dict[str, Any]
_NO_TELEMETRY = "flopwatch reads clocks, throttling and energy on NVIDIA GPUs only"
_HEADERS = ("GPU", "name", "SMs", "SM clock, MHz", "power, W", "throttled by", "peak, TFLOP/s", "UUID")
_PLACES = ((0, 1, 2, 3, 4, 5, 6, 7), (0, 1, 2, 3, 4, 5, 6), (0, 1, 3, 5, 6), (0, 1, 6))
_OTHER_REASONS = {"idle": "idle", "clock_setting": "user-set clock"}


def gpu_facts(gpu: Gpu, dtype: Dtype | None, chips: Sequence[Chip] = ()) -> Facts:
    """What the driver says of a GPU, and its peaks, or why there are none."""
    return {
        **peak_facts(gpu.name, gpu.sm_count, dtype, chips),
        "uuid": gpu.uuid,
        "index": gpu.index,
        "driver": gpu.driver,
        "pci_bus_id": gpu.pci_bus_id,
        "sm_clock_hz": gpu.sm_clock_hz,
        "max_sm_clock_hz": gpu.max_sm_clock_hz,
        "power_watts": gpu.power_watts,
        "power_limit_watts": gpu.power_limit_watts,
        "temperature_celsius": gpu.temperature_celsius,
        "memory_bytes": gpu.memory_bytes,
        "event_reasons": None if gpu.event_reasons is None else list(gpu.event_reasons),
        "mig": gpu.is_partitioned,
        "slices": [_slice_facts(each, dtype, chips) for each in gpu.slices],
        "readable": dict(gpu.readable),
    }


def _slice_facts(part: Slice, dtype: Dtype | None, chips: Sequence[Chip]) -> Facts:
    return {**peak_facts(part.name, part.sm_count, dtype, chips), "uuid": part.uuid}


def amd_facts(gpu: AmdGpu, dtype: Dtype | None, chips: Sequence[Chip] = ()) -> Facts:
    """An AMD GPU and its peaks."""
    facts = peak_facts(gpu.name, gpu.compute_units, dtype, chips)
    return {**facts, "uuid": gpu.uuid, "index": gpu.index, "readable": {"everything": _NO_TELEMETRY}}


def peak_facts(name: str, sm_count: int | None, dtype: Dtype | None, chips: Sequence[Chip] = ()) -> Facts:
    """The peaks of a device that is there; unknown is null with the reason as its source."""
    try:
        chip, slice_sms = identify(name, sm_count, chips)
        return chip_facts(name, chip, dtype, slice_sms)
    except UnknownDeviceError as error:
        facts = {"name": name, "peak_flops_per_second": None, "dtype": dtype, "source": str(error)}
        return {**facts, "sm_count": sm_count, "peaks": {}}


def chip_facts(name: str, chip: Chip, dtype: Dtype | None, slice_sms: int | None = None) -> Facts:
    """Return the row of a chip, or of a slice with the given number of SMs.

    Raises:
        UnknownDeviceError: If it has no confirmed figure for the precision.
    """
    chosen = next(iter(chip.peaks)) if dtype is None else dtype
    return {
        "name": name,
        "peak_flops_per_second": chip.peak_flops_per_second(chosen, slice_sms),
        "dtype": chosen,
        "source": chip.source,
        "confidence": chip.confidence,
        "sm_count": slice_sms or chip.sm_count,
        "boost_clock_hz": chip.sheet_clock_hz(chosen),
        "peaks": {each: chip.peak_flops_per_second(each, slice_sms) for each in DTYPES if each in chip.peaks},
        "notes": chip.notes,
    }


def render_json(rows: list[Facts]) -> str:
    """Render the list of devices as JSON."""
    return json.dumps({"gpus": rows}, indent=2) + "\n"


def render_text(rows: list[Facts], width: int = 200) -> str:
    """Render a table of the devices, the peaks of every kind, and what can be read.

    Args:
        rows: The devices.
        width: Columns of the terminal; a narrow one gets the columns that fit.
    """
    if all("index" not in row for row in rows):
        return "\n\n".join(facts(_peak_lines(row), width) for row in rows) + "\n"
    kinds = (facts(_peak_lines(row), width) for row in _kinds(rows))
    return "\n\n".join([_device_table(rows, width), *kinds, *_readable_parts(rows, width)]) + "\n"


def _device_table(rows: list[Facts], width: int) -> str:
    """A line per device; the UUID is left out first where there is no room, then SMs and power."""
    lines: list[tuple[str, ...]] = []
    for row in rows:
        lines.append((str(row["index"]), *_cells(row)))
        lines += [(f"{row['index']} MIG", *_cells(each)) for each in row.get("slices", ())]
    for places in _PLACES:
        shown = [[line[place] for place in places] for line in lines]
        table = tabulate(shown, headers=[_HEADERS[place] for place in places], disable_numparse=True)
        if max(map(len, table.splitlines())) <= width:
            break
    return table


def _cells(row: Facts) -> tuple[str, ...]:
    peak = units.UNKNOWN
    if row["peak_flops_per_second"] is not None:
        peak = f"{_tera(row['peak_flops_per_second'])} {row['dtype']}"
    return (
        row["name"],
        str(row["sm_count"] or units.UNKNOWN),
        _of(row, "sm_clock_hz", "max_sm_clock_hz", 1e-6),
        _of(row, "power_watts", "power_limit_watts", 1),
        _reason_words(row.get("event_reasons")),
        peak,
        row["uuid"] or units.UNKNOWN,
    )


def _of(row: Facts, now: str, most: str, scale: float) -> str:
    """Like "1980 of 1980"; empty for a slice, whose GPU is the line above."""
    if now not in row:
        return ""
    values = (units.UNKNOWN if row[each] is None else f"{row[each] * scale:.0f}" for each in (now, most))
    return " of ".join(values)


def _reason_words(reasons: list[str] | None) -> str:
    if reasons is None:
        return ""
    return ", ".join({**REASONS, **_OTHER_REASONS}[each] for each in reasons) or "nothing"


def _tera(flops_per_second: float) -> str:
    return f"{flops_per_second / 1e12:.4g}"


def _kinds(rows: list[Facts]) -> list[Facts]:
    """Return one row per kind of device, slices included."""
    every = [each for row in rows for each in (row, *row.get("slices", ()))]
    return list({(row["name"], row["sm_count"]): row for row in every}.values())


def _peak_lines(row: Facts) -> list[tuple[str, str]]:
    lines = [("name", row["name"])]
    if row["sm_count"]:
        lines.append(("SMs", str(row["sm_count"])))
    if row["peak_flops_per_second"] is None:
        return [*lines, ("peak", f"{units.UNKNOWN}: {row['source']}")]
    peaks = ", ".join(f"{dtype} {_tera(peak)}" for dtype, peak in row["peaks"].items())
    lines.append((f"peak {row['dtype']}", f"{units.format_si(row['peak_flops_per_second'], 'FLOP/s')} dense"))
    if row["boost_clock_hz"]:
        lines.append(("at clock", units.format_clock(row["boost_clock_hz"])))
    lines += [
        ("all peaks, TFLOP/s", peaks),
        ("source", f"{source_words(row['source'])} ({row['confidence']} confidence)"),
    ]
    return [*lines, ("note", row["notes"])] if row["notes"] else lines


def _readable_parts(rows: list[Facts], width: int) -> list[str]:
    """Return what can be read, once for all GPUs with equal answers."""
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for row in rows:
        groups.setdefault(tuple(row["readable"].items()), []).append(str(row["index"]))
    driver = next((row["driver"] for row in rows if row.get("driver")), None)
    parts = []
    for answers, indices in groups.items():
        who = "all GPUs" if len(groups) == 1 else f"GPU {', '.join(indices)}"
        title = f"what can be read on {who}" + (f" (driver {driver})" if driver else "")
        lines = [(what, "yes" if answer == READ else f"no: {answer}") for what, answer in answers]
        parts.append(f"{title}\n{facts(lines, width)}")
    return parts
