"""The counter against hand arithmetic, published tables and torch's own, and what it does not do to the model."""

import copy
import random
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
import torch
import torch.nn.functional as functional
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from flopwatch.errors import MeasurementError
from flopwatch.measure import measure, register
from tests.versions import torch_2_5


class Runs(nn.Module):
    """Runs a function that has two 8 x 8 matrices."""

    def __init__(self, function):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.zeros(8, 8)), nn.Parameter(torch.zeros(8, 8))
        self.function = function

    def forward(self, x):
        return self.function(self, x)


X = torch.zeros(4, 8)


class Attends(nn.Module):
    def __init__(self, width=16, **options):
        super().__init__()
        self.qkv, self.options = nn.Linear(width, 3 * width), options

    def forward(self, x):
        q, k, v = (each.unflatten(-1, (2, -1)).transpose(1, 2) for each in self.qkv(x).chunk(3, -1))
        return functional.scaled_dot_product_attention(q, k, v, **self.options)


@torch_2_5
def test_causal_attention_counts_the_pairs_that_are_kept():
    x = torch.zeros(3, 10, 16)
    linear, per_pair = 2 * 30 * 16 * 48, 2 * 3 * 2 * 16
    causal, full = (measure(Attends(is_causal=True), x, attention=each) for each in ("causal", "full"))
    assert full.forward_flops == linear + per_pair * 100
    assert full.training_flops == 2 * linear + 3 * per_pair * 100
    assert causal.forward_flops == linear + per_pair * 55
    assert causal.training_flops == 2 * linear + 3 * per_pair * 55
    assert sum(causal.by_module.values()) == causal.forward_flops
    assert measure(Attends(), x, attention="causal").forward_flops == full.forward_flops


def test_resnet_50_is_the_published_4_09_gmacs():
    """torchvision's table says 4.09 GMACs at 224 x 224; built here from the paper (arXiv 1512.03385, table 1)."""
    measured = measure(resnet50(), torch.zeros(1, 3, 224, 224))
    assert sum(each.numel() for each in resnet50().parameters()) == 25_557_032
    assert round(measured.forward_flops / 2e9, 2) == 4.09
    # The first convolution, 64 x 3 x 49 on 112 x 112, has no input gradient.
    first = 2 * 64 * 3 * 49 * 112 * 112
    assert measured.backward_flops == 2 * measured.forward_flops - first


def resnet50():
    class Bottleneck(nn.Module):
        def __init__(self, width, inner, stride):
            super().__init__()
            out = 4 * inner
            sizes = [(width, inner, 1, 1), (inner, inner, 3, stride), (inner, out, 1, 1)]
            self.body = nn.Sequential(*(convolution(*each) for each in sizes))
            self.shortcut = convolution(width, out, 1, stride) if width != out else nn.Identity()

        def forward(self, x):
            return functional.relu(self.body(x) + self.shortcut(x))

    def convolution(width, out, kernel, stride):
        return nn.Sequential(nn.Conv2d(width, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out))

    parts, width = [convolution(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)], 64
    for stage, depth in enumerate((3, 4, 6, 3)):
        for index in range(depth):
            parts.append(Bottleneck(width, 64 * 2**stage, 2 if stage and not index else 1))
            width = 256 * 2**stage
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


@pytest.mark.parametrize(
    "module",
    [
        nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True),
        nn.LSTM(16, 8, batch_first=True),
        nn.MultiheadAttention(16, 4, batch_first=True),
    ],
    ids=lambda module: type(module).__name__,
)
def test_plain_modules_equal_torchs_own_counter_on_meta(module):
    x = torch.zeros(2, 5, 16, device="meta")
    inputs = (x, x, x) if isinstance(module, nn.MultiheadAttention) else (x,)
    with FlopCounterMode(display=False) as counter:
        copy.deepcopy(module).to("meta")(*inputs)
    measured = measure(module, *(torch.zeros(2, 5, 16) for _ in inputs))
    assert measured.forward_flops == counter.get_total_flops() > 0
    assert sum(measured.by_module.values()) == measured.forward_flops


@torch_2_5
@pytest.mark.parametrize(("reentrant", "again"), [(False, 1), (True, 2)])
def test_recomputation_is_told_from_gradients(reentrant, again):
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(8, 8)
            self.body = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))

        def forward(self, x):
            return checkpoint(self.body, self.first(x), use_reentrant=reentrant)

    measured = measure(Checkpointed(), X)
    # Three layers of 512; the first has no input gradient. Non-reentrant stops before the last layer of the body.
    assert (measured.forward_flops, measured.backward_flops) == (3 * 512, 5 * 512)
    assert measured.recomputed_flops == again * 512
    assert measured.hardware_flops == measured.training_flops + again * 512


def test_what_cannot_be_counted_is_listed_and_withholds_the_total_if_parameters_go_in():
    measured = measure(Runs(lambda m, x: torch.linalg.qr(m.a)[1].sum() + x @ m.b), X)
    (lost,) = (each for each in measured.uncounted if "qr" in each.operator)
    assert (lost.operator, lost.calls, lost.parameters) == ("aten.linalg_qr", 1, ("a",))
    assert measured.training_flops is measured.hardware_flops is None
    assert measured.forward_flops == 512, "what was counted is still told"
    measured = measure(Runs(lambda m, x: torch.linalg.qr(x)[0].sum() + x @ m.b), X)
    assert [each.operator for each in measured.uncounted] == ["aten.linalg_qr"]
    assert measured.training_flops is None, "no parameter went into it, but it is as large as a product of matrices"


def test_a_parameter_is_known_behind_casts_and_copies():
    measured = measure(
        Runs(lambda m, x: torch.linalg.qr(m.a.double().clone())[1].sum() + x @ m.b.double()[0]), X.double()
    )
    assert {each.parameters for each in measured.uncounted if "qr" in each.operator} >= {("a",)}


def test_custom_operators_are_listed_until_they_are_registered():
    with torch.library._scoped_library("flopwatch_test", "FRAGMENT") as library:
        library.define("twice(Tensor x, Tensor w) -> Tensor")
        library.impl("twice", lambda x, w: x.new_empty(x.shape[0], w.shape[1]), "Meta")
        library.impl("twice", lambda x, w: x @ w, "CompositeExplicitAutograd")
        operator = torch.ops.flopwatch_test.twice
        module = Runs(lambda m, x: operator(x, m.a.detach()) + x @ m.b)
        (lost,) = measure(module, X).uncounted
        assert (lost.operator, lost.parameters) == ("flopwatch_test.twice", ("a",))
        register(operator, lambda x, w, out: 2 * x.shape[0] * x.shape[1] * w.shape[1])
        measured = measure(module, X)
        assert (measured.complete, measured.forward_flops) == (True, 2 * 512)
        with pytest.raises(ValueError, match="has one"):
            register(operator, lambda x, w, out: 0)


def test_the_module_is_not_touched():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 36, 2))
    module.tables = [torch.ones(3)]
    before = copy.deepcopy(module.state_dict())
    images = torch.randn(2, 3, 8, 8)
    states = torch.random.get_rng_state(), random.getstate()
    measure(module, images)
    assert (torch.random.get_rng_state() == states[0]).all()
    assert random.getstate() == states[1]
    assert all((before[name] == value).all() for name, value in module.state_dict().items())
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in module.modules())
    assert all(each.grad is None for each in module.parameters())


def test_measuring_needs_no_memory_for_the_model():
    """A model of 40 TB on the meta device is copied and run."""
    with torch.device("meta"):
        module = nn.Linear(10**7, 10**6, bias=False)
    assert measure(module, torch.empty(1, 10**7, device="meta")).training_flops == 2 * 2 * 10**13


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda m, x: (x @ m.a).sum() * x.sum().item(), r"test_measure.py:\d+: the code reads a tensor's value"),
        (lambda m, x: x[: int(x.argmax())] @ m.a, "reads a tensor's value"),
        (lambda m, x: x.sum(), "has no gradient"),
        (lambda m, x: 1 / 0, "ZeroDivisionError"),
        (lambda m, x: sys.exit(3), "SystemExit"),
    ],
)
def test_what_cannot_be_measured_says_why(function, said):
    with pytest.raises(MeasurementError, match=said):
        measure(Runs(function), X)


def test_what_cannot_be_copied_says_why():
    module = nn.Linear(8, 8)
    module.stream = (each for each in ())
    with pytest.raises(MeasurementError, match="cannot be copied for measurement: TypeError"):
        measure(module, X)


def test_a_backward_inside_of_the_forward_is_one():
    def function(m, x):
        (gradient,) = torch.autograd.grad((x @ m.a).sum(), m.a)
        return x @ m.b + gradient.sum()

    # Two products of 512, and one for the gradient of each matrix.
    measured = measure(Runs(function), X)
    assert (measured.forward_flops, measured.backward_flops) == (2 * 512, 2 * 512)


@torch_2_5
def test_causal_attention_inside_of_pytorchs_layers_is_seen():
    class Causal(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, dropout=0.0)

        def forward(self, x):
            return self.layer(x, nn.Transformer.generate_square_subsequent_mask(64), is_causal=True)

    # 2 x 64 tokens; four projections of 32 x 32 and two layers of 32 x 64. 64 x 65 / 2 pairs, two products 32 wide.
    layers, attention = 2 * 128 * (4 * 32 * 32 + 2 * 32 * 64), 2 * 2 * 2 * 32 * (64 * 65 // 2)
    measured = measure(Causal(), torch.zeros(2, 64, 32), attention="causal")
    assert measured.forward_flops == layers + attention
    # Of the projections, queries, keys and values have no gradient for the input, which is data.
    assert measured.backward_flops == 2 * (layers + attention) - 2 * 128 * 3 * 32 * 32
    assert sum(measured.by_module.values()) == measured.forward_flops


def test_numpy_and_python_draw_what_they_would_have_drawn():
    before = numpy.random.get_state()[1].copy(), random.getstate()
    measure(Runs(lambda m, x: numpy.random.beta(1, 1) * random.random() * x @ m.a), X)
    assert (numpy.random.get_state()[1] == before[0]).all()
    assert random.getstate() == before[1]


def test_what_is_made_of_parameters_alone_still_is_one():
    torch.library.define("flopwatch_test::mm", "(Tensor x, Tensor w) -> Tensor")
    torch.library.impl("flopwatch_test::mm", "Meta", lambda x, w: x.new_empty(x.shape[0], w.shape[1]))
    unknown = torch.ops.flopwatch_test.mm
    measured = measure(Runs(lambda m, x: x @ m.b + unknown(x, torch.cat([m.a * 2, m.a]).detach())[:, :8]), X)
    assert [each.parameters for each in measured.uncounted] == [("a",)]
    assert measured.training_flops is None


def meanwhile(function):
    """A module that is measured while another thread runs a function."""

    def forward(m, x):
        with ThreadPoolExecutor(1) as others:
            others.submit(function).result()
        return functional.dropout(x @ m.a)

    return Runs(forward)


@pytest.mark.parametrize("real_data", [False, True])
def test_other_threads_print_warn_and_draw_as_ever(real_data, capsys):
    def function():
        print("read by all")
        warnings.warn("heeded by all", stacklevel=1)
        drawn.append(torch.rand(1).item())

    drawn = []
    torch.manual_seed(0)
    expected = [torch.rand(1).item() for _ in range(3)]
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="heeded by all"):
        measure(meanwhile(function), X, real_data=real_data)
    assert "read by all" in capsys.readouterr().out
    measure(meanwhile(function), X, real_data=real_data)
    assert [*drawn, torch.rand(1).item()] == expected


@torch_2_5
def test_two_threads_measure_one_after_the_other():
    def count(width):
        x = torch.zeros(2, width)
        return {measure(Attends(width, is_causal=True), x[None], attention="causal").training_flops for _ in range(5)}

    with ThreadPoolExecutor(4) as threads:
        counts = list(threads.map(count, (16, 32, 16, 32)))
    # 2 rows: a layer of width x 3 width, forward and for the weight. 3 of 4 pairs, two products of 2 FLOPs, tripled.
    by_hand = {width: 2 * 2 * 2 * width * 3 * width + 3 * 3 * 4 * width for width in (16, 32)}
    assert counts == [{by_hand[16]}, {by_hand[32]}] * 2


class Routed(nn.Module):
    """Two layers of 8 x 8; the second one runs on the rows of which the first value is positive."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(8)
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8).eval()

    def forward(self, x):
        chosen = x[x[:, 0] > 0]
        return functional.dropout(self.first(self.norm(x))).sum() + self.second(chosen).sum() * len(chosen)


def test_real_data_measures_what_depends_on_values():
    x = torch.ones(6, 8)
    x[:2, 0] = -1
    # 6 rows and 4 rows of 128; the input of the first has a gradient, since the norm before it trains.
    measured = measure(Routed(), x, real_data=True)
    assert (measured.forward_flops, measured.backward_flops) == (768 + 512, 2 * 768 + 512)
    assert measured.by_module == {"first": 768, "second": 512}
    with pytest.raises(MeasurementError, match="without data"):
        measure(Routed(), x)


def test_real_data_leaves_the_module_and_random_states_as_they_were():
    module, x = Routed(), torch.randn(6, 8, requires_grad=True)
    module.first.weight.grad = gradient = torch.ones(8, 8)
    buffers = list(module.buffers())
    before = copy.deepcopy(module.state_dict())
    states = torch.get_rng_state(), random.getstate()
    measure(module, x, real_data=True)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert all(one is other for one, other in zip(buffers, module.buffers(), strict=True))
    assert module.first.weight.grad is gradient
    assert torch.equal(gradient, torch.ones(8, 8))
    assert module.second.weight.grad is x.grad is None
    assert (module.training, module.first.training, module.second.training) == (True, True, False)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]


def test_real_data_puts_back_also_what_an_error_leaves():
    class Breaks(Routed):
        def forward(self, x):
            super().forward(x).backward()
            raise KeyError("of the module's own")

    module = Breaks()
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(KeyError, match="own"):
        measure(module, torch.randn(6, 8), real_data=True)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert all(each.grad is None for each in module.parameters())


class SizedByValues(nn.Module):
    """As many rows go on as there are values above zero."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return self.linear(x[torch.nonzero(x.sum(-1) > 0).flatten()])


def test_sizes_that_depend_on_values_are_named_as_that():
    with pytest.raises(MeasurementError, match=r"its sizes depend on values \(torch.nonzero\)$"):
        measure(SizedByValues(), torch.ones(3, 4))
