"""A wall clock that is set while a run goes on, and between two processes of one."""

import ast
import time
from pathlib import Path

import pytest
from pytorch_lightning.callbacks import ModelCheckpoint

import flopwatch
from flopwatch import FlopWatch
from flopwatch.report.report import summarize
from flopwatch.report.tail import follow
from flopwatch.run import clock
from flopwatch.run.run_file import find_run_file, read_run
from tests.lightning.models import FLOPS_PER_BATCH, MemoryLogger, TinyGPT, loader, trainer

SOURCE = Path(flopwatch.__file__).parent
STEPS = 20
# The steady clock's first reading; the date of a disk, held against the wall clock; the time of day of a message.
# `check` holds a device's clock against it, for seconds.
READERS = {"run/clock.py", "run/lineage.py", "hardware/sampler.py", "check/products.py"}


def test_the_wall_clock_is_read_in_few_places():
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("time.time", "time.time_ns"):
                found.add(path.relative_to(SOURCE).as_posix())
    assert found == READERS


@pytest.mark.parametrize("change", [-3.0, 60.0, -3600.0])
def test_a_clock_that_is_set_in_the_midst_changes_nothing(tmp_path, monkeypatch, change):
    real = time.time

    def at_batch(index):
        time.sleep(0.01)
        if index == STEPS // 2:
            monkeypatch.setattr(time, "time", lambda: real() + change)

    began, logger = real(), MemoryLogger()
    watch = FlopWatch(every_n_steps=5, peak_flops_per_second=1e9)
    trainer(tmp_path, watch, logger=logger, max_steps=STEPS).fit(TinyGPT(at_batch), loader())
    ended = real()
    run = read_run(tmp_path)
    report = summarize(run)
    (segment,) = run.segments
    dates = [segment.start.time, *(window.ended_at for window in segment.windows), segment.end.time]
    # The date that flopwatch was loaded with may be a moment apart from the wall clock now.
    assert dates == sorted([began - 1, *dates, ended + 1])[1:-1]
    assert STEPS * 0.01 < report.wall_seconds <= ended - began + 0.01
    assert sum(report.seconds.values()) == pytest.approx(report.wall_seconds, abs=0.1)
    assert set(report.seconds) & {"unknown", "interruption"} == set()
    assert report.goodput == pytest.approx(report.totals.seconds_by_kind["training"] / report.wall_seconds)
    assert report.run_mfu == pytest.approx(STEPS * FLOPS_PER_BATCH / report.wall_seconds / 1e9, rel=1e-4)
    live = logger.ours()[-1][1]
    assert 0 < live["perf/goodput"] < 1
    assert 0 < live["perf/run_mfu"] < 1
    assert report.notes == ()


def process(folder, steps, ckpt=None, logger=None):
    saving = ModelCheckpoint(folder, "{step}", every_n_train_steps=5, save_top_k=-1, enable_version_counter=False)
    watch = FlopWatch(every_n_steps=5, peak_flops_per_second=1e9)
    one = trainer(folder, watch, saving, max_steps=steps, enable_checkpointing=True, logger=logger or False)
    one.fit(TinyGPT(lambda index: time.sleep(0.02)), loader(), ckpt_path=ckpt)


def set_clock(monkeypatch, seconds):
    """What a process that starts after the clock was set would read."""
    monkeypatch.setattr(clock, "_STARTED_AT", clock._STARTED_AT + seconds)


@pytest.mark.parametrize("change", [-0.2, -3600.0])
def test_a_clock_that_is_set_back_between_two_processes_leaves_out_what_lay_between(tmp_path, monkeypatch, change):
    began = time.monotonic()
    process(tmp_path, 8)
    set_clock(monkeypatch, change)
    logger = MemoryLogger()
    process(tmp_path, STEPS, tmp_path / "step=5.ckpt", logger)
    took = time.monotonic() - began
    run = read_run(tmp_path)
    report = summarize(run)
    first, second = run.segments
    # 20 steps kept, 8 - 5 lost; all the time of both processes, and nothing between them.
    assert (report.totals.counts.steps, report.totals.lost_steps) == (STEPS, 3)
    assert report.totals.seconds <= report.wall_seconds <= took
    assert report.wall_seconds == pytest.approx(report.totals.seconds, abs=0.3)
    assert second.start.time >= first.end.time
    assert report.seconds.get("interruption", 0.0) >= 0
    assert sum(report.seconds.values()) == pytest.approx(report.wall_seconds, abs=1e-6)
    assert 0 < report.goodput < 1
    assert report.goodput == pytest.approx(report.totals.seconds_by_kind["training"] / report.wall_seconds)
    assert report.run_mfu == pytest.approx(STEPS * FLOPS_PER_BATCH / report.wall_seconds / 1e9, rel=1e-4)
    assert report.parts
    assert [point.seconds for point in report.points] == sorted(point.seconds for point in report.points)
    live, row = logger.ours()[-1][1], list(follow(find_run_file(tmp_path)).rows())[-1]
    for values in (live, row):
        assert values["perf/run_mfu"] == pytest.approx(report.run_mfu, rel=0.2)
        assert values["perf/goodput"] == pytest.approx(report.goodput, rel=0.2)
    words = "the clock was set back between two processes by at least 1h 00m: the time between them is left out"
    assert report.notes == ((words,) if change == -3600.0 else ())


def test_a_clock_that_was_set_back_stays_so_for_all_processes_after(tmp_path, monkeypatch):
    began = time.monotonic()
    process(tmp_path, 8)
    set_clock(monkeypatch, -3600.0)
    process(tmp_path, 12, tmp_path / "step=5.ckpt")
    process(tmp_path, 16, tmp_path / "step=10.ckpt")
    process(tmp_path, STEPS, tmp_path / "step=5.ckpt")
    took = time.monotonic() - began
    report = summarize(read_run(tmp_path))
    # In vain were 8 - 5, 12 - 5 and 16 - 10; of wall time all is there but the time between the first two.
    assert (report.totals.counts.steps, report.totals.lost_steps) == (STEPS, 3 + 7 + 6)
    assert report.totals.seconds <= report.wall_seconds <= took
    assert report.wall_seconds == pytest.approx(took, abs=1.5)
    assert len(report.notes) == 1
