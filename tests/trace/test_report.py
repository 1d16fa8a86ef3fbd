import contextlib
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.profiler import ProfilerActivity, profile, schedule
from torch.utils.checkpoint import checkpoint

from flopwatch.cli.command_line import FAILED, main
from flopwatch.errors import ArgumentError, FlopwatchError, TraceError
from flopwatch.hardware.chips import Chip
from flopwatch.measure import measure
from flopwatch.report.render.trace import render_html, render_text
from flopwatch.trace import read_trace
from tests.trace import traces
from tests.trace.traces import GEMM, H100, kernel, launch, operator

NCCL = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"


def product(*, end=200):
    return [
        operator(0, 2, "aten::mm", (4096, 4096), (4096, 4096)),
        launch(1, 1),
        kernel(0, end, GEMM, correlation=1),
    ]


def test_the_json_has_the_documented_keys(tmp_path):
    path = traces.written(tmp_path / "t.json.gz", *product(), kernel(200, 250), **H100)
    found = json.loads(json.dumps(read_trace(path).to_json()))
    assert (found["device"], found["ranks"], found["steps"]) == ("NVIDIA H100 80GB HBM3", 1, 1)
    assert found["seconds"] == pytest.approx(250e-6)
    assert found["busy_seconds"] == pytest.approx(250e-6)
    assert sum(found["parts"].values()) == pytest.approx(found["seconds"])
    assert found["parts"]["matmul"] == pytest.approx(200e-6)
    assert found["communication_seconds"] == 0
    # 2 * 4096 ** 3
    assert found["matmul_flops"] == 137_438_953_472
    assert found["named_kernel_share"] == 1
    row = next(each for each in found["operators"] if each["name"] == "aten::mm")
    assert (row["shapes"], row["calls"], row["flops"]) == ([[4096, 4096], [4096, 4096]], 1, 137_438_953_472)
    # 137,438,953,472 / 200 us / 989.4e12
    assert row["peak_share"] == pytest.approx(0.69456, rel=1e-4)
    assert row["bound"] == "compute"
    assert found["advice"][0]["kind"] == "unfused_elementwise"


def test_several_ranks_are_means_and_each_has_its_account(tmp_path):
    one = traces.written(
        tmp_path / "0.json", *product(), kernel(200, 240, NCCL, stream=20), distributedInfo={"rank": 0, "world_size": 8}
    )
    two = traces.written(
        tmp_path / "1.json",
        *product(end=230),
        kernel(230, 240, NCCL, stream=20),
        distributedInfo={"rank": 1, "world_size": 8},
    )
    found = read_trace([one, two]).to_json()
    assert (found["ranks"], found["world_size"]) == (2, 8)
    assert found["seconds"] == pytest.approx(240e-6)
    assert found["parts"]["matmul"] == pytest.approx(215e-6)
    assert found["parts"]["communication_exposed"] == pytest.approx(25e-6)
    assert [each["rank"] for each in found["per_rank"]] == [0, 1]
    # Rank 1 arrives 30 us later; both end together.
    assert [each["waiting_seconds"] for each in found["waiting"]] == pytest.approx([30e-6, 0])
    assert [each["caused_seconds"] for each in found["waiting"]] == pytest.approx([0, 30e-6])


def test_a_users_chip_gives_a_peak(tmp_path):
    path = traces.written(tmp_path / "t.json", *product(), deviceProperties=[{"id": 0, "name": "Mine"}])
    assert read_trace(path).to_json()["peak_share"] is None
    mine = Chip(("Mine",), {"bf16": 1e15})
    assert read_trace(path, (mine,)).to_json()["peak_share"] == pytest.approx(0.68719, rel=1e-4)


def test_wrong_arguments(tmp_path):
    path = traces.written(tmp_path / "t.json", kernel(0, 1))
    with pytest.raises(ArgumentError, match="twice"):
        read_trace([path, tmp_path / "." / "t.json"])
    with pytest.raises(ArgumentError, match="at least one"):
        read_trace([])
    with pytest.raises(TraceError, match="cannot read"):
        read_trace(tmp_path / "none.json")


class Model(nn.Module):
    """Something of everything: products, attention, convolutions plain and transposed, a checkpoint."""

    def __init__(self, *, again=False):
        super().__init__()
        self.again = again
        self.up, self.down = nn.Linear(32, 128), nn.Linear(128, 32)
        self.convolution = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2)
        self.turned = nn.ConvTranspose2d(8, 4, 2, stride=2)

    def mlp(self, x):
        return self.down(torch.relu(self.up(x)))

    def forward(self, x):
        y = checkpoint(self.mlp, x, use_reentrant=False) if self.again else self.mlp(x)
        heads = y.view(2, 16, 4, 8).transpose(1, 2)
        y = nn.functional.scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).reshape(2, 16, 32)
        image = self.turned(self.convolution(y.reshape(2, 4, 16, 8)))
        return torch.baddbmm(image.reshape(2, 16, 32), y[:, :, :16], y[:, :16, :]).sum()


def profiled(path, model, steps=2):
    optimizer = torch.optim.AdamW(model.parameters())
    plan = schedule(wait=0, warmup=1, active=steps, repeat=1)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, schedule=plan) as profiler:
        for _ in range(steps + 1):
            model(torch.randn(2, 16, 32, requires_grad=True)).backward()
            optimizer.step()
            profiler.step()
    profiler.export_chrome_trace(str(path))
    return read_trace(path)


def test_a_trace_of_the_installed_torch_has_the_flops_that_counting_finds(tmp_path):
    report = profiled(tmp_path / "trace.json.gz", Model())
    account = report.first
    counted = measure(Model(), torch.randn(2, 16, 32, requires_grad=True), real_data=True)
    assert account.flops == 2 * (counted.forward_flops + counted.backward_flops)
    assert account.has_all_flops
    assert (account.device, account.steps) == ("CPU", 2)
    assert sum(account.parts.values()) == pytest.approx(account.seconds)
    assert all(account.parts[part] > 0 for part in ("matmul", "attention", "convolution", "other_compute", "optimizer"))
    assert account.phases["recomputation"] == 0
    assert all(account.phases[phase] > 0 for phase in ("forward", "backward", "optimizer"))


def test_what_a_checkpoint_recomputes_is_told(tmp_path):
    again = profiled(tmp_path / "again.json", Model(again=True)).first
    # Both products of the checkpoint, once more in each of 2 steps: 2 * 2 * (2 * 32 rows * 32 * 128) = 1,048,576
    recomputed = sum(row.flops or 0 for row in again.rows if row.phase == "recomputation")
    assert recomputed == 2 * 2 * (2 * 32 * 32 * 128)
    assert again.phases["recomputation"] > 0


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
SIZES = st.lists(st.lists(st.integers(0, 10**19) | ANYTHING, max_size=5), max_size=6) | ANYTHING
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.integers(0, 3) | ANYTHING for name in ("device", "stream", "correlation", "External id", "Seq")},
        **{name: st.integers(-1, 3) | ANYTHING for name in ("Fwd thread id", "Sequence number")},
        **dict.fromkeys(("Collective name", "Process Group Name", "Input type"), ANYTHING),
        "Input Dims": SIZES,
        "Concrete Inputs": st.lists(st.sampled_from(["", "True", "[1, 1]", "[0]", "[]", "[-]", "1"]), max_size=11)
        | ANYTHING,
    },
)
NAMES = st.sampled_from(
    ["aten::mm", "aten::convolution", "aten::convolution_backward", "aten::_flash_attention_forward", "aten::_softmax"]
    + ["aten::matmul", "aten::bmm", "ProfilerStep#1", "Optimizer.step#X", GEMM, NCCL, "", "Memcpy HtoD"]
)
CATEGORIES = ["kernel", "gpu_memcpy", "cpu_op", "user_annotation", "gpu_user_annotation", "cuda_runtime"]
EVENTS = st.fixed_dictionaries(
    {"ph": st.just("X"), "cat": st.sampled_from(CATEGORIES) | ANYTHING, "name": NAMES | ANYTHING},
    optional={
        "ts": st.floats(-10, 100) | ANYTHING,
        "dur": st.floats(0, 50) | ANYTHING,
        "pid": st.integers(0, 1) | ANYTHING,
        "tid": st.integers(0, 1) | ANYTHING,
        "args": ARGUMENTS | ANYTHING,
    },
)


@settings(deadline=None, max_examples=100)
@given(st.lists(EVENTS | ANYTHING, max_size=12), ANYTHING, ANYTHING)
def test_hostile_traces_are_read_or_refused(tmp_path_factory, events, devices, job):
    path = tmp_path_factory.mktemp("trace") / "t.json"
    path.write_text(json.dumps({"deviceProperties": devices, "distributedInfo": job, "traceEvents": events}))
    report = None
    with contextlib.suppress(FlopwatchError):
        report = read_trace(path)
    if report is None:
        assert main(["trace", str(path)]) == FAILED
        return
    told = report.to_json()
    assert sum(told["parts"].values()) == pytest.approx(told["seconds"])
    assert render_text(report)
    assert render_html(report)
    assert json.loads(json.dumps(told, allow_nan=False))
