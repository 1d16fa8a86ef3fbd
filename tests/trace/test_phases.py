import pytest

from flopwatch.trace.account import account_of
from flopwatch.trace.hosts import nest
from flopwatch.trace.parts import BACKWARD, FORWARD, OPTIMIZER_PHASE, RECOMPUTATION
from flopwatch.trace.phases import phases_of
from flopwatch.trace.reader import read
from tests.trace import traces
from tests.trace.traces import annotation, operator

GRAPH = {"Sequence number": 5, "Fwd thread id": 0}
NODE = {"Sequence number": 5, "Fwd thread id": 1}
ENGINE = "autograd::engine::evaluate_function: "


def phases(tmp_path, *events):
    """The phase of each operator, by its name and its start in microseconds."""
    trace = read(traces.written(tmp_path / "t.json", *events))
    names, operators = trace.names, trace.operators
    found = zip(operators.name, operators.start, phases_of(trace, nest(trace)), strict=True)
    return {(names[name], start // 1000): phase for name, start, phase in found}


def test_phases(tmp_path):
    found = phases(
        tmp_path,
        operator(0, 10, "aten::linear", **GRAPH),
        operator(1, 2, "aten::t"),
        operator(2, 9, "aten::addmm", **GRAPH),
        operator(10, 40, f"{ENGINE}AddmmBackward0", **NODE),
        operator(11, 39, "AddmmBackward0", **NODE),
        operator(12, 20, "aten::addmm", **GRAPH),  # a checkpoint, when the node asks for what was saved
        operator(13, 14, "aten::copy_"),
        operator(21, 25, "aten::mm"),
        operator(26, 38, f"{ENGINE}torch::autograd::AccumulateGrad"),
        operator(27, 28, "aten::add_"),
        annotation(40, 50, "Optimizer.step#AdamW.step"),
        operator(41, 42, "aten::_foreach_add_"),
    )
    assert found == {
        ("aten::linear", 0): FORWARD,
        ("aten::t", 1): FORWARD,
        ("aten::addmm", 2): FORWARD,
        (f"{ENGINE}AddmmBackward0", 10): BACKWARD,
        ("AddmmBackward0", 11): BACKWARD,
        ("aten::addmm", 12): RECOMPUTATION,
        ("aten::copy_", 13): RECOMPUTATION,
        ("aten::mm", 21): BACKWARD,
        (f"{ENGINE}torch::autograd::AccumulateGrad", 26): BACKWARD,
        ("aten::add_", 27): BACKWARD,
        ("Optimizer.step#AdamW.step", 40): OPTIMIZER_PHASE,
        ("aten::_foreach_add_", 41): OPTIMIZER_PHASE,
    }


def test_a_checkpoint_with_a_backward_of_its_own_recomputes(tmp_path):
    found = phases(
        tmp_path,
        operator(0, 9, "CheckpointFunction", **GRAPH),
        operator(1, 8, "aten::addmm"),  # without a graph
        operator(10, 40, "CheckpointFunctionBackward", **NODE),
        operator(11, 20, "aten::addmm", **GRAPH),
        operator(20, 30, f"{ENGINE}AddmmBackward0", **NODE),
        operator(21, 25, "aten::mm"),
    )
    assert (found["aten::addmm", 11], found["aten::mm", 21]) == (RECOMPUTATION, BACKWARD)


def test_what_did_not_run_in_forward_is_not_recomputed(tmp_path):
    def inner(*shapes):
        ran = operator(0, 9, "aten::addmm", (64, 64), (64, 32), **GRAPH)
        node = operator(10, 40, "MineBackward", **NODE)
        again = operator(11, 20, "aten::addmm", *shapes, **GRAPH)
        return phases(tmp_path, ran, node, again, operator(21, 25, "aten::mm"))["aten::addmm", 11]

    assert inner((64, 64), (64, 32)) == RECOMPUTATION
    assert inner((64, 32), (32, 64)) == BACKWARD


def test_a_backward_that_is_differentiated_again_is_no_checkpoint(tmp_path):
    # Of square matrices the product of the gradient looks as that of forward does.
    square = (64, 64), (64, 64)
    found = phases(
        tmp_path,
        operator(0, 9, "aten::mm", *square, **GRAPH),
        operator(10, 40, f"{ENGINE}MmBackward0", **NODE),
        operator(11, 39, "MmBackward0", **NODE),
        operator(12, 13, "aten::t", **GRAPH),
        operator(14, 30, "aten::mm", *square, **GRAPH),
    )
    assert found["aten::mm", 14] == BACKWARD


def test_a_closure_within_the_optimizers_step_is_no_optimizer(tmp_path):
    # Lightning gives forward and backward to the optimizer as a closure; the engine has a thread of its own on a GPU.
    found = phases(
        tmp_path,
        annotation(0, 50, "Optimizer.step#SGD.step"),
        annotation(0.5, 0.9, "Optimizer.zero_grad#SGD.zero_grad"),
        operator(0.6, 0.8, "aten::zero_"),
        operator(1, 5, "aten::addmm", **GRAPH),
        operator(2, 3, "aten::expand"),
        operator(6, 8, "aten::mm"),  # a teacher's, without gradients
        operator(10, 20, f"{ENGINE}AddmmBackward0", thread=2, **NODE),
        operator(11, 12, "aten::mm", thread=2),
        operator(30, 31, "aten::_foreach_add_"),
        operator(60, 61, "aten::add"),
        annotation(70, 80, "Optimizer.step#SGD.step"),
        operator(71, 72, "aten::_foreach_add_"),
    )
    of = {phase: [name for name, each in found.items() if each == phase] for phase in set(found.values())}
    assert of[FORWARD] == [("aten::addmm", 1), ("aten::expand", 2), ("aten::mm", 6), ("aten::add", 60)]
    assert of[BACKWARD] == [(f"{ENGINE}AddmmBackward0", 10), ("aten::mm", 11)]
    assert [name for name, _ in of[OPTIMIZER_PHASE]] == [
        "Optimizer.step#SGD.step",
        "Optimizer.zero_grad#SGD.zero_grad",
        "aten::zero_",
        "aten::_foreach_add_",
        "Optimizer.step#SGD.step",
        "aten::_foreach_add_",
    ]


def recorded(path, step):
    """The account of a real step."""
    import torch

    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as profile:
        step()
    profile.export_chrome_trace(str(path))
    return account_of(read(path))


@pytest.mark.parametrize("is_reentrant", [False, True])
def test_a_real_checkpoint_recomputes_its_products(tmp_path, is_reentrant):
    import torch
    from torch.utils.checkpoint import checkpoint

    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64))
    rows = torch.randn(32, 64, requires_grad=True)
    found = recorded(tmp_path / "t.json", lambda: checkpoint(model, rows, use_reentrant=is_reentrant).sum().backward())
    flops = {phase: sum(row.flops or 0 for row in found.rows if row.phase == phase) for phase in found.phases}
    # Two products of 2 * 32 * 64 * 64 = 262,144 FLOPs forward, as many again, and twice as many backward.
    assert (flops["forward"], flops["recomputation"], flops["backward"]) == (524_288, 524_288, 1_048_576)


@pytest.mark.parametrize("bias", [True, False])
def test_a_real_double_backward_recomputes_nothing(tmp_path, bias):
    import torch

    layer = torch.nn.Linear(64, 64, bias=bias)

    def penalty():
        rows = torch.randn(64, 64, requires_grad=True)
        (gradient,) = torch.autograd.grad(torch.tanh(layer(rows)).sum(), rows, create_graph=True)
        gradient.pow(2).mean().backward()

    assert recorded(tmp_path / "t.json", penalty).phases["recomputation"] == 0
