"""The phase of each operator of the host: forward, backward, what backward recomputes, optimizer.

An operator with a sequence number of its own builds a graph, as a forward does.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

from flopwatch.trace.hosts import Nesting
from flopwatch.trace.parts import BACKWARD, FORWARD, OPTIMIZER_PHASE, RECOMPUTATION, UNKNOWN
from flopwatch.trace.reader import NONE, Trace

_NODE = "autograd::engine::evaluate_function"
_OPTIMIZER_STEP = "Optimizer.step#"
_OPTIMIZER = (_OPTIMIZER_STEP, "Optimizer.zero_grad#")
_CALL = 32  # bits of a call's index beside that of a name


def phases_of(trace: Trace, nesting: Nesting) -> bytearray:
    """The phase of each operator, by its index."""
    operators, parent = trace.operators, nesting.parent
    backward = _backward(trace)
    node = _nodes(nesting, backward)
    recomputing = _recomputing(trace, nesting, backward)
    forward = {_called(trace, index) for index, around in enumerate(node) if around == NONE}
    closure_end = _closure_ends(trace, backward)
    is_optimizer = [name.startswith(_OPTIMIZER) for name in trace.names]
    phase = bytearray([UNKNOWN]) * len(operators)
    for indices in nesting.threads.values():
        for index in indices:
            around = parent[index]
            outer = FORWARD if around == NONE else phase[around]
            if backward[index]:
                outer = BACKWARD
            elif is_optimizer[operators.name[index]]:
                outer = OPTIMIZER_PHASE
            elif outer == OPTIMIZER_PHASE:
                builds = operators.sequence[index] >= 0
                outer = FORWARD if builds or operators.start[index] < closure_end.get(around, 0) else outer
            elif outer == BACKWARD and operators.sequence[index] >= 0 and node[index] in recomputing:
                outer = RECOMPUTATION if _called(trace, index) in forward else outer
            phase[index] = outer
    return phase


def _backward(trace: Trace) -> bytearray:
    """Which operators are the autograd engine's."""
    is_node = [name.startswith(_NODE) for name in trace.names]
    operators = trace.operators
    return bytearray(
        thread > 0 or is_node[name] for thread, name in zip(operators.forward_thread, operators.name, strict=True)
    )


def _nodes(nesting: Nesting, backward: bytearray) -> array[int]:
    """The innermost operator of the engine around each operator, or itself; -1 for none."""
    node = array("q", [NONE]) * len(backward)
    for indices in nesting.threads.values():
        for index in indices:
            around = nesting.parent[index]
            node[index] = index if backward[index] else NONE if around == NONE else node[around]
    return node


def _recomputing(trace: Trace, nesting: Nesting, backward: bytearray) -> set[int]:
    """The engine's operators that may recompute: there is a backward inside of them, or their own work has no graph.

    Where a backward is differentiated again (`create_graph=True`) its own work, which comes last, builds a graph.
    """
    again, builds = set(), {}
    for indices in nesting.threads.values():
        for index in indices:
            around = nesting.parent[index]
            if around == NONE or not backward[around]:
                continue
            if not backward[index]:
                builds[around] = trace.operators.sequence[index] >= 0
            elif trace.names[trace.operators.name[index]].startswith(_NODE):
                again.add(around)
    return again | {node for node, last in builds.items() if not last}


def _called(trace: Trace, index: int) -> int:
    """An operator's name and what it was called with, as one number."""
    return trace.operators.name[index] << _CALL | trace.operators.call[index]


def _closure_ends(trace: Trace, backward: bytearray) -> dict[int, int]:
    """When the closure within each optimizer's step ends: when the last backward operator of any thread starts there.

    Lightning gives forward and backward to the optimizer as a closure. What runs in it without gradients is forward.
    """
    operators = trace.operators
    starts = sorted(start for start, is_backward in zip(operators.start, backward, strict=True) if is_backward)
    ends = {}
    for index, name in enumerate(operators.name):
        if trace.names[name].startswith(_OPTIMIZER_STEP):
            place = bisect_left(starts, operators.end[index])
            if place and starts[place - 1] >= operators.start[index]:
                ends[index] = starts[place - 1]
    return ends
