from flopwatch.trace.hosts import data_waits, link, nest, own_times
from flopwatch.trace.reader import read
from tests.trace import traces
from tests.trace.traces import annotation, kernel, launch, operator


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


LOADER = "enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__"


def waits(trace):
    found, within = data_waits(trace, nest(trace))
    return found, [trace.names[trace.operators.name[index]] for index, each in enumerate(within) if each]


def test_waiting_for_data_is_what_the_steps_thread_does_in_a_loader(tmp_path):
    trace = read_of(
        tmp_path,
        annotation(0, 50, "ProfilerStep#1"),
        annotation(20, 29, LOADER),
        annotation(1, 9, "enumerate(StatefulDataLoader)#_Iter.__next__"),
        annotation(2, 8, LOADER),
        operator(3, 4, "aten::stack"),
        operator(10, 11, "aten::mm"),
        annotation(0, 50, LOADER, thread=2),  # one that fetches ahead
    )
    found, within = waits(trace)
    assert found == [(1000, 9000), (20_000, 29_000)]
    assert within == [LOADER, "enumerate(StatefulDataLoader)#_Iter.__next__", LOADER, "aten::stack"]
    # Without marks of steps it is what any thread does, each moment once.
    several = [annotation(0, 5, LOADER, thread=2), annotation(3, 9, LOADER), annotation(12, 13, LOADER)]
    assert waits(read_of(tmp_path, *several))[0] == [(0, 9000), (12_000, 13_000)]


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
