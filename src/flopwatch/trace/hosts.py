"""The host's side of a trace: which operator launched what, and when it waited for data.

Operators of a thread nest by their times. What links a device event to one: its launch has its correlation, and the
innermost operator around the launch, on its thread, is the one; else the operator that has the same external id.
"""

from __future__ import annotations

import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flopwatch.trace.reader import NONE, Trace

_LOADER = re.compile(r"enumerate\(.*\)#.*\.__next__")  # torch's DataLoader and those that derive from it


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
    """

    threads: dict[int, list[int]]
    parent: array[int]


def nest(trace: Trace) -> Nesting:
    """Find the operator around each operator."""
    operators = trace.operators
    threads: dict[int, list[int]] = defaultdict(list)
    for index, thread in enumerate(operators.thread):
        threads[thread].append(index)
    start, end = operators.start, operators.end
    nesting = Nesting(threads, array("q", [NONE]) * len(operators))
    for indices in threads.values():
        indices.sort(key=lambda index: (start[index], -end[index]))
        around: list[int] = []
        for index in indices:
            while around and end[around[-1]] <= start[index]:
                around.pop()
            nesting.parent[index] = around[-1] if around else NONE
            around.append(index)
    return nesting


def data_waits(trace: Trace, nesting: Nesting) -> tuple[list[tuple[int, int]], bytearray]:
    """When the thread that runs the steps was within a DataLoader, and which operators are part of that.

    Returns:
        (start, end) of each stretch in order, and for each operator whether it is one of the loader's.
    """
    operators, steps = trace.operators, {each.thread for each in trace.host_steps}
    is_loader = [_LOADER.fullmatch(name) is not None for name in trace.names]
    waits, within = [], bytearray(len(operators))
    for thread, indices in nesting.threads.items():
        for index in indices if not steps or thread in steps else ():
            around = nesting.parent[index]
            if around != NONE and within[around]:
                within[index] = 1
            elif is_loader[operators.name[index]]:
                within[index] = 1
                waits.append((operators.start[index], operators.end[index]))
    return _merged(waits), within


def _merged(stretches: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same time in order, in stretches that do not overlap."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(stretches):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged


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
