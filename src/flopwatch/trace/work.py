"""What a device did within the profiled steps: kernels and copies; of a run on the CPU the operators' own time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from flopwatch.errors import TraceError
from flopwatch.trace import hosts
from flopwatch.trace.formulas import part_of
from flopwatch.trace.kernels import is_communication, part_of_kernel
from flopwatch.trace.parts import BUSY, COMMUNICATION, COPY, OPTIMIZER, OPTIMIZER_PHASE, OTHER, PHASES, UNKNOWN
from flopwatch.trace.phases import phases_of
from flopwatch.trace.reader import COPY as COPY_EVENT
from flopwatch.trace.reader import NONE, Step, Trace

CPU = "CPU"
_PLACE = {part: place for place, part in enumerate(BUSY)}


class Piece(NamedTuple):
    """Time of one kernel, copy or operator within the span.

    Attributes:
        start: Nanoseconds.
        end: Nanoseconds.
        kind: Its part and phase in one number, see `kind_of`.
        operator: Index of the innermost operator, -1 where unknown.
        name: Index of its own name.
        launched: When it was launched, -1 where unknown.
        is_named: Whether its part could be told.
        event: Index of the device event; -1 on the CPU.
    """

    start: int
    end: int
    kind: int
    operator: int
    name: int
    launched: int
    is_named: bool
    event: int

    @property
    def part(self) -> str:
        """Its part."""
        return BUSY[self.kind // len(PHASES)]

    @property
    def phase(self) -> str:
        """Its phase."""
        return PHASES[self.kind % len(PHASES)]


@dataclass(frozen=True)
class Work:
    """All that a device did in the profiled steps.

    Attributes:
        device: Name of the device, `None` if the trace does not tell it.
        on_cpu: Whether it is the host itself.
        devices: How many devices the trace has events of.
        steps: Number of profiled steps, 1 where none are marked.
        span: Start and end of the steps in nanoseconds.
        pieces: What ran.
        outer: Products around others that count instead of them.
        cut: Operators of which only a part lies within the steps.
        data_waits: Start and end of each stretch that the host was within a DataLoader, in order.
    """

    device: str | None
    on_cpu: bool
    devices: int
    steps: int
    span: tuple[int, int]
    pieces: list[Piece]
    outer: frozenset[int]
    cut: frozenset[int]
    data_waits: list[tuple[int, int]]


class _Host(NamedTuple):
    """The host's operators: how they nest, the phase of each, which are outer products or part of a DataLoader."""

    nesting: hosts.Nesting
    phase: bytearray
    outer: frozenset[int]
    in_loader: bytearray


def kind_of(part: str, phase: int) -> int:
    """One number for a part and a phase, lower for what counts first."""
    return _PLACE[part] * len(PHASES) + phase


def work_of(trace: Trace) -> Work:
    """What the device of a trace did; of several devices the busiest.

    Raises:
        TraceError: If nothing took time within the profiled steps.
    """
    nesting = hosts.nest(trace)
    waits, in_loader = hosts.data_waits(trace, nesting)
    host = _Host(nesting, phases_of(trace, nesting), frozenset(outer_products(trace, nesting)), in_loader)
    cut: set[int] = set()
    if len(trace.device):
        busy = Counter[int]()
        for where, start, end in zip(trace.device.where, trace.device.start, trace.device.end, strict=True):
            busy[where] += end - start
        where = busy.most_common(1)[0][0]
        span, steps = _device_span(trace, where)
        pieces = list(_device_pieces(trace, host, where, span, cut))
        work = Work(
            _device_name(trace, where), False, len(busy), steps, span, pieces, host.outer, frozenset(cut), waits
        )
    else:
        _refuse_a_devices_host(trace)
        span, steps = _host_span(trace)
        pieces = list(_host_pieces(trace, host, span, cut))
        work = Work(CPU, True, 1, steps, span, pieces, host.outer, frozenset(cut), waits)
    if not work.pieces:
        raise TraceError(f"{trace.path}: expected device or operator time within the profiled steps, got none")
    return work


def _refuse_a_devices_host(trace: Trace) -> None:
    """Operators that only launch work on a device say nothing of that device's time."""
    launched = any("Launch" in trace.names[each] for each in set(trace.launches.name))
    if launched or trace.has_other_device:
        raise TraceError(
            f"{trace.path}: expected kernels of the device that this run used, got its host's events only;"
            " profile with ProfilerActivity.CUDA, and with no other profiler beside"
        )


def _device_name(trace: Trace, where: int) -> str | None:
    """A device's name by its index; a process that sees one kind of device may number it otherwise."""
    names = set(trace.device_names.values())
    return trace.device_names.get(where, names.pop() if len(names) == 1 else None) or None


def _device_span(trace: Trace, where: int) -> tuple[tuple[int, int], int]:
    """The profiled steps by the device's marks, else from its first event to its last; and how many steps."""
    device = trace.device
    own = [index for index, each in enumerate(device.where) if each == where]
    marks = [each for each in trace.device_steps if each.where == where]
    names = {each.name for each in marks or trace.host_steps}
    first, end = min(device.start[index] for index in own), max(device.end[index] for index in own)
    if marks:
        first, end = _outer(marks)
    elif trace.steps_left_out:
        end = min(end, _outer(trace.host_steps)[1])
    # A mark on the device begins with the step's first kernel: what the device waited for that belongs to the step.
    begun = min((each.start for each in trace.host_steps if each.name in names), default=first)
    before = max((device.end[index] for index in own if device.start[index] < first), default=begun)
    return (min(first, max(begun, before)), end), len(names) or 1


def _host_span(trace: Trace) -> tuple[tuple[int, int], int]:
    if trace.host_steps:
        return _outer(trace.host_steps), len({each.name for each in trace.host_steps})
    return (min(trace.operators.start), max(trace.operators.end)), 1


def _outer(marks: list[Step]) -> tuple[int, int]:
    return min(each.start for each in marks), max(each.end for each in marks)


def _device_pieces(trace: Trace, host: _Host, where: int, span: tuple[int, int], cut: set[int]) -> Iterator[Piece]:
    device, links = trace.device, hosts.link(trace, host.nesting)
    for index in range(len(device)):
        if device.where[index] != where:
            continue
        start, end = max(device.start[index], span[0]), min(device.end[index], span[1])
        operator, name = links.operator[index], device.name[index]
        if end - start < device.end[index] - device.start[index]:
            cut.add(operator)
        if start >= end:
            continue
        phase = host.phase[operator] if operator != NONE else UNKNOWN
        part, is_named = COPY, True
        if device.kind[index] != COPY_EVENT:
            by = "" if operator in host.outer else operator_name(trace, operator)
            part, is_named = part_of_kernel(trace.names[name], by)
        if part == OTHER and phase == OPTIMIZER_PHASE:
            part = OPTIMIZER
        yield Piece(start, end, kind_of(part, phase), operator, name, links.launched[index], is_named, index)


def outer_products(trace: Trace, nesting: hosts.Nesting) -> set[int]:
    """Operators with a formula around others that have one, which count instead: a linear around its addmm."""
    is_product = [part_of(name) is not None for name in trace.names]
    name, parent = trace.operators.name, nesting.parent
    around = [NONE] * len(trace.operators)  # the nearest product around each
    outer: set[int] = set()
    for indices in nesting.threads.values():
        for index in indices:
            above = parent[index]
            if above != NONE:
                around[index] = above if is_product[name[above]] else around[above]
            if is_product[name[index]] and around[index] != NONE:
                outer.add(around[index])
    return outer


def operator_name(trace: Trace, operator: int) -> str:
    """The name of an operator; nothing for an annotation, or where it is not known."""
    if operator == NONE or trace.operators.annotation[operator]:
        return ""
    return trace.names[trace.operators.name[operator]]


def _host_pieces(trace: Trace, host: _Host, span: tuple[int, int], cut: set[int]) -> Iterator[Piece]:
    """Operators' own time; an annotation is none, unless it stands for communication. A DataLoader's are waiting."""
    for begun, ended, operator in hosts.own_times(trace, host.nesting):
        start, end = max(begun, span[0]), min(ended, span[1])
        name = trace.operators.name[operator]
        if end - start < ended - begun:
            cut.add(operator)
        communicates = is_communication(trace.names[name])
        is_none = trace.operators.annotation[operator] and not communicates
        if start >= end or is_none or host.in_loader[operator]:
            continue
        product = None if operator in host.outer else part_of(trace.names[name])
        part = COMMUNICATION if communicates else product or OTHER
        phase = host.phase[operator]
        if part == OTHER and phase == OPTIMIZER_PHASE:
            part = OPTIMIZER
        yield Piece(start, end, kind_of(part, phase), operator, name, NONE, True, NONE)
