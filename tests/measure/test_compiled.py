"""Products that compiled code runs out of sight are missed, and nothing else of compiled code is."""

import pytest
import torch
from functorch.compile import make_boxed_func
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import _disable_current_modes

from flopwatch.measure import watching
from flopwatch.measure.compiled import CompiledWeights
from flopwatch.measure.watching import StepCounter

pytestmark = pytest.mark.skipif(
    not watching.CAN_WATCH_COMPILED, reason="this torch has no way to leave compiled code as it is"
)
PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
CASTS = (torch.ops.aten._to_copy.default, torch.ops.aten.t.default)


@pytest.fixture(autouse=True)
def anew():
    torch.manual_seed(0)
    torch._dynamo.reset()


class OutOfSight(torch.fx.Interpreter):
    """Runs some operators of a graph where no dispatch mode sees them."""

    def __init__(self, graph, hides):
        super().__init__(graph)
        self.hides = hides

    def call_function(self, target, args, kwargs):
        if not self.hides(target, args):
            return super().call_function(target, args, kwargs)
        with _disable_current_modes():
            return super().call_function(target, args, kwargs)


def compiler(hides):
    return lambda graph, inputs: make_boxed_func(OutOfSight(graph, hides).run)


def nothing(operator, args):
    return False


def products(operator, args):
    return operator in PRODUCTS


def backend(forward, backward):
    return aot_autograd(fw_compiler=compiler(forward), bw_compiler=compiler(backward))


class Net(nn.Module):
    """Layers of 24 x 40, 40 x 24 and, on demand, 24 x 24; an embedding of 50 words is tied to the head."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 24)
        self.up, self.down, self.extra = nn.Linear(24, 40), nn.Linear(40, 24), nn.Linear(24, 24)
        self.norm = nn.LayerNorm((4, 24))
        self.head = nn.Linear(24, 50, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens, extra=False):
        x = self.norm(self.table(tokens))
        x = self.down(self.up(x).relu())
        return self.head(self.extra(x) if extra else x)


TOKENS = torch.arange(12).view(3, 4)
# 12 rows; 24 x 40 twice and 24 x 50, 2 FLOPs each, in the forward and for both gradients.
FLOPS = 3 * 2 * 12 * (2 * 24 * 40 + 24 * 50)
EXTRA = 3 * 2 * 12 * 24 * 24


def watched(module, step):
    counter = StepCounter(module)
    counter.start()
    step()
    counter.stop()
    return counter.result("full")


def train(run, **options):
    return lambda: run(TOKENS, **options).sum().backward()


@pytest.mark.parametrize(("forward", "backward"), [(products, products), (products, nothing), (nothing, products)])
def test_hidden_products_are_missed_and_named(forward, backward):
    model = torch.compile(Net(), backend=backend(forward, backward))
    eager = nn.Linear(50, 8)
    measured = watched(nn.ModuleList([model, eager]), lambda: eager(model(TOKENS)).sum().backward())
    assert measured.unseen == ("0.up.weight", "0.down.weight", "0.head.weight")
    assert measured.forward_flops > 0
    assert measured.training_flops is measured.hardware_flops is None


def test_one_hidden_product_is_enough():
    def hides(operator, args):
        return operator in PRODUCTS and any(50 in each.shape for each in args)

    measured = watched(model := torch.compile(Net(), backend=backend(hides, nothing)), train(model))
    assert measured.unseen == ("head.weight",)


def test_what_did_not_run_in_the_batch_is_not_missed():
    model = torch.compile(Net(), backend=backend(nothing, nothing))
    train(model, extra=True)()
    assert model.extra.weight.grad is not None
    measured = watched(model, train(model))
    assert (measured.training_flops, measured.unseen) == (FLOPS, ())


def test_gradients_that_add_up_are_of_the_batch_that_added():
    model = torch.compile(Net(), backend=backend(products, products))
    train(model)()
    assert "up.weight" in watched(model, train(model)).unseen
    assert watched(model, lambda: None).unseen == ()


def test_frozen_weights_are_not_missed():
    model = Net()
    model.up.weight.requires_grad_(False)
    model = torch.compile(model, backend=backend(products, products))
    assert watched(model, train(model)).unseen == ("down.weight", "head.weight")


def test_weights_that_are_cast_out_of_sight_are_told_by_their_shapes():
    def hides(operator, args):
        return operator in CASTS

    model = torch.compile(Net(), backend=backend(hides, hides))

    def step():
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(TOKENS).sum()
        loss.backward()

    measured = watched(model, step)
    assert (measured.training_flops, measured.unseen) == (FLOPS, ())


class Broken(Net):
    def forward(self, tokens, extra=False):
        tokens = tokens + 0
        torch._dynamo.graph_break()
        return super().forward(tokens, extra)


@pytest.mark.parametrize(
    "compiled",
    [
        lambda: torch.compile(Net(), backend="aot_eager"),
        lambda: torch.compile(Broken(), backend="aot_eager"),
        lambda: torch.compile(Net(), backend="aot_eager", dynamic=True),
        lambda: torch.compile(Net(), backend="eager"),
        lambda: (model := Net()).compile(backend="aot_eager") or model,
    ],
    ids=["whole", "graph break", "dynamic", "eager", "in place"],
)
def test_ordinary_compiled_models_are_complete(compiled):
    model = compiled()
    optimizer = torch.optim.AdamW(model.parameters())
    for extra in (False, True, False):
        measured = watched(model, train(model, extra=extra))
        assert (measured.training_flops, measured.unseen) == (FLOPS + extra * EXTRA, ())
        optimizer.step()
        optimizer.zero_grad()


def test_compiled_convolutions_are_complete():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=4), nn.ConvTranspose2d(8, 4, 2), nn.Conv2d(4, 2, 1)
    )
    model = torch.compile(net, backend="aot_eager")
    measured = watched(model, lambda: model(torch.randn(2, 3, 10, 10)).sum().backward())
    assert measured.complete
    assert measured.forward_flops == 2 * 2 * (64 * 8 * 27 + 36 * 8 * 18 + 36 * 8 * 16 + 49 * 8)


def test_products_that_are_padded_are_those_of_the_weight():
    model = torch.compile(nn.Linear(30, 1003))
    weights = CompiledWeights(model)
    model.weight.grad = torch.zeros_like(model.weight)
    weights.saw(True, [torch.empty(5, 32), torch.empty(32, 1008)], torch.empty(5, 1008))
    weights.saw(False, [torch.empty(1008, 5), torch.empty(5, 32)], torch.empty(1008, 32))
    weights.end()
    assert weights.unseen == ()


def test_modules_that_are_not_compiled_are_not_asked():
    model = Net()
    hidden = torch.compile(model.up.forward, backend=backend(products, products))
    assert watched(model, lambda: hidden(torch.randn(2, 24)).sum().backward()).unseen == ()


@pytest.fixture
def one_rank():
    """A mesh of one rank without gloo, whose group of one now and then does not end."""
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(("hides", "unseen"), [(nothing, ()), (products, ("0.weight", "2.weight"))])
def test_sharded_weights_are_told_by_their_whole_shapes_and_local_gradients(one_rank, hides, unseen):
    layers = nn.Linear(24, 40), nn.ReLU(), nn.Linear(40, 24)
    model = nn.Sequential(*(torch.compile(each, backend=backend(hides, hides)) for each in layers))
    for each in (model[0], model[2], model):
        fully_shard(each, mesh=one_rank)
    for _ in range(2):  # gradients add up
        assert watched(model, lambda: model(torch.randn(12, 24)).sum().backward()).unseen == unseen
    assert watched(model, lambda: None).unseen == ()


def test_compiled_attention_counts_its_backward():
    query, key, value = (torch.randn(1, 2, 6, 16, requires_grad=True) for _ in range(3))

    def step(query, key, value):
        return nn.functional.scaled_dot_product_attention(query * 1, key * 1, value * 1).sum()

    compiled = torch.compile(step, backend="aot_eager")
    expected = 2 * 2 * 36 * (16 + 16)
    measured = watched(nn.Module(), lambda: compiled(query, key, value).backward())
    assert (measured.forward_flops, measured.backward_flops) == (expected, 2 * expected)
