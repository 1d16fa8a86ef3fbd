import pytest

from flopwatch.cli import main
from flopwatch.errors import LargeTraceError, TraceError
from flopwatch.trace import reader
from flopwatch.trace.account import account_of
from flopwatch.trace.reader import Call, Collective, Step, read
from tests.trace import traces
from tests.trace.traces import annotation, device_step, kernel, launch, operator


def test_kernels_launches_operators_and_marks_are_kept(tmp_path):
    path = traces.written(
        tmp_path / "t.json",
        traces.operator(
            1.5, 9, "aten::mm", (2, 3), (3, 4), **{"External id": 5, "Sequence number": 8, "Fwd thread id": 0}
        ),
        traces.launch(2, 11),
        traces.kernel(3, 4.001, "k", correlation=11, device=2, stream=20, **{"External id": 5}),
        traces.copy(5, 6),
        traces.device_step(3, 9, 7),
        traces.annotation(0, 10, "ProfilerStep#7"),
        traces.annotation(1, 2, "mine"),
        deviceProperties=[{"id": 0, "name": "A"}, {"id": 2, "name": "B"}, "x", {"id": 3}],
        distributedInfo={"rank": 3, "world_size": 8},
    )
    trace = read(path)
    # Microseconds as whole nanoseconds: 4.001 is 4001.
    assert list(trace.device.start) == [3000, 5000]
    assert list(trace.device.end) == [4001, 6000]
    assert list(trace.device.where) == [2, 0]
    assert list(trace.device.stream) == [20, 9]
    assert list(trace.launches.correlation) == [11]
    assert [trace.names[each] for each in trace.operators.name] == ["aten::mm", "mine"]
    assert list(trace.operators.annotation) == [0, 1]
    assert list(trace.operators.sequence) == [8, -1]
    assert trace.calls[trace.operators.call[0]] == Call(((2, 3), (3, 4)), ("c10::BFloat16",) * 2)
    assert trace.device_steps == [Step(3000, 9000, "ProfilerStep#7", 0)]
    assert trace.host_steps == [Step(0, 10_000, "ProfilerStep#7", thread=0)]
    assert trace.device_names == {0: "A", 2: "B"}
    assert (trace.rank, trace.world_size) == (3, 8)


def test_an_older_trace_writes_its_categories_otherwise(tmp_path):
    path = traces.written(
        tmp_path / "t.json",
        {**traces.kernel(0, 1), "cat": "Kernel"},
        {**traces.copy(1, 2), "cat": "Memcpy"},
        {**traces.launch(0, 1), "cat": "Runtime"},
        {
            **traces.operator(0, 1, "aten::mm"),
            "cat": "Operator",
            "args": {"Input dims": [[2, 3], [3, 4]], "external id": "7"},
        },
    )
    trace = read(path)
    assert (len(trace.device), len(trace.launches), len(trace.operators)) == (2, 1, 1)
    assert trace.calls[trace.operators.call[0]].shapes == ((2, 3), (3, 4))
    assert list(trace.operators.external) == [7]


def test_a_collective_says_its_group_name_and_number(tmp_path):
    arguments = {"Collective name": "allreduce", "Process Group Name": "dp", "Process Group Ranks": "[0, 1]", "Seq": 4}
    trace = read(traces.written(tmp_path / "t.json", traces.kernel(0, 1, "ncclKernel", **arguments)))
    assert trace.collectives == {0: Collective("dp [0, 1]", "allreduce", 4)}


HOSTILE = [float("nan"), float("inf"), 1e300, "soon", None, True, [1]]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("field", ["ts", "dur"])
def test_an_event_without_a_usable_time_is_left_out_and_counted(tmp_path, field, value):
    trace = read(traces.written(tmp_path / "t.json", traces.kernel(0, 1), {**traces.kernel(1, 2), field: value}))
    assert (len(trace.device), trace.left_out) == (1, 1)


def test_a_negative_duration_is_left_out(tmp_path):
    trace = read(traces.written(tmp_path / "t.json", traces.kernel(0, 1), traces.kernel(5, 3)))
    assert (len(trace.device), trace.left_out) == (1, 1)


def test_hostile_arguments_are_unknown(tmp_path):
    event = traces.kernel(0, 1, correlation={"a": 1}, device="gpu", stream=10**30)
    odd = {**traces.operator(0, 1, "aten::mm"), "args": [1, 2]}
    shapes = traces.event("cpu_op", 5, 0, 1, **{"Input Dims": "wide", "Input type": 3, "Concrete Inputs": {}})
    trace = read(traces.written(tmp_path / "t.json", event, odd, shapes, {"ph": "X", "cat": 3}, {"ph": "X"}))
    assert (list(trace.device.correlation), list(trace.device.where), list(trace.device.stream)) == ([-1], [-1], [-1])
    assert len(trace.operators) == 2


def test_a_trace_without_kernels_and_operators_is_refused(tmp_path):
    with pytest.raises(TraceError, match=r"got a trace without any$"):
        read(traces.written(tmp_path / "t.json", {"ph": "M", "name": "process_name"}))
    with pytest.raises(TraceError, match="1 without a usable time"):
        read(traces.written(tmp_path / "t.json", traces.kernel(5, 3)))


@pytest.mark.parametrize("size", [640.5, True, -1, 2**63, "64", None, [64]])
def test_a_tensor_whose_sizes_are_not_all_whole_has_no_shape(tmp_path, size):
    events = [*steps(1), operator(0, 2, "aten::mm", (64, 63), (64, size)), launch(1, 9), kernel(30, 40, correlation=9)]
    path = traces.written(tmp_path / "t.json", *events)
    assert read(path).calls[-1].shapes == ((64, 63), ())
    assert main(["trace", str(path)]) == 0


def test_shapes_are_sizes_of_tensors_or_of_lists_of_tensors(tmp_path):
    def shapes_of(dims):
        event = traces.event("cpu_op", "aten::mm", 0, 1, **{"Input Dims": dims})
        return read(traces.written(tmp_path / "t.json", event)).calls[-1].shapes

    assert shapes_of([[2, 3], [], [[4, 5], [6]]]) == ((2, 3), (), ((4, 5), (6,)))
    assert shapes_of([1, "wide", {"a": 1}, [-1, 2.5, 10**30], [[[7]]]]) == ((), (), (), ((), (), ()), (((),),))


def steps(count):
    """Steps of 100 us, each with an operator, its launch and a collective's kernel."""
    for step in range(count):
        at = 100 * step
        yield annotation(at, at + 90, f"ProfilerStep#{step}")
        yield operator(at, at + 20, "aten::mm", (8, 8), (8, 8))
        yield launch(at + 5, step + 1)
        yield kernel(at + 30, at + 80, correlation=step + 1, **{"Collective name": f"number {step}", "Seq": step})
        yield device_step(at + 30, at + 80, step)


def test_of_a_large_trace_the_first_steps_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "_MOST_EVENTS", 40)
    # In the order in which torch.profiler writes them: the host's events first.
    events = sorted(steps(100), key=lambda each: each["cat"], reverse=True)
    trace = read(traces.written(tmp_path / "t.json", *events))
    assert sum(map(len, (trace.device, trace.launches, trace.operators))) <= 40
    kept = [each.name for each in trace.host_steps]
    assert kept == [each.name for each in trace.device_steps] == [f"ProfilerStep#{step}" for step in range(len(kept))]
    assert (len(kept) >= 5, trace.steps_left_out) == (True, 100 - len(kept))
    # What is said of them is what is said of a trace that has no more.
    short = account_of(read(traces.written(tmp_path / "s.json", *steps(len(kept)))))
    large = account_of(trace)
    assert (large.steps, large.seconds, large.parts, large.rows) == (
        short.steps,
        short.seconds,
        short.parts,
        short.rows,
    )
    assert large.collectives == short.collectives
    assert large.notes == (f"the trace is large: its last {100 - len(kept)} steps are left out",)


def test_without_device_marks_a_large_trace_ends_with_the_hosts_last_step(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "_MOST_EVENTS", 40)
    found = account_of(
        read(
            traces.written(tmp_path / "t.json", *(each for each in steps(100) if each["cat"] != "gpu_user_annotation"))
        )
    )
    assert found.seconds == pytest.approx((100 * found.steps - 10) * 1e-6)
    assert found.busy_seconds == pytest.approx(50e-6 * found.steps)


@pytest.mark.parametrize(
    "events",
    [
        [kernel(at, at + 1) for at in range(9)],
        [kernel(0, 1)] * 9,
        [annotation(0, 9, "ProfilerStep#1"), *(kernel(at, at + 1) for at in range(9))],
    ],
)
def test_a_step_that_is_too_large_is_refused(tmp_path, monkeypatch, events):
    monkeypatch.setattr(reader, "_MOST_EVENTS", 2)
    with pytest.raises(LargeTraceError, match="give the profiler a schedule"):
        read(traces.written(tmp_path / "t.json", *events))


def test_beyond_so_many_calls_no_further_arguments_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "_MOST_CALLS", 3)
    trace = read(traces.written(tmp_path / "t.json", *(operator(at, at + 1, "aten::mm", (at, 2)) for at in range(9))))
    assert [trace.calls[call].shapes for call in trace.operators.call] == [*(((at, 2),) for at in range(3)), *[()] * 6]
