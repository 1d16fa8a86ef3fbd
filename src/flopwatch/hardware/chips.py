"""Datasheet peaks of devices, found by the exact name that the driver reports.

Names are compared whole, never by substring: "RTX A1000" is not an A100 and "L40S" is not an L4. A name that is not in
the table, or whose row could not be confirmed, has no peak.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Literal, cast, get_args

from flopwatch import units
from flopwatch.errors import ArgumentError, UnknownDeviceError

Dtype = Literal["bf16", "fp16", "tf32", "fp8", "fp4", "int8", "fp32", "fp64"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
Confidence = Literal["high", "medium", "low", "user"]

_MOST_HINTS = 6
_LONGEST_RATE = 9
_VENDOR_PREFIXES = ("NVIDIA ", "Tesla ")
_WITHOUT_TENSOR_CORES: tuple[Dtype, ...] = ("fp32", "fp64")
_SLICE = re.compile(r" MIG (?:\d+c\.)?\d+g\.\d+gb[\w+.]*$")
_VGPU = re.compile(r"^GRID |(?<!PG\d{3})-\d+(?:-\d+)?(?:[ABCQ]|CME)?$")
_TEXT_COLUMNS = ("key", "names", "flops_per_clock_per_sm", "clock_basis", "confidence", "source", "notes")
_NUMBER_COLUMNS = (
    *("sm_count", "boost_clock_hz", "vector_clock_hz", "max_clock_hz"),
    *DTYPES,
    "memory_bytes_per_second",
)


@dataclass(frozen=True)
class Chip:
    """One row of the table.

    Attributes:
        names: Names that the driver reports, exactly.
        peaks: Dense FLOP/s by precision, datasheet values of one device.
        sm_count: Streaming multiprocessors (compute units on AMD).
        boost_clock_hz: Clock that the datasheet's tensor figures are for.
        vector_clock_hz: Clock that its FP32 and FP64 figures are for, where that is another one.
        rates: Dense FLOPs per clock and SM by precision, FP32 accumulation.
        memory_bytes_per_second: Bandwidth of its memory, the datasheet's value.
        confidence: How well the row is confirmed; nothing is computed from a "low" one.
        source: Where the figures are from.
        notes: What to know about them.
        key: Short name.
    """

    names: tuple[str, ...]
    peaks: Mapping[Dtype, float]
    sm_count: int | None = None
    boost_clock_hz: float | None = None
    vector_clock_hz: float | None = None
    rates: Mapping[Dtype, int] = field(default_factory=dict)
    memory_bytes_per_second: float | None = None
    confidence: Confidence = "user"
    source: str = "given by the user"
    notes: str = ""
    key: str = ""

    def peak_flops_per_second(self, dtype: Dtype, sm_count: int | None = None) -> float:
        """Return the dense datasheet peak of a device in FLOP/s, or of a slice with the given number of SMs.

        Raises:
            UnknownDeviceError: If the chip has no figure for the precision, or the row is not confirmed.
        """
        if self.confidence == "low":
            raise UnknownDeviceError(
                f"the peak of {self.names[0]} is not confirmed by a trusted source, so none is used"
            )
        if dtype not in self.peaks:
            raise UnknownDeviceError(f"no {dtype} peak for {self.names[0]}; known peaks: {', '.join(self.peaks)}")
        if sm_count is None or sm_count == self.sm_count:
            return self.peaks[dtype]
        if self.sm_count is None:
            raise UnknownDeviceError(f"the number of SMs of a full {self.names[0]} is unknown")
        return self.peaks[dtype] * sm_count / self.sm_count

    def flops_per_clock(self, dtype: Dtype, sm_count: int | None = None) -> float | None:
        """Dense FLOPs per clock of the whole device, `None` where the chip's rate is not known for that precision.

        `H100.flops_per_clock("bf16")` is 132 SMs * 4096 = 540_672.
        """
        sm_count = self.sm_count if sm_count is None else sm_count
        if not sm_count or dtype not in self.rates:
            return None
        return float(sm_count * self.rates[dtype])

    def sheet_clock_hz(self, dtype: Dtype) -> float | None:
        """The clock that the datasheet's figure for a precision is for."""
        if dtype in _WITHOUT_TENSOR_CORES and self.vector_clock_hz is not None:
            return self.vector_clock_hz
        return self.boost_clock_hz


def normalized(name: str) -> str:
    """A device name without the vendor prefix, which older drivers leave out."""
    name = " ".join(name.split())
    for prefix in _VENDOR_PREFIXES:
        name = name.removeprefix(prefix)
    return name


def whole_of(name: str) -> tuple[str, bool]:
    """The name of the whole GPU, and whether this one is a MIG slice of it: "NVIDIA A100-SXM4-40GB MIG 3g.20gb"."""
    whole = _SLICE.sub("", name)
    return whole, whole != name


@cache
def all_chips() -> tuple[Chip, ...]:
    """Return every row of the table, in order."""
    text = resources.files("flopwatch").joinpath("data/chips.csv").read_text(encoding="utf-8")
    return tuple(read_chips(text, "data/chips.csv"))


def read_chips(text: str, where: str) -> list[Chip]:
    """Chips from CSV with a line of column names; only `names` (with "|" between) and one precision are needed.

    Args:
        text: The CSV.
        where: What to call it in an error.

    Raises:
        ArgumentError: If it is not such a table.
    """
    try:
        return _chips(csv.DictReader(text.splitlines()), where)
    except csv.Error as error:
        raise ArgumentError(f"{where}: expected CSV, got {error}") from None


def _chips(reader: csv.DictReader[str], where: str) -> list[Chip]:
    known = (*_TEXT_COLUMNS, *_NUMBER_COLUMNS)
    unknown = [str(each) for each in reader.fieldnames or () if each not in known]
    if unknown or "names" not in (reader.fieldnames or ()):
        got = f"the unknown column {units.quoted(unknown[0])}" if unknown else "no column 'names'"
        raise ArgumentError(f"{where}: expected the columns {', '.join(known)}; got {got}")
    return [_chip(row, f"{where}, line {reader.line_num}") for row in reader]


def _chip(row: Mapping[str | None, str | None], where: str) -> Chip:
    if None in row or None in row.values():
        raise ArgumentError(f"{where}: expected as many cells as columns; quote text that contains commas")
    cells = {str(name): (value or "").strip() for name, value in row.items()}
    numbers = {name: _number(cells[name], f"{where}, {name}") for name in _NUMBER_COLUMNS if cells.get(name)}
    names = tuple(each.strip() for each in cells["names"].split("|") if each.strip())
    peaks: dict[Dtype, float] = {dtype: numbers[dtype] for dtype in DTYPES if dtype in numbers}
    confidence = cells.get("confidence") or "user"
    if not names or not peaks:
        raise ArgumentError(f"{where}: expected a name and the peak of at least one of {', '.join(DTYPES)}")
    if confidence not in get_args(Confidence):
        raise ArgumentError(
            f"{where}: expected a confidence out of {', '.join(get_args(Confidence))}, got {units.quoted(confidence)}"
        )
    return Chip(
        names=names,
        peaks=peaks,
        sm_count=_whole(numbers.get("sm_count"), where),
        boost_clock_hz=numbers.get("boost_clock_hz"),
        vector_clock_hz=numbers.get("vector_clock_hz"),
        rates=_rates(cells.get("flops_per_clock_per_sm", ""), where),
        memory_bytes_per_second=numbers.get("memory_bytes_per_second"),
        confidence=cast(Confidence, confidence),
        source=cells.get("source") or f"given by the user in {where.partition(',')[0]}",
        notes=cells.get("notes", ""),
        key=cells.get("key") or names[0],
    )


def _number(text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not units.is_positive(number):
        raise ArgumentError(
            f"{where}: expected a number above zero in base units, such as 989.4e12, got {units.quoted(text)}"
        )
    return number


def _whole(number: float | None, where: str) -> int | None:
    if number is not None and not number.is_integer():
        raise ArgumentError(f"{where}: expected a whole number for sm_count, got {number}")
    return None if number is None else int(number)


def _rates(text: str, where: str) -> dict[Dtype, int]:
    """Parse FLOPs per clock such as "bf16:4096 fp8:8192"."""
    rates: dict[Dtype, int] = {}
    for part in text.split():
        dtype, _, rate = part.partition(":")
        if dtype not in DTYPES or not rate.isdecimal() or len(rate) > _LONGEST_RATE or not int(rate):
            raise ArgumentError(
                f"{where}: expected FLOPs per clock and SM such as 'bf16:4096 fp8:8192', got {units.quoted(part)}"
            )
        rates[dtype] = int(rate)
    return rates


def _is_ambiguous(name: str, chip: Chip) -> bool:
    """Whether a name without its vendor could be short for several chips: "H100" for the PCIe board as well."""
    bare = normalized(name)
    if " ".join(name.split()) in chip.names or " ".join(name.split()) != bare:
        return False
    others = (normalized(each) for other in all_chips() if other is not chip for each in other.names)
    return any(other.startswith(f"{bare} ") for other in others)


def find_chip(name: str, more: Sequence[Chip] = ()) -> Chip:
    """The chip whose driver name this is.

    Args:
        name: As NVML or `torch.cuda.get_device_name` gives it; "NVIDIA " and "Tesla " may be left out.
        more: The user's chips, which go before those of the table.

    Raises:
        UnknownDeviceError: If no row carries exactly this name; the nearest names are listed.
    """
    own = _by_name(more).get(normalized(name))
    if own is not None:
        return own
    chip = _built_in().get(normalized(name))
    if chip is not None and not _is_ambiguous(name, chip):
        return chip
    raise UnknownDeviceError(f"no peak known for a device named {units.quoted(name)}{_why(name)}{_nearest(name, more)}")


def identify(name: str, sm_count: int | None, more: Sequence[Chip] = ()) -> tuple[Chip, int | None]:
    """The chip of a device that is there, and how many of its SMs the device has if it is a MIG slice, else `None`.

    Args:
        name: As the driver gives it; of a slice with "MIG 3g.20gb" behind it.
        sm_count: SMs of the device, where they are known.
        more: The user's chips.

    Raises:
        UnknownDeviceError: If the name is not known, or the device has not as many SMs as its name says.
    """
    whole, is_slice = whole_of(name)
    chip = find_chip(whole if is_slice and sm_count is not None else name, more)
    if chip.sm_count is None or sm_count is None:
        return chip, sm_count if is_slice else None
    if sm_count > chip.sm_count or (sm_count < chip.sm_count and not is_slice):
        raise UnknownDeviceError(
            f"{name} should have {chip.sm_count} SMs, this one has {sm_count}; it is a partial chip or another model"
        )
    return chip, sm_count if is_slice else None


@cache
def _built_in() -> dict[str, Chip]:
    return _by_name(all_chips())


def _by_name(chips: Iterable[Chip]) -> dict[str, Chip]:
    return {normalized(name): chip for chip in chips for name in chip.names}


def _why(name: str) -> str:
    """Return why a name of this kind has no peak."""
    if whole_of(name)[1]:
        return ": the peak of a MIG slice depends on its SMs, which only its own machine can report"
    if _VGPU.search(name):
        return ": a virtual GPU shares its chip with others over time and has no peak of its own"
    if "Laptop" in name or "Max-Q" in name or "Mobile" in name:
        return ": a laptop GPU's speed depends on its laptop's power limit"
    return ""


def _nearest(name: str, more: Sequence[Chip]) -> str:
    known = {normalized(each).lower(): each for chip in (*more, *all_chips()) for each in chip.names}
    wanted = normalized(name).lower()
    near = [each for each in known if wanted and each.startswith(wanted)]
    near = near or difflib.get_close_matches(wanted, known, n=_MOST_HINTS, cutoff=0.5)
    return f"; nearest names: {', '.join(repr(known[each]) for each in near[:_MOST_HINTS])}" if near else ""
