"""`flopwatch dashboard`, as far as no server is asked."""

import json

import pytest

from flopwatch.cli.command_line import main
from flopwatch.wandb import workspace
from flopwatch.wandb.online import Project
from flopwatch.wandb.workspace import Saved, specification
from tests.wandb.server import ENTITY

PROJECT = Project(ENTITY, "p")


def test_the_command_prints_the_specification_without_network(capsys, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1")
    assert main(["dashboard", f"{ENTITY}/p", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == specification(PROJECT)


def test_a_view_needs_a_title(capsys):
    assert main(["dashboard", f"{ENTITY}/p", "--name", " "]) == 1
    assert "expected a title for --name" in capsys.readouterr().err


@pytest.mark.parametrize(("created", "word"), [(True, "created"), (False, "updated")])
def test_it_says_whether_the_view_is_new_and_where_it_is(monkeypatch, capsys, created, word):
    asked = []
    monkeypatch.setattr(workspace, "save", lambda *arguments: asked.append(arguments) or Saved("https://w/x", created))
    assert main(["dashboard", f"{ENTITY}/p", "--name", "mine", "--prefix", "exp1-"]) == 0
    assert asked == [(PROJECT, "mine", "exp1-")]
    assert capsys.readouterr().out == f"{word} https://w/x\n"


def test_what_is_no_project_is_one_clear_line(capsys):
    assert main(["dashboard", "nothing"]) == 1
    assert "expected ENTITY/PROJECT" in capsys.readouterr().err
