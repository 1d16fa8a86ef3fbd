"""GPUs with their peaks, as text and as JSON."""

from __future__ import annotations

import json
from typing import Any

from tabulate import tabulate

from flopwatch import units
from flopwatch.chips import DTYPES, Chip, Dtype, find_chip
from flopwatch.errors import UnknownDeviceError
from flopwatch.nvml import Gpu

Facts = dict[str, Any]


def gpu_facts(gpu: Gpu, dtype: Dtype | None) -> Facts:
    """What the driver says of a GPU, and its peak, or why there is none."""
    return {
        **peak_facts(gpu.name, dtype),
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
    }


def peak_facts(name: str, dtype: Dtype | None) -> Facts:
    """The peak of a device by its name; unknown is null with the reason as its source."""
    try:
        return chip_facts(name, find_chip(name), dtype)
    except UnknownDeviceError as error:
        return {"name": name, "peak_flops_per_second": None, "dtype": dtype, "source": str(error), "sm_count": None}


def chip_facts(name: str, chip: Chip, dtype: Dtype | None) -> Facts:
    """The row of a chip.

    Raises:
        UnknownDeviceError: If it has no confirmed figure for the precision.
    """
    chosen = next(iter(chip.peaks)) if dtype is None else dtype
    return {
        "name": name,
        "peak_flops_per_second": chip.peak_flops_per_second(chosen),
        "dtype": chosen,
        "source": chip.source,
        "confidence": chip.confidence,
        "sm_count": chip.sm_count,
        "boost_clock_hz": chip.boost_clock_hz,
        "peaks": {each: chip.peaks[each] for each in DTYPES if each in chip.peaks},
        "notes": chip.notes,
    }


def render_json(rows: list[Facts]) -> str:
    """The list as JSON."""
    return json.dumps({"gpus": rows}, indent=2) + "\n"


def render_text(rows: list[Facts]) -> str:
    """One block for each GPU."""
    return "\n\n".join(tabulate(_lines(row), tablefmt="plain", disable_numparse=True) for row in rows) + "\n"


def _lines(row: Facts) -> list[tuple[str, str]]:
    lines = [("GPU" if "index" not in row else f"GPU {row['index']}", row["name"])]
    if "uuid" in row:
        lines += [
            ("UUID", row["uuid"]),
            ("driver", row["driver"] or units.UNKNOWN),
            ("SM clock", f"{units.format_clock(row['sm_clock_hz'])} of {units.format_clock(row['max_sm_clock_hz'])}"),
            ("power", f"{_watts(row['power_watts'])} of {_watts(row['power_limit_watts'])}"),
        ]
    if row["sm_count"]:
        lines.append(("SMs", str(row["sm_count"])))
    if row["peak_flops_per_second"] is None:
        return [*lines, ("peak", f"{units.UNKNOWN}: {row['source']}")]
    peaks = "  ".join(f"{dtype} {peak / 1e12:g}" for dtype, peak in row["peaks"].items())
    lines.append((f"peak {row['dtype']}", f"{units.format_si(row['peak_flops_per_second'], 'FLOP/s')} dense"))
    lines += [("all, TFLOP/s", peaks), ("source", f"{row['source']} ({row['confidence']} confidence)")]
    return [*lines, ("note", row["notes"])] if row["notes"] else lines


def _watts(value: float | None) -> str:
    return units.UNKNOWN if value is None else f"{value:.0f} W"
