"""Real loggers: W&B offline, CSV, TensorBoard, several at once, and the progress bar."""

import csv
from pathlib import Path

import pytest
from pytorch_lightning.callbacks import ModelCheckpoint, RichProgressBar, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

from flopwatch import FlopWatch
from flopwatch.run.metric_table import METRICS
from tests.lightning.models import FLOPS_PER_BATCH, TOKENS_PER_BATCH, TinyGPT, loader, trainer
from tests.versions import lightning_2_5
from tests.wandb import log as wandb_log

SCRIPTS = Path(__file__).parent / "scripts"
# No validation runs. Which steps are watched and which have their phases timed is a matter of how fast they are.
PHASES = {key for key in METRICS if key.startswith("step/")} - {"step/data_wait_frac"}
KEYS = {key for key in METRICS if not key.startswith("gpu/")} - PHASES
KEYS -= {"perf/mfu_at_clock", "budget/kwh", "budget/usd", "loss/validation"}


def test_wandb_offline_gets_every_row_on_lightnings_axis(python, tmp_path):
    result = python(SCRIPTS / "offline_wandb.py", tmp_path)
    assert result.returncode == 0, result.stderr
    rows = wandb_log.history(tmp_path)
    ours = [row for row in rows if "perf/mfu" in row]
    theirs = [row for row in rows if "train/loss" in row]
    # Warm-up is step 1; windows end at steps 2, 4, ... 10, which Lightning's axis calls 1, 3, ... 9.
    assert [row["trainer/global_step"] for row in ours] == [1, 3, 5, 7, 9]
    assert {row["trainer/global_step"] for row in theirs} == {1, 3, 5, 7, 9}
    assert [row["budget/flops"] for row in ours] == [steps * FLOPS_PER_BATCH for steps in (2, 4, 6, 8, 10)]
    assert {key for key in ours[-1] if "/" in key and not key.startswith("trainer/")} - PHASES == KEYS
    summary = wandb_log.summary(tmp_path)
    assert summary["flopwatch/flops_total"] == 10 * FLOPS_PER_BATCH
    assert summary["flopwatch/status"] == "finished"
    assert summary["flopwatch/mfu_mean"] > 0
    config = wandb_log.config(tmp_path)["flopwatch"]
    assert (config["peak_flops_per_second"], config["peak_source"]) == (1e9, "given by the user")
    assert config["training_flops_per_token"] == FLOPS_PER_BATCH / TOKENS_PER_BATCH


def test_csv_and_tensorboard_at_once_get_the_same(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loggers = [CSVLogger(tmp_path, name="csv"), TensorBoardLogger(tmp_path, name="tb")]
    watch = FlopWatch(peak_flops_per_second=1e9, every_n_steps=5, prefix="mine")
    trainer(tmp_path, watch, logger=loggers).fit(TinyGPT(), loader())
    rows = list(csv.DictReader(Path(loggers[0].log_dir, "metrics.csv").read_text().splitlines()))
    assert [(row["step"], float(row["mine/budget/flops"])) for row in rows] == [
        ("4", 5.0 * FLOPS_PER_BATCH),
        ("9", 10.0 * FLOPS_PER_BATCH),
    ]
    events = EventAccumulator(loggers[1].log_dir).Reload().Scalars("mine/budget/flops")
    assert [(event.step, event.value) for event in events] == [(4, 5.0 * FLOPS_PER_BATCH), (9, 10.0 * FLOPS_PER_BATCH)]


def test_the_users_hp_metric_in_tensorboard_stays(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class Model(TinyGPT):
        def on_train_start(self):
            self.logger.log_hyperparams({"lr": 1e-3}, {"hp_metric": 0.5})

    logger = TensorBoardLogger(tmp_path, name="tb")
    trainer(tmp_path, FlopWatch(), logger=logger).fit(Model(), loader())
    events = EventAccumulator(logger.log_dir).Reload().Scalars("hp_metric")
    assert events[-1].value == 0.5
    assert logger.hparams["flopwatch"]["model_type"] == "gpt2"


@pytest.mark.parametrize("bar", [TQDMProgressBar, pytest.param(RichProgressBar, marks=lightning_2_5)])
def test_the_progress_bar_shows_mfu_and_time_left(tmp_path, bar, capsys):
    seen = []

    class Spy(bar):
        def on_train_batch_end(self, trainer, *arguments):
            super().on_train_batch_end(trainer, *arguments)
            seen.append(self.get_metrics(trainer, trainer.lightning_module))

    watch = FlopWatch(peak_flops_per_second=1e9, every_n_steps=2)
    one = trainer(tmp_path, watch, Spy(), enable_progress_bar=True)
    one.fit(TinyGPT(), loader())
    words = [{key: row[key] for key in ("mfu", "time_left") if key in row} for row in seen]
    assert words[0] == {}
    assert words[-1]["mfu"].endswith("%")
    assert words[-1]["time_left"] == "0s"
    assert "get_metrics" not in one.progress_bar_callback.__dict__


def test_model_checkpoint_can_keep_the_fastest(tmp_path):
    best = ModelCheckpoint(tmp_path, monitor="perf/tokens_per_sec", mode="max", every_n_train_steps=2, save_top_k=1)
    one = trainer(tmp_path, FlopWatch(every_n_steps=2), best, enable_checkpointing=True)
    one.fit(TinyGPT(), loader())
    # Nothing is known before the second step, where a checkpoint is due.
    assert best.best_model_score > 0
    assert one.callback_metrics["budget/tokens"] == 10 * TOKENS_PER_BATCH
