"""Counting a real step: every number by hand, and nothing of the step changed by it."""

import threading

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from flopwatch.errors import MeasurementError
from flopwatch.measure import watching
from flopwatch.measure.watching import StepCounter


def watched(module, step, attention="causal"):
    counter = StepCounter(module)
    counter.start()
    try:
        step()
    finally:
        counter.stop()
    return counter.result(attention)


def three(measured):
    return measured.forward_flops, measured.backward_flops, measured.recomputed_flops


@pytest.fixture
def layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


X = torch.randn(2, 8)
# Two rows: 2 * 2 * 8 * 16 = 512 and 2 * 2 * 16 * 4 = 256 forward.
FIRST, SECOND = 512, 256


def test_forward_and_backward_by_hand(layers):
    measured = watched(layers, lambda: layers(X).sum().backward())
    # Both weights' gradients, and the input's of the second layer.
    assert three(measured) == (FIRST + SECOND, FIRST + 2 * SECOND, 0)
    assert measured.by_module == {"0": FIRST, "2": SECOND}


@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputation_is_told_by_torchs_checkpoint(layers, reentrant):
    x = X.clone().requires_grad_()
    measured = watched(layers, lambda: checkpoint(layers, x, use_reentrant=reentrant).sum().backward())
    # Without early stop the reentrant kind runs both layers again; the other one stops when it has what it needs,
    # which the second layer's output is not.
    again = FIRST + SECOND if reentrant else FIRST
    assert three(measured)[:2] == (FIRST + SECOND, 2 * (FIRST + SECOND))
    assert measured.recomputed_flops in (again, FIRST + SECOND)


class Products(TorchDispatchMode):
    """Adds up every product of two matrices."""

    def __init__(self):
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if operator in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            *_, a, b = args
            self.flops += 2 * a.shape[0] * a.shape[1] * b.shape[1]
        return operator(*args, **(kwargs or {}))


def test_a_double_backward_is_work_of_the_model(layers):
    def step():
        x = X.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(layers(x).pow(2).sum(), x, create_graph=True)
        gradient.pow(2).sum().backward()

    products = Products()
    with products:
        step()
    layers.zero_grad()
    measured = watched(layers, step)
    assert measured.recomputed_flops == 0
    assert measured.training_flops == products.flops
    assert "double backward" in measured.assumptions[0]


def test_an_optimizers_own_products_are_none_of_the_models(layers):
    optimizer = torch.optim.LBFGS(layers.parameters(), max_iter=3)
    passes = []

    def closure():
        passes.append(1)
        optimizer.zero_grad()
        loss = layers(X).pow(2).sum()
        loss.backward()
        return loss

    measured = watched(layers, lambda: optimizer.step(closure))
    assert len(passes) > 1
    assert three(measured) == (len(passes) * (FIRST + SECOND), len(passes) * (FIRST + 2 * SECOND), 0)


def test_a_pass_without_gradients_is_forward_work(layers):
    def step():
        with torch.no_grad():
            layers(X)

    assert three(watched(layers, step)) == (FIRST + SECOND, 0, 0)


def test_fused_attention_shows_its_mask_also_inside_of_pytorchs_layers():
    layer = nn.MultiheadAttention(16, 2, batch_first=True)
    x, mask = torch.randn(3, 10, 16), nn.Transformer.generate_square_subsequent_mask(10)

    def step():
        layer(x, x, x, attn_mask=mask, is_causal=True, need_weights=False)[0].sum().backward()

    # 3 sequences, 10 tokens: projections 4 * 16 * 16 multiply-adds a token; 4 * 16 FLOPs a pair, of 100 or 55 kept.
    projections, pair = 3 * 10 * 2 * 4 * 16 * 16, 3 * 4 * 16
    assert watched(layer, step, "full").forward_flops == projections + 100 * pair
    assert watched(layer, step, "causal").forward_flops == projections + 55 * pair
    backward = [watched(layer, step, attention).backward_flops for attention in ("full", "causal")]
    assert backward[0] - backward[1] == 2 * 45 * pair


def test_inference_mode_is_taken_apart(layers):
    convolution, query = nn.Conv2d(3, 4, 3), torch.randn(1, 2, 6, 8)

    def step():
        with torch.inference_mode():
            layers(X)
            convolution(torch.randn(1, 3, 8, 8))
            torch.einsum("ab,bc->ac", X, X.T)
            functional.scaled_dot_product_attention(query, query, query)

    expected = FIRST + SECOND + 2 * 36 * 4 * 27 + 2 * 2 * 8 * 2 + 4 * 2 * 36 * 8
    assert watched(layers, step).forward_flops == expected


def test_a_weight_in_an_operator_without_a_formula_is_named_also_when_cast(layers):
    measured = watched(layers, lambda: torch.linalg.qr(layers[0].weight.double())[1].sum())
    (lost,) = measured.missing
    assert (lost.operator, lost.parameters) == ("aten.linalg_qr", ("0.weight",))


def test_products_of_another_package_are_not_passed_over():
    with torch.library._scoped_library("flopwatch_watched", "FRAGMENT") as library:
        library.define("product(Tensor a, Tensor b) -> Tensor")
        library.impl("product", lambda a, b: a @ b, "CompositeExplicitAutograd")
        step = lambda: torch.ops.flopwatch_watched.product(X, X.T)  # noqa: E731
        assert not watched(nn.Module(), step).complete


def train(seed, watch_every=None, mode=None):
    """A model with everything that draws numbers or keeps state; returns its weights and the random state."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(8, 32), nn.BatchNorm1d(32), nn.Dropout(0.3), nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 4)
    )
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    for step in range(30):
        counter = StepCounter(model) if watch_every and step % watch_every == 0 else None
        if counter is not None:
            counter.start()
        loss = functional.cross_entropy(model(torch.randn(16, 8)), torch.randint(4, (16,)))
        if loss.item() > 0:
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if counter is not None:
            counter.stop()
            assert counter.result("full").training_flops > 0
    return [*model.state_dict().values(), torch.get_rng_state()]


@pytest.mark.parametrize("every", [1, 3])
def test_training_is_bit_identical(every):
    assert all(torch.equal(one, other) for one, other in zip(train(1), train(1, every), strict=True))


def test_a_users_own_mode_sees_what_it_saw(layers):
    def count(with_ours):
        with FlopCounterMode(display=False) as theirs:
            if with_ours:
                watched(layers, lambda: layers(X).sum().backward())
            else:
                layers(X).sum().backward()
        return theirs.get_flop_counts()

    assert count(True) == count(False)


class Left(TorchDispatchMode):
    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        return operator(*args, **(kwargs or {}))


def test_a_mode_that_the_step_leaves_open_stays_and_ours_goes(layers):
    left = Left()
    measured = watched(layers, lambda: (left.__enter__(), layers(X)))
    assert measured.forward_flops == FIRST + SECOND
    assert _get_current_dispatch_mode_stack() == [left]
    left.__exit__(None, None, None)
    assert _get_current_dispatch_mode_stack() == []


def test_after_an_exception_nothing_of_ours_is_left(layers):
    with pytest.raises(ZeroDivisionError):
        watched(layers, lambda: layers(X) / (1 // 0))
    assert _get_current_dispatch_mode_stack() == []


def test_an_error_of_ours_reaches_the_result_and_not_the_step(layers, monkeypatch):
    monkeypatch.setattr(watching, "masked_flops", lambda *arguments: 1 / 0)
    counter = StepCounter(layers)
    counter.start()
    layers(X).sum().backward()
    counter.stop()
    with pytest.raises(MeasurementError, match="could not be counted"):
        counter.result("full")


def test_two_threads_count_apart():
    results = {}

    def run(width):
        layer = nn.Linear(width, width)
        results[width] = watched(layer, lambda: [layer(torch.randn(2, width)).sum().backward() for _ in range(50)])

    threads = [threading.Thread(target=run, args=(width,)) for width in (4, 8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for width, measured in results.items():
        assert three(measured) == (50 * 4 * width**2, 50 * 4 * width**2, 0)


def test_no_tensor_is_kept(layers):
    counter = StepCounter(layers)
    counter.start()
    made = torch.nn.functional.linear(X, layers[0].weight.double().float())
    import weakref

    gone = weakref.ref(made)
    del made
    assert gone() is None
    counter.stop()


def compiled_training(watch, dynamic=None, break_graph=False):
    from torch._dynamo.testing import CompileCounterWithBackend

    torch._dynamo.reset()
    backend = CompileCounterWithBackend("aot_eager")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))

    def forward(x):
        hidden = model[1](model[0](x))
        if break_graph:
            torch._dynamo.graph_break()
        return model[2](hidden)

    run = torch.compile(forward, backend=backend, dynamic=dynamic)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    flops = []
    for step in range(6):
        rows = 2 + (step if dynamic else 0)
        counter = StepCounter(model) if watch and step % 2 == 0 else None
        if counter is not None:
            counter.start()
        run(torch.randn(rows, 8)).pow(2).sum().backward()
        if counter is not None:
            counter.stop()
            flops.append(counter.result("full").training_flops / rows)
        optimizer.step()
        optimizer.zero_grad()
    return backend.frame_count, [each.clone() for each in model.parameters()], flops


@pytest.mark.skipif(not watching.CAN_WATCH_COMPILED, reason="this torch has no way to leave compiled code as it is")
@pytest.mark.parametrize(("dynamic", "break_graph"), [(None, False), (True, False), (None, True)])
def test_compiled_code_is_compiled_as_often_and_counted(dynamic, break_graph):
    without = compiled_training(False, dynamic, break_graph)
    with_ours = compiled_training(True, dynamic, break_graph)
    assert with_ours[0] == without[0]
    assert all(torch.equal(one, other) for one, other in zip(with_ours[1], without[1], strict=True))
    # A row: 256 + 128 forward, the same for the weights, 128 for the second layer's input.
    assert set(with_ours[2]) == {896.0}


ELEMENTWISE = {
    "PReLU": lambda: nn.Sequential(nn.Linear(8, 8), nn.PReLU(), nn.RReLU()),
    "norms": lambda: nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.RMSNorm(8), nn.BatchNorm1d(8)),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_weights_in_elementwise_layers_withhold_nothing(name):
    module = ELEMENTWISE[name]()
    measured = watched(module, lambda: module(torch.randn(4, 8)).sum().backward())
    assert measured.missing == ()
    assert measured.forward_flops == 2 * 4 * 8 * 8


@pytest.mark.parametrize("fused", [True, False])
def test_an_optimizer_withholds_nothing(layers, fused):
    optimizer = torch.optim.AdamW(layers.parameters(), fused=fused, foreach=not fused)

    def step():
        layers(X).sum().backward()
        torch.nn.utils.clip_grad_norm_(layers.parameters(), 1.0)
        optimizer.step()

    measured = watched(layers, step)
    assert measured.missing == ()
    assert measured.training_flops == 2 * FIRST + 3 * SECOND


class Orthogonal(torch.optim.Optimizer):
    """Multiplies matrices in its step, as Muon does."""

    def __init__(self, parameters):
        super().__init__(parameters, {})

    @torch.no_grad()
    def step(self, closure=None):
        for each in self.param_groups[0]["params"]:
            each.sub_(each @ each.T @ each, alpha=0.01)


def test_products_are_told_apart_by_the_dtype_of_their_factors(layers):
    optimizer = Orthogonal([each for each in layers.parameters() if each.dim() == 2])
    counter = StepCounter(layers)
    counter.start()
    with torch.autocast("cpu", torch.bfloat16):
        layers(X).sum().backward()
    layers(X)
    optimizer.step()
    counter.stop()
    # The optimizer's own products are no work of the model.
    assert counter.flops_by_dtype == {torch.bfloat16: 2 * FIRST + 3 * SECOND, torch.float32: FIRST + SECOND}


def test_nested_tensors_count_the_rows_that_they_hold():
    layer = nn.Linear(8, 4)
    rows = torch.nested.nested_tensor([torch.randn(3, 8), torch.randn(2, 8)], layout=torch.jagged)
    measured = watched(layer, lambda: layer(rows).values().sum().backward())
    assert measured.forward_flops == 2 * 5 * 8 * 4
    assert measured.missing == ()
