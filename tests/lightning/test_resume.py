"""A run killed and resumed ends with the totals of a run in one."""

import random
import time
from pathlib import Path

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from flopwatch import FlopWatch
from flopwatch.lightning.session import restart
from flopwatch.report.report import summarize
from flopwatch.run.records import Totals
from flopwatch.run.run_file import read_run
from tests import running
from tests.lightning.models import FLOPS_PER_BATCH, TOKENS_PER_BATCH, MemoryLogger, TinyGPT, loader, trainer

STEPS = 24
SCRIPT = Path(__file__).parent / "scripts" / "saved_every_four_steps.py"


def run_until(folder, step):
    """Run the script, and kill it with SIGKILL once it is past a step (never, if the step is None)."""
    process = running.start(SCRIPT, folder, STEPS)
    while step is not None and process.poll() is None:
        files = sorted(folder.rglob("run.jsonl"), key=lambda path: path.stat().st_mtime)
        if files and f'"step":{step},' in files[-1].read_text() and (folder / "last.ckpt").exists():
            process.kill()
        time.sleep(0.02)
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


@pytest.mark.slow
def test_a_run_killed_twice_equals_the_run_in_one(tmp_path):
    # A checkpoint is saved every four steps and a window ends every three: both kills lose steps.
    for step in (random.Random(0).choice([6, 9]), random.Random(1).choice([15, 18])):
        assert run_until(tmp_path, step)[0] == -9
    code, errors = run_until(tmp_path, None)
    assert code == 0, errors
    run = read_run(tmp_path)
    report = summarize(run)
    assert len(run.segments) == 3
    # Two micro-batches a step.
    assert report.totals.counts.flops == STEPS * 2 * FLOPS_PER_BATCH
    assert report.totals.counts.tokens == STEPS * 2 * TOKENS_PER_BATCH
    assert (report.totals.counts.steps, report.totals.counts.batches, report.step) == (STEPS, 2 * STEPS, STEPS)
    assert report.processes == 3
    flops = [point.total_flops for point in report.points]
    assert flops == sorted(flops)
    assert report.seconds["interruption"] > 0
    assert report.run_mfu == pytest.approx(report.totals.counts.flops / report.wall_seconds / 1e9)


def test_live_totals_go_on_from_the_checkpoint(tmp_path):
    saving = ModelCheckpoint(tmp_path, every_n_train_steps=5, save_top_k=-1, filename="{step}")
    trainer(tmp_path, FlopWatch(), saving, enable_checkpointing=True).fit(TinyGPT(), loader())
    logger = MemoryLogger()
    watch = FlopWatch(every_n_steps=1)
    one = trainer(tmp_path / "b", watch, logger=logger, max_steps=8)
    one.fit(TinyGPT(), loader(), ckpt_path=tmp_path / "step=5.ckpt")
    assert logger.ours()[-1][1]["budget/flops"] == 8 * FLOPS_PER_BATCH
    assert read_run(tmp_path / "b").segments[-1].start.step == 5


def test_a_checkpoint_in_the_middle_of_a_window_misses_nothing(tmp_path):
    saving = ModelCheckpoint(tmp_path, every_n_train_steps=7, filename="{step}")
    trainer(tmp_path, FlopWatch(every_n_steps=5), saving, enable_checkpointing=True).fit(TinyGPT(), loader())
    state = torch.load(tmp_path / "step=7.ckpt", weights_only=True)["callbacks"]["FlopWatch"]
    assert state["totals"]["flops"] == 7 * FLOPS_PER_BATCH
    assert state["totals"]["steps"] == 7


def test_after_a_checkpoint_without_flopwatch_totals_are_unknown_and_windows_are_not(tmp_path):
    saving = ModelCheckpoint(tmp_path, every_n_train_steps=5, filename="{step}")
    trainer(tmp_path, saving, enable_checkpointing=True, max_steps=5).fit(TinyGPT(), loader())
    trainer(tmp_path, FlopWatch(), max_steps=8).fit(TinyGPT(), loader(), ckpt_path=tmp_path / "step=5.ckpt")
    (segment,) = read_run(tmp_path).segments
    assert segment.end.totals.counts.flops is None
    assert sum(window.counts.flops for window in segment.windows) == 3 * FLOPS_PER_BATCH
    assert segment.start.step == 5


def test_a_broken_state_in_a_checkpoint_does_not_stop_the_resumed_run(tmp_path, caplog):
    saving = ModelCheckpoint(tmp_path, every_n_train_steps=5, filename="{step}")
    trainer(tmp_path, FlopWatch(), saving, enable_checkpointing=True, max_steps=5).fit(TinyGPT(), loader())
    path = tmp_path / "step=5.ckpt"
    checkpoint = torch.load(path, weights_only=False)
    checkpoint["callbacks"]["FlopWatch"] = {"totals": 7, "started_at": "never"}
    torch.save(checkpoint, path)
    one = trainer(tmp_path / "b", FlopWatch(), max_steps=8)
    one.fit(TinyGPT(), loader(), ckpt_path=path)
    assert one.global_step == 8
    assert caplog.text.count("flopwatch stopped measuring") == 1


def test_totals_are_unknown_after_an_error_of_ours(tmp_path, monkeypatch):
    from flopwatch.lightning.session.session import Session

    saving = ModelCheckpoint(tmp_path, every_n_train_steps=5, filename="{step}")
    with monkeypatch.context() as patch:
        patch.setattr(Session, "batch_started", lambda self: 1 / 0)
        trainer(tmp_path, FlopWatch(), saving, enable_checkpointing=True, max_steps=5).fit(TinyGPT(), loader())
    trainer(tmp_path / "b", FlopWatch(), max_steps=8).fit(TinyGPT(), loader(), ckpt_path=tmp_path / "step=5.ckpt")
    assert read_run(tmp_path / "b").segments[-1].end.totals.counts.flops is None


def test_a_moment_that_was_lost_is_no_zero():
    kept = Totals(lost_steps=2, lost_seconds=10.0)
    lost = Totals(lost_steps=3, lost_seconds=10.3)
    # 10.3 - 10.0 s.
    words = "lost work of the previous process: 1 step after the checkpoint, 0.3s"
    assert restart._words(kept, lost, 1) == words
    words = "lost work of 2 previous processes: 1 step after the checkpoint, 0.3s"
    assert restart._words(kept, lost, 2) == words
