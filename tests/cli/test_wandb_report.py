"""`flopwatch report --wandb`, where no server is asked; `wandb/test_reports.py` has the rest."""

import pytest

from flopwatch.cli import main
from flopwatch.cli.wandb_report import _names
from flopwatch.wandb import online, reports
from flopwatch.wandb.online import EndedRun
from flopwatch.wandb.workspace import Saved


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a/p", "--plan", "plan.json"], "expected --plan without --wandb"),
        (["a/p", "-o", "x.html"], "expected no -o and no --format with --wandb"),
        (["a/p", "--format", "html"], "expected no -o and no --format with --wandb"),
        (["a/p", "a/q"], "expected runs of a single project with --wandb"),
    ],
)
def test_what_a_page_of_w_and_b_cannot_show_is_refused_at_once(arguments, said, assert_known_failure):
    assert_known_failure(["report", "--wandb", *arguments], said)


def test_a_title_names_the_runs_in_any_order_or_counts_them_where_they_are_many():
    assert _names(["b", "a"]) == "a, b"
    many = [f"run-{number}" for number in range(50)]
    assert _names(many) == _names(many[::-1])
    assert _names(many).startswith("50 runs, ")
    assert _names(many) != _names(many[1:] + ["other"])


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
