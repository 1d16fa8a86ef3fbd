import pytest

from flopwatch.hardware.chips import Chip
from flopwatch.trace.reader import read
from flopwatch.trace.rows import chip_of, rows_of, short
from flopwatch.trace.work import work_of
from tests.trace import traces
from tests.trace.traces import kernel, launch, operator

# 1e12 FLOP/s in bf16, 0.5e12 in TF32, 1e9 bytes/s
CHIP = Chip(("Test",), {"bf16": 1e12, "tf32": 0.5e12, "fp32": 0.1e12}, memory_bytes_per_second=1e9)


def rows(tmp_path, *events, chip=CHIP):
    trace = read(traces.written(tmp_path / "t.json", *events))
    return {(row.name, row.shapes): row for row in rows_of(trace, work_of(trace), chip)}


def called(at, name, *shapes, length=100, kernels=1, kernel_name=traces.GEMM, **more):
    """An operator at a time, and its kernels a little later."""
    numbers = [at * 10 + each for each in range(kernels)]
    yield operator(at, at + 10, name, *shapes, **more)
    for place, number in enumerate(numbers):
        yield launch(at + 1 + place, number)
        start = at + 20 + place * length
        yield kernel(start, start + length, kernel_name, correlation=number)


A, B = (1000, 1000), (1000, 1000)


def test_calls_of_equal_shapes_are_one_row(tmp_path):
    # each 2 * 1000 ** 3 = 2e9 FLOPs; 4e9 in 8 ms is 0.5e12 FLOP/s, half of the peak; at the peak it takes 4 ms
    found = rows(tmp_path, *called(0, "aten::mm", A, B, length=4000), *called(8000, "aten::mm", A, B, length=4000))
    (row,) = found.values()
    assert (row.calls, row.flops, row.dtype, row.part) == (2, 4_000_000_000, "bf16", "matmul")
    assert row.seconds == pytest.approx(8e-3)
    assert row.peak_share == pytest.approx(0.5)
    assert row.lost_seconds == pytest.approx(4e-3)


def test_an_operator_with_several_kernels_counts_once(tmp_path):
    (row,) = rows(tmp_path, *called(0, "aten::addmm", (1000,), A, B, kernels=3)).values()
    assert (row.calls, row.flops) == (1, 2_000_000_000)
    assert row.seconds == pytest.approx(300e-6)


def test_only_the_innermost_product_counts(tmp_path):
    events = [operator(0, 50, "aten::linear", A, B), *called(5, "aten::addmm", (1000,), A, B), launch(40, 7)]
    found = rows(tmp_path, *events, kernel(300, 310, traces.GEMM, correlation=7))
    assert sum(row.flops or 0 for row in found.values()) == 2_000_000_000
    assert (found["aten::linear", (A, B)].flops, found["aten::linear", (A, B)].part) == (None, "matmul")


def test_a_copy_within_a_product_is_no_product(tmp_path):
    inner = [operator(2, 6, "aten::copy_", A), launch(3, 9), kernel(500, 510, correlation=9)]
    found = rows(tmp_path, *called(0, "aten::matmul", A, B), *inner)
    assert found["aten::copy_", (A,)].part == "other_compute"
    assert found["aten::matmul", (A, B)].flops == 2_000_000_000


def test_the_kernel_tells_tf32_from_fp32(tmp_path):
    # 2e9 FLOPs take 4 ms at TF32's peak, and 20 ms at fp32's
    def dtype(kernel_name):
        events = called(0, "aten::mm", A, B, dtype="float", kernel_name=kernel_name, length=25_000)
        (row,) = rows(tmp_path, *events).values()
        return row.dtype

    assert (dtype("tensorop_s1688gemm"), dtype("ampere_sgemm_128x64")) == ("tf32", "fp32")


def test_a_row_that_passes_its_peak_has_another_precision(tmp_path):
    # 2e9 FLOPs take 2 ms at the peak: in 1.95 ms the clock is a little above the datasheet's, in 1.8 ms it is no bf16.
    def row(length):
        (found,) = rows(tmp_path, *called(0, "aten::mm", A, B, length=length)).values()
        return found

    assert (row(1950).dtype, row(1950).peak_share) == ("bf16", pytest.approx(2 / 1.95))
    assert (row(1800).dtype, row(1800).peak_share, row(1800).bound, row(1800).flops) == (None, None, None, 2 * 10**9)
    assert row(1800).lost_seconds == row(1800).seconds


def test_the_side_of_the_roofline(tmp_path):
    # 2e9 FLOPs take 2 ms; 3 * 1e6 * 2 bytes take 6 ms: memory
    (row,) = rows(tmp_path, *called(0, "aten::mm", A, B, length=7000)).values()
    assert (row.bound, row.least_bytes) == ("memory", 6_000_000)
    fast = Chip(("Test",), {"bf16": 1e12}, memory_bytes_per_second=4e9)  # 1.5 ms
    (row,) = rows(tmp_path, *called(0, "aten::mm", A, B, length=7000), chip=fast).values()
    assert row.bound == "compute"
    (row,) = rows(tmp_path, *called(0, "aten::mm", A, B), chip=None).values()
    assert (row.bound, row.peak_share) == (None, None)
    assert row.lost_seconds == row.seconds


def test_kernels_without_an_operator_are_rows_by_name(tmp_path):
    found = rows(tmp_path, kernel(0, 5, "void foo::bar<int, 4>(int)"), kernel(5, 7, "void foo::bar<int, 8>(int)"))
    (row,) = found.values()
    assert (row.name, row.calls, row.flops) == ("foo::bar", 2, None)
    assert row.seconds == pytest.approx(7e-6)


def test_those_that_lose_most_come_first(tmp_path):
    events = [*called(0, "aten::mm", A, B, length=2000), *called(5000, "aten::gelu", (7,), length=500)]
    assert [name for name, _ in rows(tmp_path, *events)] == ["aten::gelu", "aten::mm"]


def test_names_without_arguments():
    assert short("void at::native::(anonymous namespace)::norm_kernel<float>(int)") == "at::native::norm_kernel"
    assert short("<lambda>") == "<lambda>"


def test_the_users_chips_go_first():
    mine = Chip(("NVIDIA H100 80GB HBM3",), {"bf16": 1e15})
    assert chip_of("NVIDIA H100 80GB HBM3", (mine,)) is mine
    assert chip_of("NVIDIA H100 80GB HBM3").peaks["bf16"] == 989.4e12
    assert chip_of("NVIDIA GB10") is None
    assert chip_of("NVIDIA A100-PG509-200") is None
    assert chip_of(None) is None
