"""Scripts whose work is not what it seems at first: the number is right, or it is gone and said so."""

import copy
import dataclasses
import pickle

import pytest
import pytorch_lightning as pl
import torch
import transformers
from pytorch_lightning.callbacks import Callback, GradientAccumulationScheduler
from torch.utils.data import DataLoader

from flopwatch import FlopWatch
from flopwatch.run.run_file import read_run
from tests.lightning.models import (
    CONFIG,
    FLOPS_PER_BATCH,
    SEQUENCES,
    TOKENS_PER_BATCH,
    MemoryLogger,
    TinyGPT,
    Tokens,
    loader,
    trainer,
)
from tests.versions import watches_compiled


def fit(folder, watch, model, data=None, others=(), **changes):
    trainer(folder, watch, *others, **changes).fit(model, loader() if data is None else data)
    return read_run(folder).segments[-1]


class Wrapped(pl.LightningModule):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def training_step(self, batch, index):
        return self.model(input_ids=batch[0])[0].float().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


GPT2 = transformers.GPT2Config(vocab_size=32, n_positions=32, n_embd=8, n_layer=2, n_head=2)


# The head is 8 x 32 multiply-adds for each of 16 tokens: 8,192 FLOPs forward, three times that in training.
HEADLESS_FLOPS_PER_BATCH = FLOPS_PER_BATCH - SEQUENCES * 3 * 8192


def test_a_base_model_without_its_head_is_not_counted_with_it(tmp_path):
    # Dropout in attention would have PyTorch take it apart on a CPU, and then its causal mask does not show.
    config = transformers.GPT2Config(**{**GPT2.to_diff_dict(), "attn_pdrop": 0.0})
    run = fit(tmp_path, FlopWatch(), Wrapped(transformers.GPT2Model(config)))
    assert run.work.verification == "watched"
    assert "config is for GPT2Model" in run.work.note
    assert run.end.totals.counts.flops == 10 * HEADLESS_FLOPS_PER_BATCH
    assert run.end.totals.counts.tokens == 10 * TOKENS_PER_BATCH


def test_the_same_model_with_its_head_is_counted(tmp_path):
    run = fit(tmp_path, FlopWatch(), Wrapped(transformers.GPT2LMHeadModel(GPT2)))
    assert run.end.totals.counts.flops == 10 * FLOPS_PER_BATCH


class Headless(TinyGPT):
    """Returns hidden states; the width may be that of the vocabulary."""

    def __init__(self, config=CONFIG):
        super().__init__(config=config)
        del self.lm_head

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.ln_f(x)

    def _loss(self, batch):
        return self(batch[0]).mean()


@pytest.mark.parametrize("watch", [FlopWatch(), FlopWatch(config=CONFIG)], ids=["found", "stated"])
def test_a_head_that_is_not_there_is_not_counted_even_if_the_user_says_so(tmp_path, watch):
    run = fit(tmp_path, watch, Headless())
    assert run.work.verification == "watched"
    # Both numbers are said: forward and backward of two sequences with all 16 * 16 pairs, 16,384 FLOPs of core each.
    with_head = SEQUENCES * 3 * (57_344 + 16_384)
    assert f"gives {with_head:,}" in run.work.note
    assert f"ran {with_head - SEQUENCES * 3 * 8192:,} FLOPs" in run.work.note
    assert run.end.totals.counts.flops == 10 * HEADLESS_FLOPS_PER_BATCH


def test_hidden_states_as_wide_as_the_vocabulary_are_not_taken_for_logits(tmp_path):
    run = fit(tmp_path, FlopWatch(), Headless(dataclasses.replace(CONFIG, vocab_size=32, n_embd=32)))
    assert run.work.verification == "watched"
    # Without the head of 32 x 32: per token and layer 12 * 32 * 32 multiply-adds, core 4 * 32 FLOPs for 136 pairs.
    assert run.end.totals.counts.flops == 10 * SEQUENCES * 3 * 2 * (12 * 32 * 32 * 2 * 16 + 4 * 32 * 136)


class FunctionalHead(Headless):
    """Multiplies with the embedding's weight, without a layer of its own."""

    def forward(self, tokens):
        return torch.nn.functional.linear(super().forward(tokens), self.wte.weight)


def test_a_head_without_a_layer_of_its_own_is_seen_by_its_logits(tmp_path):
    run = fit(tmp_path, FlopWatch(), FunctionalHead())
    assert run.end.totals.counts.flops == 10 * FLOPS_PER_BATCH


def test_a_skipped_batch_is_no_training_work(tmp_path, caplog):
    class Skipping(TinyGPT):
        def training_step(self, batch, batch_idx):
            return None if batch_idx % 2 else super().training_step(batch, batch_idx)

    run = fit(tmp_path, FlopWatch(), Skipping(), max_steps=-1, max_epochs=1, limit_train_batches=6)
    assert run.end.totals.counts.flops == 3 * FLOPS_PER_BATCH
    assert caplog.text.count("skipped batches count as no work") == 1


@pytest.mark.parametrize("hook", ["on_train_start", "on_fit_start"])
def test_what_is_frozen_when_training_starts_is_seen(tmp_path, hook):
    model = TinyGPT()
    setattr(model, hook, lambda: model.blocks.requires_grad_(False))
    run = fit(tmp_path, FlopWatch(), model)
    # Of one sequence: forward 66,048; the blocks' layers, 49,152, have input gradients only; the core, 8,704, has all
    # of them, twice; so has the head, 8,192, since its weight is the embedding's.
    per_sequence = 66_048 + 49_152 + 2 * 8_704 + 2 * 8_192
    assert run.end.totals.counts.flops == 10 * SEQUENCES * per_sequence


# Of a batch with frozen blocks: forward 66,048 a sequence; the blocks' layers, 49,152, have gradients of inputs alone;
# the core, 8,704, and the head, 8,192, of both.
FROZEN = SEQUENCES * (66_048 + 49_152 + 2 * 8_704 + 2 * 8_192)


class Freezes(Callback):
    """Freezes the blocks before a batch, and thaws them before another."""

    def __init__(self, frozen_at, thawed_at):
        self.changes = {frozen_at: False, thawed_at: True}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx in self.changes:
            pl_module.blocks.requires_grad_(self.changes[batch_idx])


def test_what_a_callback_freezes_between_two_batches_is_counted_to_the_flop(tmp_path):
    run = fit(tmp_path, FlopWatch(every_n_steps=4), TinyGPT(), others=(Freezes(5, 8),))
    assert run.end.totals.counts.flops == 7 * FLOPS_PER_BATCH + 3 * FROZEN
    # Windows end at steps 1, 4, 8 and 10; frozen are steps 6 to 8.
    assert [window.counts.flops for window in run.windows] == [
        FLOPS_PER_BATCH,
        3 * FLOPS_PER_BATCH,
        FLOPS_PER_BATCH + 3 * FROZEN,
        2 * FLOPS_PER_BATCH,
    ]


def test_what_is_frozen_inside_a_batch_that_was_not_watched_leaves_that_batch_unknown(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("flopwatch.lightning.counting.watcher._USUAL_FREE_SECONDS", -1.0)
    model = TinyGPT()
    model.at_batch = lambda index: model.blocks.requires_grad_(False) if index == 5 else None
    run = fit(tmp_path, FlopWatch(every_n_steps=2), model)
    assert run.end.totals.counts.flops is None
    # Windows end at steps 1, 2, 4, 6, 8 and 10; the sixth batch is the one that is not known.
    assert [window.counts.flops for window in run.windows] == [
        *(FLOPS_PER_BATCH, FLOPS_PER_BATCH, 2 * FLOPS_PER_BATCH),
        *(None, 2 * FROZEN, 2 * FROZEN),
    ]
    assert caplog.text.count("the FLOPs of a batch are unknown; watching the next one") == 1


class Changing(TinyGPT):
    """Feeds the model less of every batch, or feeds it twice, from some batch on."""

    def __init__(self, change, at):
        super().__init__()
        self.change, self.at, self.index = change, at, 0

    def training_step(self, batch, batch_idx):
        self.index = batch_idx
        return super().training_step(batch, batch_idx)

    def _loss(self, batch):
        if self.index < self.at:
            return super()._loss(batch)
        if self.change == "shorter":
            return super()._loss(tuple(each[:, :4] for each in batch))
        return super()._loss(batch) + super()._loss(batch)


# Four tokens in place of 16: 2 sequences x 3 x (3,584 FLOPs x 4 tokens + 64 FLOPs x 4 * 5 / 2 pairs).
@pytest.mark.parametrize(("change", "then"), [("shorter", 2 * 3 * (3584 * 4 + 640)), ("twice", 2 * FLOPS_PER_BATCH)])
def test_a_model_that_is_fed_otherwise_later_is_noticed_and_counted_as_it_runs(tmp_path, caplog, change, then):
    run = fit(tmp_path, FlopWatch(every_n_steps=1), Changing(change, 4))
    assert [window.counts.flops for window in run.windows] == [FLOPS_PER_BATCH] * 4 + [then] * 6
    assert run.work.verification == "watched"
    assert (
        caplog.text.count(
            "FLOPs are counted from watched batches from here on: the step no longer matches its closed form"
        )
        == 1
    )


@watches_compiled
def test_a_module_compiled_as_a_whole_is_verified_as_it_runs(tmp_path):
    run = fit(tmp_path / "a", FlopWatch(), torch.compile(TinyGPT(), backend="eager"), max_steps=3)
    assert run.work.verification == "verified"
    assert run.end.totals.counts.flops == 3 * FLOPS_PER_BATCH
    watch = FlopWatch(batch_shape=lambda batch: batch[0].shape, config=CONFIG)
    run = fit(tmp_path / "b", watch, torch.compile(TinyGPT(), backend="eager"), max_steps=3)
    assert run.end.totals.counts.flops == 3 * FLOPS_PER_BATCH


class TwoOptimizers(TinyGPT):
    automatic_optimization = False

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = self._loss(batch)
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
            optimizer.zero_grad()

    def configure_optimizers(self):
        halves = (
            list(self.blocks.parameters()),
            [*self.wte.parameters(), *self.wpe.parameters(), *self.ln_f.parameters()],
        )
        return [torch.optim.SGD(half, 0.01) for half in halves]


def test_steps_are_optimizer_steps_also_with_two_optimizers(tmp_path):
    run = fit(tmp_path, FlopWatch("40 steps"), TwoOptimizers(), max_steps=20)
    assert (run.end.totals.counts.steps, run.end.totals.counts.batches) == (20, 10)
    assert run.end.totals.counts.flops == 10 * FLOPS_PER_BATCH
    assert run.windows[-1].budget_fraction == 0.5


def test_a_changing_accumulation_gives_no_wrong_budget(tmp_path):
    one = trainer(tmp_path, FlopWatch(), GradientAccumulationScheduler({0: 1, 1: 2}), max_steps=-1, max_epochs=3)
    one.fit(TinyGPT(), loader(8))
    (segment,) = read_run(tmp_path).segments
    assert [each.text for each in segment.start.budgets] == ["3 epochs"]
    assert segment.windows[-1].budget_fraction == 1


class SavesFirst(Callback):
    """A plain callback before ours that saves at a batch's end and at the start of training."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_start(self, trainer, module):
        if trainer.global_step:
            trainer.save_checkpoint(self.folder / "start.ckpt")

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step == 4:
            trainer.save_checkpoint(self.folder / "four.ckpt")


def test_a_checkpoint_that_another_callback_saves_holds_the_batch_that_just_ended(tmp_path):
    trainer(tmp_path, SavesFirst(tmp_path), FlopWatch(), max_steps=5).fit(TinyGPT(), loader())
    one = trainer(tmp_path / "b", SavesFirst(tmp_path), FlopWatch())
    one.fit(TinyGPT(), loader(), ckpt_path=tmp_path / "four.ckpt")
    assert read_run(tmp_path / "b").segments[-1].end.totals.counts.flops == 10 * FLOPS_PER_BATCH
    state = torch.load(tmp_path / "start.ckpt", weights_only=True)["callbacks"]["FlopWatch"]
    assert state["totals"]["flops"] == 4 * FLOPS_PER_BATCH


def test_one_callback_in_two_trainers_watches_two_runs(tmp_path):
    watch = FlopWatch()
    for name in ("a", "b"):
        assert fit(tmp_path / name, watch, TinyGPT()).end.totals.counts.flops == 10 * FLOPS_PER_BATCH


def test_a_callback_that_was_used_can_be_copied_and_pickled(tmp_path):
    watch = FlopWatch("40 steps")
    one = trainer(tmp_path, watch)
    one.fit(TinyGPT(), loader())
    assert pickle.loads(pickle.dumps(watch)).state_dict() == watch.state_dict()
    assert copy.deepcopy(one).callbacks[0].state_dict() == watch.state_dict()


@pytest.mark.parametrize("changes", [{"max_steps": 0}, {"limit_train_batches": 0}, {"max_epochs": 0, "max_steps": -1}])
def test_a_fit_that_does_nothing_leaves_nothing_behind(tmp_path, changes):
    model, one = TinyGPT(), trainer(tmp_path, FlopWatch(), **changes)
    one.fit(model, loader())
    assert not {"start", "stop"} & set(one.profiler.__dict__)
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
    assert list(tmp_path.rglob("run.jsonl")) == []


def test_a_fast_dev_run_writes_nothing_and_says_so_once(tmp_path, caplog):
    with caplog.at_level("INFO", logger="flopwatch"):
        trainer(tmp_path, FlopWatch(), fast_dev_run=True).fit(TinyGPT(), loader())
    assert list(tmp_path.rglob("*.jsonl")) == []
    assert [each.getMessage() for each in caplog.records if each.name == "flopwatch"] == [
        "nothing is measured or written with fast_dev_run; for a short try, pass max_steps=20"
    ]


def test_a_lone_tensor_that_cannot_be_looked_at_has_no_known_tokens(tmp_path):
    class Stranger(TinyGPT):
        def __init__(self):
            super().__init__()
            self.config = None
            self.hparams.clear()

        def _loss(self, batch):
            return super()._loss((batch[:, :-1], batch[:, 1:]))

    def collate(rows):
        return torch.stack([torch.cat([inputs, targets[-1:]]) for inputs, targets in rows])

    logger = MemoryLogger()
    data = DataLoader(Tokens(), batch_size=SEQUENCES, collate_fn=collate)
    run = fit(tmp_path, FlopWatch(every_n_steps=2), Stranger(), data, logger=logger)
    assert run.end.totals.counts.tokens is None
    assert not any("perf/tokens_per_sec" in row for _, row in logger.ours())
