"""`torch.profiler` among profilers of others, in real fits."""

import gc
import gzip
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.profilers import PassThroughProfiler, PyTorchProfiler, SimpleProfiler

from flopwatch import FlopWatch
from flopwatch.lightning import recorder
from flopwatch.lightning.recorder import LostProfileError, TorchRecorder, another_profiler, compress
from flopwatch.run.run_file import read_run
from tests import running
from tests.lightning.models import TinyGPT, loader, trainer


def work():
    return torch.ones(8, 8) @ torch.ones(8, 8)


@pytest.fixture(autouse=True)
def no_profilers_of_other_tests():
    gc.collect()


def test_three_steps_are_recorded_and_written(tmp_path):
    one = TorchRecorder()
    one.start()
    for _ in range(4):
        work()
        one.step()
    one.stop()
    one.write(tmp_path / "trace.json.gz")
    text = gzip.decompress((tmp_path / "trace.json.gz").read_bytes()).decode()
    assert [name in text for name in ("ProfilerStep#1", "ProfilerStep#3", "ProfilerStep#4")] == [True, True, False]
    assert [path.name for path in tmp_path.iterdir()] == ["trace.json.gz"]


def test_profiled_steps_look_for_other_profilers_only_where_there_may_be_one(monkeypatch):
    """To look at all objects takes a tenth of a second, which a trace would show as the host's."""
    looked = []
    one = TorchRecorder()
    one.start()
    monkeypatch.setattr(recorder.gc, "get_objects", lambda: looked.append("looked") or [])
    for _ in range(3):
        work()
        one.step()
    assert looked == []
    reference = torch.autograd.profiler.profile  # which is no profiler
    one.step()
    assert (looked, reference) == (["looked"], torch.autograd.profiler.profile)
    one.stop()


def test_nothing_recorded_is_not_written(tmp_path):
    with pytest.raises(LostProfileError):
        TorchRecorder().write(tmp_path / "trace.json.gz")
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_file_never_has_the_traces_name(tmp_path, monkeypatch):
    plain, path = tmp_path / "trace.json", tmp_path / "trace.json.gz"
    plain.write_text("{}")
    monkeypatch.setattr(recorder.shutil, "copyfileobj", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compress(plain, path)
    assert [each.name for each in tmp_path.iterdir()] == ["trace.json"]


class Derived(PyTorchProfiler):
    pass


@pytest.mark.parametrize("kind", [PyTorchProfiler, Derived])
def test_lightnings_profiler_is_told_by_its_class_and_what_derives_from_it(kind):
    assert another_profiler(kind()) == "the Trainer's PyTorchProfiler"


@pytest.mark.parametrize("kind", [PassThroughProfiler, SimpleProfiler])
def test_profilers_without_torchs_are_no_hindrance(kind):
    assert another_profiler(kind()) is None


def test_a_profiler_that_only_waits_is_one():
    schedule = torch.profiler.schedule(wait=10, warmup=1, active=1)
    theirs = torch.profiler.profile(schedule=schedule)
    theirs.start()
    assert another_profiler(None) == "another torch.profiler"
    theirs.stop()
    del theirs
    gc.collect()
    assert another_profiler(None) is None


class Theirs(pl.Callback):
    """A user's profiler: scheduled over ours, or opened in the middle of ours."""

    def __init__(self, schedule=None, ends=13, make=torch.profiler.profile):
        self.schedule, self.ends, self.make, self.profile, self.events = schedule, ends, make, None, 0

    def on_train_start(self, *_):
        if self.schedule is not None:
            self.profile = torch.profiler.profile(schedule=torch.profiler.schedule(**self.schedule))
            self.profile.start()

    def on_train_batch_start(self, trainer, *_):
        if self.schedule is None and trainer.global_step == 12:
            self.profile = self.make()
            self.profile.start()

    def on_train_batch_end(self, trainer, *_):
        if self.schedule is not None:
            self.profile.step()
        elif trainer.global_step == self.ends:
            self.profile.stop()
            self.events = len(self.profile.events())

    def on_train_end(self, *_):
        if self.schedule is not None:
            self.profile.stop()
        self.profile = None


@pytest.mark.parametrize(
    "schedule",
    [
        {"wait": 9, "warmup": 3, "active": 3, "repeat": 1},
        {"wait": 10, "warmup": 1, "active": 3, "repeat": 1},
        {"wait": 1000, "warmup": 1, "active": 3, "repeat": 1},
    ],
)
def test_a_scheduled_profiler_of_the_user_works_on_and_ours_stays_away(tmp_path, schedule, caplog):
    watch = FlopWatch(dirpath=tmp_path, profile=True)
    trainer(tmp_path, watch, Theirs(schedule), max_steps=30).fit(TinyGPT(), loader(200))
    (segment,) = read_run(tmp_path).segments
    assert (segment.profiles, segment.end.status, segment.end.step) == ((), "finished", 30)
    assert "no steps are profiled: another torch.profiler is there" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["newer", "older"])
@pytest.mark.parametrize("ends", [13, 20])
def test_a_profiler_that_takes_ours_over_is_left_alone_and_costs_our_trace_alone(tmp_path, ends, kind):
    """In a process of its own: to save what was taken over would end it."""
    result = running.run(Path(__file__).parent / "scripts" / "profiled_over.py", tmp_path, ends, kind)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.split()[-1]) > 1000, "their profiler saw its steps"
    assert "another profiler took over" in result.stderr
    (segment,) = read_run(tmp_path).segments
    assert (segment.end.status, segment.end.step, segment.profiles) == ("finished", 30, ())
    assert [each.step for each in segment.windows if each.profiled] == [14]


@pytest.mark.slow
def test_a_profiler_that_took_over_goes_on_when_ours_is_ended(tmp_path):
    """In a process of its own: to end ours would end theirs, and the process."""
    result = running.run(Path(__file__).parent / "scripts" / "stopped_over.py")
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[-1] == "2", "theirs saw both products"


def test_after_an_error_of_ours_nothing_is_recorded_any_more(tmp_path, monkeypatch, caplog):
    from flopwatch.lightning.session.session import Session

    ended = Session.batch_ended

    def breaks(self, batch, outputs, *, skipped):
        if self._trainer.global_step == 12:
            raise RuntimeError("an error of ours")
        return ended(self, batch, outputs, skipped=skipped)

    monkeypatch.setattr(Session, "batch_ended", breaks)
    watch = FlopWatch(dirpath=tmp_path, profile=True)
    trainer(tmp_path, watch, max_steps=20).fit(TinyGPT(), loader(100))
    assert "flopwatch stopped measuring" in caplog.text
    assert not torch.autograd.profiler._is_profiler_enabled


def test_a_fit_that_ends_while_steps_are_profiled_leaves_them_out(tmp_path):
    watch = FlopWatch(dirpath=tmp_path, profile=True)
    trainer(tmp_path, watch, max_steps=12).fit(TinyGPT(), loader(100))
    (segment,) = read_run(tmp_path).segments
    assert [(each.step, each.profiled) for each in segment.windows] == [(1, False), (10, False), (12, True)]
    assert not torch.autograd.profiler._is_profiler_enabled
