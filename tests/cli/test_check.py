"""`flopwatch check` as it is typed; what it checks is tested in tests/check."""

import importlib.util
import json

import pytest

from flopwatch.check import running
from flopwatch.check.results import CheckLine
from flopwatch.check.running import Check
from flopwatch.cli import main

GOOD = CheckLine("good", "pass", 1, 1, "as it ought to be")
BAD = CheckLine("bad", "fail", 1.0, 2.0, "twice as long", "s")


@pytest.fixture
def lines(monkeypatch):
    """What the checks yield, in place of what takes time."""

    def set_(*found):
        original = running.check
        checks = [Check("all", lambda machine, folder: iter(found))]
        monkeypatch.setattr(running, "check", lambda machine, show: original(machine, show, checks))

    return set_


def test_all_passed(lines, capsys):
    lines(GOOD)
    assert main(["check"]) == 0
    out, err = capsys.readouterr()
    assert "pass      good                    1, as it ought to be\n" in out
    assert out.endswith("1 passed, 0 failed, 0 not here, in 0 s\n")
    assert err == ""


def test_a_failure_ends_with_one_and_a_line_of_what_to_do(lines, capsys):
    lines(GOOD, BAD)
    assert main(["check"]) == 1
    out, err = capsys.readouterr()
    assert "FAIL      bad                     expected 1s, got 2s; twice as long\n" in out
    assert err == (
        "flopwatch: 1 of 2 checks failed: bad; `flopwatch check --json -o check.json` writes a file for a bug report\n"
    )


def test_json_is_all_of_stdout_and_the_lines_are_seen_on_stderr(lines, capsys):
    lines(GOOD, BAD)
    assert main(["check", "--json"]) == 1
    out, err = capsys.readouterr()
    assert [line["name"] for line in json.loads(out)["lines"]] == ["good", "bad"]
    assert "pass      good" in err


@pytest.mark.parametrize("json_", [True, False])
def test_a_file_is_written_beside_the_lines(lines, capsys, tmp_path, json_):
    lines(GOOD, BAD)
    path = tmp_path / "check.json"
    assert main(["check", *(["--json"] if json_ else []), "-o", str(path)]) == 1
    out, _ = capsys.readouterr()
    assert "pass      good" in out
    text = path.read_text()
    assert json.loads(text)["outcomes"]["fail"] == 1 if json_ else "FAIL      bad" in text


@pytest.mark.parametrize("place", ["", "nowhere/check.json"])
def test_a_file_that_cannot_be_written_is_refused_before_the_checks(lines, capsys, tmp_path, place):
    lines(GOOD)
    assert main(["check", "-o", str(tmp_path / place)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "expected a file in a folder that can be written; choose another with -o" in err


def test_without_torch_and_lightning_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["check"]) == 1
    expected = "expected torch and Lightning, torch and Lightning not found; run `pip install torch pytorch-lightning`"
    assert capsys.readouterr().err == f"flopwatch: {expected}\n"


def test_ctrl_c_ends_quietly(monkeypatch, capsys):
    def interrupted(machine, show):
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "check", interrupted)
    assert main(["check"]) == 1
    assert capsys.readouterr().err == ""


def test_a_wrong_file_of_chips_is_told_in_a_line(tmp_path, capsys):
    assert main(["check", "--chips", str(tmp_path / "none.csv")]) == 1
    assert "none.csv" in capsys.readouterr().err
