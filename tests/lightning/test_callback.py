"""A real Trainer, mostly on a clock that the test moves, so that every number can be computed by hand."""

import json
import logging
import time

import pytest
import torch
from pytorch_lightning import callbacks
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.profilers import SimpleProfiler
from torch.utils.data import DataLoader

import flopwatch.lightning.callback as callback_module
from flopwatch import FlopWatch
from flopwatch.errors import FlopwatchError
from flopwatch.lightning.counting.picking import Counting
from flopwatch.lightning.timing.stopwatch import Stopwatch
from flopwatch.report.report import summarize
from flopwatch.run.run_file import read_run
from tests.lightning.models import (
    CONFIG,
    FLOPS_PER_BATCH,
    SEQ_LEN,
    SEQUENCES,
    TOKENS_PER_BATCH,
    MemoryLogger,
    TinyGPT,
    Tokens,
    loader,
    trainer,
)
from tests.versions import lightning_2_5, watches_compiled

PEAK = 1e6


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(callback_module, "Stopwatch", lambda: Stopwatch(clock))
    return clock


def segment(tmp_path):
    return read_run(tmp_path).segments[-1]


def fit(tmp_path, watch, model=None, data=None, **changes):
    trainer(tmp_path, watch, **changes).fit(model or TinyGPT(), data if data is not None else loader())
    return segment(tmp_path)


def test_every_number_of_a_plain_run(tmp_path, clock):
    logger = MemoryLogger()
    model = TinyGPT(lambda index: clock.advance(0.5))
    watch = FlopWatch(peak_flops_per_second=PEAK, every_n_seconds=2)
    run = fit(tmp_path, watch, model, max_steps=9, logger=logger)
    # One step is warm-up; then a window ends after every four steps of half a second.
    assert [(window.step, window.counts.steps, window.seconds, window.first) for window in run.windows] == [
        (1, 1, 0.5, True),
        (5, 4, 2.0, False),
        (9, 4, 2.0, False),
    ]
    assert [window.counts.flops for window in run.windows] == [FLOPS_PER_BATCH * steps for steps in (1, 4, 4)]
    assert run.windows[-1].totals.counts.tokens == 9 * TOKENS_PER_BATCH
    assert run.end.totals.counts.flops == 9 * FLOPS_PER_BATCH
    assert run.end.totals.counts.samples == 9 * SEQUENCES
    (first_step, first), (second_step, second) = logger.ours()
    # Lightning's own axis counts from zero: the row of optimizer step 5 is at 4.
    assert (first_step, second_step) == (4, 8)
    assert first["perf/mfu"] == pytest.approx(4 * FLOPS_PER_BATCH / 2.0 / PEAK)
    assert first["perf/step_seconds"] == 0.5
    assert first["perf/tokens_per_sec"] == 4 * TOKENS_PER_BATCH / 2.0
    assert first["budget/flops"] == 5 * FLOPS_PER_BATCH
    # Budget: the Trainer's nine steps; four left at two a second.
    assert first["budget/fraction"] == pytest.approx(5 / 9)
    assert first["budget/hours_left"] == pytest.approx(2.0 / 3600)
    assert second["budget/fraction"] == 1.0
    assert second["budget/hours_left"] == 0.0


class SlowCheckpoint(ModelCheckpoint):
    """Saving advances the clock inside Lightning's own `save_checkpoint`."""

    def __init__(self, clock, seconds, **named):
        super().__init__(**named)
        self.clock, self.seconds = clock, seconds

    def state_dict(self):
        self.clock.advance(self.seconds)
        return super().state_dict()


class SlowLoader:
    def __init__(self, clock, seconds, batches=100):
        self.clock, self.seconds, self.batches = clock, seconds, batches

    def __iter__(self):
        for index, batch in enumerate(loader(self.batches)):
            self.clock.advance(self.seconds if index > 1 else 0)
            yield batch


@lightning_2_5
def test_validation_and_checkpoints_do_not_dent_mfu(tmp_path, clock):
    logger = MemoryLogger()
    model = TinyGPT(lambda index: clock.advance(1.0))
    model.validation_step = lambda batch, batch_idx: clock.advance(10.0)
    watch = FlopWatch(peak_flops_per_second=PEAK, every_n_steps=1)
    saving = SlowCheckpoint(clock, 30.0, dirpath=tmp_path / "checkpoints", every_n_train_steps=4, save_top_k=-1)
    changes = {"max_steps": 9, "logger": logger, "enable_checkpointing": True, "val_check_interval": 3}
    one = trainer(tmp_path, watch, saving, limit_val_batches=1, num_sanity_val_steps=1, **changes)
    one.fit(model, loader(), loader())
    run = segment(tmp_path)
    mfus = {round(row["perf/mfu"] * PEAK) for _, row in logger.ours()}
    assert mfus == {FLOPS_PER_BATCH}, "every window is one second of one step"
    # A sanity check of 10 s belongs to set-up; validation after steps 3, 6 and 9; checkpoints after 4 and 8.
    assert run.end.seconds == {"setup": 10.0, "validation": 30.0, "training": 9.0, "checkpoint": 60.0}
    # The time left counts what comes back: after step 8 one step of 1 s is left, and the second checkpoint of 30 s,
    # four steps after the first, comes before it; the next validation comes after it.
    left = [row["budget/hours_left"] * 3600 for _, row in logger.ours()]
    assert left[6] == pytest.approx(1 + 30)


class SlowCallback(Callback):
    def __init__(self, clock, seconds):
        self.clock, self.seconds = clock, seconds

    def on_train_batch_end(self, *_):
        self.clock.advance(self.seconds)


@lightning_2_5
@pytest.mark.parametrize("accumulation", [1, 4])
def test_every_second_of_a_busy_fit_is_of_one_kind(tmp_path, clock, accumulation):
    logger = MemoryLogger()
    model = TinyGPT(lambda index: clock.advance(1.0))
    model.validation_step = lambda batch, batch_idx: clock.advance(10.0)
    saving = SlowCheckpoint(clock, 30.0, dirpath=tmp_path / "checkpoints", every_n_train_steps=4, save_top_k=-1)
    watch = FlopWatch(peak_flops_per_second=PEAK, every_n_steps=2)
    changes = {"max_steps": 8, "logger": logger, "enable_checkpointing": True, "val_check_interval": 3 * accumulation}
    changes |= {"accumulate_grad_batches": accumulation, "limit_val_batches": 2, "num_sanity_val_steps": 1}
    started = clock.now
    one = trainer(tmp_path, watch, saving, SlowCallback(clock, 0.5), **changes)
    one.fit(model, SlowLoader(clock, 0.25), loader())
    run = segment(tmp_path)
    batches = 8 * accumulation
    seconds = {
        "setup": 10.0,  # the sanity check
        "training": batches * 1.0,
        "callbacks": batches * 0.5,
        "validation": 2 * 2 * 10.0,  # after steps 3 and 6, two batches each
        "checkpoint": 2 * 30.0,  # after steps 4 and 8
    }
    # Its first two batches come at once, and Lightning fetches one ahead: at each but the first it waits for the next.
    seconds["data_wait"] = 0.25 * (batches - 1)
    assert run.end.seconds == seconds
    assert sum(run.end.seconds.values()) == pytest.approx(clock.now - started, abs=1e-6)
    # Neither validation nor checkpoints nor a slow callback dent the MFU: a step is its batches and their data.
    for window in run.windows[1:]:
        assert window.seconds == pytest.approx(window.counts.batches * 1.25)
    # Totals of the checkpoint at step 4 are those of four steps.
    assert run.windows[2].totals.counts.flops == 4 * accumulation * FLOPS_PER_BATCH


def test_waiting_for_data_is_its_own_kind(tmp_path, clock):
    logger = MemoryLogger()
    model = TinyGPT(lambda index: clock.advance(0.75))
    watch = FlopWatch(peak_flops_per_second=PEAK, every_n_steps=4)
    run = fit(tmp_path, watch, model, SlowLoader(clock, 0.25), max_steps=8, logger=logger)
    last = logger.ours()[-1][1]
    assert last["step/data_wait_frac"] == pytest.approx(0.25)
    assert last["perf/mfu"] * PEAK == pytest.approx(FLOPS_PER_BATCH)
    assert run.end.seconds["training"] == 8 * 0.75


def test_accumulation_counts_every_micro_batch_and_steps_once(tmp_path, clock):
    model = TinyGPT(lambda index: clock.advance(1.0))
    watch = FlopWatch(every_n_steps=2)
    run = fit(tmp_path, watch, model, max_steps=4, accumulate_grad_batches=4)
    assert run.end.totals.counts.steps == 4
    assert run.end.totals.counts.batches == 16
    assert run.end.totals.counts.flops == 16 * FLOPS_PER_BATCH
    assert [(window.step, window.counts.batches, window.seconds) for window in run.windows] == [
        (1, 4, 4.0),
        (2, 4, 4.0),
        (4, 8, 8.0),
    ]


def test_variable_shapes_are_counted_one_by_one(tmp_path):
    shapes = [(2, 16), (1, 8), (3, 32), (2, 16)]
    batches = [tuple(torch.zeros(2, *shape, dtype=torch.long)) for shape in shapes]
    run = fit(tmp_path, FlopWatch(), data=DataLoader(batches, batch_size=None), max_steps=4)
    # Per token (2 * 768 + 256) * 2 = 3,584 FLOPs, per pair 64: x 3 for training.
    expected = sum(3 * b * (3584 * t + 64 * t * (t + 1) // 2) for b, t in shapes)
    assert run.end.totals.counts.flops == expected
    assert run.end.totals.counts.tokens == sum(b * t for b, t in shapes)


def as_mapping(rows):
    inputs, targets = zip(*rows, strict=True)
    return {"labels": torch.stack(targets), "input_ids": torch.stack(inputs)}


def as_one_tensor(rows):
    return torch.stack([torch.cat([inputs, targets[-1:]]) for inputs, targets in rows])


class Reader(TinyGPT):
    """Takes mappings, single tensors whose last token is a target only, or pairs."""

    def _loss(self, batch):
        if isinstance(batch, dict):
            batch = batch["input_ids"], batch["labels"]
        elif isinstance(batch, torch.Tensor):
            batch = batch[:, :-1], batch[:, 1:]
        return super()._loss(batch)


@pytest.mark.parametrize("collate", [as_mapping, as_one_tensor, None])
def test_the_shape_is_the_one_that_reaches_the_model(tmp_path, collate):
    data = DataLoader(Tokens(), batch_size=SEQUENCES, collate_fn=collate)
    run = fit(tmp_path, FlopWatch(), Reader(), data)
    assert run.end.totals.counts.flops == 10 * FLOPS_PER_BATCH
    assert run.end.totals.counts.tokens == 10 * TOKENS_PER_BATCH
    assert (run.work.sequences, run.work.seq_len) == (SEQUENCES, SEQ_LEN)


def test_a_batch_shape_function_decides(tmp_path):
    data = DataLoader([{"text": torch.zeros(3, 8, dtype=torch.long)}] * 10, batch_size=None)
    model = TinyGPT()
    model._loss = lambda batch: TinyGPT._loss(model, (batch["text"], batch["text"]))
    run = fit(tmp_path, FlopWatch(batch_shape=lambda batch: batch["text"].shape), model, data, max_steps=5)
    assert run.end.totals.counts.tokens == 5 * 24
    assert run.end.totals.counts.flops == 5 * 3 * 3 * (3584 * 8 + 64 * 36)


def test_a_batch_without_tokens_is_no_work_and_said_once(tmp_path, caplog):
    class Patient(TinyGPT):
        def _loss(self, batch):
            return super()._loss(batch) if batch[0].numel() else self.wte.weight.sum()

    full, empty = (tuple(torch.zeros(2, 2, length, dtype=torch.long)) for length in (16, 0))
    data = DataLoader([full, empty, full, empty], batch_size=None)
    run = fit(tmp_path, FlopWatch(), Patient(), data, max_steps=4)
    assert run.end.totals.counts.flops == 2 * FLOPS_PER_BATCH
    assert caplog.text.count("a batch without tokens (2 x 0)") == 1


def test_a_batch_that_cannot_be_read_makes_the_totals_unknown_from_there_on(tmp_path, caplog):
    class Patient(TinyGPT):
        def _loss(self, batch):
            return super()._loss(batch) if isinstance(batch, list) else self.wte.weight.sum()

    good, odd = list(torch.zeros(2, 2, 16, dtype=torch.long)), {"x": torch.zeros(2)}
    run = fit(
        tmp_path,
        FlopWatch(every_n_steps=1),
        Patient(),
        DataLoader([good, good, odd, good], batch_size=None),
        max_steps=4,
    )
    assert [window.totals.counts.flops for window in run.windows] == [FLOPS_PER_BATCH, 2 * FLOPS_PER_BATCH, None, None]
    assert caplog.text.count("FLOPs and MFU end here: the shape of a batch does not say what the model is fed") == 1


def test_a_batch_shape_function_that_fails_is_survived(tmp_path, caplog):
    run = fit(tmp_path, FlopWatch(batch_shape=lambda batch: batch["nothing"]))
    assert run.work.verification == "watched"
    assert run.end.totals.counts.flops == 10 * FLOPS_PER_BATCH
    assert run.end.totals.counts.steps == 10
    assert caplog.text.count("batch_shape failed") == 1


class Stating(TinyGPT):
    def flops_per_batch(self, batch):
        return 1000 * batch[0].numel()


@pytest.mark.parametrize(
    ("make", "watch"),
    [(Stating, FlopWatch()), (TinyGPT, FlopWatch(flops_per_batch=lambda batch: 1000 * batch[0].numel()))],
    ids=["method", "argument"],
)
def test_a_count_of_the_users_own_goes_before_everything(tmp_path, make, watch):
    run = fit(tmp_path, watch, make())
    assert run.work.verification == "given"
    assert run.end.totals.counts.flops == 10 * 1000 * TOKENS_PER_BATCH
    assert run.end.totals.counts.hardware_flops is None
    assert (
        f"a watched batch ran {FLOPS_PER_BATCH:,} FLOPs, the function returned {1000 * TOKENS_PER_BATCH:,}"
    ) in run.work.note


def test_a_count_of_the_users_own_that_fails_is_left_aside(tmp_path, caplog):
    run = fit(tmp_path, FlopWatch(flops_per_batch=lambda batch: batch["nothing"]), TinyGPT())
    assert run.work.verification == "verified"
    assert run.end.totals.counts.flops == 10 * FLOPS_PER_BATCH
    assert caplog.text.count("flops_per_batch failed: expected a whole number of FLOPs") == 1


class TwoForwards(TinyGPT):
    def _loss(self, batch):
        return super()._loss(batch) + super()._loss(batch)


class Half(TinyGPT):
    def _loss(self, batch):
        return super()._loss(tuple(each[:, ::2] for each in batch))


def frozen():
    model = TinyGPT()
    model.wpe.requires_grad_(False)
    return model


def with_a_stranger():
    model = TinyGPT()
    model.teacher = torch.nn.Linear(3, 3)
    return model


def without_config():
    model = TinyGPT()
    model.config = None
    model.hparams.clear()
    return model


def nested_with_a_stranger():
    import pytorch_lightning as pl

    class Outer(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.model, self.extra = TinyGPT(), torch.nn.Linear(2, 2)

        def training_step(self, batch, index):
            return self.model._loss(batch)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    return Outer()


@pytest.mark.parametrize(
    ("make", "said", "flops"),
    [
        (TwoForwards, "with all attention pairs, but the closed form of gpt2 gives", 2 * FLOPS_PER_BATCH),
        # Half of the tokens: 2 sequences x 3 x (3,584 FLOPs x 8 tokens + 64 FLOPs x 8 * 9 / 2 pairs).
        (Half, "the closed form of gpt2 gives", 2 * 3 * (3584 * 8 + 64 * 36)),
        # Positions are added, so that freezing their table saves no product; its name is not one of GPT-2's.
        (frozen, "some parameters are frozen", FLOPS_PER_BATCH),
        (with_a_stranger, "describes 2,272 parameters, but the module has 2,284", FLOPS_PER_BATCH),
        (nested_with_a_stranger, "6 parameters outside the model that module.model.config", FLOPS_PER_BATCH),
        (without_config, "no config with a 'model_type' on the module", FLOPS_PER_BATCH),
    ],
)
def test_where_the_closed_form_would_be_wrong_the_step_is_measured(tmp_path, make, said, flops):
    run = fit(tmp_path, FlopWatch(), make())
    assert run.work.verification == "watched"
    assert said in run.work.note
    assert (run.end.totals.counts.flops, run.end.totals.counts.hardware_flops) == (10 * flops, 10 * flops)


class Peeking(TinyGPT):
    """Looks at a value."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss * 2 if loss.item() > 1e9 else loss


def peeking_without_config():
    model = Peeking()
    model.config = None
    model.hparams.clear()
    return model


def test_a_step_that_looks_at_values_is_counted(tmp_path):
    run = fit(tmp_path, FlopWatch(), peeking_without_config())
    assert run.work.verification == "watched"
    assert run.end.totals.counts.flops == 10 * FLOPS_PER_BATCH


def decomposing():
    """A weight goes into an operator without a formula."""
    model = without_config()
    loss = model._loss
    model._loss = lambda batch: loss(batch) + torch.linalg.qr(model.wpe.weight)[1].abs().sum() * 0
    return model


def test_what_cannot_be_counted_is_withheld_and_said(tmp_path, caplog):
    logger = MemoryLogger()
    model = decomposing()
    run = fit(tmp_path, FlopWatch(peak_flops_per_second=PEAK, every_n_steps=2), model, logger=logger)
    said = (
        "no config with a 'model_type'",
        "aten.linalg_qr ran 1 times, with weights of wpe",
        "flopwatch.measure.register",
    )
    assert run.work.verification == "withheld"
    assert all(words in run.work.note for words in said)
    assert run.end.totals.counts.flops is None
    assert not any("perf/mfu" in row or "budget/flops" in row for _, row in logger.ours())
    assert "perf/step_seconds" in logger.ours()[0][1]
    assert caplog.text.count("no FLOPs and no MFU") == 1


def test_a_config_argument_and_hparams_will_do(tmp_path):
    model = without_config()
    run = fit(tmp_path / "a", FlopWatch(config=CONFIG), model)
    assert run.end.totals.counts.flops == 10 * FLOPS_PER_BATCH
    model = TinyGPT()
    model.config = None
    run = fit(tmp_path / "b", FlopWatch(), model)
    assert "module.hparams" in run.work.note
    assert run.end.totals.counts.flops == 10 * FLOPS_PER_BATCH


def test_a_hugging_face_model_is_found_without_being_told(tmp_path):
    import pytorch_lightning as pl

    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=32, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )

    class Wrapper(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = transformers.LlamaForCausalLM(config)

        def training_step(self, batch, index):
            return self.model(input_ids=batch["input_ids"], labels=batch["labels"]).loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    data = DataLoader(Tokens(), batch_size=SEQUENCES, collate_fn=as_mapping)
    run = fit(tmp_path, FlopWatch(attention="full"), Wrapper(), data, max_steps=3)
    # Per token: 4 * 64 + 3 * 8 * 16 + 8 * 32 = 896 multiply-adds; 16 * 16 pairs x 2 heads x 8 x 2 = 8,192 FLOPs.
    assert run.end.totals.counts.flops == 3 * 3 * SEQUENCES * (896 * 2 * 16 + 8192)
    assert run.work.verification == "verified"
    assert (run.work.attention, run.work.model_type) == ("full", "llama")


@watches_compiled
def test_a_compiled_model_is_counted(tmp_path):
    import pytorch_lightning as pl

    class Wrapper(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = torch.compile(TinyGPT(), backend="eager")

        def training_step(self, batch, index):
            logits = self.model(batch[0])
            return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[1].flatten())

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    run = fit(tmp_path, FlopWatch(), Wrapper(), max_steps=4)
    assert run.end.totals.counts.flops == 4 * FLOPS_PER_BATCH
    assert run.work.verification == "verified"


def test_without_a_peak_there_is_no_mfu_and_flops_are_still_counted(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    logger = MemoryLogger()
    run = fit(tmp_path, FlopWatch(every_n_steps=2), logger=logger)
    assert run.start.device.peak_flops_per_second is None
    assert not any("perf/mfu" in row for _, row in logger.ours())
    assert logger.ours()[-1][1]["budget/flops"] == 10 * FLOPS_PER_BATCH
    assert (
        "no MFU: a CPU has no datasheet peak; pass a number as FlopWatch(peak_flops_per_second=...), or"
    ) in caplog.text


def test_a_measured_peak_says_that_it_is_measured(tmp_path):
    run = fit(tmp_path, FlopWatch(peak_flops_per_second="measured"), max_steps=2)
    assert run.start.device.peak_flops_per_second > 1e8
    assert run.start.device.peak_source.startswith("measured: ")
    assert run.start.device.dtype == "fp32"


class Autocasting(TinyGPT):
    """Opens an autocast of its own in a 32-bit Trainer."""

    def training_step(self, batch, batch_idx):
        with torch.autocast("cpu", torch.bfloat16):
            return super().training_step(batch, batch_idx)


def test_an_autocast_in_training_step_is_seen_at_the_first_batch(tmp_path):
    run = fit(tmp_path, FlopWatch(peak_flops_per_second=PEAK), Autocasting(), max_steps=3)
    assert (run.start.device.dtype, run.start.device.peak_flops_per_second) == ("bf16", PEAK)
    report = summarize(read_run(tmp_path))
    assert report.device.dtype == "bf16"


class CompiledBeside(TinyGPT):
    """Runs a compiled function that holds the layers, and is no child of the module, under an autocast."""

    def __init__(self):
        super().__init__()
        self.compilations = []
        self.hooks = set()

        def backend(graph, inputs):
            self.compilations.append(graph)
            return graph

        self.compiled = [torch.compile(super().forward, backend=backend)]

    def forward(self, tokens):
        self.hooks |= {len(each._forward_pre_hooks) + len(each._forward_hooks) for each in self.modules()}
        with torch.autocast("cpu", torch.bfloat16):
            return self.compiled[0](tokens)


@watches_compiled
def test_what_is_compiled_beside_the_module_compiles_once_and_shows_its_precision(tmp_path):
    model = CompiledBeside()
    run = fit(tmp_path, FlopWatch(peak_flops_per_second=PEAK), model, max_steps=4)
    assert run.start.device.dtype == "bf16"
    assert len(model.compilations) == 1
    assert model.hooks == {0}
    assert run.end.totals.counts.flops == 4 * FLOPS_PER_BATCH


def test_the_precision_can_be_given(tmp_path):
    run = fit(tmp_path, FlopWatch(dtype="fp8", peak_flops_per_second=PEAK), Autocasting(), max_steps=3)
    assert run.start.device.dtype == "fp8"


def test_an_mfu_above_one_is_logged_as_it_is_with_one_warning(tmp_path, clock, caplog):
    logger = MemoryLogger()
    model = TinyGPT(lambda index: clock.advance(1.0))
    fit(tmp_path, FlopWatch(peak_flops_per_second=FLOPS_PER_BATCH / 1.25, every_n_steps=2), model, logger=logger)
    assert logger.ours()[-1][1]["perf/mfu"] == pytest.approx(1.25)
    assert caplog.text.count("MFU is above 100%") == 1


@pytest.mark.parametrize(
    ("budget", "fraction"),
    [(f"{20 * TOKENS_PER_BATCH} tokens", 0.5), (f"{40 * FLOPS_PER_BATCH} FLOPs", 0.25), ("40 samples", 0.5)],
)
def test_budgets(tmp_path, clock, budget, fraction):
    logger = MemoryLogger()
    model = TinyGPT(lambda index: clock.advance(1.0))
    run = fit(tmp_path, FlopWatch(budget, every_n_steps=5), model, logger=logger)
    last = logger.ours()[-1][1]
    assert last["budget/fraction"] == fraction
    # Ten steps in ten seconds used the fraction; the rest takes as long in proportion.
    assert last["budget/hours_left"] * 3600 == pytest.approx(10 * (1 - fraction) / fraction)
    assert run.windows[-1].budget_fraction == fraction


def test_the_trainers_own_limits_are_the_default_budget(tmp_path):
    run = fit(tmp_path / "epochs", FlopWatch(), data=loader(6), max_steps=-1, max_epochs=2, accumulate_grad_batches=3)
    assert [(line.amount, line.unit) for line in run.start.budgets] == [(2, "epochs")]
    run = fit(tmp_path / "time", FlopWatch(), max_steps=-1, max_epochs=1, data=loader(5), max_time={"hours": 2})
    budgets = [(line.amount, line.unit) for line in run.start.budgets]
    assert budgets[0] == (1, "epochs")
    assert budgets[1] == (pytest.approx(7200, abs=1), "seconds")


def test_facts_go_to_the_hyperparameters_once(tmp_path):
    logger = MemoryLogger()
    fit(tmp_path, FlopWatch(peak_flops_per_second=PEAK), logger=logger)
    (facts,) = [params["flopwatch"] for params in logger.facts if "flopwatch" in params]
    assert facts["training_flops_per_token"] == FLOPS_PER_BATCH / TOKENS_PER_BATCH
    assert (facts["peak_flops_per_second"], facts["dtype"], facts["attention"]) == (PEAK, "fp32", "causal")
    assert facts["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]


def test_the_report_is_written_and_said(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    fit(tmp_path, FlopWatch(peak_flops_per_second=PEAK, dirpath=tmp_path / "own"))
    assert {path.name for path in (tmp_path / "own").iterdir()} == {"run.jsonl", "report.html"}
    # 10 steps of 2 sequences of 198,144 FLOPs are 3.96 MFLOPs.
    assert "3.96 MFLOPs, 10 steps in" in caplog.text
    assert f"written: {tmp_path / 'own' / 'report.html'}" in caplog.text
    fit(tmp_path, FlopWatch(dirpath=tmp_path / "own", report=False))
    assert {path.name for path in (tmp_path / "own").iterdir()} == {"run.jsonl", "report.html", "run-2.jsonl"}


def test_the_users_profiler_works_on(tmp_path):
    profiler = SimpleProfiler()
    fit(tmp_path, FlopWatch(), profiler=profiler)
    assert len(profiler.recorded_durations["[_TrainingEpochLoop].train_dataloader_next"]) == 10
    assert "start" not in profiler.__dict__


def test_a_copy_of_the_module_holds_nothing_of_ours(tmp_path):
    run = fit(tmp_path, FlopWatch(), max_steps=3)
    assert run.end.totals.counts.steps == 3
    if not hasattr(callbacks, "WeightAveraging"):
        pytest.skip("Lightning before 2.6 averages no weights")
    averaged = callbacks.WeightAveraging()
    trainer(tmp_path / "b", FlopWatch(), averaged, max_steps=3).fit(TinyGPT(), loader())
    assert segment(tmp_path / "b").end.totals.counts.flops == 3 * FLOPS_PER_BATCH


def test_fitting_twice_goes_on_from_the_first_totals(tmp_path):
    watch = FlopWatch()
    one = trainer(tmp_path, watch, max_steps=4)
    model = TinyGPT()
    one.fit(model, loader())
    one.fit_loop.epoch_loop.max_steps = 10
    one.fit(model, loader())
    run = read_run(tmp_path)
    assert [each.end.totals.counts.steps for each in run.segments] == [4, 10]
    assert run.segments[-1].end.totals.counts.flops == 10 * FLOPS_PER_BATCH


def test_validate_and_test_are_left_alone(tmp_path):
    one = trainer(tmp_path, FlopWatch())
    one.validate(TinyGPT(), loader(3), verbose=False)
    assert list(tmp_path.rglob("*.jsonl")) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"budget": "1.4T apples"}, "got '1.4T apples'"),
        ({"budget": "-5 tokens"}, "expected a positive budget"),
        ({"budget": 5}, "expected a budget like"),
        ({"budget": [5]}, "expected a budget like"),
        ({"peak_flops_per_second": 0}, "above zero or 'measured' for peak_flops_per_second, got 0"),
        ({"peak_flops_per_second": True}, "got True"),
        ({"peak_flops_per_second": "fast"}, "a number of FLOP/s above zero or 'measured'"),
        ({"every_n_seconds": None}, "above zero for every_n_seconds, got None"),
        ({"every_n_seconds": -1}, "above zero for every_n_seconds, got -1"),
        ({"every_n_seconds": float("nan")}, "every_n_seconds, got nan"),
        ({"every_n_steps": 1.5}, "every_n_steps, got 1.5"),
        ({"usd_per_device_hour": -1}, "usd_per_device_hour, got -1"),
        ({"attention": "flash"}, "expected attention='causal' or 'full', got 'flash'"),
        ({"batch_shape": (1, 2)}, "expected a function for batch_shape"),
        ({"flops_per_batch": 1000}, "expected a function for flops_per_batch"),
        ({"config": {"model_type": "x"}}, "no closed form for model_type 'x'"),
        ({"config": "/nowhere/config.json"}, "found no file at"),
        ({"prefix": 3}, "expected a word for prefix"),
        ({"dirpath": 5}, "expected a local folder for dirpath, got 5"),
        ({"dirpath": "s3://bucket/runs"}, "expected a local folder for dirpath"),
        ({"report": "no"}, "expected True or False for report, got 'no'"),
        ({"dtype": "bf32"}, "expected one of bf16, fp16, tf32, fp8, fp4, int8, fp32, fp64 for dtype, got 'bf32'"),
        ({"chips": "/nowhere.csv"}, "cannot read the chips in /nowhere.csv"),
        ({"chips": 3}, "expected a CSV file or a list of flopwatch.hardware.chips.Chip"),
        ({"peak_flops_per_second": 10**400}, "above zero or 'measured' for peak_flops_per_second"),
        ({"config": 5000 * "x"}, "cannot read"),
    ],
)
def test_a_wrong_argument_fails_at_once(arguments, said):
    with pytest.raises(FlopwatchError) as error:
        FlopWatch(**arguments)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_json_of_the_run_file_is_plain(tmp_path):
    fit(tmp_path, FlopWatch(peak_flops_per_second=PEAK))
    (path,) = tmp_path.rglob("run.jsonl")
    kinds = [json.loads(line)["kind"] for line in path.read_text().splitlines()]
    assert kinds == ["start", "work", "window", "window", "end"]


def test_flopwatchs_own_seconds_are_not_those_of_other_callbacks(tmp_path, monkeypatch):
    count = Counting.count

    def slow(self, batch):
        time.sleep(0.02)
        return count(self, batch)

    class Slow(Callback):
        def on_train_batch_end(self, *_):
            time.sleep(0.05)

    monkeypatch.setattr(Counting, "count", slow)
    trainer(tmp_path, FlopWatch(), Slow()).fit(TinyGPT(), loader())
    seconds = read_run(tmp_path).segments[0].end.totals.seconds_by_kind
    # Ten batches: 0.2 s of ours, 0.5 s of the other one.
    assert seconds["flopwatch"] >= 0.2
    assert seconds["callbacks"] >= 0.5
    assert sum(seconds.values()) == pytest.approx(read_run(tmp_path).segments[0].end.totals.seconds, abs=0.01)
