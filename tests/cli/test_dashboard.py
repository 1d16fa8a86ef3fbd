"""`flopwatch dashboard`, as typed, where no server is needed."""

import json

import pytest

from flopwatch.cli import main
from flopwatch.wandb import workspace
from flopwatch.wandb.workspace import Saved, specification
from tests.versions import workspaces
from tests.wandb.test_workspace import ENTITY, PROJECT

pytestmark = workspaces


def test_the_command_prints_the_specification_without_network(capsys, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1")
    assert main(["dashboard", f"{ENTITY}/p", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == specification(PROJECT)


def test_a_view_needs_a_title(capsys):
    assert main(["dashboard", f"{ENTITY}/p", "--name", " "]) == 1
    assert "expected a title for --name" in capsys.readouterr().err


def test_without_a_login_nothing_is_asked(python, tmp_path):
    """In a process of its own: within one wandb remembers who was logged in."""
    script = f"import sys; from flopwatch.cli import main; sys.exit(main(['dashboard', '{ENTITY}/p']))"
    result = python(script, environment={"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc")})
    assert result.returncode == 1
    assert result.stderr == "flopwatch: not logged in to W&B: run `wandb login`, or set WANDB_API_KEY\n"


def test_without_the_extra_the_command_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "wandb_workspaces.workspaces", None)
    assert main(["dashboard", f"{ENTITY}/p", "--json"]) == 1
    assert "pip install 'wandb-workspaces>=0.4.13,<0.5'" in capsys.readouterr().err


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
