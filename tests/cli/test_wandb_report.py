"""`flopwatch report --wandb`, with a server that is made up."""

import pytest

from flopwatch.cli.command_line import main
from flopwatch.wandb import online, reports
from flopwatch.wandb.online import EndedRun
from flopwatch.wandb.workspace import Saved


@pytest.fixture
def saved(monkeypatch):
    """Every run that is asked for has ended, a project has two; what is saved is kept."""
    made = []

    def ended(api, path):
        names = ("r1", "r2") if path.id is None else (path.id,)
        return [EndedRun(name, f"run {name}", f"/{name}", {}, {"status": "finished"}) for name in names]

    monkeypatch.setattr(online, "connect", lambda: "the api")
    monkeypatch.setattr(online, "ended_runs", ended)
    monkeypatch.setattr(reports, "save_report", lambda *arguments: made.append(arguments) or Saved("https://w/x", True))
    return made


def test_a_project_is_a_report_of_its_name_and_each_run_is_in_it_once(saved, capsys):
    assert main(["report", "--wandb", "me/p", "me/p/r2", "--prefix", "exp1-"]) == 0
    ((project, ids, title, texts, prefix),) = saved
    assert (str(project), ids, title, prefix) == ("me/p", ("r1", "r2"), "flopwatch: p", "exp1-")
    assert ("runs", "2") in [tuple(line.strip("| ").split(" | ")) for line in texts[0].markdown.splitlines()]
    assert capsys.readouterr().out == "created https://w/x\n"


def test_runs_have_the_same_title_in_whichever_order_and_others_another(saved):
    titles = []
    for runs in (["b", "a"], ["a", "b"], ["a", "c"]):
        assert main(["report", "--wandb", *(f"me/p/{each}" for each in runs)]) == 0
        titles.append(saved[-1][2])
    assert titles == ["flopwatch: a, b", "flopwatch: a, b", "flopwatch: a, c"]


def test_very_many_runs_have_a_title_that_is_not_too_long_and_still_theirs(saved):
    runs = [f"me/p/run-{place:03}" for place in range(60)]
    titles = []
    for some in (runs, runs[::-1], [*runs[:-1], "me/p/other"]):
        assert main(["report", "--wandb", *some]) == 0
        titles.append(saved[-1][2])
    assert titles[0] == titles[1] != titles[2]
    assert titles[0].startswith("flopwatch: 60 runs, ")
    assert len(titles[0]) < 100


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["me/p", "--plan", "plan.json"], "expected --plan without --wandb"),
        (["me/p", "-o", "a.html"], "expected no -o and no --format with --wandb"),
        (["me/p", "other/p"], "expected runs of a single project with --wandb"),
    ],
)
def test_what_a_report_cannot_have_is_refused_before_anybody_is_asked(saved, arguments, said, capsys):
    assert main(["report", "--wandb", *arguments]) == 1
    assert said in capsys.readouterr().err
    assert saved == []
