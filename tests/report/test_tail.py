"""Following a run by its file, and what `flopwatch watch` shows of it."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flopwatch.cli import watch as cli
from flopwatch.cli.command_line import main
from flopwatch.errors import RunFileError
from flopwatch.report import tail as following
from flopwatch.report.tail import find, follow
from flopwatch.run.record_lines import to_json
from tests import samples

MAIN = "import sys; from flopwatch.cli import main; sys.exit(main(sys.argv[1:]))"
ROW = {"trainer/global_step": 10, "perf/mfu": 0.4, "perf/step_seconds": 1.0, "budget/device_hours": 0.1}


def write(path, *records):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(to_json(record) + "\n" for record in records)
    return path


@pytest.fixture
def run_file(tmp_path):
    return write(tmp_path / "runs" / "flopwatch" / "1" / "run.jsonl", *samples.healthy_run())


def test_a_run_file_gives_the_rows_that_loggers_got(run_file):
    follower = follow(run_file)
    rows = list(follower.rows())
    # The warm-up window is not logged; Lightning's axis is one behind the step.
    assert [(row["trainer/global_step"], row["perf/mfu"]) for row in rows] == [(10, 0.4), (20, 0.4)]
    assert rows[0]["budget/flops"] == 8_800 * samples.TERA
    assert follower.ended
    assert list(follower.rows()) == []


def test_a_half_written_line_is_waited_for(tmp_path):
    lines = [to_json(record) + "\n" for record in samples.healthy_run()]
    path, follower = tmp_path / "run.jsonl", None
    text = "".join(lines)
    path.write_text(text[:100])
    follower, rows = follow(path), []
    for size in range(100, len(text), 701):
        path.write_text(text[:size])
        rows += follower.rows()
    path.write_text(text)
    rows += follower.rows()
    assert [row["trainer/global_step"] for row in rows] == [10, 20]
    assert follower.ended


def test_another_file_is_refused(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"kind": "something"}\nnot json\n')
    with pytest.raises(RunFileError, match="neither"):
        list(follow(tmp_path / "x.jsonl").rows())


def aged(path, seconds):
    os.utime(path, (time.time() - seconds, time.time() - seconds))


def test_the_newest_run_below_a_folder_is_found(tmp_path, run_file, monkeypatch):
    assert find(tmp_path) == find(tmp_path / "runs") == find(run_file) == run_file
    aged(run_file, 10)
    old = tmp_path / "runs" / "wandb" / "offline-run-1-a" / "run-a.wandb"
    new = tmp_path / "other" / "wandb" / "run-2-b" / "run-b.wandb"
    for path, age in ((old, 100), (new, 0)):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
        aged(path, age)
    monkeypatch.chdir(tmp_path)
    assert find(None).resolve() == new
    assert find(tmp_path / "runs") == run_file  # newer by far
    aged(run_file, 150)
    assert find(tmp_path / "runs") == old
    aged(run_file, 60)  # of the same time: the same run, and charts are made from W&B's file
    assert find(tmp_path / "runs") == find(old.parent) == find(tmp_path / "runs" / "wandb") == old
    with pytest.raises(RunFileError, match="found nothing at"):
        find(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunFileError, match="found none"):
        find(tmp_path / "empty")


def test_without_a_terminal_every_window_is_a_line(run_file, capsys):
    assert main(["watch", str(run_file)]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split()[:3] == ["step", "MFU", "at"]
    assert [line.split()[:3] for line in lines] == [["11", "40%", "50%"], ["21", "40%", "50%"]]


def test_lines_come_as_the_run_goes_on(tmp_path):
    records = samples.healthy_run()
    path = write(tmp_path / "run.jsonl", *records[:4])
    command = [sys.executable, "-c", MAIN, "watch", str(path), "--every", "0.1"]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert "MFU" in watching.stdout.readline()
        assert watching.stdout.readline().split()[0] == "11"
        write(path, *records[4:])
        assert watching.stdout.readline().split()[0] == "21"
        assert watching.wait(timeout=20) == 0
    finally:
        watching.kill()


def test_a_silent_run_is_told_once(tmp_path, monkeypatch, capsys):
    path = write(tmp_path / "run.jsonl", *samples.healthy_run()[:-1])
    monkeypatch.setattr(cli, "_SILENCE_SECONDS", 0.05)
    looks = iter(range(6))

    def sleep(seconds):
        if next(looks, None) is None:
            raise KeyboardInterrupt
        time.sleep_(0.03)

    monkeypatch.setattr(time, "sleep_", time.sleep, raising=False)
    monkeypatch.setattr(time, "sleep", sleep)
    assert main(["watch", str(path)]) == 0
    assert capsys.readouterr().err.count("no new window for a minute") == 1


def test_without_wandb_its_files_are_passed_over(tmp_path, run_file, monkeypatch, capsys):
    log = tmp_path / "wandb" / "run-2-b" / "run-b.wandb"
    log.parent.mkdir(parents=True)
    log.write_bytes(b":W&B\xe1\xbe\x00")
    monkeypatch.setattr(following, "has_wandb", lambda: False)
    assert find(tmp_path) == run_file


needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")


@pytest.fixture
def terminal(tmp_path):
    """A real terminal of 150 x 46 in which a command runs; gives what is on its screen."""
    name = f"flopwatch-{os.getpid()}"

    def run(command, cwd):
        line = f"TMPDIR={tmp_path} {sys.executable} -c '{MAIN}' {command}; sleep 60"
        options = ["-x", "150", "-y", "46", "-c", str(cwd)]
        subprocess.run(["tmux", "-L", name, "new-session", "-d", "-s", "one", *options, line], check=True)

    def screen(word, seconds=30):
        deadline = time.monotonic() + seconds
        while True:
            shown = subprocess.run(
                ["tmux", "-L", name, "capture-pane", "-t", "one", "-p"], capture_output=True, text=True, check=True
            ).stdout
            if word in shown:
                return shown
            assert time.monotonic() < deadline, shown
            time.sleep(0.2)

    run.screen = screen
    yield run
    subprocess.run(["tmux", "-L", name, "kill-server"], capture_output=True)


@needs_tmux
def test_on_a_terminal_a_run_file_is_a_table(terminal, run_file, tmp_path):
    terminal(f"watch {run_file}", tmp_path)
    shown = terminal.screen("energy per token")
    assert "run.jsonl, step 21" in shown


def pids(words):
    return subprocess.run(["pgrep", "-f", words], capture_output=True, text=True).stdout.split()


@needs_tmux
def test_on_a_terminal_a_running_w_and_b_run_is_charts(terminal, tmp_path):
    environment = {**os.environ, "WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL": "1", "WANDB_SILENT": "true"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    script = Path(__file__).parent / "scripts" / "log_and_wait.py"
    training = subprocess.Popen([sys.executable, script], cwd=tmp_path, env=environment, text=True, **pipes)
    try:
        assert training.stdout.readline() == "written\n"
        before = {path: path.read_bytes() for path in (tmp_path / "wandb").rglob("*.json")}
        terminal("watch --leet", tmp_path)
        shown = terminal.screen("perf/step_seconds")
        assert "budget/fraction" in shown
        assert "perf/mfu" in shown
        # Totals are straight lines, and not on the first screen.
        assert "budget/flops" not in shown
        assert {path: path.read_bytes() for path in (tmp_path / "wandb").rglob("*.json")} == before
        (folder,) = tmp_path.glob("flopwatch-*")
        charts = f"wandb-core leet.*{folder}"
        assert pids(charts)
        subprocess.run(["pkill", "-f", "from flopwatch.cli import main.* watch --leet$"], check=True)
        deadline = time.monotonic() + 20
        while folder.exists() or pids(charts):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        training.communicate("\n", timeout=30)
    assert json.dumps(list(map(str, tmp_path.rglob(".wandb-leet.json")))) == "[]"
