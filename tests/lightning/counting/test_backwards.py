"""A training step that ran is a forward pass; whether a backward ran, autograd tells, also where nobody watches."""

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import StochasticWeightAveraging
from torch import nn
from torch.utils.data import DataLoader

from flopwatch import FlopWatch
from flopwatch.lightning.counting.backwards import Backwards
from flopwatch.lightning.counting.watcher import Watcher
from flopwatch.run.run_file import read_run
from tests.lightning.models import FLOPS_PER_BATCH, TOKENS_PER_BATCH, TinyGPT, loader, trainer

# A backward is two products for each one of the forward.
FORWARD = FLOPS_PER_BATCH // 3


class GivesUp(torch.autograd.Function):
    """Fails on the way back, as where the device's memory is used up."""

    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        raise torch.OutOfMemoryError("out of memory")


class OwnBackward(pl.LightningModule):
    def backward(self, loss):
        loss.backward()


def own_on_the_object():
    module = pl.LightningModule()
    module.backward = lambda loss: loss.backward()
    return module


@pytest.mark.parametrize("module", [OwnBackward(), own_on_the_object(), nn.Linear(1, 1)])
def test_autograd_tells_what_began_and_what_ended(module):
    weights, backwards = torch.ones(3, requires_grad=True), Backwards(module)

    def loss(function=lambda x: x):
        made = function(weights * 2).sum()
        backwards.begin(made)
        return made

    loss()
    assert backwards.take() == (0, 0)
    loss().backward()
    assert backwards.take() == (1, 0)
    twice = loss()
    twice.backward(retain_graph=True)
    twice.backward()
    assert backwards.take() == (2, 0)
    with pytest.raises(torch.OutOfMemoryError):
        loss(GivesUp.apply).backward()
    assert backwards.take() == (0, 1)
    backwards.begin(torch.ones(()))
    backwards.begin(None)
    assert backwards.take() == (0, 0)


def test_lightnings_own_backward_is_told_by_its_hooks():
    backwards = Backwards(pl.LightningModule())
    loss = torch.ones(3, requires_grad=True).sum()
    backwards.begin(loss)
    assert loss._backward_hooks is None
    backwards.end()
    backwards.begin(loss)
    assert backwards.take() == (1, 1)
    assert backwards.take() == (0, 0)


class Tiny(TinyGPT):
    """With its config, counted by the closed form; without one, watched."""

    def __init__(self, known):
        super().__init__()
        if not known:
            self.config = None
            self.hparams.clear()


class Skips(Tiny):
    """Runs no backward on every second batch."""

    def __init__(self, known, first):
        super().__init__(known)
        self.batches, self.first = 0, first

    def backward(self, loss):
        self.batches += 1
        if self.batches % 2 != self.first:
            loss.backward()


@pytest.fixture(params=["all watched", "one of each kind watched"])
def every_n_steps(request, monkeypatch):
    """Each window has a batch watched as a check; without windows, only what is new is."""
    if request.param == "all watched":
        return 1
    monkeypatch.setattr(Watcher, "_may", lambda *_: False)
    return 1000


def fit(folder, model, every_n_steps, data=None, callbacks=(), **changes):
    watch = FlopWatch(every_n_steps=every_n_steps, dirpath=folder)
    trainer(folder, watch, *callbacks, **changes).fit(model, data or loader())
    return read_run(folder).segments[-1]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("first", [0, 1])
def test_a_backward_that_did_not_run_is_not_counted(tmp_path, every_n_steps, known, first):
    segment = fit(tmp_path, Skips(known, first), every_n_steps)
    # Ten forwards, five of them with a backward.
    assert segment.end.totals.counts.flops == 5 * FLOPS_PER_BATCH + 5 * FORWARD
    assert segment.end.totals.counts.tokens == 10 * TOKENS_PER_BATCH


class Normed(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))

    def training_step(self, batch, batch_idx):
        return self.net(batch).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_the_last_pass_of_weight_averaging_is_forward_only(tmp_path, every_n_steps):
    data = DataLoader(torch.randn(20, 4), batch_size=2)
    averaging = StochasticWeightAveraging(1e-2, swa_epoch_start=1)
    segment = fit(tmp_path, Normed(), every_n_steps, data, [averaging], max_steps=-1, max_epochs=2)
    # Two rows through 4 x 8 and 8 x 2 weights: 2 * 2 * 48 FLOPs; backward the gradients of both layers' weights, and of
    # the second one's input. Two epochs of ten batches train, the third one looks at all of them again.
    forward, gradients = 2 * 2 * 48, 2 * 2 * (32 + 16 + 16)
    assert segment.end.totals.counts.flops == 30 * forward + 20 * gradients


class RunsOut(Tiny):
    """Its fourth batch runs out of memory on the way back, which its own `backward` survives."""

    def __init__(self, known):
        super().__init__(known)
        self.batches = 0

    def training_step(self, batch, batch_idx):
        loss = self._loss(batch)
        return GivesUp.apply(loss) if batch_idx == 3 else loss

    def backward(self, loss):
        try:
            loss.backward()
        except torch.OutOfMemoryError:
            self.zero_grad()


@pytest.mark.parametrize("known", [True, False])
def test_a_backward_that_was_given_up_is_what_was_seen_of_it(tmp_path, every_n_steps, known, caplog):
    segment = fit(tmp_path, RunsOut(known), every_n_steps)
    seen = every_n_steps == 1
    assert segment.end.totals.counts.flops == (9 * FLOPS_PER_BATCH + FORWARD if seen else None)
    assert segment.end.totals.counts.tokens == 10 * TOKENS_PER_BATCH
    assert caplog.text.count("a backward pass did not finish") == 1


class ByHand(Tiny):
    """Optimizes by itself, and calls `backward` without Lightning."""

    def __init__(self, known, directly):
        super().__init__(known)
        self.automatic_optimization, self.directly = False, directly

    def training_step(self, batch, batch_idx):
        loss = self._loss(batch)
        loss.backward() if self.directly else self.manual_backward(loss)
        self.optimizers().step()
        self.optimizers().zero_grad()


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("directly", [True, False])
def test_a_backward_that_lightning_does_not_hear_of_counts(tmp_path, every_n_steps, known, directly):
    segment = fit(tmp_path, ByHand(known, directly), every_n_steps)
    assert segment.end.totals.counts.flops == 10 * FLOPS_PER_BATCH
    assert segment.work.verification == ("verified" if known else "watched")


class Joins(Tiny):
    """A second loss joins in the fifth batch."""

    def __init__(self, known):
        super().__init__(known)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        for _ in range(1 if batch_idx < 4 else 2):
            self.manual_backward(self._loss(batch))
        self.optimizers().step()
        self.optimizers().zero_grad()


def test_batches_with_more_backwards_are_another_kind(tmp_path):
    segment = fit(tmp_path, Joins(False), 1)
    assert segment.end.totals.counts.flops == (4 + 2 * 6) * FLOPS_PER_BATCH


def test_a_new_number_of_backwards_is_watched_soon(tmp_path, monkeypatch):
    monkeypatch.setattr(Watcher, "_may", lambda *_: False)
    segment = fit(tmp_path, Joins(False), 1000)
    # The fifth batch is taken as the mean of the first, and watched is the sixth.
    assert segment.end.totals.counts.flops == (5 + 2 * 5) * FLOPS_PER_BATCH
    assert segment.work.verification == "sampled"
