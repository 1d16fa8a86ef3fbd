from flopwatch.trace.hosts import link, nest, own_times
from flopwatch.trace.parts import BACKWARD, FORWARD, OPTIMIZER_PHASE, RECOMPUTATION
from flopwatch.trace.reader import read
from tests.trace import traces
from tests.trace.traces import annotation, kernel, launch, operator

GRAPH = {"Sequence number": 5, "Fwd thread id": 0}
NODE = {"Sequence number": 5, "Fwd thread id": 1}


def read_of(tmp_path, *events):
    return read(traces.written(tmp_path / "t.json", *events))


def names_around(trace):
    links = link(trace, nest(trace))
    return [None if each < 0 else trace.names[trace.operators.name[each]] for each in links.operator]


def test_the_innermost_operator_around_the_launch_on_its_thread_is_the_one(tmp_path):
    trace = read_of(
        tmp_path,
        operator(0, 10, "aten::linear"),
        operator(2, 8, "aten::addmm"),
        operator(0, 10, "aten::other", thread=2),
        launch(4, 1),
        launch(9, 2),
        launch(5, 3, thread=2),
        launch(20, 4),
        *(kernel(30 + each, 31 + each, correlation=each) for each in (1, 2, 3, 4, 99)),
    )
    assert names_around(trace) == ["aten::addmm", "aten::linear", "aten::other", None, None]
    assert list(link(trace, nest(trace)).launched) == [4000, 9000, 5000, 20_000, -1]


def test_without_a_launch_the_external_id_names_it_unless_it_is_the_correlation(tmp_path):
    trace = read_of(
        tmp_path,
        operator(0, 1, "aten::mm", **{"External id": 7}),
        kernel(5, 6, correlation=3, **{"External id": 7}),
        kernel(6, 7, correlation=7, **{"External id": 7}),
    )
    assert names_around(trace) == ["aten::mm", None]


def test_neighbours_that_touch_do_not_nest(tmp_path):
    # Older traces have whole microseconds: one ends when the next starts.
    trace = read_of(
        tmp_path, operator(0, 5, "a::b"), operator(5, 9, "c::d"), launch(7, 1), kernel(9, 10, correlation=1)
    )
    assert list(nest(trace).parent) == [-1, -1]
    assert names_around(trace) == ["c::d"]


def phases(trace):
    nesting = nest(trace)
    return {trace.names[name]: nesting.phase[index] for index, name in enumerate(trace.operators.name)}


def test_phases(tmp_path):
    trace = read_of(
        tmp_path,
        operator(0, 10, "aten::linear", **GRAPH),
        operator(1, 2, "aten::t"),
        operator(10, 40, "autograd::engine::evaluate_function: CheckpointFunctionBackward", **NODE),
        operator(11, 39, "CheckpointFunctionBackward", **NODE),
        operator(12, 20, "aten::addmm", **GRAPH),
        operator(13, 14, "aten::copy_"),
        operator(20, 30, "autograd::engine::evaluate_function: AddmmBackward0", **NODE),
        operator(21, 25, "aten::mm"),
        annotation(40, 50, "Optimizer.step#AdamW.step"),
        operator(41, 42, "aten::_foreach_add_"),
    )
    assert phases(trace) == {
        "aten::linear": FORWARD,
        "aten::t": FORWARD,
        "autograd::engine::evaluate_function: CheckpointFunctionBackward": BACKWARD,
        "CheckpointFunctionBackward": BACKWARD,
        "aten::addmm": RECOMPUTATION,
        "aten::copy_": RECOMPUTATION,
        "autograd::engine::evaluate_function: AddmmBackward0": BACKWARD,
        "aten::mm": BACKWARD,
        "Optimizer.step#AdamW.step": OPTIMIZER_PHASE,
        "aten::_foreach_add_": OPTIMIZER_PHASE,
    }


def test_a_closure_within_the_optimizers_step_is_no_optimizer(tmp_path):
    # Lightning gives forward and backward to the optimizer as a closure.
    trace = read_of(
        tmp_path,
        annotation(0, 50, "Optimizer.step#SGD.step"),
        operator(1, 5, "aten::addmm", **GRAPH),
        operator(2, 3, "aten::expand"),
        operator(10, 20, "autograd::engine::evaluate_function: AddmmBackward0", **NODE),
        operator(11, 12, "aten::mm"),
        operator(30, 31, "aten::_foreach_add_"),
    )
    found = phases(trace)
    assert found["aten::addmm"] == found["aten::expand"] == FORWARD
    assert found["aten::mm"] == BACKWARD
    assert found["aten::_foreach_add_"] == OPTIMIZER_PHASE


def test_own_time_is_what_is_spent_outside_of_those_called(tmp_path):
    # outer 0 .. 10 calls 2 .. 4 and 5 .. 8 (which calls 6 .. 7); another thread 0 .. 3
    trace = read_of(
        tmp_path,
        operator(0, 10, "outer"),
        operator(2, 4, "first"),
        operator(5, 8, "second"),
        operator(6, 7, "inner"),
        operator(0, 3, "apart", thread=2),
    )
    found = sorted(
        (trace.names[trace.operators.name[each]], a // 1000, b // 1000) for a, b, each in own_times(trace, nest(trace))
    )
    assert found == [
        ("apart", 0, 3),
        ("first", 2, 4),
        ("inner", 6, 7),
        ("outer", 0, 2),
        ("outer", 4, 5),
        ("outer", 8, 10),
        ("second", 5, 6),
        ("second", 7, 8),
    ]
