"""`flopwatch ls`, as typed; what a row says is tested in `report/test_listing.py`."""

import json

import pytest

from flopwatch.cli.command_line import DONE, main
from tests import samples
from tests.run.test_run_file import write


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write(tmp_path / "runs" / "a" / "run.jsonl", samples.healthy_run())
    write(tmp_path / "runs" / "b" / "run.jsonl", [samples.start(time=5000.0, started_at=5000.0), samples.WORK])
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def test_runs_are_listed_the_newest_first(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["ls", "runs"]) == DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["run", "status", "started", "wall", "steps", "MFU"]
    assert [line.split()[0] for line in lines[2:4]] == ["runs/b", "runs/a"]
    assert lines[3].split()[-3:] == ["35s", "21", "40%"]
    assert all(len(line) <= 80 for line in lines)


def test_the_best_can_be_first(folder, capsys):
    assert main(["ls", "--sort", "mfu", "--json"]) == DONE
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [each["mfu"] for each in runs] == [pytest.approx(0.4), None]
    assert runs[0]["path"].endswith("runs/a/run.jsonl")


def test_what_cannot_be_read_is_told_and_the_rest_listed(folder, capsys):
    (folder / "run-broken.jsonl").write_text("no record\n")
    assert main(["ls", "runs"]) == DONE
    captured = capsys.readouterr()
    assert "runs/a" in captured.out
    assert "skipped" in captured.err
    assert "run-broken.jsonl" in captured.err


def test_a_folder_without_runs_is_one_clear_line(tmp_path, assert_known_failure):
    assert_known_failure(["ls", str(tmp_path)], "found no run file")
    assert_known_failure(["ls", str(tmp_path / "none")], "expected a folder with runs")
