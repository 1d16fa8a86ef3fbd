"""Datasheet peaks of devices, found by the exact name that the driver reports.

Names are compared whole, never by substring: "RTX A1000" is not an A100 and "L40S" is not an L4. A name that is not in
the table, or whose row could not be confirmed, has no peak.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal, cast, get_args

from flopwatch.errors import UnknownDeviceError

Dtype = Literal["bf16", "fp16", "tf32", "fp8", "fp4", "int8", "fp32", "fp64"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
Confidence = Literal["high", "medium", "low"]

_MOST_HINTS = 6
_VENDOR_PREFIXES = ("NVIDIA ", "Tesla ")
# Tensor throughput against the base rate (bf16, or fp16 where there is no bf16), the same on every chip of the table:
# NVIDIA cudnn-frontend, _FLOPS_PER_CLOCK_PER_SM; int8 and fp4 differ from chip to chip and are left out.
_RATE_TO_BASE: Mapping[Dtype, float] = {"bf16": 1, "fp16": 1, "tf32": 0.5, "fp8": 2}


@dataclass(frozen=True)
class Chip:
    """One row of the table.

    Attributes:
        key: Short name.
        names: Names that the driver reports, exactly.
        sm_count: Streaming multiprocessors (compute units on AMD).
        boost_clock_hz: Clock that the datasheet's tensor figure is for.
        flops_per_clock_per_sm: Dense FLOPs per clock and SM in bf16 (fp16 where there is no bf16), FP32 accumulation.
        peaks: Dense FLOP/s by precision, datasheet values of one device.
        confidence: How well the row is confirmed; nothing is computed from a "low" one.
        source: Where the figures are from.
        notes: What to know about them.
    """

    key: str
    names: tuple[str, ...]
    sm_count: int | None
    boost_clock_hz: float | None
    flops_per_clock_per_sm: int | None
    peaks: Mapping[Dtype, float]
    confidence: Confidence
    source: str
    notes: str

    def peak_flops_per_second(self, dtype: Dtype) -> float:
        """Dense datasheet peak of one device, in FLOP/s.

        Raises:
            UnknownDeviceError: If the chip has no figure for the precision, or the row is not confirmed.
        """
        if self.confidence == "low":
            raise UnknownDeviceError(
                f"the peak of {self.names[0]} is not confirmed by any source that we trust, so none is used"
            )
        if dtype not in self.peaks:
            raise UnknownDeviceError(f"no {dtype} peak for {self.names[0]}; known are {', '.join(self.peaks)}")
        return self.peaks[dtype]

    def flops_per_clock(self, dtype: Dtype, sm_count: int | None = None) -> float | None:
        """Dense FLOPs per clock of the whole device, `None` where the chip's rate is not known for that precision.

        `H100.flops_per_clock("bf16")` is 132 SMs * 4096 = 540_672.
        """
        sm_count = self.sm_count if sm_count is None else sm_count
        if not sm_count or not self.flops_per_clock_per_sm or dtype not in self.peaks or dtype not in _RATE_TO_BASE:
            return None
        return sm_count * self.flops_per_clock_per_sm * _RATE_TO_BASE[dtype]


def normalized(name: str) -> str:
    """A device name without the vendor prefix, which older drivers leave out."""
    name = " ".join(name.split())
    for prefix in _VENDOR_PREFIXES:
        name = name.removeprefix(prefix)
    return name


@cache
def all_chips() -> tuple[Chip, ...]:
    """Every row of the table, in its order."""
    text = resources.files("flopwatch").joinpath("data/chips.csv").read_text(encoding="utf-8")
    return tuple(_chip(row) for row in csv.DictReader(text.splitlines()))


@cache
def _chips_by_name() -> dict[str, Chip]:
    return {normalized(name): chip for chip in all_chips() for name in chip.names}


def _chip(row: dict[str, str]) -> Chip:
    return Chip(
        key=row["key"],
        names=tuple(row["names"].split("|")),
        sm_count=int(row["sm_count"]) if row["sm_count"] else None,
        boost_clock_hz=float(row["boost_clock_hz"]) if row["boost_clock_hz"] else None,
        flops_per_clock_per_sm=int(row["flops_per_clock_per_sm"]) if row["flops_per_clock_per_sm"] else None,
        peaks={dtype: float(row[dtype]) for dtype in DTYPES if row[dtype]},
        confidence=cast(Confidence, row["confidence"]),
        source=row["source"],
        notes=row["notes"],
    )


def _is_ambiguous(name: str, chip: Chip) -> bool:
    """Whether a name without its vendor could be short for several chips: "H100" for the PCIe board as well."""
    bare = normalized(name)
    if " ".join(name.split()) in chip.names or " ".join(name.split()) != bare:
        return False
    others = (normalized(each) for other in all_chips() if other is not chip for each in other.names)
    return any(other.startswith(f"{bare} ") for other in others)


def find_chip(name: str) -> Chip:
    """The chip whose driver name this is.

    Args:
        name: As NVML or `torch.cuda.get_device_name` gives it; "NVIDIA " and "Tesla " may be left out.

    Raises:
        UnknownDeviceError: If no row carries exactly this name; the nearest names are listed.
    """
    chip = _chips_by_name().get(normalized(name))
    if chip is not None and not _is_ambiguous(name, chip):
        return chip
    known = {normalized(each).lower(): each for chip in all_chips() for each in chip.names}
    wanted = normalized(name).lower()
    near = [each for each in known if wanted and each.startswith(wanted)]
    near = near or difflib.get_close_matches(wanted, known, n=_MOST_HINTS, cutoff=0.5)
    hint = f"; nearest are {', '.join(repr(known[each]) for each in near[:_MOST_HINTS])}" if near else ""
    raise UnknownDeviceError(f"no peak known for a device named {name!r}{hint}")
