"""Whatever goes wrong in flopwatch or in what it writes to, training ends as it would have ended without it."""

import logging
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from flopwatch import FlopWatch
from flopwatch.hardware.nvml.lookup import Address
from flopwatch.lightning.output import run_output as output_module
from flopwatch.lightning.session import session
from flopwatch.lightning.session.session import Session
from flopwatch.report.render import RENDERERS
from flopwatch.report.report import summarize
from flopwatch.run.run_file import read_run
from tests import running
from tests.lightning.models import FLOPS_PER_BATCH, MemoryLogger, TinyGPT, loader, trainer

SCRIPTS = Path(__file__).parent / "scripts"


def break_(*arguments, **named):
    raise RuntimeError("broken on purpose")


@pytest.mark.parametrize(
    "method",
    ["__init__", "begin", "batch_started", "batch_ended", "enter", "leave", "finish", "_close_window"]
    + ["_publish_complete", "state_dict", "_release"],
)
def test_an_error_of_ours_is_logged_once_and_training_goes_on(tmp_path, monkeypatch, caplog, method):
    monkeypatch.setattr(Session, method, break_)
    model, steps = TinyGPT(), []
    model.at_batch = steps.append
    one = trainer(tmp_path, FlopWatch(every_n_steps=1), max_steps=6, val_check_interval=2, enable_checkpointing=True)
    one.fit(model, loader(), loader(2))
    assert len(steps) == 6
    assert caplog.text.count("flopwatch stopped measuring, training continues: RuntimeError") == 1
    assert "get_metrics" not in (one.progress_bar_callback.__dict__ if one.progress_bar_callback else {})


@pytest.mark.parametrize("broken", ["report", "session"])
def test_what_was_measured_before_an_error_stays_readable(tmp_path, monkeypatch, caplog, broken):
    if broken == "report":
        monkeypatch.setattr(output_module, "report_of", break_)
    else:
        original = Session._stop_if_due

        def stop(self, step):
            original(self, step)
            if step == 6:
                break_()

        monkeypatch.setattr(Session, "_stop_if_due", stop)
    watch = FlopWatch(every_n_steps=1)
    trainer(tmp_path, watch).fit(TinyGPT(), loader())
    (segment,) = read_run(tmp_path).segments
    assert segment.windows[-1].totals.counts.flops == (10 if broken == "report" else 6) * FLOPS_PER_BATCH
    assert (f"`flopwatch report {tmp_path}" in caplog.text) == (broken == "report")
    if broken == "session":
        # Six steps were counted and told; the fit went on to ten, of which nothing is claimed.
        report = summarize(read_run(tmp_path))
        assert (report.status, report.step) == ("measuring stopped", 6)
        assert report.totals.counts.flops == 6 * FLOPS_PER_BATCH
    # What came after an error is not in the totals, so there are none; a report that failed changes no total.
    totals = watch.state_dict().get("totals", {})
    assert totals.get("flops") == (10 * FLOPS_PER_BATCH if broken == "report" else None)


class BrokenLogger(MemoryLogger):
    calls = 0

    def log_metrics(self, metrics, step=None):
        self.calls += 1
        raise ConnectionResetError("the service is gone")


def test_a_broken_logger_is_left_alone_and_the_others_get_everything(tmp_path, caplog):
    good, bad = MemoryLogger(), BrokenLogger()
    trainer(tmp_path, FlopWatch(every_n_steps=1), logger=[bad, good]).fit(TinyGPT(), loader())
    assert len(good.ours()) == 9
    assert caplog.text.count("BrokenLogger failed (ConnectionResetError: the service is gone)") == 1
    assert bad.calls == 3


class Unspeakable(Exception):
    def __str__(self):
        raise ValueError("it cannot say")


def test_the_users_exception_is_the_users(tmp_path):
    def at_batch(index):
        if index == 4:
            raise ValueError("out of patience")

    with pytest.raises(ValueError, match="out of patience"):
        trainer(tmp_path, FlopWatch(every_n_steps=1)).fit(TinyGPT(at_batch), loader())
    (segment,) = read_run(tmp_path).segments
    assert (segment.end.status, segment.end.step) == ("failed", 4)
    assert segment.end.totals.counts.flops == 4 * FLOPS_PER_BATCH
    assert len(list(tmp_path.rglob("report.html"))) == 1


def test_an_exception_before_training_leaves_nothing_behind(tmp_path, caplog):
    class Doomed(TinyGPT):
        def configure_optimizers(self):
            raise ValueError("no optimizer")

    with pytest.raises(ValueError, match="no optimizer"):
        trainer(tmp_path, FlopWatch()).fit(Doomed(), loader())
    assert "flopwatch stopped measuring" not in caplog.text
    assert list(tmp_path.rglob("*.jsonl")) == []


def test_a_folder_that_cannot_be_written_costs_the_files_alone(tmp_path, caplog):
    caplog.set_level("INFO")
    (tmp_path / "taken").write_text("")
    logger = MemoryLogger()
    watch = FlopWatch(dirpath=tmp_path / "taken", every_n_steps=1)
    trainer(tmp_path, watch, logger=logger).fit(TinyGPT(), loader())
    assert len(logger.ours()) == 9
    assert caplog.text.count("no run file: ") == 1
    assert not any(message.startswith("writing") for message in caplog.messages)
    # What the files would have said stands in the terminal: 10 steps, and that there is no page.
    assert sum(message.startswith("wall time:") for message in caplog.messages) == 1
    assert any(" 10 steps in " in message for message in caplog.messages)
    assert caplog.text.count("no report was written") == 1
    assert not any(message.startswith("written:") for message in caplog.messages)


def test_a_disk_that_hangs_at_the_end_costs_what_is_said(tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO")
    monkeypatch.setattr("flopwatch.run.run_file_writer._CLOSE_SECONDS", 0.5)
    release = threading.Event()
    monkeypatch.setattr("flopwatch.run.appending.AppendedFile.append", lambda self, line: release.wait(60))
    watch = FlopWatch(dirpath=tmp_path, every_n_steps=1)
    fit = trainer(tmp_path, watch)
    fit.fit(TinyGPT(), loader())
    release.set()
    assert fit.global_step == 10
    assert caplog.text.count("the disk does not respond") == 2  # of the run file and of the report
    assert any(" 10 steps in " in message for message in caplog.messages)
    assert list(tmp_path.glob("report*")) == []


def test_without_threads_training_is_counted_all_the_same(tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO")
    start = threading.Thread.start

    def refused(self):
        if self.name.startswith("flopwatch"):
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refused)
    monkeypatch.setattr(session, "address_of", lambda device: Address("NVIDIA H100 80GB HBM3", uuid="cafe"))
    trainer(tmp_path, FlopWatch(dirpath=tmp_path, every_n_steps=1)).fit(TinyGPT(), loader())
    assert "stopped measuring" not in caplog.text
    assert caplog.text.count("cannot start a thread for the run file; it is written at the end") == 1
    assert caplog.text.count("GPU readings ended: can't start new thread") == 1
    report = summarize(read_run(tmp_path))
    assert report.totals.counts.flops == 10 * FLOPS_PER_BATCH
    assert report.totals.joules is None
    assert (tmp_path / "report.html").exists()


def test_a_working_directory_that_is_removed_costs_nothing_of_the_run(tmp_path, caplog, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    logger = MemoryLogger()
    fit = trainer(tmp_path, FlopWatch(dirpath="runs", every_n_steps=1), logger=logger, enable_checkpointing=True)
    gone.rmdir()
    fit.fit(TinyGPT(), loader())
    assert "stopped measuring" not in caplog.text
    assert len(logger.ours()) == 9
    assert caplog.text.count("no run file: ") == 1


def test_a_run_file_stays_where_it_is_when_the_process_goes_elsewhere(tmp_path, caplog, monkeypatch):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(here)
    watch = FlopWatch(dirpath="runs", every_n_steps=1)
    trainer(tmp_path, watch).fit(TinyGPT(lambda index: os.chdir(elsewhere) if index == 5 else None), loader())
    assert sorted(path.name for path in (here / "runs").iterdir()) == ["report.html", "run.jsonl"]
    assert list(elsewhere.iterdir()) == []
    assert "was removed" not in caplog.text


def start_slow_fit(tmp_path):
    def hears_interrupts():
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background job is started deaf to it

    process = running.start(SCRIPTS / "slow_fit.py", tmp_path, preexec_fn=hears_interrupts)
    deadline = time.time() + 120
    while time.time() < deadline:
        files = list(tmp_path.rglob("run.jsonl"))
        if files and files[0].read_text().count('"window"') >= 4:
            return process
        time.sleep(0.05)
    raise AssertionError(process.stderr.read())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "interrupted"), (signal.SIGKILL, None)]
)
def test_a_signal_leaves_a_readable_run_file_and_a_report(tmp_path, number, status):
    process = start_slow_fit(tmp_path)
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=60)
    run = read_run(tmp_path)
    (segment,) = run.segments
    assert segment.windows[-1].totals.counts.flops == segment.windows[-1].step * FLOPS_PER_BATCH
    from flopwatch.report.report import summarize

    assert "<html" in RENDERERS["html"](summarize(run))
    if status is None:
        assert segment.end is None
        return
    assert segment.end.status == status
    assert segment.end.totals.counts.flops == segment.end.step * FLOPS_PER_BATCH
    assert len(list(tmp_path.rglob("report.html"))) == 1
    assert "written:" in errors


def test_no_thread_is_left_behind(tmp_path):
    import threading

    before = set(threading.enumerate())
    trainer(tmp_path, FlopWatch(every_n_steps=1)).fit(TinyGPT(), loader())
    assert [each for each in set(threading.enumerate()) - before if each.name.startswith("flopwatch-")] == []
    assert logging.getLogger("flopwatch") is not None


def test_a_fit_that_goes_on_where_flopwatch_stopped_before_its_first_window_says_how_far_it_came(tmp_path, monkeypatch):
    ended = Session.batch_ended

    def breaks(self, *batch, **how):
        ended(self, *batch, **how)
        if self._last_step == 4:
            break_()

    monkeypatch.setattr(Session, "batch_ended", breaks)
    trainer(tmp_path, FlopWatch(every_n_seconds=3600)).fit(TinyGPT(), loader())
    report = summarize(read_run(tmp_path))
    assert (report.status, report.step, report.totals.counts.flops) == ("measuring stopped", 4, 4 * FLOPS_PER_BATCH)


@pytest.mark.slow
@pytest.mark.parametrize(("level", "kept", "shown"), [("DEBUG", 10, True), ("ERROR", 40, False), ("NOTSET", 20, True)])
def test_the_users_level_of_messages_stays(tmp_path, level, kept, shown):
    result = running.run(SCRIPTS / "level_of_messages.py", tmp_path, level)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[-1] == str(kept)
    assert ("flopwatch: " in result.stderr) == shown
