import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flopwatch.trace.account import account_of
from flopwatch.trace.parts import PARTS
from flopwatch.trace.reader import read
from tests.trace import traces
from tests.trace.traces import ELEMENTWISE, GEMM, H100, annotation, copy, device_step, kernel, launch, operator

NCCL = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"
FLASH = "void flash::flash_fwd_kernel<64>(Params)"


def account(tmp_path, *events, **facts):
    return account_of(read(traces.written(tmp_path / "t.json", *events, **facts)))


def micro(account):
    """Parts in microseconds, those that took time."""
    return {part: round(1e6 * seconds, 6) for part, seconds in account.parts.items() if seconds}


def test_every_moment_is_in_exactly_one_part(tmp_path):
    # stream 7: 0 .. 10 product, 10 .. 14 attention, 14 .. 16 convolution, 16 .. 20 elementwise, 20 .. 22 Adam
    # 5 .. 25 NCCL on stream 20: seen 22 .. 25; 24 .. 30 copy on stream 9: seen 25 .. 30
    # 30 .. 33 nothing, what follows was launched at 32: the host | 33 .. 34 elementwise
    # 34 .. 38 nothing, what follows was launched at 3: otherwise | 38 .. 40 elementwise
    found = account(
        tmp_path,
        device_step(0, 40),
        kernel(0, 10, GEMM),
        kernel(10, 14, FLASH),
        kernel(14, 16, "sm80_xmma_fprop_implicit_gemm_bf16"),
        kernel(16, 20, ELEMENTWISE),
        kernel(20, 22, "multi_tensor_apply_kernel<AdamFunctor>"),
        kernel(5, 25, NCCL, stream=20),
        copy(24, 30),
        launch(32, 1),
        kernel(33, 34, correlation=1),
        launch(3, 2),
        kernel(38, 40, correlation=2),
        **H100,
    )
    assert micro(found) == {
        "matmul": 10,
        "attention": 4,
        "convolution": 2,
        "other_compute": 4 + 1 + 2,
        "optimizer": 2,
        "communication_exposed": 3,
        "copy_exposed": 5,
        "idle_host": 3,
        "idle_other": 4,
    }
    assert list(found.parts) == list(PARTS)
    assert found.seconds == pytest.approx(40e-6)
    assert found.busy_seconds == pytest.approx(33e-6)
    assert found.communication_seconds == pytest.approx(20e-6)
    assert (found.device, found.steps, found.named_kernel_share) == ("NVIDIA H100 80GB HBM3", 1, 1.0)


def test_among_compute_the_first_of_the_parts_counts(tmp_path):
    found = account(
        tmp_path, kernel(0, 10, ELEMENTWISE, stream=1), kernel(2, 4, GEMM, stream=2), kernel(3, 6, FLASH, stream=3)
    )
    assert micro(found) == {"other_compute": 2 + 4, "matmul": 2, "attention": 2}


def test_a_gap_whose_end_has_no_launch_is_not_laid_on_the_host(tmp_path):
    assert micro(account(tmp_path, kernel(0, 1), kernel(5, 6, correlation=9)))["idle_other"] == 4


def test_the_rest_of_the_last_step_is_idle(tmp_path):
    assert micro(account(tmp_path, device_step(0, 9), kernel(0, 4))) == {"other_compute": 4, "idle_other": 5}


def test_the_share_of_kernel_time_that_could_be_told(tmp_path):
    assert account(tmp_path, kernel(0, 9), kernel(9, 10, "my_kernel"), copy(10, 20)).named_kernel_share == 0.9


def test_phases_are_of_compute(tmp_path):
    node = {"Sequence number": 3, "Fwd thread id": 1}
    found = account(
        tmp_path,
        operator(0, 5, "aten::addmm"),
        launch(1, 1),
        operator(5, 20, "autograd::engine::evaluate_function: MmBackward0", **node),
        operator(6, 8, "aten::addmm", **{"Sequence number": 4, "Fwd thread id": 0}),
        launch(7, 2),
        operator(9, 11, "aten::mm"),
        launch(10, 3),
        annotation(20, 30, "Optimizer.step#SGD.step"),
        launch(21, 4),
        kernel(40, 42, correlation=1),
        kernel(42, 45, correlation=2),
        kernel(45, 50, correlation=3),
        kernel(50, 57, correlation=4),
        kernel(57, 68),
        kernel(68, 70, NCCL),
    )
    phases = {name: round(1e6 * seconds, 6) for name, seconds in found.phases.items()}
    assert phases == {"forward": 2, "recomputation": 3, "backward": 5, "optimizer": 7, "unknown": 11}
    assert micro(found)["optimizer"] == 7


def product(at, start, end, rows, columns=4096, name="aten::mm", **more):
    yield operator(at, at + 2, name, (rows, 4096), (4096, columns), **more)
    yield launch(at + 1, at + 1)
    yield kernel(start, end, GEMM, correlation=at + 1)


def test_what_the_peak_goes_to_adds_up_to_one(tmp_path):
    # 2 * 4096 ** 3 = 137,438,953,472 FLOPs need 138.9 us at 989.4 TFLOP/s; the kernel takes 200 of 250 us
    found = account(tmp_path, *product(0, 0, 200, 4096), device_step(0, 250), kernel(200, 230), **H100)
    losses = found.peak_losses
    assert losses["model_flops"] == pytest.approx(138.911 / 250, rel=1e-4)
    assert losses["matmul_below_peak"] == pytest.approx((200 - 138.911) / 250, rel=1e-4)
    assert losses["other_compute"] == pytest.approx(30 / 250)
    assert losses["idle_other"] == pytest.approx(20 / 250)
    assert sum(losses.values()) == pytest.approx(1)
    assert found.peak_share == losses["model_flops"]
    assert (found.matmul_flops, found.dtype) == (137_438_953_472, "bf16")


def test_recomputed_flops_are_no_model_flops(tmp_path):
    graph = {"Sequence number": 4, "Fwd thread id": 0}
    node = operator(10, 20, "autograd::engine::evaluate_function: X", **{"Sequence number": 3, "Fwd thread id": 1})
    again = [*product(12, 300, 500, 4096, **graph), operator(15, 16, "aten::t")]
    found = account(tmp_path, *product(0, 100, 300, 4096, **graph), node, *again, **H100)
    assert found.peak_losses["model_flops"] == pytest.approx(138.911 / 400, rel=1e-4)
    assert found.peak_losses["recomputed_flops"] == pytest.approx(138.911 / 400, rel=1e-4)


def test_without_all_shapes_there_is_no_share_of_the_peak(tmp_path):
    found = account(tmp_path, *product(0, 0, 200, 4096), kernel(200, 230, GEMM), **H100)
    assert found.matmul_flops == 137_438_953_472
    assert found.peak_losses is None
    assert found.peak_share is None


def test_calls_that_lie_in_the_steps_in_part_have_no_flops(tmp_path):
    # The kernel takes 200 us, of which 50 are within the step: at 137 GFLOP of 50 us it would pass the peak 2.8 times.
    cut = [device_step(150, 500), *product(20, 200, 400, 4096)]
    found = account(tmp_path, *product(0, 0, 200, 4096), *cut, **H100)
    assert [row.flops for row in found.rows if row.part == "matmul"] == [137_438_953_472, None]
    assert found.peak_share is None


def test_a_precision_that_is_not_known_leaves_no_share_of_the_peak(tmp_path):
    # Operands in fp32 in 330 us: 416 TFLOP/s, six times the H100's peak in fp32, so it is TF32 by an unknown kernel.
    shapes = {"Input Dims": [[4096, 4096]] * 2, "Input type": ["float", "float"]}
    events = [operator(0, 2, "aten::mm", **shapes), launch(1, 1), kernel(0, 330, "nvjet_sst_128x256", correlation=1)]
    found = account(tmp_path, *events, **H100)
    assert [(row.flops, row.dtype, row.peak_share, row.bound) for row in found.rows] == [
        (137_438_953_472, None, None, None)
    ]
    assert (found.peak_flops_per_second, found.peak_share) == (None, None)


def test_products_of_a_faster_precision_than_most_leave_no_share_of_the_peak(tmp_path):
    # 137 GFLOP in fp32 in 3 ms, and nearly as many in bf16 in 0.15 ms: of fp32's peak (66.9 TFLOP/s) that is 130%.
    shapes = {"Input Dims": [[4096, 4096]] * 2, "Input type": ["float", "float"]}
    slow = [operator(0, 2, "aten::mm", **shapes), launch(1, 1), kernel(0, 3000, "sgemm", correlation=1)]
    found = account(tmp_path, *slow, *product(10, 3000, 3150, 4096, 4032), **H100)
    assert [(row.dtype, round(row.peak_share, 2)) for row in found.rows] == [("fp32", 0.68), ("bf16", 0.91)]
    assert (found.dtype, found.peak_share) == ("fp32", None)


LOADER = "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__"


def test_waiting_for_data_is_apart_from_the_hosts_other_lateness(tmp_path):
    # Three steps of 20 ms: the host fetches data for 9.9 ms, launches 0.06 ms later, and the device works from 10 on.
    events = []
    for step in range(3):
        at = 20_000 * step
        events += [annotation(at, at + 20_000, f"ProfilerStep#{step}"), annotation(at, at + 9_900, LOADER)]
        events += [launch(at + 9_960, step + 1), kernel(at + 10_000, at + 20_000, GEMM, correlation=step + 1)]
        events.append(device_step(at + 10_000, at + 20_000, step))
    found = account(tmp_path, *events)
    assert micro(found) == {"matmul": 30_000, "idle_data": 3 * 9_900, "idle_host": 3 * 100}
    assert (found.steps, found.seconds) == (3, pytest.approx(60e-3))
    assert found.host_step_seconds == pytest.approx(20e-3)


def test_only_data_that_the_device_waits_for_count(tmp_path):
    # Fetched 0 .. 30 and 40 .. 50; the device is idle 10 .. 20 and 35 .. 60, and what follows had been launched.
    events = [annotation(0, 30, LOADER), annotation(40, 50, LOADER), kernel(0, 10), kernel(20, 35), kernel(60, 61)]
    assert micro(account(tmp_path, *events)) == {"other_compute": 26, "idle_data": 10 + 10, "idle_other": 15}


def test_an_unknown_device_has_no_peak(tmp_path):
    found = account(tmp_path, *product(0, 0, 200, 4096))
    assert (found.device, found.peak_flops_per_second, found.peak_share) == (None, None, None)


def test_notes_say_what_is_special(tmp_path):
    assert account(tmp_path, kernel(0, 5)).notes == ()
    assert "no device events" in account(tmp_path, operator(0, 5, "aten::mm")).notes[0]
    assert "2 devices" in account(tmp_path, kernel(0, 5), kernel(0, 2, device=1)).notes[0]
    assert "1 events have no usable time" in account(tmp_path, kernel(0, 5), kernel(5, 3)).notes[0]


def test_the_time_between_operators_is_the_hosts_on_a_cpu(tmp_path):
    found = account(tmp_path, operator(0, 5, "aten::mm"), operator(7, 9, "aten::add"))
    assert micro(found) == {"matmul": 5, "other_compute": 2, "idle_host": 2}
    assert found.device == "CPU"


EVENT = st.tuples(
    st.floats(0, 1e4),
    st.floats(0, 500),
    st.sampled_from([GEMM, FLASH, ELEMENTWISE, NCCL, "mine", "copy"]),
    st.integers(0, 3),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(EVENT, min_size=1, max_size=30), st.tuples(st.floats(0, 5e3), st.floats(5.001e3, 2e4)), st.booleans())
def test_the_parts_add_up_to_the_seconds(tmp_path_factory, drawn, span, is_marked):
    events = [kernel(0, 1e4, stream=5), device_step(*span)] if is_marked else [kernel(0, 1)]
    for start, length, name, stream in drawn:
        events.append(copy(start, start + length) if name == "copy" else kernel(start, start + length, name, stream))
    found = account(tmp_path_factory.mktemp("trace"), *events)
    assert sum(found.parts.values()) == pytest.approx(found.seconds, rel=1e-12)
    assert sum(found.phases.values()) <= found.busy_seconds * (1 + 1e-12)
    assert found.parts["communication_exposed"] <= found.communication_seconds * (1 + 1e-12)
    assert min(found.parts.values()) >= 0
