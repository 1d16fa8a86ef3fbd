"""Names of projects and runs, errors in one line, and what is taken from a server's answers."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from flopwatch.cli.command_line import run as run_command
from flopwatch.errors import ArgumentError, WandbError
from flopwatch.wandb import online
from flopwatch.wandb.online import (
    EndedRun,
    Project,
    RunPath,
    View,
    connect,
    disconnect,
    ended_runs,
    guarded,
    parse_project,
    parse_run,
    views_of,
)
from tests.versions import wandb_online
from tests.wandb.server import ENTITY


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/b/c", RunPath(Project("a", "b"), "c")),
        ("https://wandb.ai/a/b/runs/c?nw=nwusera", RunPath(Project("a", "b"), "c")),
        ("https://wandb.ai/a/b/runs/c/overview", RunPath(Project("a", "b"), "c")),
        ("a/b", RunPath(Project("a", "b"))),
        ("https://wandb.ai/a/b/workspace", RunPath(Project("a", "b"))),
        ("a/b/c/d", None),
        ("a/b/c:d", None),
    ],
)
def test_a_run_is_named_by_its_path_or_its_address(text, expected):
    if expected is None:
        with pytest.raises(ArgumentError, match="expected ENTITY/PROJECT/RUN_ID"):
            parse_run(text)
    else:
        assert parse_run(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/b", Project("a", "b")),
        ("https://wandb.ai/a/b", Project("a", "b")),
        ("https://wandb.ai/a/b/workspace?nw=xyz", Project("a", "b")),
        ("http://localhost:8080/a/b-c.d/", Project("a", "b-c.d")),
        ("wandb.ai/a/b", Project("a", "b")),
        ("https://wandb.ai/a/b/sweeps/x?nw=y", Project("a", "b")),
        ("https://wandb.ai/a/b%20c", Project("a", "b c")),
        ("a/b c (2) & d+e", Project("a", "b c (2) & d+e")),
    ],
)
def test_a_project_is_named_by_its_path_or_its_address(text, expected):
    assert parse_project(text) == expected


@pytest.mark.parametrize("text", ["", "a", "a/", "/b", "a/b/c/d", "a/b:c", "a/b?c#d%"])
def test_anything_else_is_no_project(text):
    with pytest.raises(ArgumentError, match="expected ENTITY/PROJECT"):
        parse_project(text)


def failing(error):
    with guarded():
        raise error


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("No API key configured", "not logged in to W&B: run `wandb login`, or set WANDB_API_KEY"),
        ("HTTP error 401: no", "W&B refused the API key: run `wandb login --relogin`"),
        ("HTTP error 403: no", "W&B denied access with this API key (403): check the entity and its permissions"),
        ("the service did not respond in time", "cannot reach the W&B server: check the network and WANDB_BASE_URL"),
        ("Read Timed Out", "cannot reach the W&B server"),
        (
            "Could not find run <Run a/b/c>",
            "W&B has nothing by that name that this API key can see: Could not find run",
        ),
        ("boom\nand\x1b[2J more", "W&B answered: boom and"),
    ],
)
def test_whatever_w_and_b_raises_is_one_line(text, said):
    with pytest.raises(WandbError) as raised:
        failing(ValueError(text))
    assert said in str(raised.value)
    assert str(raised.value).isprintable()


def test_an_error_of_ours_stays_what_it_is():
    error = WandbError("not logged in")
    with pytest.raises(WandbError) as raised:
        failing(error)
    assert raised.value is error


@pytest.fixture
def wandb(monkeypatch):
    made = SimpleNamespace(login=lambda **options: True, Api=lambda timeout: "the api")
    monkeypatch.setitem(sys.modules, "wandb", made)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    return made


def test_who_is_logged_in_gets_the_api_and_nobody_is_asked(wandb):
    asked = []
    wandb.login = lambda **options: asked.append(options) or True
    assert connect() == "the api"
    assert asked == [{"prompt": False, "verify": False}]


def test_who_is_not_logged_in_is_told_how(wandb):
    wandb.login = lambda **options: False
    with pytest.raises(WandbError, match="not logged in to W&B: run `wandb login`, or set WANDB_API_KEY"):
        connect()


def test_an_older_wandb_that_cannot_be_told_not_to_verify_is_used(wandb):
    def login(prompt):
        raise AssertionError

    wandb.login = login
    assert connect() == "the api"


def test_offline_is_said_and_not_overruled(wandb, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(WandbError, match="WANDB_MODE is 'offline', but this command needs the server: unset it"):
        connect()


def test_without_wandb_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(WandbError, match=r"pip install wandb"):
        connect()


def page(*names, cursor=None, more=False):
    nodes = [
        {"id": f"id-{each}", "name": each, "displayName": each.upper(), "user": {"username": "me"}} for each in names
    ]
    edges = [{"node": node, "cursor": cursor} for node in nodes]
    views = {"edges": edges, "pageInfo": {"hasNextPage": more}}
    return {"viewer": {"username": "me"}, "project": {"allViews": views}}


def test_views_are_read_page_by_page(monkeypatch):
    pages, asked = [page("a", "b", cursor="c1", more=True), page("d", cursor="c2")], []
    monkeypatch.setattr(online, "_ask", lambda api, variables: asked.append(variables["cursor"]) or pages.pop(0))
    user, views = views_of("api", Project("me", "p"), "runs")
    assert user == "me"
    assert [each.name for each in views] == ["a", "b", "d"]
    assert views[0] == View("id-a", "a", "A", "me", "")
    assert asked == [None, "c1"]


def test_a_server_that_says_the_same_cursor_again_is_not_asked_for_ever(monkeypatch):
    monkeypatch.setattr(online, "_ask", lambda api, variables: page("a", cursor="c1", more=True))
    assert len(views_of("api", Project("me", "p"), "runs")[1]) == 2


def test_a_project_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr(online, "_ask", lambda api, variables: {"project": None})
    with pytest.raises(WandbError, match="W&B has no project me/p that this API key can see"):
        views_of("api", Project("me", "p"), "runs")


NO_ROWS = "W&B has no rows with both loss and FLOPs"
LAST = {"perf/step_seconds": 1.0, "budget/device_hours": 1.0, "budget/flops": 1e15, "loss/train": 2.0}


def run(name, state="finished", **summary):
    config = {"flopwatch": {"device": "GPU"}, "lr": 1}
    return SimpleNamespace(id=name, name=name, url=f"/{name}", config=config, summary=summary, state=state)


def test_of_a_projects_runs_those_are_taken_that_flopwatch_ended():
    ended = run("a", **{"flopwatch/status": "finished", "flopwatch/mfu_mean": 0.4, "loss": 1.0})
    others = [run("b", loss=1.0), run("c", "running", **{"flopwatch/status": "finished"})]
    api = SimpleNamespace(runs=lambda path, per_page: [ended, *others])
    assert ended_runs(api, RunPath(Project("me", "p"))) == [
        EndedRun("a", "a", "/a", {"device": "GPU"}, {"status": "finished", "mfu_mean": 0.4}, (), NO_ROWS, {"lr": 1})
    ]


@pytest.mark.parametrize(
    ("prefix", "axis", "asked"),
    [("", "trainer/global_step", "trainer/global_step"), ("exp1-", "global_step", "global_step")],
)
def test_rows_with_flops_and_loss_are_asked_for_under_their_prefix(prefix, axis, asked):
    keys = []
    named = {f"{prefix}{key}": value for key, value in LAST.items()}
    one = run("a", **{"flopwatch/status": "finished", axis: 9, **named})
    one.scan_history = lambda keys: iter([{"keys": keys}])
    (ended,) = ended_runs(SimpleNamespace(run=lambda path: one), RunPath(Project("me", "p"), "a"))
    ((keys,), why) = ([row["keys"] for row in ended.rows], ended.no_rows)
    assert (keys, why) == ([asked, "_timestamp", *named], None)


def refuse(keys):
    raise ValueError("HTTP error 403: no")


@pytest.mark.parametrize(
    ("scan", "last", "why"),
    [
        (refuse, LAST, "W&B denied access with this API key (403): check the entity and its permissions"),
        (lambda keys: iter([]), LAST, NO_ROWS),
        (refuse, {key: LAST[key] for key in LAST if key != "loss/train"}, NO_ROWS),  # and nothing is asked
        (refuse, {}, NO_ROWS),
    ],
)
def test_why_there_are_no_rows_is_told_and_nothing_else_is_lost(scan, last, why):
    one = run("a", **{"flopwatch/status": "finished", "flopwatch/mfu_mean": 0.4, **last})
    one.scan_history = scan
    (ended,) = ended_runs(SimpleNamespace(run=lambda path: one), RunPath(Project("me", "p"), "a"))
    assert (ended.rows, ended.no_rows, ended.summary["mfu_mean"]) == ((), why, 0.4)


def test_rows_of_many_runs_are_not_asked_for():
    runs = [run(str(number), **{"flopwatch/status": "finished", **LAST}) for number in range(51)]
    for each in runs:
        each.scan_history = refuse
    ended = ended_runs(SimpleNamespace(runs=lambda path, per_page: runs), RunPath(Project("me", "p")))
    assert {each.no_rows for each in ended} == {"rows of more than 50 runs are not read"}


def test_a_run_that_goes_on_is_none_that_ended():
    api = SimpleNamespace(run=lambda path: run(path, "running", **{"flopwatch/status": "finished"}))
    with pytest.raises(WandbError, match="expected run r1 of me/p that ended with flopwatch running, found none"):
        ended_runs(api, RunPath(Project("me", "p"), "r1"))


def test_a_run_without_a_name_or_facts_has_its_id():
    bare = run("a", **{"flopwatch/status": "failed"})
    bare.name, bare.config = None, {"flopwatch": "not ours"}
    (ended,) = ended_runs(SimpleNamespace(run=lambda path: bare), RunPath(Project("me", "p"), "a"))
    assert (ended.name, ended.config) == ("a", {})


def services():
    """W&B's services that this process started."""
    command = ["pgrep", "-P", str(os.getpid()), "wandb-core"]
    return [int(pid) for pid in subprocess.run(command, capture_output=True, text=True).stdout.split()]


@wandb_online
def test_a_command_leaves_no_service(server, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["flopwatch", "report", f"{ENTITY}/p"])
    with pytest.raises(SystemExit, match="1"):
        run_command()
    assert "found none" in capsys.readouterr().err
    assert services() == []


@wandb_online
def test_a_service_that_does_not_end_is_left_and_another_one_serves(server):
    with pytest.raises(WandbError, match="found none"):
        ended_runs(connect(), RunPath(Project(ENTITY, "p")))
    (stuck,) = services()
    os.kill(stuck, signal.SIGSTOP)
    try:
        disconnect(0.2)
        assert services() == [stuck]
        with pytest.raises(WandbError, match="found none"):
            ended_runs(connect(), RunPath(Project(ENTITY, "p")))
    finally:
        os.kill(stuck, signal.SIGKILL)
