import pytest

from flopwatch.trace.account import account_of
from flopwatch.trace.advice import advice_of
from flopwatch.trace.reader import read
from tests.trace import traces
from tests.trace.traces import ELEMENTWISE, GEMM, H100, annotation, copy, device_step, kernel, launch, operator

NCCL = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"


def advice(tmp_path, *events, **facts):
    account = account_of(read(traces.written(tmp_path / "t.json", *events, **{**H100, **facts})))
    return {each.kind: each for each in advice_of(account)}


def linked(number, start, end, name, *shapes, kernel_name=GEMM, **more):
    """An operator, its launch and its kernel; the host is 10 ms ahead."""
    at = start - 10_000
    yield operator(at, at + 1, name, *shapes, **more)
    yield launch(at + 0.5, number)
    yield kernel(start, end, kernel_name, correlation=number)


def test_nothing_where_all_is_well(tmp_path):
    # 137,438,953,472 FLOPs in 145 us: 96% of the peak
    assert advice(tmp_path, *linked(1, 0, 145, "aten::mm", (4096, 4096), (4096, 4096))) == {}


def test_a_late_host(tmp_path):
    found = advice(tmp_path, kernel(0, 10), launch(55, 3), kernel(60, 100, "triton_poi_fused_0", correlation=3))
    assert found["launch_bound"].fraction == pytest.approx(0.5)
    assert "waits 0.05 ms a step" in found["launch_bound"].evidence
    assert "2 kernels a step" in found["launch_bound"].evidence


def test_gaps_that_are_not_the_hosts(tmp_path):
    found = advice(tmp_path, kernel(0, 10, "triton_poi_a"), launch(5, 3), kernel(20, 40, "triton_poi_b", correlation=3))
    assert set(found) == {"gaps"}
    assert found["gaps"].fraction == pytest.approx(0.25)


def test_points_are_those_of_the_steps_mfu(tmp_path):
    # 138.911 us of work in 200 us of product and 50 us of elementwise: 55.6%; without the latter 69.5%
    events = [*linked(1, 0, 200, "aten::mm", (4096, 4096), (4096, 4096)), kernel(200, 250, ELEMENTWISE)]
    found = advice(tmp_path, *events)
    assert found["unfused_elementwise"].fraction == pytest.approx(0.2)
    assert found["unfused_elementwise"].points == pytest.approx(0.6946 - 0.5556, abs=1e-3)
    words = "elementwise operators run one by one in 1 kernel a step, for 0.05 ms a step"
    assert found["unfused_elementwise"].evidence == words


def test_attention_that_is_not_fused(tmp_path):
    softmax = linked(3, 10, 20, "aten::_softmax", (2, 8, 128, 128), kernel_name="softmax_warp_forward")
    events = [
        *linked(1, 0, 5, "aten::bmm", (16, 128, 64), (16, 64, 128)),
        *linked(2, 5, 10, "aten::masked_fill", (2, 8, 128, 128), (128, 128), kernel_name="triton_poi_1"),
        *softmax,
    ]
    found = advice(tmp_path, *events)
    assert found["unfused_attention"].fraction == pytest.approx(15 / 20)
    assert "2x8x128x128" in found["unfused_attention"].evidence
    # A softmax over experts is beside no product of its size.
    assert "unfused_attention" not in advice(
        tmp_path, *events[:3], *linked(3, 10, 20, "aten::_softmax", (2, 7, 100, 8))
    )


def optimizer(name):
    return [
        annotation(0, 10, "Optimizer.step#AdamW.step"),
        launch(1, 7),
        kernel(20, 30, name, correlation=7),
        kernel(30, 60, GEMM),
    ]


def test_an_optimizer_that_is_not_fused(tmp_path):
    found = advice(tmp_path, *optimizer("multi_tensor_apply_kernel<BinaryOpScalarFunctor>"))
    assert found["eager_optimizer"].fraction == pytest.approx(0.25)
    assert "fused=True" in found["eager_optimizer"].change
    assert "eager_optimizer" not in advice(tmp_path, *optimizer("multi_tensor_apply_kernel<FusedAdamMathFunctor>"))


def test_communication_that_nothing_hides(tmp_path):
    found = advice(tmp_path, kernel(0, 60, GEMM), kernel(40, 100, NCCL, stream=20))
    assert found["exposed_communication"].fraction == pytest.approx(0.4)
    assert "66.7% of communication" in found["exposed_communication"].evidence
    assert "exposed_communication" not in advice(tmp_path, kernel(0, 60, GEMM), kernel(0, 60, NCCL, stream=20))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Memcpy HtoD (Pageable -> Device)", "pin_memory=True"),
        ("Memcpy HtoD (Pinned -> Device)", "prefetch"),
        ("Memcpy DtoD (Device -> Device)", "in place"),
    ],
)
def test_copies_that_nothing_hides(tmp_path, name, said):
    found = advice(tmp_path, kernel(0, 90, GEMM), copy(90, 100, name))
    assert found["exposed_copies"].fraction == pytest.approx(0.1)
    assert said in found["exposed_copies"].change
    assert name in found["exposed_copies"].evidence


def test_products_in_a_slow_precision(tmp_path):
    # TF32 on an H100 has half of bf16's peak (494.7 of 989.4): of 300 us 150 could be saved.
    tf32 = linked(1, 0, 300, "aten::mm", (4096, 4096), (4096, 4096), dtype="float", kernel_name="s1688gemm")
    found = advice(tmp_path, *tf32, *linked(2, 300, 600, "aten::mm", (4096, 4096), (4096, 8192)))
    assert found["slow_precision"].fraction == pytest.approx(0.25, rel=1e-3)
    # In bf16 these steps would be held against bf16's peak: what that adds to their MFU is not known.
    assert found["slow_precision"].points is None
    assert "while others run in 16 bits" in found["slow_precision"].evidence
    assert "bf16-mixed" in found["slow_precision"].change


def test_recomputation(tmp_path):
    node = operator(
        -10_010, -9_000, "autograd::engine::evaluate_function: X", **{"Sequence number": 3, "Fwd thread id": 1}
    )
    graph = {"Sequence number": 4, "Fwd thread id": 0}
    forward = operator(-20_000, -19_000, "aten::mm", (64, 64), (64, 64), **graph)
    again = linked(1, 0, 30, "aten::mm", (64, 64), (64, 64), **graph)
    found = advice(tmp_path, forward, node, *again, operator(-9_500, -9_400, "aten::t"), kernel(30, 100, GEMM))
    assert found["recomputation"].fraction == pytest.approx(0.3)


def vocabulary(size, end):
    return [
        *linked(1, 0, 200, "aten::mm", (4096, 4096), (4096, 4096)),
        *linked(2, 200, end, "aten::mm", (4096, 4096), (4096, size)),
    ]


def test_a_vocabulary_that_is_no_multiple_of_eight(tmp_path):
    # 50,257 columns: 1,686,325,952,512 FLOPs in 4,000 us are 42.6% of the peak; 4096 columns get 69.5%.
    # Padded to 50,304 the product needs 1,687,903,... / (0.695 * 989.4e12) = 2,456 us: 1,544 of 4,200 are gained.
    found = advice(tmp_path, *vocabulary(50_257, 4_200))
    assert found["odd_shapes"].fraction == pytest.approx(1_544 / 4_200, rel=1e-3)
    assert found["odd_shapes"].change == "pad 50,257 to 50,304"
    assert "50,257, no multiple of 8, gets 42.6% of the peak, others up to 69.5%" in found["odd_shapes"].evidence


def test_sizes_that_are_as_fast_as_others_need_no_padding(tmp_path):
    assert "odd_shapes" not in advice(tmp_path, *vocabulary(50_257, 2_500))
    assert "odd_shapes" not in advice(tmp_path, *vocabulary(50_304, 4_200))


def test_a_head_size_without_a_kernel(tmp_path):
    def found(width):
        shape = (8, 2048, 16, width)
        return advice(tmp_path, *linked(1, 0, 100, "aten::_flash_attention_forward", shape, shape, shape))

    # 80 runs in the kernel for 96: a sixth of its time
    assert found(80)["odd_head_size"].fraction == pytest.approx(1 / 6)
    assert "odd_head_size" not in found(128)


def test_the_head_size_of_a_backward_is_the_querys(tmp_path):
    # Behind the tensors of heads stand logsumexp and the state of random numbers.
    heads, sums = (8, 2048, 16, 80), (8, 16, 2048)
    shapes = [heads] * 5 + [sums, (), (), (), (), (), (), (2,), ()]
    values = [*[""] * 10, "0.", "False"]
    found = advice(tmp_path, *linked(1, 0, 4000, "aten::_flash_attention_backward", *shapes, values=values))
    assert found["odd_head_size"].fraction == pytest.approx(1 / 6)
    assert "head size of 80 runs in a kernel for 96" in found["odd_head_size"].evidence


LOADER = "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__"


def test_data_that_come_late_are_not_the_launches_fault(tmp_path):
    # A step of 100 us: 60 in the loader, 5 until the launch's kernel, 35 of work.
    step = annotation(0, 100, "ProfilerStep#1"), device_step(65, 100)
    late = [*step, annotation(0, 60, LOADER), launch(62, 3), kernel(65, 100, "triton_poi_fused_0", correlation=3)]
    found = advice(tmp_path, *late)
    assert list(found) == ["data_wait", "launch_bound"]
    assert [each.fraction for each in found.values()] == pytest.approx([0.6, 0.05])
    assert found["data_wait"].evidence == "nothing runs for 0.06 ms a step while the host waits for its DataLoader"


def test_gains_beyond_the_peak_have_no_points(tmp_path):
    # 69.5% of the peak in 200 us, and as long idle: 34.7%, of which twice is left without the gap.
    product = [*linked(1, 0, 200, "aten::mm", (4096, 4096), (4096, 4096)), launch(380, 9)]
    idle = advice(tmp_path, *product, kernel(399, 400, "triton_poi_a", correlation=9))["launch_bound"]
    assert (idle.fraction, idle.points) == pytest.approx((199 / 400, 0.3473 / (201 / 400) - 0.3473), abs=1e-3)
    # A hundred elementwise kernels beside the product, on another stream: 2 ms that are not the steps' own.
    beside = [kernel(2 * place, 2 * place + 1.9, ELEMENTWISE, stream=8) for place in range(100)]
    unfused = advice(tmp_path, *product[:-1], *beside)["unfused_elementwise"]
    assert (unfused.fraction, unfused.points) == (pytest.approx(0.95), None)


def test_on_a_cpu_nothing_is_said_of_launches_and_kernels(tmp_path):
    assert advice(tmp_path, operator(0, 5, "aten::mm"), operator(50, 52, "aten::add")) == {}


def test_the_largest_gain_comes_first(tmp_path):
    events = [kernel(0, 10, ELEMENTWISE), kernel(10, 40, NCCL), copy(40, 60), device_step(0, 60)]
    found = list(advice(tmp_path, *events).values())
    assert [each.kind for each in found] == ["exposed_communication", "exposed_copies", "unfused_elementwise"]
