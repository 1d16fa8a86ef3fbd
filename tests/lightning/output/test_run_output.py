"""The first rank's sinks as a whole, with a real file and a Trainer that is a plain object."""

import os
import threading
import time
from pathlib import Path

import pytest

from flopwatch.lightning.output import run_output
from flopwatch.lightning.output.run_output import Output, run_file_for
from flopwatch.run.budget import Budget
from flopwatch.run.records import Progress, Totals, Work
from flopwatch.run.run_file import read_run
from tests import samples
from tests.lightning.fakes import trainer
from tests.lightning.models import MemoryLogger

STEPS = Budget(100, "steps")


@pytest.fixture
def output(tmp_path):
    return Output(trainer(loggers=[MemoryLogger()]), tmp_path / "1" / "run.jsonl", lambda: None)


def written(output):
    for record in samples.healthy_run():
        output.file.write(record)
    return output


def test_how_batches_are_counted_goes_to_the_file_the_log_and_the_loggers(output, caplog):
    output.file.write(samples.start())
    with caplog.at_level("INFO", logger="flopwatch"):
        output.describe_work(samples.WORK, samples.H100, (STEPS,), "580")
    output.file.close()
    assert read_run(output.file.path).segments[0].work == samples.WORK
    assert "60 FLOPs per token with causal attention, parameters equal: the config " in caplog.text
    assert "layers.mlp" in caplog.text
    (facts,) = output.loggers._loggers[0].facts
    assert (facts["flopwatch"]["driver"], facts["flopwatch"]["budget"]) == ("580", "100 steps")


def test_what_is_withheld_is_a_warning(output, caplog):
    output.describe_work(Work("withheld", "no formula"), samples.H100, (), None)
    assert [(each.levelname, each.message) for each in caplog.records] == [
        ("WARNING", "no FLOPs and no MFU: no formula")
    ]


def test_at_the_end_the_report_lies_beside_the_file_and_both_are_said(output, caplog):
    with caplog.at_level("INFO", logger="flopwatch"):
        written(output).finish(report=True)
    page = output.file.path.with_name("report.html")
    assert page.read_text().startswith("<!doctype html>")
    assert "MFU 40% in the training loop, 24% over all wall time" in caplog.text
    assert f"written: {output.file.path}" in caplog.text
    assert f"written: {page}" in caplog.text


def test_without_a_report_the_summary_is_said_all_the_same(output, caplog):
    with caplog.at_level("INFO", logger="flopwatch"):
        written(output).finish(report=False)
    assert sorted(each.name for each in output.file.path.parent.iterdir()) == ["run.jsonl"]
    assert "MFU 40% in the training loop" in caplog.text


def test_a_page_that_cannot_be_put_there_is_said_and_the_rest_stands(output, caplog):
    page = output.file.path.with_name("report.html")
    written(output)
    page.mkdir(parents=True)
    with caplog.at_level("INFO", logger="flopwatch"):
        output.finish(report=True)
    assert f"no report was written: {page}: " in caplog.text
    assert f"`flopwatch report {output.file.path} -o FILE` writes it" in caplog.text
    assert f"written: {output.file.path}" in caplog.text


def test_an_error_in_the_report_is_said_with_the_command_that_makes_it(output, caplog, monkeypatch):
    monkeypatch.setattr(run_output, "report_of", lambda run: 1 / 0)
    written(output).finish(report=True)
    assert f"no report was written (ZeroDivisionError: division by zero); `flopwatch report {output.file.path}`" in (
        caplog.text
    )


def test_where_no_file_could_be_made_the_summary_is_from_memory(tmp_path, caplog):
    (tmp_path / "1").touch()
    output = written(Output(trainer(), tmp_path / "1" / "run.jsonl", lambda: None))
    with caplog.at_level("INFO", logger="flopwatch"):
        output.finish(report=False)
    assert "MFU 40% in the training loop" in caplog.text
    assert "written: " not in caplog.text


@pytest.mark.parametrize("hangs", ["read", "write"])
def test_a_disk_that_hangs_once_the_file_is_closed_is_not_waited_for(output, caplog, monkeypatch, hangs):
    release = threading.Event()
    monkeypatch.setattr(run_output, f"_{hangs.upper()}_SECONDS", 0.2)
    owner, name = {"read": (run_output.runfile, "read_run"), "write": (run_output.files, "replace_text")}[hangs]
    monkeypatch.setattr(owner, name, lambda *arguments: release.wait(20))
    began = time.monotonic()
    with caplog.at_level("INFO", logger="flopwatch"):
        written(output).finish(report=True)
    assert time.monotonic() - began < 10
    release.set()
    page = output.file.path.with_name("report.html")
    assert caplog.text.count(f"no report was written: {page}: the disk does not respond") == 1
    assert (f"cannot read {output.file.path}: the disk does not respond" in caplog.text) == (hangs == "read")
    # The summary is told all the same, and no file that nobody could read back is said to be there.
    assert "MFU 40% in the training loop, 24% over all wall time" in caplog.text
    assert (f"written: {output.file.path}" in caplog.text) == (hangs == "write")
    assert output.report.totals == samples.end().totals


def test_after_an_error_of_ours_the_file_holds_what_was_counted_up_to_it(output):
    output.file.write(samples.start())
    output.abandon(Progress(1030.0, 5, Totals(samples.counts(flops=50, steps=5))))
    (segment,) = read_run(output.file.path).segments
    assert (segment.end.status, segment.end.step, segment.end.totals.counts.flops) == ("measuring stopped", 5, 50)
    assert [each.message for each in segment.events] == ["flopwatch failed here and measured nothing after this point"]


def test_before_training_began_there_is_no_end_to_tell(output):
    output.file.write(samples.start())
    output.abandon(None)
    assert read_run(output.file.path).segments[0].end is None


def test_the_run_file_is_named_by_its_whole_path_without_asking_the_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = Output(trainer(), run_file_for(Path("runs"), "."), lambda: None)
    output.file.close()
    for name in ("lstat", "stat", "readlink", "getcwd"):
        monkeypatch.setattr(os, name, lambda *arguments, **named: pytest.fail("the disk was asked"))
    named = output.run_file()
    monkeypatch.undo()
    assert named == str(tmp_path / "runs" / "run.jsonl")


def test_a_new_file_is_in_the_users_folder_below_the_trainers_or_where_we_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_file_for(tmp_path / "mine", "/root").is_relative_to(tmp_path / "mine")
    assert run_file_for(None, str(tmp_path)).is_relative_to(tmp_path)
    # A bucket is no folder of this machine.
    assert run_file_for(None, "s3://bucket/runs").is_relative_to(tmp_path)
    assert run_file_for(Path("mine"), ".") == tmp_path / "mine" / "run.jsonl"
