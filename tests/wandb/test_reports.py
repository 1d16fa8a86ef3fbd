"""W&B Reports of runs that ended, made through the real client."""

import json

import pytest

from flopwatch.cli.command_line import main
from flopwatch.wandb.panels import SECTIONS
from tests.versions import wandb_online, workspaces
from tests.wandb.server import ENTITY

pytestmark = [wandb_online, workspaces]
FACTS = {"device": "NVIDIA H100 80GB HBM3", "device_count": 8, "peak_flops_per_second": 989.4e12, "dtype": "bf16"}


@pytest.fixture
def runs(server):
    """Three runs that ended, and one that flopwatch did not see end."""
    for number in range(4):
        run = server.state.run(ENTITY, "p", f"r{number}")
        run.complete, run.exit_code, run.display_name = True, 0, f"run|{number} <script>"
        run.config = {"flopwatch": {"value": FACTS}}
        run.summary = {"perf/mfu": 0.1}
        if number != 3:
            run.summary |= {"flopwatch/status": "finished", "flopwatch/mfu_mean": 0.4 + number / 100}
    return server


def report_of(server):
    (view,) = (each for each in server.state.views.values() if each["type"] == "runs")
    return view, json.loads(view["spec"])["blocks"]


def test_a_report_compares_the_runs_of_a_project_above_their_charts(runs, capsys):
    assert main(["report", "--wandb", f"{ENTITY}/p"]) == 0
    view, blocks = report_of(runs)
    assert view["displayName"] == "flopwatch: p"
    assert capsys.readouterr().out == f"created {runs.url}/{ENTITY}/p/reports/flopwatch:-p--{view['id'].rstrip('=')}\n"
    glance, _, basis, _, links = (block["content"] for block in blocks if block["type"] == "markdown-block")
    assert "| MFU | 40% | 41% | ★ 42% |" in glance
    assert "| peak per device | 989 TFLOP/s | 989 TFLOP/s | 989 TFLOP/s |" in basis
    assert r"[run\|0 \<script\>](" in links
    assert "energy" not in glance
    grids = [block["metadata"] for block in blocks if block["type"] == "panel-grid"]
    shown = [grid["panelBankSectionConfig"]["panels"] for grid in grids]
    assert [len(panels) for panels in shown] == [len(section.panels) for section in SECTIONS]
    assert shown[0][0]["config"]["metrics"] == ["loss/train", "loss/validation"]
    for grid in grids:
        (filter_,) = grid["runSets"][0]["filters"]["filters"]
        assert (filter_["op"], filter_["value"]) == ("IN", ["r0", "r1", "r2"])


def test_many_runs_have_a_line_each(runs, capsys):
    for number in range(4, 12):
        run = runs.state.run(ENTITY, "p", f"r{number}")
        run.complete, run.exit_code = True, 1
        run.summary = {"flopwatch/status": "failed", "flopwatch/mfu_mean": 0.2}
    assert main(["report", "--wandb", f"{ENTITY}/p"]) == 0
    _, blocks = report_of(runs)
    glance = next(block["content"] for block in blocks if block["type"] == "markdown-block")
    assert glance.startswith("|  | MFU |\n| --- | ---: |\n")
    assert glance.count("| 20% |") == 8


def test_the_same_report_is_updated_and_another_is_not(runs, capsys):
    assert main(["report", "--wandb", f"{ENTITY}/p/r1"]) == 0
    assert main(["report", "--wandb", f"{runs.url}/{ENTITY}/p/runs/r1"]) == 0
    assert main(["report", "--wandb", f"{ENTITY}/p/r1", f"{ENTITY}/p/r2"]) == 0
    assert sorted(each["displayName"] for each in runs.state.views.values()) == ["flopwatch: r1", "flopwatch: r1, r2"]
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["created", "updated", "created"]


def test_other_runs_have_another_report_however_many_they_are(runs, capsys):
    for number in range(4, 30):
        run = runs.state.run(ENTITY, "p", f"run-number-{number}")
        run.complete, run.summary = True, {"flopwatch/status": "finished"}
    names = [f"{ENTITY}/p/run-number-{number}" for number in range(4, 30)]
    assert main(["report", "--wandb", *names[:-1]]) == 0
    assert main(["report", "--wandb", *names[1:]]) == 0
    assert main(["report", "--wandb", *reversed(names[1:])]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["created", "created", "updated"]


def test_a_run_that_was_resumed_and_goes_on_has_not_ended(runs, capsys):
    runs.state.run(ENTITY, "p", "r1").complete = False
    assert main(["report", "--wandb", f"{ENTITY}/p/r1"]) == 1
    assert "expected run r1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([f"{ENTITY}/p/nope"], "W&B has nothing by that name that this API key can see"),
        ([f"{ENTITY}/p/r3"], f"expected run r3 of {ENTITY}/p that ended with flopwatch running, found none"),
        ([f"{ENTITY}/p/r1", "other/p/r1"], "expected runs of a single project with --wandb"),
        ([f"{ENTITY}/p", "--format", "json"], "expected no -o and no --format with --wandb"),
        (["run.jsonl"], "expected ENTITY/PROJECT/RUN_ID, or ENTITY/PROJECT for all its runs, got 'run.jsonl'"),
    ],
)
def test_what_cannot_be_reported_is_said_in_one_line(runs, arguments, said, capsys):
    assert main(["report", "--wandb", *arguments]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"flopwatch: {said}")
    assert printed.count("\n") == 1
    assert not runs.state.views
