"""What a RUN of `flopwatch report` may be: files and folders of flopwatch and of W&B, and runs on a server."""

import json
import re
import shutil
from pathlib import Path

import pytest

from flopwatch.cli.command_line import main
from flopwatch.report.report import summarize
from flopwatch.report.sources import open_run
from tests import running, samples
from tests.lightning.models import FLOPS_PER_BATCH, TOKENS_PER_BATCH
from tests.run.test_run_file import write
from tests.versions import wandb_online
from tests.wandb.server import ENTITY

SCRIPT = Path(__file__).parent / "scripts" / "train_offline.py"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    result = running.run(SCRIPT, cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder / "runs"


def test_a_folder_of_a_w_and_b_run_means_the_attached_run_file(trained):
    own = summarize(open_run(str(trained)))
    (folder,) = (trained / "wandb").glob("offline-run-*")
    (log,) = folder.glob("*.wandb")
    assert summarize(open_run(str(folder))) == summarize(open_run(str(log))) == own


def test_without_the_run_file_rows_tell_the_same_as_far_as_they_go(trained, tmp_path):
    own = summarize(open_run(str(trained)))
    (log,) = trained.rglob("*.wandb")
    shutil.copy(log, tmp_path / "run-x.wandb")
    rebuilt = summarize(open_run(str(tmp_path)))
    assert (rebuilt.totals.counts.flops, rebuilt.totals.counts.tokens) == (20 * FLOPS_PER_BATCH, 20 * TOKENS_PER_BATCH)
    assert (rebuilt.step, rebuilt.status) == (20, "finished")
    assert rebuilt.device == own.device
    of_components = [(each.name, each.parameters, each.forward_flops) for each in own.work.components]
    assert [(each.name, each.parameters, each.forward_flops) for each in rebuilt.work.components] == of_components
    assert rebuilt.work.training_flops == own.work.training_flops == FLOPS_PER_BATCH
    # Windows 3-4, 5-6, ...: the first one is taken for warm-up, since nothing tells where it began.
    later = [point.mfu for point in own.points[2:]]
    assert [point.mfu for point in rebuilt.points[1:]] == pytest.approx(later, rel=1e-6)
    assert rebuilt.tokens_per_second == pytest.approx(own.tokens_per_second, rel=0.2)
    assert rebuilt.parts == ()
    assert "rebuilt from W&B's rows" in rebuilt.notes[0]


def test_a_w_and_b_file_cut_off_anywhere_never_changes_what_is_left(trained, tmp_path):
    (log,) = trained.rglob("*.wandb")
    data, path = log.read_bytes(), tmp_path / "run.wandb"
    path.write_bytes(data)
    whole = [point.total_flops for point in summarize(open_run(str(path))).points]
    for size in range(0, len(data), 1000):
        path.write_bytes(data[:size])
        if main(["report", str(path), "-o", str(tmp_path / "report.json")]) == 0:
            points = json.loads((tmp_path / "report.json").read_text())["points"]
            assert [point["total_flops"] for point in points] == whole[: len(points)]


def row(step, at, **more):
    values = {"trainer/global_step": step - 1, "_timestamp": at, "perf/step_seconds": 1.0, "budget/flops": 1e15 * step}
    return {**values, "perf/device_tflops_per_sec": 500.0, "budget/device_hours": step * 2 / 3600, **more}


FACTS = {"device": "NVIDIA H100 80GB HBM3", "device_count": 2, "dtype": "bf16", "peak_flops_per_second": 1e15}


@pytest.fixture
def on_server(server):
    def put(name, rows, **attached):
        run = server.state.run(ENTITY, "p", name)
        run.complete, run.exit_code, run.display_name = True, 0, "a name"
        run.config = {"flopwatch": {"value": FACTS}}
        run.history = {place: json.dumps({"_step": place, **each}) for place, each in enumerate(rows)}
        for path, content in attached.items():
            server.state.uploads[f"/upload/{name}/{path}"] = content
        return f"{ENTITY}/p/{name}"

    return put


@wandb_online
def test_a_run_on_a_server_is_told_from_all_its_rows(on_server):
    path = on_server("r1", [row(step, 1000.0 + step) for step in range(1, 2000)])
    report = summarize(open_run(path))
    assert len(report.points) == 1999
    # 500 TFLOP/s of each of two devices against a peak of 1 PFLOP/s.
    assert (report.mfu, report.totals.counts.flops, report.name) == (pytest.approx(0.5), 1999 * 10**15, "a name")
    assert report.totals.device_seconds == pytest.approx(2 * 1999)


@wandb_online
def test_rows_of_a_restart_replace_what_was_logged_before(on_server):
    first = [row(step, 1000.0 + step) for step in (10, 20, 30)]
    again = [row(step, 2000.0 + step, **{"perf/device_tflops_per_sec": 250.0}) for step in (20, 30, 40)]
    report = summarize(open_run(on_server("r1", [*first, {"val/loss": 1.0}, *again])))
    assert [point.step for point in report.points] == [10, 20, 30, 40]
    assert "2 rows were logged again after a restart" in report.notes[1]
    # The first window of each process is warm-up; the others ran at 250 TFLOP/s.
    assert report.mfu == pytest.approx(0.25)


@wandb_online
def test_after_a_restart_wall_time_and_run_mfu_are_of_the_whole_run(on_server):
    """Two processes of 20 s on two devices, 1,000 s between them, the second from step 0 again."""
    hours = [{"budget/device_hours": 2 * seconds / 3600} for seconds in (10, 20, 30, 40)]
    first = [row(step, 1000.0 + step, **hours[place]) for place, step in enumerate((10, 20))]
    # 20 PFLOPs of 1,040 s x 2 devices x 1 PFLOP/s.
    logged = {"perf/run_mfu": 20 / 2080}
    again = [row(step, 2020.0 + step, **hours[2 + place], **logged) for place, step in enumerate((10, 20))]
    report = summarize(open_run(on_server("r1", [*first, *again])))
    assert report.wall_seconds == pytest.approx(1040.0)
    assert report.run_mfu == pytest.approx(20 / 2080)
    without = [{key: value for key, value in each.items() if key != "perf/run_mfu"} for each in (*first, *again)]
    assert summarize(open_run(on_server("r2", without))).run_mfu is None


@wandb_online
def test_the_run_files_that_are_attached_are_read_instead(on_server, tmp_path):
    first = write(tmp_path / "one" / "run.jsonl", samples.healthy_run())
    start = samples.start(time=1065.0, step=21, resumed_from="/gone/one/run.jsonl")
    later = samples.window(31, 1080.0, totals=samples.totals(31, 1080.0, 24_800 * 10**12))
    second = write(tmp_path / "two" / "run.jsonl", [start, samples.WORK, later])
    files = {"one/run.jsonl": first.read_bytes(), "two/run.jsonl": second.read_bytes(), "config.yaml": b""}
    report = summarize(open_run(on_server("r1", [], **files)))
    assert (report.processes, report.totals.counts.flops) == (2, 24_800 * 10**12)


@wandb_online
def test_runs_of_a_project_are_compared_at_equal_flops(server, on_server, capsys):
    for name, losses in (("r1", (5.0, 4.0, 3.0)), ("r2", (6.0, 4.5))):
        rows = [row(step, 1000.0 + step, **{"loss/train": loss}) for step, loss in enumerate(losses, 1)]
        on_server(name, [*rows, {"val/acc": 1.0}])
        server.state.run(ENTITY, "p", name).config["lr"] = {"value": losses[0] / 10}
        last = {"flopwatch/status": "finished", "flopwatch/loss_last": losses[-1]}
        server.state.run(ENTITY, "p", name).summary = {**rows[-1], **last}
    assert main(["report", f"{ENTITY}/p", "--format", "json"]) == 0
    compared = json.loads(capsys.readouterr().out)
    # 1 PFLOP a step; the shorter one has two.
    assert compared["equal_flops"] == 2 * 10**15
    assert {run["url"][-2:]: run["numbers"]["loss_at_equal_flops"] for run in compared["runs"]} == {
        "r1": 4.0,
        "r2": 4.5,
    }
    # In words, runs are called by the hyperparameter that differs.
    assert main(["report", f"{ENTITY}/p"]) == 0
    assert re.findall(r"lr 0\.\d", capsys.readouterr().out)[:2] == ["lr 0.5", "lr 0.6"]


@wandb_online
def test_a_file_that_would_leave_its_folder_is_refused(on_server, capsys):
    path = on_server("r1", [], **{"../../run.jsonl": b""})
    assert main(["report", path]) == 1
    assert "points outside its folder" in capsys.readouterr().err


@wandb_online
@pytest.mark.parametrize(
    ("run", "said"),
    [
        (f"{ENTITY}/p/nope", "W&B has nothing by that name"),
        (f"{ENTITY}/p/r0", "expected a run with flopwatch rows, found none"),
        (f"{ENTITY}/p", f"expected runs of {ENTITY}/p that ended with flopwatch running, found none"),
        ("nowhere", "expected a run file, its folder, or ENTITY/PROJECT/RUN_ID of W&B, found nothing at nowhere"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(server, run, said, capsys):
    assert main(["report", run]) == 1
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1
