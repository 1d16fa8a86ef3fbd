"""The dashboard: its specification without network, and its view on a server, made once and then updated."""

import json
from pathlib import Path

import pytest

from flopwatch.cli.command_line import main
from flopwatch.run.metric_table import METRICS
from flopwatch.wandb.online import Project
from flopwatch.wandb.panels import SECTIONS, Panel, PanelSection
from flopwatch.wandb.workspace import specification
from tests.versions import wandb_online, workspaces
from tests.wandb.server import ENTITY, KEY

pytestmark = [wandb_online, workspaces]
GOLDEN = Path(__file__).parent / "dashboard.json"
PROJECT = Project(ENTITY, "p")


def panels(spec):
    return [panel for section in spec["spec"]["section"]["panelBankConfig"]["sections"] for panel in section["panels"]]


# A chart of each kind.
REVIEWED = (
    PanelSection(
        "Efficiency",
        (
            Panel("MFU", ("perf/mfu", "perf/hfu"), "0 to 1"),
            Panel("Tokens per second", ("perf/tokens_per_sec",), "tokens/s", smoothed=True),
            Panel("MFU over tokens", ("perf/mfu",), "0 to 1", axis="budget/tokens"),
        ),
    ),
    PanelSection("Hardware", (Panel("SM clock", ("gpu/sm_clock_mhz",), "MHz"),), is_open=False),
)


def test_the_specification_is_the_reviewed_one(monkeypatch):
    """After a change on purpose print `specification(PROJECT)` under these sections, and read it."""
    monkeypatch.setattr("flopwatch.wandb.workspace.SECTIONS", REVIEWED)
    assert specification(PROJECT) == json.loads(GOLDEN.read_text())


def test_every_metric_is_shown():
    shown = {key for section in SECTIONS for panel in section.panels for key in panel.keys}
    assert shown == set(METRICS)


def test_prefixed_keys_are_shown_with_their_axes():
    lines = [
        panel["config"] for panel in panels(specification(PROJECT, prefix="exp1-")) if "metrics" in panel["config"]
    ]
    keys = {key for line in lines for key in line["metrics"]} | {line["xAxis"] for line in lines if "xAxis" in line}
    assert {f"exp1-{key}" for key in METRICS} == keys


def test_runs_are_compared_by_their_last_loss_over_what_they_cost():
    scatter = [
        panel["config"] for panel in panels(specification(PROJECT, prefix="mine/")) if "yAxis" in panel["config"]
    ]
    assert [(each["xAxis"], each["yAxis"], each["xAxisLogScale"]) for each in scatter] == [
        ("summary:mine/budget/flops", "summary:mine/loss/validation", True),
        ("summary:mine/budget/flops", "summary:mine/loss/train", True),
    ]
    (comparer,) = [each for each in panels(specification(PROJECT)) if each["viewType"] == "Run Comparer"]
    assert comparer["config"]["diffOnly"] == "split"


def test_a_view_is_made_once_and_then_updated(server, capsys):
    assert main(["dashboard", f"{ENTITY}/p"]) == 0
    first = capsys.readouterr().out
    assert main(["dashboard", f"{ENTITY}/p"]) == 0
    again = capsys.readouterr().out
    (view,) = server.state.views.values()
    address = f"{server.url}/{ENTITY}/p?nw={view['name'].removeprefix('nw-').removesuffix('-v')}"
    assert first == f"created {address}\n"
    assert again == f"updated {address}\n"
    assert json.loads(view["spec"])["section"] == specification(PROJECT)["spec"]["section"]
    assert (view["displayName"], view["type"]) == ("flopwatch", "project-view")


def add_view(server, name, title, user):
    server.state.user = user
    variables = {"entityName": ENTITY, "projectName": "p", "type": "project-view", "name": name, "displayName": title}
    from tests.wandb.server import Handler

    class Here(Handler):
        state = server.state

        def __init__(self):
            """Without a connection."""

    return Here()._on_UpsertView2({**variables, "spec": "{}"}, "")["upsertView"]["view"]["id"]


def test_views_of_others_and_personal_workspaces_stay(server, capsys):
    theirs = add_view(server, "nw-aaaaaaaaaaa-v", "flopwatch", "someone-else")
    personal = add_view(server, f"nw-nwuser{ENTITY}-w", "flopwatch", ENTITY)
    for number in range(7):
        add_view(server, f"nw-other{number}-v", f"view {number}", ENTITY)
    for _ in range(2):
        assert main(["dashboard", f"{ENTITY}/p"]) == 0
    assert len(server.state.views) == 10
    assert server.state.views[theirs]["spec"] == server.state.views[personal]["spec"] == "{}"


def test_a_view_of_ours_that_was_made_by_hand_is_taken_over(server, capsys):
    mine = add_view(server, "nw-byhand00000-v", "flopwatch", ENTITY)
    assert main(["dashboard", f"{ENTITY}/p"]) == 0
    assert list(server.state.views) == [mine]
    assert capsys.readouterr().out.startswith("updated ")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mode": "401"}, "W&B refused the API key: run `wandb login --relogin`"),
        ({"mode": "403"}, "W&B denied access with this API key (403)"),
        ({"WANDB_MODE": "offline"}, "WANDB_MODE is 'offline', but this command needs the server: unset it"),
        ({"project": "q"}, f"W&B has no project {ENTITY}/q that this API key can see"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(server, change, said, capsys, monkeypatch):
    if "WANDB_MODE" in change:
        monkeypatch.setenv("WANDB_MODE", change["WANDB_MODE"])
    server.fail(change.get("mode", "ok"))
    assert main(["dashboard", f"{ENTITY}/{change.get('project', 'p')}"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"flopwatch: {said}")
    assert printed.err.count("\n") == 1
    assert KEY not in printed.err
