import pytest

from flopwatch.errors import TraceError
from flopwatch.trace.reader import read
from flopwatch.trace.work import work_of
from tests.trace import traces
from tests.trace.traces import annotation, copy, device_step, kernel, operator


def work(tmp_path, *events, **facts):
    return work_of(read(traces.written(tmp_path / "t.json", *events, **facts)))


def test_the_span_is_from_the_first_device_mark_to_the_last(tmp_path):
    found = work(tmp_path, kernel(0, 5), device_step(2, 4, 1), device_step(6, 9, 2), kernel(6, 8), kernel(20, 30))
    assert found.span == (2000, 9000)
    assert found.steps == 2
    assert [(piece.start, piece.end) for piece in found.pieces] == [(2000, 4000 + 1000), (6000, 8000)]


def test_marks_of_one_step_on_two_streams_are_one_step(tmp_path):
    assert work(tmp_path, kernel(0, 5), device_step(0, 4, 1), device_step(1, 5, 1)).steps == 1


def test_without_device_marks_it_is_from_the_first_event_to_the_last_and_the_host_counts_the_steps(tmp_path):
    marks = [annotation(2, 3, "ProfilerStep#4"), annotation(3, 9, "ProfilerStep#5")]
    found = work(tmp_path, kernel(1, 5), copy(6, 8), *marks)
    assert (found.span, found.steps) == ((1000, 8000), 2)


def test_what_the_device_waits_for_before_the_first_steps_kernels_belongs_to_the_step(tmp_path):
    # Two steps of 10 us, each with a kernel in its second half: 20 us, not the 15 between the first kernel and the end.
    hosts = [annotation(0, 10, "ProfilerStep#1"), annotation(10, 20, "ProfilerStep#2")]
    kernels = [kernel(5, 10), kernel(15, 20)]
    marks = [device_step(5, 10, 1), device_step(15, 20, 2)]
    assert work(tmp_path, *hosts, *kernels, *marks).span == (0, 20_000)
    assert work(tmp_path, *hosts, *kernels).span == (0, 20_000)
    # A device that still runs what the step before launched waits from there on.
    assert work(tmp_path, *hosts, *kernels, *marks, kernel(-9, 3)).span == (3000, 20_000)
    assert work(tmp_path, *hosts, *kernels, *marks, kernel(-9, 7, stream=8)).span == (5000, 20_000)
    # A host that is ahead began earlier, a mark of another step is not this one's.
    assert work(tmp_path, annotation(-90, 1, "ProfilerStep#1"), *kernels, *marks, kernel(-95, 4)).span == (4000, 20_000)
    assert work(tmp_path, annotation(0, 1, "ProfilerStep#0"), *kernels, *marks).span == (5000, 20_000)


def test_operators_of_which_only_a_part_lies_within_the_steps_are_known(tmp_path):
    # The first one's kernel begins before the mark; of the second one's two kernels one is before it.
    events = []
    for place, (start, end) in enumerate([(0, 4), (1, 2), (5, 6), (7, 9)]):
        events += [traces.launch(-20 + place, place + 1), kernel(start, end, correlation=place + 1)]
    around = [operator(-20, -19.5, "a::cut"), operator(-19.2, -17.5, "a::split"), operator(-17.2, -16, "a::whole")]
    trace = read(traces.written(tmp_path / "t.json", *events, *around, device_step(3, 10)))
    assert {trace.names[trace.operators.name[each]] for each in work_of(trace).cut} == {"a::cut", "a::split"}


def test_a_data_loaders_operators_on_the_cpu_are_waiting(tmp_path):
    loader = annotation(0, 10, "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__")
    found = work(tmp_path, loader, operator(2, 4, "aten::stack"), operator(12, 14, "aten::mm"))
    assert [(piece.part, piece.start) for piece in found.pieces] == [("matmul", 12_000)]
    assert found.data_waits == [(0, 10_000)]


def test_without_any_marks_it_is_one_step(tmp_path):
    assert work(tmp_path, kernel(1, 5)).steps == 1


def test_the_busiest_of_several_devices_is_the_one(tmp_path):
    names = [{"id": 0, "name": "A"}, {"id": 1, "name": "B"}]
    found = work(tmp_path, kernel(0, 5, device=0), kernel(0, 6, device=1), deviceProperties=names)
    assert (found.device, found.devices, found.span) == ("B", 2, (0, 6000))


def test_a_device_is_named_by_its_index_or_as_all_are(tmp_path):
    one = [{"id": 0, "name": "AMD Instinct MI300X"}]
    assert work(tmp_path, kernel(0, 5, device=2), deviceProperties=one).device == "AMD Instinct MI300X"
    two = [{"id": 0, "name": "A"}, {"id": 1, "name": "B"}]
    assert work(tmp_path, kernel(0, 5, device=2), deviceProperties=two).device is None
    assert work(tmp_path, kernel(0, 5)).device is None


def test_on_the_cpu_it_is_the_operators_own_time_within_the_hosts_marks(tmp_path):
    found = work(tmp_path, annotation(0, 10, "ProfilerStep#1"), annotation(1, 9, "mine"), operator(2, 30, "aten::mm"))
    assert (found.device, found.on_cpu, found.span) == ("CPU", True, (0, 10_000))
    assert [(piece.part, piece.start, piece.end) for piece in found.pieces] == [("matmul", 2000, 10_000)]


def test_communication_on_the_cpu_is_told_by_annotations_too(tmp_path):
    found = work(tmp_path, annotation(0, 4, "gloo:all_reduce", thread=3), operator(0, 1, "aten::add"))
    assert sorted(piece.part for piece in found.pieces) == ["communication_exposed", "other_compute"]


def test_compute_of_the_optimizers_step_is_the_optimizers(tmp_path):
    events = [annotation(0, 10, "Optimizer.step#SGD.step"), traces.launch(1, 5), traces.launch(2, 6)]
    found = work(tmp_path, *events, kernel(3, 4, correlation=5), kernel(4, 5, traces.GEMM, correlation=6))
    assert [(piece.part, piece.phase) for piece in found.pieces] == [
        ("optimizer", "optimizer"),
        ("matmul", "optimizer"),
    ]


def test_marks_around_nothing_are_refused(tmp_path):
    with pytest.raises(TraceError, match="within the profiled steps, got none"):
        work(tmp_path, kernel(0, 5), device_step(10, 20))


def test_operators_that_only_launch_work_on_a_device_are_refused(tmp_path):
    with pytest.raises(TraceError, match="its host's events only"):
        work(tmp_path, operator(0, 5, "aten::mm"), traces.launch(1, 1))
    with pytest.raises(TraceError, match="its host's events only"):
        work(tmp_path, operator(0, 5, "aten::mm"), traces.event("mtia_runtime", "run", 1, 2))
