"""What a RUN of `flopwatch report` may be, where no server is asked."""

import json
import os

import pytest

from flopwatch.cli.command_line import main
from flopwatch.errors import RunFileError
from flopwatch.report.report import summarize
from flopwatch.report.sources import Recordings, open_run, project_of, recordings_in
from flopwatch.wandb.online import Project, RunPath
from tests import samples
from tests.run.test_run_file import write


def test_a_run_file_cut_off_anywhere_never_changes_what_is_left(tmp_path, capsys):
    windows = [samples.window(10 * place, 1000.0 + 12 * place) for place in range(1, 30)]
    path = write(tmp_path / "run.jsonl", [samples.start(), samples.WORK, *windows, samples.end(300, 1400.0)])
    data, whole = path.read_bytes(), summarize(open_run(str(path))).points
    for size in range(1000, len(data), 3000):
        path.write_bytes(data[:size])
        points = summarize(open_run(str(path))).points
        assert points == whole[: len(points)]


@pytest.mark.parametrize("text", ["runs/missing", "runs/flopwatch/missing", "/nowhere/at/all"])
def test_a_misspelt_path_is_not_asked_for_at_w_and_b(tmp_path, monkeypatch, text, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert main(["report", text]) == 1
    assert f"found nothing at {text}" in capsys.readouterr().err


def test_an_empty_folder_is_said(tmp_path):
    with pytest.raises(RunFileError, match="found none, and no W&B run"):
        open_run(str(tmp_path))


@pytest.mark.parametrize("name", ["run.jsonl", "run.wandb", "plan.json"])
def test_what_is_no_file_is_refused_at_once(tmp_path, name, capsys):
    os.mkfifo(tmp_path / name)
    good = write(tmp_path / "good" / "run.jsonl", samples.healthy_run())
    arguments = [str(good), "--plan", str(tmp_path / name)] if name == "plan.json" else [str(tmp_path / name)]
    assert main(["report", *arguments]) == 1
    assert "expected a" in capsys.readouterr().err


def test_a_run_and_its_continuation_are_one_run_of_a_comparison(tmp_path, capsys):
    first = write(tmp_path / "a" / "run.jsonl", samples.healthy_run())
    start = samples.start(time=1100.0, step=21, resumed_from=str(first))
    second = write(tmp_path / "b" / "run.jsonl", [start, *samples.healthy_run()[1:]])
    other = write(tmp_path / "c" / "run.jsonl", samples.healthy_run())
    arguments = [str(first), str(second), str(other), str(other), "--format", "json"]
    assert main(["report", *arguments]) == 0
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)["runs"]) == 2
    assert "skipped runs named twice, and processes that a later one resumed from" in printed.err


HOSTILE = {
    "noise": bytes(range(256)) * 4096,
    "deep": b'{"kind":' + b"[" * 2_000_000,
    "long": b"x" * 2_000_000,
    "zeros": bytes(5_000_000),
    "huge record": b":W&B\xe1\xbe\x00" + b"\x00\x00\x00\x00\xff\xff\x02" * 100_000,
    "empty": b"",
    "zip": b"PK\x03\x04" + bytes(1000),
}


@pytest.mark.parametrize("ending", ["jsonl", "wandb"])
@pytest.mark.parametrize("content", HOSTILE)
def test_foreign_and_hostile_files_are_one_clear_line(tmp_path, content, ending, capsys):
    path = tmp_path / f"run.{ending}"
    path.write_bytes(HOSTILE[content])
    assert main(["report", str(path)]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("flopwatch: expected")
    assert printed.count("\n") == 1
    assert len(printed) < 1000


@pytest.mark.parametrize(
    ("text", "project"),
    [
        ("me/gpt", RunPath(Project("me", "gpt"))),
        ("https://wandb.ai/me/gpt", RunPath(Project("me", "gpt"))),
        ("me/gpt/r1", None),  # a run of it
        ("runs/gpt", None),  # a folder is there
        ("run.jsonl", None),
        ("nothing", None),
    ],
)
def test_a_project_is_meant_where_no_file_can_be(tmp_path, monkeypatch, text, project):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "run.jsonl").touch()
    assert project_of(text) == project


def test_a_name_that_no_file_system_takes_is_said_too():
    with pytest.raises(RunFileError, match="found nothing at xxx"):
        open_run("x" * 5000)


def test_the_newest_run_file_that_is_attached_is_read(tmp_path):
    (tmp_path / "run-x.wandb").write_bytes(b"")
    for place, name in enumerate(("old", "new")):
        records = [samples.start(run_id=name), *samples.healthy_run()[1:]]
        path = write(tmp_path / "files" / name / "run.jsonl", records)
        os.utime(path, (1000.0 + place, 1000.0 + place))
    for text in (tmp_path, tmp_path / "run-x.wandb"):
        assert open_run(str(text)).segments[0].start.run_id == "new"


def test_recordings_are_counted_once(tmp_path):
    write(tmp_path / "a" / "run.jsonl", samples.healthy_run())
    write(tmp_path / "b" / "run-2.jsonl", samples.healthy_run())
    write(tmp_path / "wandb" / "offline-run-1" / "files" / "flopwatch" / "run.jsonl", samples.healthy_run())
    for name in ("offline-run-1", "offline-run-2"):
        (tmp_path / "wandb" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "wandb" / name / "run-x.wandb").write_bytes(b"")
    # The first W&B run holds a copy of a run file, so that only the second one counts.
    assert recordings_in(tmp_path) == Recordings(run_files=2, wandb_logs=1)
