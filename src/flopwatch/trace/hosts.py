"""The host's side of a trace: which operator launched what, and in which phase of the step.

Operators of a thread nest by their times. What links a device event to one: its launch has its correlation, and the
innermost operator around the launch, on its thread, is the one; else the operator that has the same external id.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flopwatch.trace.parts import BACKWARD, FORWARD, OPTIMIZER_PHASE, RECOMPUTATION, UNKNOWN
from flopwatch.trace.reader import NONE, Trace

_BACKWARD_NODE = "autograd::engine::evaluate_function"
_OPTIMIZER = ("Optimizer.step#", "Optimizer.zero_grad#")


@dataclass(frozen=True)
class Links:
    """What the host did for each device event, by its index.

    Attributes:
        operator: Index of the innermost operator around its launch, -1 where unknown.
        launched: When it was launched, in nanoseconds; -1 where unknown.
    """

    operator: array[int]
    launched: array[int]


@dataclass(frozen=True)
class Nesting:
    """How operators nest, by their index.

    Attributes:
        threads: Operators of each thread, in the order of their start, outer ones first.
        parent: The operator around each, -1 for none.
        phase: The phase of each.
    """

    threads: dict[int, list[int]]
    parent: array[int]
    phase: bytearray


def nest(trace: Trace) -> Nesting:
    """Find the operator around each operator, and its phase."""
    operators = trace.operators
    threads: dict[int, list[int]] = defaultdict(list)
    for index, thread in enumerate(operators.thread):
        threads[thread].append(index)
    start, end = operators.start, operators.end
    nesting = Nesting(threads, array("q", [NONE]) * len(operators), bytearray([UNKNOWN]) * len(operators))
    for indices in threads.values():
        indices.sort(key=lambda index: (start[index], -end[index]))
        around: list[int] = []
        for index in indices:
            while around and end[around[-1]] <= start[index]:
                around.pop()
            outer = around[-1] if around else NONE
            nesting.parent[index] = outer
            nesting.phase[index] = _phase(trace, index, nesting.phase[outer] if around else FORWARD)
            around.append(index)
    return nesting


def _phase(trace: Trace, index: int, outer: int) -> int:
    """An operator's phase. One with a sequence number of its own builds a graph, as a forward does.

    Within a backward that is what a checkpoint recomputes; within an optimizer's step it is in the closure, where
    Lightning puts forward and backward.
    """
    name = trace.names[trace.operators.name[index]]
    if trace.operators.forward_thread[index] > 0 or name.startswith(_BACKWARD_NODE):
        return BACKWARD
    if name.startswith(_OPTIMIZER):
        return OPTIMIZER_PHASE
    if trace.operators.sequence[index] >= 0:
        return {BACKWARD: RECOMPUTATION, OPTIMIZER_PHASE: FORWARD}.get(outer, outer)
    return outer


def link(trace: Trace, nesting: Nesting) -> Links:
    """Find for each device event its launch, and the operator around that."""
    device, launches = trace.device, trace.launches
    wanted = set(device.correlation)
    of_correlation = {each: index for index, each in enumerate(launches.correlation) if each in wanted}
    owner = _operators_around(trace, nesting, of_correlation.values())
    named = {each for each in device.external if each > 0}
    of_external = {each: index for index, each in enumerate(trace.operators.external) if each in named}
    links = Links(array("q", [NONE]) * len(device), array("q", [NONE]) * len(device))
    for index, (correlation, external) in enumerate(zip(device.correlation, device.external, strict=True)):
        launch = of_correlation.get(correlation, NONE)
        if launch != NONE:
            links.launched[index] = launches.start[launch]
            links.operator[index] = owner.get(launch, NONE)
        # Older profilers write the correlation here as well, which names no operator.
        if links.operator[index] == NONE and external != correlation:
            links.operator[index] = of_external.get(external, NONE)
    return links


def _operators_around(trace: Trace, nesting: Nesting, launches: Iterable[int]) -> dict[int, int]:
    """The innermost operator around each of these launches."""
    of_thread: dict[int, list[int]] = defaultdict(list)
    for launch in launches:
        of_thread[trace.launches.thread[launch]].append(launch)
    found: dict[int, int] = {}
    start, end, begun = trace.operators.start, trace.operators.end, trace.launches.start
    for thread, own in of_thread.items():
        own.sort(key=begun.__getitem__)
        waiting = iter(nesting.threads.get(thread, ()))
        following = next(waiting, None)
        around: list[int] = []
        for launch in own:
            while following is not None and start[following] <= begun[launch]:
                while around and end[around[-1]] <= start[following]:
                    around.pop()
                around.append(following)
                following = next(waiting, None)
            while around and end[around[-1]] < begun[launch]:
                around.pop()
            if around:
                found[launch] = around[-1]
    return found


def own_times(trace: Trace, nesting: Nesting) -> Iterator[tuple[int, int, int]]:
    """Yield (start, end, operator) of the time that each operator spends outside of those that it calls."""
    start, end = trace.operators.start, trace.operators.end
    for indices in nesting.threads.values():
        around: list[tuple[int, int]] = []  # operator, and when it goes on
        for index in indices:
            while around and end[around[-1][0]] <= start[index]:
                yield from _finish(around, end)
            if around and around[-1][1] < start[index]:
                yield around[-1][1], start[index], around[-1][0]
            around.append((index, start[index]))
        while around:
            yield from _finish(around, end)


def _finish(around: list[tuple[int, int]], end: array[int]) -> Iterator[tuple[int, int, int]]:
    """End the innermost operator; the one around it goes on from there."""
    operator, since = around.pop()
    if since < end[operator]:
        yield since, end[operator], operator
    if around:
        outer, before = around[-1]
        around[-1] = outer, max(before, end[operator])
