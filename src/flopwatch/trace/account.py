"""The account of one rank's trace: where the device's time went within the profiled steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flopwatch.hardware.chips import Chip, Dtype
from flopwatch.trace.collectives import CollectiveTime, collective_times
from flopwatch.trace.formulas import ATTENTION, CONVOLUTION, MATMUL
from flopwatch.trace.kernels import is_elementwise
from flopwatch.trace.parts import (
    BUSY,
    COMMUNICATION,
    COMPUTE,
    COPY,
    IDLE_DATA,
    IDLE_HOST,
    IDLE_OTHER,
    OPTIMIZER,
    PARTS,
    PHASES,
    RECOMPUTATION,
)
from flopwatch.trace.reader import NONE, Trace
from flopwatch.trace.rows import Row, chip_of, rows_of
from flopwatch.trace.timeline import Division, divide
from flopwatch.trace.work import CPU, Work, kind_of, work_of

_NANO = 1e-9
_MOST_UNKNOWN = 0.01  # of the products' time
MODEL_FLOPS = "model_flops"
RECOMPUTED = PHASES[RECOMPUTATION]
PRODUCTS = (MATMUL, ATTENTION, CONVOLUTION)


@dataclass(frozen=True)
class Clues:
    """What the kernels say beyond their time, for advice. Sums over the profiled steps; seconds are added up.

    Attributes:
        kernels: Number of kernels; on the CPU of stretches of operators.
        elementwise_kernels: Number of PyTorch's own elementwise kernels, outside of the optimizer.
        elementwise_seconds: Their time.
        optimizer_kernels: Number of kernels of the optimizer.
        has_fused_optimizer: Whether one of them is a fused one.
        copies: Seconds of copies by their kind, such as "Memcpy HtoD (Pageable -> Device)".
    """

    kernels: int
    elementwise_kernels: int
    elementwise_seconds: float
    optimizer_kernels: int
    has_fused_optimizer: bool
    copies: Mapping[str, float]


@dataclass(frozen=True)
class TraceAccount:
    """Where one rank's device time went.

    Attributes:
        path: The trace.
        device: The device's name; "CPU" for a trace without device events; `None` if the trace does not tell it.
        chip: Its row in the table of chips, if it has one.
        rank: This rank, `None` outside of a job.
        world_size: Ranks of the job, as the trace says.
        steps: Profiled steps; 1 where none are marked.
        host_step_seconds: How long a profiled step took on the host's clock; `None` where none are marked there.
        seconds: Time of the profiled steps on the device: from when the host begins the first one or, if the device
            still does something before, from the end of that, to the last one's end.
        parts: Seconds of each part; they add up to `seconds`.
        phases: Busy seconds of each phase: forward, backward, recomputation, optimizer, unknown.
        communication_seconds: Time with communication under way, hidden or not.
        named_kernel_share: Share of the kernels' time whose part could be told.
        rows: The operators by shapes, those that lose most first.
        collectives: When each collective ran, to be compared with other ranks.
        clues: What advice is made of.
        notes: What a reader must know about the numbers.
    """

    path: Path
    device: str | None
    chip: Chip | None
    rank: int | None
    world_size: int | None
    steps: int
    host_step_seconds: float | None
    seconds: float
    parts: Mapping[str, float]
    phases: Mapping[str, float]
    communication_seconds: float
    named_kernel_share: float
    rows: tuple[Row, ...]
    collectives: tuple[CollectiveTime, ...]
    clues: Clues
    notes: tuple[str, ...] = ()

    @property
    def on_cpu(self) -> bool:
        """Whether the trace has no device events, so that times are those of operators on the CPU."""
        return self.device == CPU

    @property
    def busy_seconds(self) -> float:
        """Time in which anything ran."""
        return sum(self.parts[each] for each in BUSY)

    @property
    def matmul_flops(self) -> int:
        """FLOPs of the matrix products whose shapes were recorded."""
        return sum(row.flops or 0 for row in self.rows if row.part == MATMUL)

    @property
    def flops(self) -> int:
        """FLOPs of products, attention and convolutions whose shapes were recorded, recomputation included."""
        return sum(row.flops or 0 for row in self.rows)

    @property
    def has_all_flops(self) -> bool:
        """Whether shapes and precision of all products, attention and convolutions are known, by their time."""
        products = [row for row in self.rows if row.part in PRODUCTS]
        without = sum(row.seconds for row in products if row.flops is None or row.dtype is None)
        return bool(products) and without <= _MOST_UNKNOWN * sum(row.seconds for row in products)

    @property
    def dtype(self) -> Dtype | None:
        """The precision that most FLOPs are done in."""
        flops = Counter[Dtype]()
        for row in self.rows:
            if row.dtype is not None:
                flops[row.dtype] += row.flops or 0
        return flops.most_common(1)[0][0] if flops else None

    @property
    def peak_flops_per_second(self) -> float | None:
        """The device's peak at that precision."""
        dtype = self.dtype
        return None if self.chip is None or dtype is None else self.chip.peaks.get(dtype)

    @property
    def peak_share(self) -> float | None:
        """Model FLOPs over the steps' time, as a share of the peak: an MFU of the profiled steps."""
        losses = self.peak_losses
        return None if losses is None else losses[MODEL_FLOPS]

    @property
    def peak_losses(self) -> dict[str, float] | None:
        """What the peak's share goes to, as fractions of the steps' time that add up to 1.

        Model FLOPs, what products take beyond their FLOPs at the peak (`matmul_below_peak`, ...), the FLOPs of
        recomputation, and the other parts. `None` where the peak or some product's FLOPs are unknown, or products of
        another precision were faster than that peak.
        """
        peak = self.peak_flops_per_second
        if peak is None or not self.has_all_flops or not self.seconds:
            return None
        flops = {part: sum(row.flops or 0 for row in self.rows if row.part == part) for part in PRODUCTS}
        again = sum(row.flops or 0 for row in self.rows if row.phase == RECOMPUTED)
        losses = {MODEL_FLOPS: (self.flops - again) / peak, "recomputed_flops": again / peak}
        for part, seconds in self.parts.items():
            below = part in PRODUCTS
            losses[f"{part}_below_peak" if below else part] = seconds - (flops[part] / peak if below else 0.0)
        if min(losses.values()) < 0:
            return None
        return {name: seconds / self.seconds for name, seconds in losses.items()}


def account_of(trace: Trace, chips: Sequence[Chip] = ()) -> TraceAccount:
    """Account for a trace's device time.

    Args:
        trace: The trace of one rank.
        chips: The user's chips, which go before those of the table.

    Raises:
        TraceError: If nothing took time within the profiled steps.
    """
    work = work_of(trace)
    communication = [kind_of(COMMUNICATION, phase) for phase in range(len(PHASES))]
    division = divide(work.pieces, work.span, communication)
    chip = None if work.on_cpu else chip_of(work.device, chips)
    return TraceAccount(
        path=trace.path,
        device=work.device,
        chip=chip,
        rank=trace.rank,
        world_size=trace.world_size,
        steps=work.steps,
        host_step_seconds=_host_step_seconds(trace),
        seconds=(work.span[1] - work.span[0]) * _NANO,
        parts=_parts(work, division),
        phases=_phases(division),
        communication_seconds=division.watched * _NANO,
        named_kernel_share=_named_share(work),
        rows=tuple(rows_of(trace, work, chip)),
        collectives=collective_times(trace, work),
        clues=_clues(trace, work),
        notes=tuple(_notes(trace, work)),
    )


def _parts(work: Work, division: Division) -> dict[str, float]:
    """Nanoseconds of each part, as seconds.

    A gap is the data's as far as the host waited for them; the rest is the host's if what ends it was launched within.
    """
    parts = Counter[str]()
    for kind, time in division.by_kind.items():
        parts[BUSY[kind // len(PHASES)]] += time
    for (start, end, ending), waited in zip(division.gaps, _waited(division.gaps, work.data_waits), strict=True):
        late = work.on_cpu or (ending != NONE and work.pieces[ending].launched > start)
        parts[IDLE_DATA] += waited
        parts[IDLE_HOST if late else IDLE_OTHER] += end - start - waited
    return {part: parts[part] * _NANO for part in PARTS}


def _waited(gaps: Sequence[tuple[int, int, int]], waits: Sequence[tuple[int, int]]) -> Iterator[int]:
    """Yield how long the host waited for data in each gap; both are in order, and none overlaps its next."""
    first = 0
    for start, end, _ in gaps:
        while first < len(waits) and waits[first][1] <= start:
            first += 1
        place, waited = first, 0
        while place < len(waits) and waits[place][0] < end:
            waited += min(end, waits[place][1]) - max(start, waits[place][0])
            place += 1
        yield waited


def _host_step_seconds(trace: Trace) -> float | None:
    lengths = [each.end - each.start for each in trace.host_steps]
    return sum(lengths) / len(lengths) * _NANO if lengths else None


def _phases(division: Division) -> dict[str, float]:
    """Seconds of compute by phase; communication and copies that nothing hides are in none."""
    phases = Counter[int]()
    for kind, time in division.by_kind.items():
        if BUSY[kind // len(PHASES)] in COMPUTE:
            phases[kind % len(PHASES)] += time
    return {name: phases[phase] * _NANO for phase, name in enumerate(PHASES)}


def _named_share(work: Work) -> float:
    kernels = [piece for piece in work.pieces if piece.part != COPY]
    total = sum(piece.end - piece.start for piece in kernels)
    named = sum(piece.end - piece.start for piece in kernels if piece.is_named)
    return named / total if total else 1.0


def _clues(trace: Trace, work: Work) -> Clues:
    copies, elementwise, optimizer = Counter[str](), [], []
    for piece in work.pieces:
        name = trace.names[piece.name]
        if piece.part == COPY:
            copies[name] += piece.end - piece.start
        elif piece.part == OPTIMIZER:
            optimizer.append(name)
        elif is_elementwise(name):
            elementwise.append(piece.end - piece.start)
    return Clues(
        kernels=sum(piece.part != COPY for piece in work.pieces),
        elementwise_kernels=len(elementwise),
        elementwise_seconds=sum(elementwise) * _NANO,
        optimizer_kernels=len(optimizer),
        has_fused_optimizer=any("fused" in name.lower() or "AdamFunctor" in name for name in set(optimizer)),
        copies={name: time * _NANO for name, time in copies.most_common()},
    )


def _notes(trace: Trace, work: Work) -> list[str]:
    notes = []
    if work.on_cpu:
        notes.append("the trace has no device events: this is the operators' own time on the CPU")
    if work.devices > 1:
        notes.append(f"the trace has events of {work.devices} devices: this is the busiest one")
    if trace.steps_left_out:
        notes.append(f"the trace is large: its last {trace.steps_left_out:,} steps are left out")
    if trace.left_out:
        notes.append(f"{trace.left_out:,} events have no usable time and are left out")
    return notes
