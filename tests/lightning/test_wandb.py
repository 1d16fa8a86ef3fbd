"""The real W&B client against a server on this machine: rows come while training runs, none is lost or doubled."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flopwatch.run.run_file import read_run
from tests import running
from tests.lightning.models import FLOPS_PER_BATCH, TOKENS_PER_BATCH
from tests.wandb.server import ENTITY, WandbServer

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent / "scripts" / "train_to_wandb.py"


@pytest.fixture
def server():
    with WandbServer() as server:
        yield server


class Training:
    """A training process and what it is told."""

    def __init__(self, folder, environment, options):
        self.folder = folder / "run"
        given = json.dumps({"folder": str(self.folder), "steps": 10, **options})
        self.process = running.start(SCRIPT, given, variables=environment, stdin=subprocess.PIPE)

    def wait_for_pause(self):
        while self.process.stdout.readline() != "paused\n":
            assert self.process.poll() is None, self.process.stderr.read()[-3000:]

    def go_on(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self, code=0):
        """Wait for the end; returns what was printed."""
        out, errors = self.process.communicate(timeout=120)
        assert self.process.returncode == code, errors[-3000:]
        assert "stopped measuring" not in errors
        return out + errors


@pytest.fixture
def start(tmp_path, server):
    trainings = []

    def start(environment=(), **options):
        trainings.append(Training(tmp_path, {**server.environment, **dict(environment)}, options))
        return trainings[-1]

    yield start
    for each in trainings:
        each.process.kill()


def ours(run, key="perf/mfu"):
    return [row for row in run.rows if key in row]


def steps(run, key="perf/mfu"):
    """Lightning's axis: it calls the batch that makes step n `n - 1`."""
    return [row["trainer/global_step"] for row in ours(run, key)]


def until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


EVERY_SECOND = [1, 3, 5, 7, 9]


def test_rows_arrive_while_training_runs_and_the_end_is_attached(start, server):
    training = start(pause_at=8)
    training.wait_for_pause()
    until(lambda: server.state.runs and steps(server.run)[:3] == [1, 3, 5])
    assert server.run.state == "running"
    training.go_on()
    training.end()
    run = server.run
    assert (run.state, run.overwritten) == ("finished", [])
    assert steps(run) == steps(run, "train/loss") == EVERY_SECOND
    assert [row["budget/flops"] for row in ours(run)] == [n * FLOPS_PER_BATCH for n in (2, 4, 6, 8, 10)]
    assert run.summary["flopwatch/flops_total"] == 10 * FLOPS_PER_BATCH
    (last,) = ours(run, "flopwatch/report")
    assert last["flopwatch/components"]["ncols"] == 4
    names = {name.split("/", 3)[3] for name in server.state.uploads}
    assert any(name.startswith("media/html/flopwatch/report") for name in names)
    (table,) = (body for name, body in server.state.uploads.items() if "flopwatch/components" in name)
    rows = json.loads(table)["data"]
    # One sequence's forward FLOPs are a third of its training FLOPs.
    assert sum(row[2] for row in rows) == FLOPS_PER_BATCH / 3
    (folder,) = (training.folder / "wandb").glob("run-*")
    assert not (folder / "files" / "run" / "run.jsonl").is_symlink()  # it may be moved to another machine
    attached = next(body for name, body in server.state.uploads.items() if name.endswith("run/run.jsonl"))
    assert attached == Path(training.folder, "run.jsonl").read_bytes()


def test_the_config_says_what_was_counted_and_against_what(start, server):
    start(budget="20 steps").end()
    config = server.run.config["flopwatch"]["value"]
    assert config["training_flops_per_token"] == FLOPS_PER_BATCH / TOKENS_PER_BATCH
    assert 3 * sum(config["forward_flops_per_token"].values()) == pytest.approx(FLOPS_PER_BATCH / TOKENS_PER_BATCH)
    assert (config["peak_flops_per_second"], config["peak_source"]) == (1e9, "given by the user")
    assert (config["verification"], config["attention"], config["budget"]) == ("verified", "causal", "20 steps")


def test_outages_lose_and_double_nothing(start, server):
    training = start(pause_at=8, steps=600, seconds=0.04)
    training.wait_for_pause()
    until(lambda: server.state.runs and steps(server.run)[:3] == [1, 3, 5])
    training.go_on()
    for fault in ("500", "429", "hang", "drop"):
        server.fail(fault)
        time.sleep(10 if fault == "500" else 2)
        before = len(server.run.history)
        server.fail("ok")
        until(lambda before=before: len(server.run.history) > before)
    training.end()
    assert steps(server.run) == steps(server.run, "train/loss") == list(range(1, 600, 2))
    assert (server.run.overwritten, server.run.state) == ([], "finished")


@pytest.mark.parametrize("fault", ["401", "404", "409"])
def test_where_the_client_gives_up_the_run_file_has_every_row(start, server, fault):
    training = start(pause_at=8, steps=100)
    training.wait_for_pause()
    until(lambda: server.state.runs and steps(server.run)[:3] == [1, 3, 5])
    server.fail(fault)
    training.go_on()
    until(lambda: (training.folder / "report.html").exists())
    time.sleep(3)
    server.fail("ok")
    training.end()
    assert len(steps(server.run)) < 50
    (segment,) = read_run(training.folder).segments
    assert [window.step for window in segment.windows] == [1, *range(2, 101, 2)]
    assert segment.end.status == "finished"
    # What the guide says: a copy under a new id has every row, once.
    (folder,) = (training.folder / "wandb").glob("run-*")
    sync(server, "sync", "--include-online", "--id", "again", str(folder))
    again = server.state.runs[ENTITY, "p", "again"]
    assert steps(again) == list(range(1, 100, 2))
    assert len({row["_step"] for row in again.rows}) == len(again.rows)


def sync(server, *arguments):
    environment = {**os.environ, **server.environment, "WANDB_ERROR_REPORTING": "false"}
    command = [sys.executable, "-m", "wandb", *arguments]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)


def test_an_offline_run_can_be_streamed_from_another_machine(start, server):
    """The one that trains knows no server; the one that sees its folder does."""
    training = start(
        {"WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL": "1", "WANDB_BASE_URL": "http://127.0.0.1:1"},
        pause_at=8,
        wandb={"offline": True},
    )
    training.wait_for_pause()
    (folder,) = (training.folder / "wandb").glob("offline-run-*")
    environment = {**os.environ, **server.environment, "WANDB_ERROR_REPORTING": "false"}
    command = [sys.executable, "-m", "wandb", "beta", "sync", "--live", str(folder)]
    live = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: server.state.runs and steps(server.run)[:3] == [1, 3, 5])
        training.go_on()
        training.end()
        assert live.wait(timeout=60) == 0
    finally:
        live.kill()
    assert steps(server.run) == steps(server.run, "train/loss") == EVERY_SECOND
    assert (server.run.overwritten, server.run.state) == ([], "finished")


def test_the_service_may_be_killed(start, server):
    """Without a `self.log` of the user's, whose own call would end training."""
    training = start(pause_at=8, losses=False)
    training.wait_for_pause()
    services = subprocess.run(["pgrep", "-P", str(training.process.pid), "-f", "wandb-core"], capture_output=True)
    for service in services.stdout.split():
        os.kill(int(service), signal.SIGKILL)
    time.sleep(0.5)
    training.go_on()
    printed = training.process.communicate(timeout=120)[1]
    assert printed.count("WandbLogger failed (") == 1
    assert "stopped measuring" not in printed
    (segment,) = read_run(training.folder).segments
    assert ([window.step for window in segment.windows][-1], segment.end.status) == (10, "finished")
    assert (training.folder / "report.html").exists()


def test_a_resumed_run_goes_on_in_the_same_rows(start, server):
    first = start(id="r1", steps=6, save_every=6)
    first.end()
    (checkpoint,) = first.folder.glob("*.ckpt")
    start(id="r1", steps=12, ckpt=str(checkpoint), wandb={"resume": "must"}).end()
    run = server.run
    # Step 7 is the second process's warm-up; its windows end at 8, 10 and 12.
    assert steps(run) == [1, 3, 5, 7, 9, 11]
    assert [row["budget/flops"] for row in ours(run)] == [n * FLOPS_PER_BATCH for n in (2, 4, 6, 8, 10, 12)]
    assert run.summary["flopwatch/flops_total"] == 12 * FLOPS_PER_BATCH
    assert run.overwritten == []
    attached = {name for name in server.state.uploads if name.endswith(".jsonl")}
    assert attached == {"/upload/r1/run/run.jsonl", "/upload/r1/run/run-2.jsonl"}


def test_two_loggers_get_the_same(start, server):
    training = start(two=True)
    training.end()
    (file,) = training.folder.rglob("metrics.csv")
    rows = [row for row in csv.DictReader(file.read_text().splitlines()) if row["budget/flops"]]
    assert [(int(row["step"]), float(row["perf/mfu"])) for row in rows] == [
        (row["trainer/global_step"], pytest.approx(row["perf/mfu"])) for row in ours(server.run)
    ]


def test_of_two_processes_one_writes(start, server):
    start(devices=2).end()
    run = server.run
    assert steps(run) == EVERY_SECOND
    assert [row["budget/flops"] for row in ours(run)] == [2 * n * FLOPS_PER_BATCH for n in (2, 4, 6, 8, 10)]


def test_a_terminated_run_keeps_its_rows_and_its_report(start, server):
    training = start(pause_at=8, steps=1000)
    training.wait_for_pause()
    training.process.send_signal(signal.SIGTERM)
    training.go_on()
    training.process.communicate(timeout=120)
    (segment,) = read_run(training.folder).segments
    assert segment.end.status == "interrupted"
    closed = [window.step - 1 for window in segment.windows if not window.first]
    until(lambda: steps(server.run) == closed)
    assert server.run.summary["flopwatch/status"] == "interrupted"


@pytest.mark.parametrize(
    ("wandb", "watch", "key"),
    [({"prefix": "exp1"}, {}, "exp1-perf/mfu"), ({}, {"prefix": "mine"}, "mine/perf/mfu")],
)
def test_prefixed_keys_keep_their_axis(start, server, wandb, watch, key):
    start(wandb=wandb, watch=watch).end()
    assert steps(server.run, key) == EVERY_SECOND


def test_tokens_can_be_the_axis_of_the_loss(start, server):
    """As the guide to W&B says: one line, and the loss keeps its step, too."""
    start(tokens_axis=True).end()
    rows = ours(server.run, "train/loss")
    assert [row["trainer/global_step"] for row in rows] == EVERY_SECOND
    # Our row of a step is logged before Lightning's, so each row of the loss holds the tokens of its own step.
    assert [row.get("budget/tokens") for row in rows] == [n * TOKENS_PER_BATCH for n in (2, 4, 6, 8, 10)]


def test_alerts_arrive(start, server):
    start(budget="6 steps").end()
    (alert,) = server.state.alerts
    assert (alert["title"], alert["severity"]) == ("flopwatch: budget used up", "WARN")
    assert alert["text"] == "the budget of 6 steps is used up at step 6"


def test_a_full_disk_costs_files_alone(start, server):
    """A limit on the size of files stands for a full disk: writing fails in the same place."""
    training = start(steps=200, file_bytes=2**15)
    printed = training.end()
    assert printed.count("cannot write the run file") == 1
