"""All checks one after the other, whatever one of them does."""

import getpass
import json
import platform
import time

import pytest

from flopwatch.check import running
from flopwatch.check.results import CheckLine
from flopwatch.check.running import CHECKS, Check, check, without_owner
from tests.check.machines_of import CPU, H100

GOOD = CheckLine("good", "pass", 1, 1)


def passing(machine, folder):
    yield GOOD


def failing(machine, folder):
    yield GOOD
    raise ValueError(f"cannot read /home/{getpass.getuser()}/secret/file.json\nsecond line")


def endless(machine, folder):
    time.sleep(30)
    yield GOOD


def run(*functions, **options):
    shown = []
    checks = [Check(function.__name__, function, **options) for function in functions]
    return check(CPU, shown.append, checks), shown


def test_lines_are_shown_as_they_come_and_kept():
    checked, shown = run(passing, passing)
    assert list(checked.lines) == shown == [GOOD, GOOD]
    assert checked.failed == ()


def test_what_goes_wrong_is_one_line_and_the_rest_goes_on():
    checked, _ = run(failing, passing)
    assert [line.outcome for line in checked.lines] == ["pass", "fail", "pass"]
    (line,) = checked.failed
    assert (line.name, line.words) == ("failing", "ValueError: cannot read file.json second line")


def test_what_takes_too_long_is_one_line_and_the_rest_goes_on():
    checked, _ = run(endless, passing, seconds=0.1)
    assert [line.outcome for line in checked.lines] == ["fail", "pass"]
    assert (checked.lines[0].expected, checked.lines[0].found) == (0.1, "longer")


def test_time_passes_for_a_check_not_for_who_shows_its_lines():
    """A terminal that is held up, as with Ctrl-S, is no check that takes too long."""

    def three(machine, folder):
        yield GOOD
        yield GOOD
        yield GOOD

    shown = []

    def show(line):
        time.sleep(0.15)
        shown.append(line)

    checked = check(CPU, show, [Check("three", three, 0.3), Check("endless", endless, 0.1), Check("one", passing)])
    assert [line.outcome for line in checked.lines] == ["pass", "pass", "pass", "fail", "pass"]
    assert list(checked.lines) == shown


def test_a_check_has_its_time_once_not_for_every_line():
    def slow(machine, folder):
        for _ in range(10):
            time.sleep(0.05)
            yield GOOD

    checked, _ = run(slow, seconds=0.12)
    assert [line.outcome for line in checked.lines][-1] == "fail"
    assert len(checked.lines) <= 3


def test_ctrl_c_is_not_survived():
    def interrupted(machine, folder):
        yield GOOD
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(interrupted)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("cannot open '/home/ada/runs/run.jsonl': gone", "cannot open 'run.jsonl': gone"),
        ("105 GFLOP/s and J/token", "105 GFLOP/s and J/token"),
        ("no GPU with UUID 1234abcd-89ab-cdef-0123-456789abcdef here", "no GPU with UUID 1234abcd... here"),
    ],
)
def test_a_text_names_no_owner(text, kept):
    assert without_owner(text) == kept


def test_names_of_user_and_machine_are_left_out(monkeypatch):
    monkeypatch.setattr(running.platform, "node", lambda: "node-17")
    monkeypatch.setattr(running.getpass, "getuser", lambda: "ada")
    assert without_owner("ada at node-17, adamant") == "... at ..., adamant"


def test_json_has_numbers_and_no_owner():
    checked, _ = run(failing)
    page = checked.to_json()
    assert page["outcomes"] == {"pass": 1, "fail": 1, "not here": 0}
    assert page["lines"][0] == {
        "name": "good", "outcome": "pass", "expected": 1, "found": 1, "words": "", "unit": ""
    }  # fmt: skip
    assert page["device"]["name"] == "CPU"
    assert {"torch", "flopwatch", "python"} <= set(page["versions"])
    text = json.dumps(page)
    assert getpass.getuser() not in text
    assert platform.node() not in text


def test_a_gpus_uuid_is_not_among_the_facts():
    assert "1234abcd" not in json.dumps(running.facts(H100))
    assert running.facts(H100)["peak_flops_per_second"] == 989.4e12


@pytest.mark.slow
@pytest.mark.alone
def test_a_cpu_passes_within_half_a_minute(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    checked = check(CPU, lambda line: None)
    assert [(line.name, line.expected, line.found) for line in checked.failed] == []
    assert len(checked.lines) == 20
    assert sum(line.outcome == "not here" for line in checked.lines) == 8
    assert checked.seconds < 30
    assert len(CHECKS) == 8
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
