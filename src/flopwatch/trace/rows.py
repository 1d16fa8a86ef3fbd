"""The operators of a trace by their shapes: calls, FLOPs, time, and which side of the roofline they are on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from flopwatch.errors import UnknownDeviceError
from flopwatch.hardware.chips import DTYPES, Chip, Dtype, find_chip
from flopwatch.trace.formulas import Cost, cost_of, part_of
from flopwatch.trace.kernels import is_tf32
from flopwatch.trace.reader import Trace
from flopwatch.trace.work import Work, operator_name

MEMORY_BOUND, COMPUTE_BOUND = "memory", "compute"
_FASTEST = 1.05  # of the peak, which clocks above the datasheet's allow; beyond it the precision is another one
_NANO = 1e-9


@dataclass(frozen=True)
class Row:
    """All calls of an operator with the same shapes.

    Attributes:
        name: The operator, such as "aten::mm"; of what no operator is known of, the kernel.
        part: The part of its time; "communication" and "copy", hidden or not.
        phase: The phase of the step.
        shapes: Sizes of its tensors, in order.
        calls: How often it ran within the profiled steps.
        seconds: Time of its kernels, added up.
        flops: FLOPs of all calls; `None` if it multiplies no matrices, its arguments were not recorded, or the calls
            lie within the profiled steps in part only.
        least_bytes: Bytes that all calls read and write at least.
        dtype: Precision of products; `None` where it is not known, or they were faster than its peak.
        attention: "causal" or "full", for attention.
        peak_share: Its FLOP/s as a share of the device's peak at that precision.
        bound: "memory" or "compute": what limits it on a roofline.
        lost_seconds: Its time beyond what its FLOPs need at the peak; all of it where no FLOPs or no peak are known.
    """

    name: str
    part: str
    phase: str
    shapes: tuple[Any, ...]
    calls: int
    seconds: float
    flops: int | None = None
    least_bytes: int | None = None
    dtype: Dtype | None = None
    attention: str = ""
    peak_share: float | None = None
    bound: str | None = None
    lost_seconds: float = 0.0


@dataclass
class _Sum:
    """Sums over calls."""

    calls: int = 0
    time: int = 0
    flops: int = 0
    least_bytes: int | None = 0


@dataclass(frozen=True)
class _Key:
    name: str
    part: str
    phase: str
    shapes: tuple[Any, ...] = ()
    dtype: str | None = None
    attention: str = ""
    has_flops: bool = False


@dataclass
class _Call:
    """One call: its operator, phase and time, and whether a kernel rounded to TF32."""

    name: str
    phase: str
    time: int = 0
    is_tf32: bool = False


def chip_of(device: str | None, more: Sequence[Chip] = ()) -> Chip | None:
    """The chip of a device's name, if its peak is known and confirmed; the user's own go first."""
    try:
        chip = find_chip(device or "", more)
    except UnknownDeviceError:
        return None
    return None if chip.confidence == "low" else chip


def rows_of(trace: Trace, work: Work, chip: Chip | None) -> list[Row]:
    """One row for each operator and shapes, those that lose most first."""
    sums: dict[_Key, _Sum] = {}
    for key, time, cost in _calls(trace, work):
        sum_ = sums.setdefault(key, _Sum())
        sum_.calls += 1
        sum_.time += time
        if cost is not None:
            sum_.flops += cost.flops
            known = cost.least_bytes is not None and sum_.least_bytes is not None
            sum_.least_bytes = (sum_.least_bytes or 0) + (cost.least_bytes or 0) if known else None
    rows = [_row(key, sum_, chip) for key, sum_ in sums.items()]
    return sorted(rows, key=lambda row: (-row.lost_seconds, row.name, repr(row.shapes)))


def _calls(trace: Trace, work: Work) -> Iterator[tuple[_Key, int, Cost | None]]:
    """Yield each call with its time and cost; what no operator is known of counts as a call each."""
    calls: dict[tuple[int, str], _Call] = {}
    for piece in work.pieces:
        time, name = piece.end - piece.start, trace.names[piece.name]
        operator = operator_name(trace, piece.operator)
        if not operator:
            yield _Key(short(name), _plain(piece.part), piece.phase), time, None
            continue
        call = calls.setdefault((piece.operator, piece.part), _Call(operator, piece.phase))
        call.time += time
        call.is_tf32 = call.is_tf32 or is_tf32(name)
    for (index, part), call in calls.items():
        recorded = trace.calls[trace.operators.call[index]]
        counts = part == part_of(call.name) and index not in work.outer and index not in work.cut
        cost = cost_of(call.name, recorded) if counts else None
        shapes = _tensors(recorded.shapes)
        if cost is None:
            yield _Key(call.name, _plain(part), call.phase, shapes), call.time, None
        else:
            dtype = "tf32" if cost.dtype == "fp32" and call.is_tf32 else cost.dtype
            yield _Key(call.name, part, call.phase, shapes, dtype, cost.attention, True), call.time, cost


def _plain(part: str) -> str:
    """A part's name without whether something hides it."""
    return part.removesuffix("_exposed")


def _tensors(shapes: Any) -> tuple[Any, ...]:
    """Shapes of those arguments that are tensors with dimensions."""
    return tuple(each for each in shapes if each) if isinstance(shapes, tuple) else ()


def short(kernel: str) -> str:
    """A kernel's name without its template's and its call's arguments."""
    name = kernel.removeprefix("void ").replace("(anonymous namespace)::", "")
    return name.partition("<")[0].partition("(")[0].strip() or kernel


def _row(key: _Key, sum_: _Sum, chip: Chip | None) -> Row:
    seconds = sum_.time * _NANO
    if not key.has_flops:
        return Row(key.name, key.part, key.phase, key.shapes, sum_.calls, seconds, lost_seconds=seconds)
    dtype: Dtype | None = next((each for each in DTYPES if each == key.dtype), None)
    peak = chip.peaks.get(dtype) if chip is not None and dtype is not None else None
    if peak is not None and sum_.flops > _FASTEST * peak * seconds:
        dtype = peak = None
    return Row(
        name=key.name,
        part=key.part,
        phase=key.phase,
        shapes=key.shapes,
        calls=sum_.calls,
        seconds=seconds,
        flops=sum_.flops,
        least_bytes=sum_.least_bytes,
        dtype=dtype,
        attention=key.attention,
        peak_share=None if peak is None or not seconds else sum_.flops / seconds / peak,
        bound=_bound(sum_, peak, chip),
        lost_seconds=seconds if peak is None else seconds - sum_.flops / peak,
    )


def _bound(sum_: _Sum, peak: float | None, chip: Chip | None) -> str | None:
    """Whether moving the bytes takes longer than the FLOPs, both at the datasheet's rates."""
    bandwidth = None if chip is None else chip.memory_bytes_per_second
    if peak is None or bandwidth is None or sum_.least_bytes is None:
        return None
    return MEMORY_BOUND if sum_.least_bytes / bandwidth > sum_.flops / peak else COMPUTE_BOUND
