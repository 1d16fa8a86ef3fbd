"""Which batches are watched, and what those that are not are taken to cost."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from flopwatch import FlopWatch
from flopwatch.errors import MeasurementError
from flopwatch.lightning.counting.counter import Cost
from flopwatch.lightning.counting.watched import WatchedCosts, cost_of
from flopwatch.measure.results import Measurement, Uncounted
from flopwatch.run.run_file import read_run
from tests.lightning.models import trainer

ONE, TWO = torch.zeros(2, 3), torch.zeros(4, 3)


def test_equal_signatures_cost_the_same_until_one_does_not():
    costs = WatchedCosts()
    costs.learn(ONE, Cost(100, 120))
    costs.learn(TWO, Cost(200, 200))
    assert costs.knows(ONE)
    assert costs.cost(ONE) == Cost(100, 120)
    assert costs.status == "watched"
    costs.learn(ONE, Cost(300, 300))
    assert not costs.knows(ONE)
    # The mean of those of its signature: (100 + 300) / 2 and (120 + 300) / 2.
    assert costs.cost(ONE) == Cost(200, 210)
    assert costs.status == "sampled"
    assert costs.spread() == "3 watched batches ran 100 to 300 FLOPs, 1 others count as their mean"


def test_a_signature_that_was_never_watched_is_the_mean_of_all():
    costs = WatchedCosts()
    costs.learn(ONE, Cost(100, None))
    costs.learn(TWO, Cost(201, None))
    assert costs.cost(torch.zeros(9, 9)).flops == 150
    assert costs.status == "sampled"


def test_what_was_known_of_other_parameters_does_not_hold():
    costs = WatchedCosts()
    costs.learn(ONE, Cost(100, 100), training=0)
    assert costs.knows(ONE, training=0)
    assert not costs.knows(ONE, training=1)
    costs.learn(ONE, Cost(60, 60), training=1)
    assert [costs.cost(ONE, training).flops for training in (0, 1)] == [100, 60]
    assert costs.status == "watched"


def test_without_any_watched_batch_no_cost_is_known():
    with pytest.raises(MeasurementError, match="no batch was watched yet"):
        WatchedCosts().cost(ONE)


def test_where_recomputation_is_unknown_once_the_mean_is_unknown_too():
    costs = WatchedCosts()
    costs.learn(ONE, Cost(100, 120))
    costs.learn(ONE, Cost(300, None))
    assert costs.cost(ONE) == Cost(200, None)


@pytest.mark.parametrize(
    ("uncounted", "says"),
    [
        (
            (Uncounted("aten.linalg_qr", 2, ("a.b.weight",), True),),
            "aten.linalg_qr ran 2 times, with weights of a.b and",
        ),
        ((Uncounted("other.attention", 1, (), True),), "other.attention ran 1 times and has no formula"),
    ],
)
def test_what_could_not_be_counted_is_named_with_what_to_do(uncounted, says):
    with pytest.raises(MeasurementError, match=says) as raised:
        cost_of(Measurement(10, 20, 0, "full", uncounted=uncounted))
    assert "flopwatch.measure.register" in str(raised.value)


def test_a_weight_whose_products_were_not_seen_is_named():
    with pytest.raises(MeasurementError, match=r"net\.up\.weight got a gradient, but torch.compile hides its products"):
        cost_of(Measurement(10, 20, 0, "full", unseen=("net.up.weight", "net.down.weight")))


def test_a_batch_without_any_product_has_no_known_cost():
    with pytest.raises(MeasurementError, match="no matrix product was seen"):
        cost_of(Measurement(0, 0, 0, "full"))


class Odd(pl.LightningModule):
    """Everything that a run without data could not do."""

    def __init__(self):
        super().__init__()
        self.layer, self.kept = nn.Linear(6, 6), []
        self.layer.register_forward_hook(lambda module, inputs, output: self.kept.append(output.detach()))

    def training_step(self, batch, batch_idx):
        (x,) = batch
        loss = self.layer(x).pow(2).mean()
        if loss.item() > 0 and self.trainer.global_step >= 0:
            loss = loss + torch.stack(self.kept[-3:]).mean() * 0
        torch.distributions.Normal(loss.detach(), 1.0).sample()
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_a_step_that_no_copy_could_run_is_counted_and_trains_as_without_us(tmp_path):
    weights = []
    for callbacks in ([], [FlopWatch(every_n_steps=2)]):
        torch.manual_seed(0)
        model = Odd()
        data = DataLoader(torch.utils.data.TensorDataset(torch.randn(20, 6)), batch_size=2)
        trainer(tmp_path, *callbacks).fit(model, data)
        weights.append([*(each.clone() for each in model.parameters()), torch.get_rng_state()])
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))
    (segment,) = read_run(tmp_path).segments
    # 2 rows x 6 x 6 multiply-adds forward and for the weights.
    assert segment.end.totals.counts.flops == 10 * 2 * 2 * 2 * 36
    assert segment.work.verification == "watched"


def test_a_run_whose_batches_cost_differently_says_how_many_were_guessed(tmp_path, monkeypatch):
    for free in ("_USUAL_FREE_SECONDS", "_MOST_FREE_SECONDS"):
        monkeypatch.setattr(f"flopwatch.lightning.counting.watcher.{free}", -1.0)
    monkeypatch.setattr("flopwatch.lightning.counting.watcher._LARGEST_SHARE", 0.0)

    class Sometimes(Odd):
        def training_step(self, batch, batch_idx):
            return sum(self.layer(batch[0]).mean() for _ in range(1 + (batch_idx >= 5)))

    data = DataLoader(torch.utils.data.TensorDataset(torch.randn(20, 6)), batch_size=2)
    trainer(tmp_path, FlopWatch(every_n_steps=4)).fit(Sometimes(), data)
    (segment,) = read_run(tmp_path).segments
    assert segment.work.verification == "sampled"
    # Checked are the batches after the ends of windows: 1, 2, 5 and 9, the last one of twice the 2 x 2 x 2 x 36 FLOPs;
    # so the tenth is taken as the mean of the four.
    words = "4 watched batches ran 288 to 576 FLOPs, 1 others count as their mean"
    assert words in segment.work.note
    assert segment.end.totals.counts.flops == 8 * 288 + 576 + 360


class SharpnessAware(torch.optim.SGD):
    """Runs its closure twice, at the weights and beside them."""

    def step(self, closure):
        with torch.enable_grad():
            loss = closure()
        weights = [each for group in self.param_groups for each in group["params"]]
        before = [each.detach().clone() for each in weights]
        with torch.no_grad():
            for each in weights:
                each.add_(each.grad, alpha=0.05)
        with torch.enable_grad():
            closure()
        with torch.no_grad():
            for each, kept in zip(weights, before, strict=True):
                each.copy_(kept)
        super().step()
        return loss


def test_a_closure_that_runs_twice_counts_twice(tmp_path):
    class Aware(Odd):
        def configure_optimizers(self):
            return SharpnessAware(self.parameters(), 0.1)

    data = DataLoader(torch.utils.data.TensorDataset(torch.randn(20, 6)), batch_size=2)
    trainer(tmp_path, FlopWatch(every_n_steps=4)).fit(Aware(), data)
    (segment,) = read_run(tmp_path).segments
    # Two passes of 2 rows x 36 multiply-adds, forward and for the weights, in each of ten steps.
    assert segment.end.totals.counts.flops == 10 * 2 * 2 * (2 * 2 * 36)
    assert segment.work.verification == "watched"
