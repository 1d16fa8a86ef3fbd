"""The counter against hand arithmetic, published tables and torch's own, and what it does not do to the model."""

import copy
import random
import sys
import threading

import numpy
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as functional
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from flopwatch.errors import MeasurementError
from flopwatch.measure import measure, measure_training_step, register
from tests.lightning.models import FLOPS_PER_BATCH, TinyGPT


class Runs(nn.Module):
    """Runs a function that has two 8 x 8 matrices."""

    def __init__(self, function):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.zeros(8, 8)), nn.Parameter(torch.zeros(8, 8))
        self.function = function

    def forward(self, x):
        return self.function(self, x)


X = torch.zeros(4, 8)
# FLOPs forward and backward of what torch's FlopCounterMode gets wrong or leaves out, by hand.
OPERATORS = {
    # 4 x 8 x 8 multiply-adds; the input is data, so only a's gradient.
    "mm": (lambda m, x: x @ m.a, 512, 512),
    "linear": (lambda m, x: functional.linear(x, m.a, m.b[0]), 512, 512),
    "mv": (lambda m, x: torch.mv(m.a, m.b[0]), 128, 128),
    "dot": (lambda m, x: torch.dot(m.a[0], m.b[0]), 16, 0),
    "addbmm": (lambda m, x: torch.addbmm(m.b, m.a[None], m.b[None]), 1024, 2048),
    "einsum": (lambda m, x: torch.einsum("ij,jk->ik", x, m.a), 512, 512),
    "solve": (lambda m, x: torch.linalg.solve_triangular(m.a, m.b, upper=False), 512, 512 + 1024),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_by_hand(name):
    function, forward, backward = OPERATORS[name]
    measured = measure(Runs(function), X)
    assert (measured.forward_flops, measured.backward_flops) == (forward, backward)
    assert measured.complete


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_a_convolution_in_groups_by_hand(groups):
    # 2 images, 16 outputs, 10 x 10 positions, 8 / groups inputs, 3 x 3 kernel.
    forward = 2 * 2 * 16 * 100 * (8 // groups) * 9
    image = torch.zeros(2, 8, 10, 10)
    convolution = nn.Conv2d(8, 16, 3, padding=1, groups=groups)
    measured = measure(convolution, image)
    assert (measured.forward_flops, measured.backward_flops) == (forward, forward)
    measured = measure(nn.Sequential(nn.Conv2d(8, 8, 1), convolution), image)
    assert measured.backward_flops == 2 * 2 * 64 * 100 + 2 * forward


def test_a_transposed_convolution_counts_input_positions():
    measured = measure(nn.ConvTranspose2d(8, 4, 2, stride=2), torch.zeros(1, 8, 5, 5))
    assert measured.forward_flops == 2 * 25 * 8 * 4 * 4


@pytest.mark.parametrize("shapes", [((24, 8), (3, 8, 16)), ((8, 24), (24, 16))])
def test_grouped_products_of_experts_are_counted(shapes):
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(shapes[1], dtype=torch.bfloat16))

        def forward(self, x, ends):
            return torch._grouped_mm(x, self.weight, offs=ends).sin()

    ends = torch.tensor([4, 12, 24], dtype=torch.int32)
    measured = measure(Experts(), torch.zeros(shapes[0], dtype=torch.bfloat16), ends)
    # Every one of 24 rows meets one 8 x 16 matrix, however they are spread.
    assert measured.forward_flops == 2 * 24 * 8 * 16
    assert measured.backward_flops == measured.forward_flops


class Attends(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.qkv, self.options = nn.Linear(16, 48), options

    def forward(self, x):
        q, k, v = (each.unflatten(-1, (2, 8)).transpose(1, 2) for each in self.qkv(x).chunk(3, -1))
        return functional.scaled_dot_product_attention(q, k, v, **self.options)


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


class Step(pl.LightningModule):
    def __init__(self, step):
        super().__init__()
        self.layer, self.step_function = nn.Linear(8, 8), step

    def training_step(self, batch, batch_idx):
        return self.step_function(self, batch)


def test_a_training_step_is_measured_without_reaching_anything_real():
    def step(module, batch):
        loss = module.layer(batch["x"]).sum()
        module.log("loss", loss)
        module.log_dict({"a": loss})
        print("nobody reads this")
        return {"loss": loss, "other": 1}

    module = Step(step)
    measured = measure_training_step(module, {"x": X, "name": "text"})
    assert (measured.forward_flops, measured.backward_flops) == (512, 512)
    assert (
        measure_training_step(
            TinyGPT(), tuple(torch.zeros(2, 2, 16, dtype=torch.long)), attention="causal"
        ).training_flops
        == FLOPS_PER_BATCH
    )


def test_manual_optimization_steps_no_real_optimizer():
    class Manual(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False
            self.layer = nn.Linear(8, 8)

        def training_step(self, batch, batch_idx):
            optimizer = self.optimizers()
            for _ in range(2):
                optimizer.zero_grad()
                self.manual_backward(self.layer(batch).sum())
                optimizer.step()

    measured = measure_training_step(Manual(), X)
    assert (measured.forward_flops, measured.backward_flops) == (2 * 512, 2 * 512)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (
            lambda m, b: m.layer(b).sum() * m.layer(b).sum().item(),
            r"test_measure.py:\d+: the code reads a tensor's value",
        ),
        (lambda m, b: m.layer(b[: int(b.argmax())]).sum(), "reads a tensor's value"),
        (lambda m, b: m.trainer.global_step, "is not attached to a `Trainer`"),
        (lambda m, b: None, "returned no loss"),
        (lambda m, b: b.sum(), "has no gradient"),
        (lambda m, b: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_what_cannot_be_measured_says_why(step, said):
    with pytest.raises(MeasurementError, match=said):
        measure_training_step(Step(step), X)


def test_what_cannot_be_copied_says_why():
    module = nn.Linear(8, 8)
    module.stream = (each for each in ())
    with pytest.raises(MeasurementError, match="cannot be copied for measuring: TypeError"):
        measure(module, X)


def test_checks_of_all_and_any_are_taken_for_granted_and_said():
    def function(m, x):
        if torch.isnan(x).any():
            raise ValueError
        return x @ m.a if (x == 0).all() else x @ m.a @ m.b

    measured = measure(Runs(function), X)
    assert measured.forward_flops == 512
    assert len(measured.assumptions) == 2


class OwnStep(nn.Module):
    """A training step of its own making, on a layer of 8 x 4."""

    automatic_optimization = False

    def __init__(self, run):
        super().__init__()
        self.layer = nn.Linear(8, 4, bias=False)
        self.run = run

    def training_step(self, batch, batch_idx):
        return self.run(self, batch)


def test_a_backward_that_the_step_calls_itself_is_one():
    # 2 rows x 8 x 4, 2 FLOPs each: 128 forward, 128 for the weight, none for the input.
    for backward in (
        lambda m, x: m.layer(x).sum().backward(),
        lambda m, x: torch.autograd.backward(m.layer(x).sum()),
        lambda m, x: torch.autograd.grad(m.layer(x).sum(), m.layer.weight),
    ):
        measured = measure_training_step(OwnStep(backward), torch.zeros(2, 8))
        assert (measured.forward_flops, measured.backward_flops) == (128, 128)


def test_causal_attention_in_checkpointed_layers_is_masked_or_not_counted():
    def attend(x):
        return functional.scaled_dot_product_attention(x, x, x, is_causal=True)

    def step(reentrant):
        return OwnStep(lambda m, x: checkpoint(attend, m.layer(x)[None], use_reentrant=reentrant).sum().backward())

    measured = measure_training_step(step(False), torch.zeros(6, 8), attention="causal")
    # The layer: 6 x 8 x 4 x 2 = 384, twice. 21 pairs of 36, each 2 FLOPs x 4 wide: two products forward, four backward.
    assert measured.forward_flops == 384 + 2 * 8 * 21
    assert measured.backward_flops == 384 + 4 * 8 * 21
    assert measured.recomputed_flops is measured.hardware_flops is None
    with pytest.raises(MeasurementError, match="reentrant"):
        measure_training_step(step(True), torch.zeros(6, 8), attention="causal")
    # All 36 pairs.
    full = measure_training_step(step(True), torch.zeros(6, 8))
    assert (full.training_flops, full.recomputed_flops) == (2 * 384 + 6 * 8 * 36, 2 * 8 * 36)


def test_submodules_keep_the_mode_that_they_train_in():
    def step(m, x):
        (m.layer(x) if m.layer.training else x).sum().backward()

    module = OwnStep(step)
    module.layer.eval()
    with pytest.raises(MeasurementError, match="does not require grad"):
        measure_training_step(module, torch.zeros(2, 8))


def test_numpy_draws_what_it_would_have_drawn():
    before = numpy.random.get_state()[1].copy()
    step = OwnStep(lambda m, x: (numpy.random.beta(1, 1) * m.layer(x)).sum().backward())
    measure_training_step(step, torch.zeros(2, 8))
    assert (numpy.random.get_state()[1] == before).all()


@pytest.mark.parametrize(
    ("does", "says"),
    [
        (lambda: torch.distributed.barrier(), "waits for other ranks"),
        (lambda: torch.distributed.all_gather_object([None], 1), "waits for other ranks"),
        (lambda: sys.exit(3), "SystemExit"),
    ],
)
def test_a_step_that_would_hold_up_or_end_the_run_is_not_measured(does, says):
    with pytest.raises(MeasurementError, match=says):
        measure_training_step(OwnStep(lambda m, x: does()), torch.zeros(2, 8))
    assert torch.distributed.barrier.__module__.startswith("torch")


def test_a_loop_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr("flopwatch.measure.counter._MOST_SECONDS", 0.2)

    def step(m, x):
        while not (x > 1e9).any():
            x = m.layer(x) @ m.layer.weight

    with pytest.raises(MeasurementError, match="took longer"):
        measure_training_step(OwnStep(step), torch.zeros(2, 8))


def test_what_is_made_of_parameters_alone_still_is_one():
    torch.library.define("flopwatch_test::mm", "(Tensor x, Tensor w) -> Tensor")
    torch.library.impl("flopwatch_test::mm", "Meta", lambda x, w: x.new_empty(x.shape[0], w.shape[1]))
    unknown = torch.ops.flopwatch_test.mm
    measured = measure(Runs(lambda m, x: x @ m.b + unknown(x, torch.cat([m.a * 2, m.a]).detach())[:, :8]), X)
    assert [each.parameters for each in measured.uncounted] == [("a",)]
    assert measured.training_flops is None


def test_other_threads_may_wait_for_other_ranks_while_one_measures(monkeypatch):
    monkeypatch.setattr(torch.distributed, "barrier", lambda: "waited")
    answers = []

    def step(m, x):
        thread = threading.Thread(target=lambda: answers.append(torch.distributed.barrier()))
        thread.start()
        thread.join()
        m.layer(x).sum().backward()

    measure_training_step(OwnStep(step), torch.zeros(2, 8))
    assert answers == ["waited"]
