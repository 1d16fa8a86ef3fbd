"""Losses of a window: the mean of what training steps returned, or what the module logged."""

from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from flopwatch import FlopWatch
from flopwatch.errors import ArgumentError
from flopwatch.lightning.losses import Losses, PendingMean, WindowLosses
from flopwatch.run.run_file import read_run
from tests.lightning.models import trainer


def losses(training=None, validation=None, **logged):
    module = SimpleNamespace(automatic_optimization=True)
    trainer = SimpleNamespace(callback_metrics=logged, lightning_module=module, accumulate_grad_batches=1)
    return Losses(trainer, training, validation)


def test_the_mean_of_a_window_and_then_of_the_next():
    each = losses()
    for value in (1.0, 2.0, 6.0):
        each.add({"loss": torch.tensor(value)})
    assert each.take().training.value() == 3.0
    each.add({"loss": torch.tensor([5.0])})
    assert each.take().training.value() == 5.0
    assert each.take().training is None


def test_a_long_window_is_thinned_out_evenly():
    each = losses()
    for value in range(1000):
        each.add({"loss": torch.tensor(float(value))})
    # After thinning 0, 16, 32, ... 992 are kept: 63 values with the mean 496.
    assert len(each._kept) == 63
    assert each.take().training.value() == 496.0


@pytest.mark.parametrize(
    "outputs",
    [None, {}, {"loss": None}, {"loss": 1.0}, {"loss": torch.zeros(2)}, {"loss": torch.zeros((), device="meta")}],
)
def test_what_is_no_loss_is_none(outputs):
    each = losses()
    each.add(outputs)
    assert each.take().training is None


class Distributed(torch.Tensor):
    """To read one of these, ranks may have to wait for each other."""


def test_a_tensor_of_another_kind_is_left_alone():
    each = losses(val_loss=torch.tensor(1.0).as_subclass(Distributed))
    each.add({"loss": torch.tensor(1.0).as_subclass(Distributed)})
    each.validated()
    assert each.take() == (None, None)


def test_a_window_waits_for_its_losses():
    arriving = SimpleNamespace(has_arrived=lambda: False)
    assert not WindowLosses(None, arriving).have_arrived()
    assert WindowLosses(PendingMean([(torch.tensor(1.0), 1)]), None).have_arrived()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_unknown(value):
    assert PendingMean([(torch.tensor(value), 1)]).value() is None


def test_a_logged_metric_takes_the_place_of_what_the_step_returned():
    each = losses("train/ce", **{"train/ce": torch.tensor(0.5)})
    each.add({"loss": torch.tensor(9.0)})
    assert each.take().training.value() == 0.5
    assert losses("train/ce").take().training is None


def test_a_validation_loss_is_told_once():
    each = losses(None, "val/ce", **{"val/ce": torch.tensor(0.25), "val_loss": torch.tensor(9.0)})
    each.validated()
    assert each.take().validation.value() == 0.25
    assert each.take().validation is None


class Line(pl.LightningModule):
    """Its loss at a batch is the batch's number."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch, index):
        return batch.sum() + 0.0 * self.weight.sum()

    def validation_step(self, batch, index):
        self.log("val_loss", batch.sum())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_a_fit_has_the_loss_of_each_window_and_the_validation_loss_where_there_is_one(tmp_path):
    numbers, validation = torch.arange(8.0).reshape(8, 1), torch.tensor([[3.0], [5.0]])
    watch = FlopWatch(every_n_steps=2, dirpath=tmp_path)
    changes = {"max_steps": -1, "max_epochs": 1, "val_check_interval": 4}
    trainer(tmp_path, watch, **changes).fit(Line(), DataLoader(numbers), DataLoader(validation))
    (segment,) = read_run(tmp_path).segments
    # The first step alone, then step 2, steps 3 and 4, and so on: losses 0, 1, (2 + 3) / 2, ...
    assert [(each.step, each.loss) for each in segment.windows] == [(1, 0.0), (2, 1.0), (4, 2.5), (6, 4.5), (8, 6.5)]
    # Validated after step 4, whose window had ended by then, and after step 8.
    assert [each.validation_loss for each in segment.windows][:4] == [None, None, None, 4.0]


@pytest.mark.parametrize("name", ["loss", "val_loss"])
@pytest.mark.parametrize("value", [3, ""])
def test_a_name_that_is_none_is_refused(name, value):
    with pytest.raises(ArgumentError, match=f"expected the name of a logged metric for {name}, got"):
        FlopWatch(**{name: value})


def test_lightnings_division_by_the_accumulated_batches_is_undone():
    each = losses()
    each._trainer.accumulate_grad_batches = 4
    each.add({"loss": torch.tensor(2.0)})
    each._trainer.accumulate_grad_batches = 1  # as a scheduler of accumulation changes it
    each.add({"loss": torch.tensor(4.0)})
    # 2 x 4 and 4 x 1.
    assert each.take().training.value() == 6.0


def test_in_manual_optimization_a_loss_is_kept_as_it_was_and_nothing_else_with_it():
    each = losses()
    each._trainer.lightning_module.automatic_optimization = False
    everything = torch.tensor([1.0, 5.0], requires_grad=True)
    each.add({"loss": everything[0]})
    with torch.no_grad():
        everything[0] = 9.0
    (kept, _) = each._kept[0]
    assert (kept.untyped_storage().nbytes(), kept.requires_grad) == (4, False)
    assert each.take().training.value() == 1.0


def test_what_was_logged_before_is_not_told_again():
    logged = {"train/ce": torch.tensor(0.5), "val_loss": torch.tensor(0.25)}
    each = losses("train/ce", **logged)
    each.validated()
    first = each.take()
    assert (first.training.value(), first.validation.value()) == (0.5, 0.25)
    each.validated()
    assert each.take() == (None, None)
    each._trainer.callback_metrics["train/ce"] = torch.tensor(0.5)
    assert each.take().training.value() == 0.5


def test_accumulated_batches_in_a_fit_have_the_loss_that_the_step_returned(tmp_path):
    numbers = torch.arange(8.0).reshape(8, 1)
    watch = FlopWatch(every_n_steps=1, dirpath=tmp_path)
    changes = {"max_steps": -1, "max_epochs": 1, "accumulate_grad_batches": 4}
    trainer(tmp_path, watch, **changes).fit(Line(), DataLoader(numbers))
    (segment,) = read_run(tmp_path).segments
    # (0 + 1 + 2 + 3) / 4 and (4 + 5 + 6 + 7) / 4.
    assert [each.loss for each in segment.windows] == [1.5, 5.5]
