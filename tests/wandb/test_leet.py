"""`wandb leet` on a run's file, with a command that stands in for it."""

import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from flopwatch.errors import RunFileError, WandbError
from flopwatch.wandb import leet


@pytest.mark.parametrize(
    ("size", "rows", "in_a_row", "first"),
    [((150, 46), 4, 3, "perf|"), ((120, 36), 3, 3, "/mfu$"), ((80, 24), 2, 2, "/mfu$"), ((20, 5), 1, 1, "/mfu$")],
)
def test_charts_are_as_many_as_the_terminal_has_room_for(size, rows, in_a_row, first):
    assert leet.layout(*size)[:2] == (rows, in_a_row)
    assert leet.layout(*size)[2].startswith(first)


@pytest.mark.parametrize(("version", "able"), [("0.28.9", False), ("0.29.0", True), ("1.0.0rc1", True)])
def test_wandb_can_do_it_from_a_version_on(monkeypatch, version, able):
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(__version__=version))
    assert leet.available() is able


def test_without_wandb_it_is_not_available(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert not leet.available()


def test_a_size_that_the_terminal_does_not_tell_is_the_usual_one(monkeypatch):
    def refused():
        raise OSError

    monkeypatch.setattr(leet.os, "get_terminal_size", refused)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "40")
    assert leet.terminal_size() == (100, 40)


@pytest.fixture
def shown(monkeypatch, tmp_path):
    """Show a run with a command in W&B's place, which keeps what it was told and ends with `code`."""
    told = SimpleNamespace(code=0, path=tmp_path / "run-x.wandb")
    told.path.write_bytes(b":W&B\xe1\xbe\x00")
    monkeypatch.setitem(sys.modules, "wandb.util", SimpleNamespace(get_core_path=lambda: "core"))
    monkeypatch.setattr(leet, "terminal_size", lambda: (150, 46))
    monkeypatch.setattr(leet.LogReader, "check", lambda self: None)

    def run(command, environment):
        told.command = command
        settings = Path(environment["WANDB_CONFIG_DIR"])
        told.settings = json.loads((settings / "wandb-leet.json").read_text())
        told.state = json.loads(Path(command[-1], ".wandb-leet.json").read_text())
        told.folder = settings.parent
        return told.code

    monkeypatch.setattr(leet, "_run", run)
    return told


def test_the_users_settings_and_the_runs_folder_stay_as_they_are(shown):
    leet.show(shown.path)
    assert shown.command[:5] == ["core", "leet", "run", "--no-observability", "--run-file"]
    assert shown.command[5] == str(shown.path)
    assert shown.settings["metrics_grid"] == {"rows": 4, "cols": 3}
    assert shown.state["metrics_filter"]["query"].startswith("perf|")
    assert not shown.folder.exists()
    assert list(shown.path.parent.iterdir()) == [shown.path]


def test_a_view_that_ends_with_an_error_says_what_shows_the_numbers_without_it(shown):
    shown.code = 3
    with pytest.raises(WandbError, match="exited with code 3; `flopwatch watch --table` prints"):
        leet.show(shown.path)


def test_another_file_is_refused_before_anything_is_started(tmp_path):
    (tmp_path / "run.wandb").write_bytes(b"something else")
    with pytest.raises(RunFileError):
        leet.show(tmp_path / "run.wandb")


def test_a_command_gives_its_code_and_the_process_its_signals_back():
    before = signal.getsignal(signal.SIGTERM)
    assert leet._run(["sh", "-c", "exit 7"], dict(os.environ)) == 7
    assert signal.getsignal(signal.SIGTERM) is before
