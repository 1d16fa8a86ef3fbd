"""Budgets of epochs, and the Trainer's own `max_epochs`, in fits whose epochs are not all alike."""

import logging

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, StochasticWeightAveraging
from torch.utils.data import DataLoader, IterableDataset

from flopwatch import FlopWatch
from flopwatch.report.report import summarize
from flopwatch.run.run_file import read_run
from tests.lightning.models import MemoryLogger, TinyGPT, Tokens, loader, trainer
from tests.versions import lightning_2_5


class Growing(pl.LightningDataModule):
    """A data loader made anew for each epoch."""

    def __init__(self, *loaders):
        super().__init__()
        self.loaders = list(loaders)

    def train_dataloader(self):
        return self.loaders.pop(0) if len(self.loaders) > 1 else self.loaders[0]


class Stream(IterableDataset):
    """Batches whose number nobody knows before their end."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        yield from (Tokens()[place] for place in range(2 * self.batches))


def stream(batches):
    return DataLoader(Stream(batches), batch_size=2)


class Overstated(Stream):
    """Batches of which there are fewer than it says: ten."""

    def __len__(self):
        return 20


def overstated(batches):
    return DataLoader(Overstated(batches), batch_size=2)


class Skips(TinyGPT):
    """Leaves the rest of each epoch out from its fifth batch on."""

    def on_train_batch_start(self, batch, batch_idx):
        return -1 if batch_idx == 4 else None


def fit(folder, data, model=None, budget=None, callbacks=(), logger=None, **changes):
    """Fractions by step, the Trainer, and what the process wrote."""
    logger = logger or MemoryLogger()
    arguments = {"on_budget": "stop"} if budget else {}
    watch = FlopWatch(budget, every_n_steps=1, dirpath=folder, **arguments)
    one = trainer(folder, watch, *callbacks, logger=logger, **{"max_steps": -1, **changes})
    one.fit(model or TinyGPT(), **({"datamodule": data} if isinstance(data, Growing) else {"train_dataloaders": data}))
    rows = {step + 1: row["budget/fraction"] for step, row in logger.rows if "budget/fraction" in row}
    return rows, one, read_run(folder).segments[-1]


def save_at(step, folder, data):
    """Leave a checkpoint of a step in the middle of an epoch."""
    keeper = ModelCheckpoint(dirpath=folder, filename="saved", every_n_train_steps=step, save_top_k=1)
    fit(folder / "a", data, callbacks=[keeper], max_steps=step, enable_checkpointing=True)


@pytest.mark.parametrize("budget", [None, "4 epochs"])
def test_epochs_that_grow_are_epochs(tmp_path, budget):
    data = Growing(*(loader(batches) for batches in (5, 10, 15, 20)))
    max_epochs = 10 if budget else 4
    rows, one, segment = fit(tmp_path, data, budget=budget, max_epochs=max_epochs, reload_dataloaders_every_n_epochs=1)
    # 5 + 10 + 15 + 20 batches.
    assert (one.global_step, one.current_epoch, segment.end.epochs) == (50, 4, 4)
    # Two of five batches; one epoch; and five of ten, of fifteen, of twenty batches more.
    of_four = {2: 0.4 / 4, 5: 1 / 4, 10: 1.5 / 4, 20: (2 + 5 / 15) / 4, 35: 3.25 / 4, 50: 1}
    assert {step: rows[step] for step in of_four} == pytest.approx(of_four)


def test_the_rest_of_an_epoch_that_was_skipped_is_done(tmp_path):
    logger = MemoryLogger()
    rows, one, segment = fit(tmp_path, loader(10), Skips(), max_epochs=3, logger=logger)
    # Four of ten batches run in each epoch; the last row is of the end, after the last step.
    assert (one.global_step, segment.end.epochs) == (12, 3)
    assert {step: rows[step] for step in (4, 5, 12)} == pytest.approx({4: 0.4 / 3, 5: 1.1 / 3, 12: 1})
    (budget,) = summarize(read_run(tmp_path)).budgets
    assert (budget.text, budget.fraction) == ("3 epochs", 1)
    assert logger.rows[-1] == (11, {"budget/fraction": 1.0, "budget/hours_left": 0.0})


def test_a_budget_that_is_used_up_by_skipping_ends_training_there(tmp_path):
    _, one, segment = fit(tmp_path, loader(10), Skips(), "2 epochs", max_epochs=5)
    assert (one.global_step, one.current_epoch) == (8, 2)
    assert [each.message for each in segment.events] == ["the budget of 2 epochs is used up at step 8"]


@pytest.mark.parametrize(("budget", "steps"), [("2 epochs", 4), ("1.5 epochs", 3)])
def test_steps_of_several_batches_end_with_their_epoch(tmp_path, budget, steps):
    # Five batches are a step of three and one of two; after a half, 2.5 batches, comes the step of three.
    _, one, _ = fit(tmp_path, loader(5), budget=budget, max_epochs=5, accumulate_grad_batches=3)
    assert one.global_step == steps


def test_an_epoch_that_training_ends_within_is_not_done(tmp_path):
    rows, _, segment = fit(tmp_path, loader(10), budget="1 epoch", max_steps=4)
    assert (rows[max(rows)], segment.end.epochs, segment.events) == (0.4, 0.4, ())


def test_a_second_fit_with_another_loader_counts_its_epochs(tmp_path):
    watch = FlopWatch("4 epochs", every_n_steps=1)
    one = trainer(tmp_path, watch, max_steps=-1, max_epochs=2)
    model = TinyGPT()
    one.fit(model, loader(10))
    one.fit_loop.max_epochs = 3
    one.fit(model, loader(5))
    first, second = read_run(tmp_path).segments
    assert (first.windows[9].epochs, first.end.epochs) == (1, 2)
    # Two epochs, and one, two, ... of five batches.
    assert [each.epochs for each in second.windows] == pytest.approx([2.2, 2.4, 2.6, 2.8, 3])
    assert second.windows[-1].budget_fraction == 3 / 4


@lightning_2_5
def test_a_run_that_is_resumed_with_a_shorter_loader_has_its_epochs(tmp_path):
    save_at(4, tmp_path, loader(10))
    watch = FlopWatch("2 epochs", on_budget="stop", every_n_steps=1, dirpath=tmp_path / "b")
    two = trainer(tmp_path, watch, max_steps=-1, max_epochs=5)
    two.fit(TinyGPT(), loader(8), ckpt_path=tmp_path / "saved.ckpt")
    epochs = [each.epochs for each in read_run(tmp_path / "b").segments[-1].windows]
    # Lightning goes on with the fifth batch, and ends the epoch with the eighth.
    assert epochs[:5] == pytest.approx([5 / 8, 6 / 8, 7 / 8, 1, 1 + 1 / 8])
    assert (two.global_step, epochs[-1]) == (16, 2)


@lightning_2_5
@pytest.mark.parametrize(("saved_at", "accumulate"), [(6, 1), (2, 3), (3, 2)])
def test_a_run_that_is_resumed_from_the_last_batch_of_an_epoch_has_its_epochs(tmp_path, saved_at, accumulate):
    # Six batches an epoch: the checkpoint is saved with the sixth, before Lightning takes its epoch as done.
    keeper = ModelCheckpoint(dirpath=tmp_path, filename="saved", every_n_train_steps=saved_at, save_top_k=1)
    fit(
        tmp_path / "a",
        loader(6),
        callbacks=[keeper],
        max_steps=saved_at,
        enable_checkpointing=True,
        accumulate_grad_batches=accumulate,
    )
    watch = FlopWatch("3 epochs", on_budget="stop", every_n_steps=1, dirpath=tmp_path / "b")
    two = trainer(tmp_path, watch, max_steps=-1, max_epochs=9, accumulate_grad_batches=accumulate)
    two.fit(TinyGPT(), loader(6), ckpt_path=tmp_path / "saved.ckpt")
    segment = read_run(tmp_path / "b").segments[-1]
    steps = 6 // accumulate
    assert [each.epochs for each in segment.windows] == pytest.approx([1 + n / steps for n in range(1, 2 * steps + 1)])
    assert (two.global_step, segment.end.epochs) == (3 * steps, 3)


def test_the_last_pass_of_weight_averaging_is_an_epoch(tmp_path):
    class Normed(TinyGPT):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(1)

    rows, _, segment = fit(
        tmp_path, loader(10), Normed(), callbacks=[StochasticWeightAveraging(1e-2, swa_epoch_start=1)], max_epochs=2
    )
    # The callback adds a third epoch, in which nothing is trained.
    assert [each.text for each in segment.start.budgets] == ["3 epochs"]
    assert rows[10] == pytest.approx(1 / 3)
    assert rows[max(rows)] == 1


def test_a_loader_without_a_length_teaches_it_in_its_first_epoch(tmp_path, caplog):
    caplog.set_level(logging.INFO, "flopwatch")
    rows, _, segment = fit(tmp_path, stream(6), max_epochs=3)
    # Nothing before the first epoch's last batch; then seven of 18 batches, and so on.
    assert rows == pytest.approx({step: step / 18 for step in range(6, 19)})
    assert segment.windows[6].seconds_left is not None
    assert caplog.text.count("the used share of 3 epochs is known only after the first epoch") == 1


@pytest.mark.parametrize("budget", [None, "2 epochs"])
def test_a_stream_that_turns_out_to_be_longer_is_unknown_until_its_end(tmp_path, budget):
    rows, one, segment = fit(
        tmp_path, Growing(stream(4), stream(6), stream(6)), budget=budget, max_epochs=2 if budget is None else 3,
        reload_dataloaders_every_n_epochs=1,
    )  # fmt: skip
    # 4 batches, 4 + 3 of as many again; the eighth is not the last, so the epoch has another length.
    assert [each.epochs for each in segment.windows[3:]] == [1, 1.25, 1.5, 1.75, None, None, 2]
    assert (one.global_step, rows[max(rows)]) == (10, 1)


def test_a_loader_that_says_too_much_ends_its_epoch_where_it_ends(tmp_path):
    rows, one, segment = fit(tmp_path, overstated(6), budget="2 epochs", max_epochs=5)
    # Of ten batches six came; the second epoch is held against six.
    assert (one.global_step, one.current_epoch, segment.end.epochs) == (12, 2, 2)
    assert {step: rows[step] for step in (3, 6, 9, 12)} == pytest.approx({3: 0.15, 6: 0.3, 9: 0.75, 12: 1})
    assert [each.message for each in segment.events] == ["the budget of 2 epochs is used up at step 12"]


def test_a_part_of_an_epoch_is_one_of_the_epoch_that_it_lies_in(tmp_path):
    data = Growing(loader(2), loader(2), loader(8))
    _, one, segment = fit(tmp_path, data, budget="2.25 epochs", max_epochs=9, reload_dataloaders_every_n_epochs=1)
    # Two batches, two batches, and a quarter of eight.
    assert (one.global_step, segment.end.epochs) == (6, 2.25)


def test_a_part_of_an_epoch_without_a_step_of_its_own_ends_with_that_epoch(tmp_path):
    # Four batches are a step, by what the loader says of ten there is no last one, and six came.
    _, one, segment = fit(tmp_path, overstated(3), budget="0.9 epochs", max_epochs=9, accumulate_grad_batches=4)
    assert (one.current_epoch, segment.end.epochs) == (1, 1)


def test_a_stream_that_ends_before_its_limit_ends_its_epoch_there(tmp_path):
    _, one, segment = fit(tmp_path, stream(4), budget="2 epochs", max_epochs=5, limit_train_batches=6)
    assert (one.global_step, one.current_epoch, segment.end.epochs) == (8, 2, 2)


def test_training_that_ends_within_an_overstated_epoch_has_not_done_it(tmp_path):
    _, _, segment = fit(tmp_path, overstated(6), budget="2 epochs", max_steps=4)
    assert segment.end.epochs == 0.4


@lightning_2_5
def test_a_restart_in_the_middle_of_a_stream_teaches_no_length(tmp_path):
    save_at(2, tmp_path, stream(6))
    watch = FlopWatch(every_n_steps=1, dirpath=tmp_path / "b")
    two = trainer(tmp_path, watch, max_steps=-1, max_epochs=3)
    two.fit(TinyGPT(), stream(6), ckpt_path=tmp_path / "saved.ckpt")
    # The stream begins anew, so the first epoch has 2 + 6 batches; the second tells that it is 6.
    epochs = [each.epochs for each in read_run(tmp_path / "b").segments[-1].windows]
    assert epochs[:12] == [*[None] * 5, 1, *[None] * 5, 2]
    assert epochs[12:] == pytest.approx([2 + each / 6 for each in range(1, 6)] + [3])


@lightning_2_5
def test_a_resumed_epoch_that_training_ends_within_is_not_done(tmp_path):
    save_at(4, tmp_path, loader(10))
    two = trainer(tmp_path, FlopWatch("2 epochs", dirpath=tmp_path / "b"), max_steps=7)
    two.fit(TinyGPT(), loader(10), ckpt_path=tmp_path / "saved.ckpt")
    assert read_run(tmp_path / "b").segments[-1].end.epochs == 0.7
