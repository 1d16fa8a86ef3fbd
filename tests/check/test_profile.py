"""A profile of three steps."""

from types import SimpleNamespace

import pytest

from flopwatch.check import profile
from flopwatch.check.isolation import isolated
from tests.check.machines_of import CPU
from tests.check.test_gpt import TINY


@pytest.mark.alone
def test_three_steps_add_up(capfd):
    with isolated() as folder:
        time, flops = profile.check_profile(CPU, folder / "run", TINY)
    assert (time.outcome, flops.outcome) == ("pass", "pass")
    assert flops.found == 3 * TINY.training_flops
    assert capfd.readouterr().err == ""


PARTS = {"matmul": 0.75, "idle_host": 0.25, "copy_exposed": 0.0}


@pytest.mark.parametrize("seconds", [1.001, 0.0])
def test_parts_that_do_not_add_up_fail(seconds):
    line = profile.time(SimpleNamespace(seconds=seconds, parts=PARTS), 1.0)
    assert (line.outcome, line.expected, line.found) == ("fail", seconds, 1.0)


@pytest.mark.parametrize(
    ("own_seconds", "outcome", "unit"),
    [
        (1.0, "pass", "s at most"),
        # 1.1 times the steps' own 0.9 s and 10 ms for each of three are 1.02 s; of 0.88 s they are 0.998 s.
        (0.9, "pass", "s at most"),
        (0.88, "fail", "s at most"),
        (0.25, "fail", "s at most"),  # a trace with work of another kind in each step
        (1.12, "fail", "s at least"),
        (1.5, "fail", "s at least"),  # two steps of three
    ],
)
def test_the_traces_time_is_what_the_steps_took(own_seconds, outcome, unit):
    line = profile.time(SimpleNamespace(seconds=1.0, parts=PARTS), own_seconds)
    assert (line.outcome, line.found, line.unit) == (outcome, 1.0, unit)
    assert line.words.startswith("in 2 parts, most of it matmul (75.0%); by the check's own marks ")


def test_a_product_too_few_fails():
    account = SimpleNamespace(steps=3, flops=3 * TINY.training_flops - 2)
    line = profile.flops(account, TINY)
    assert (line.outcome, line.expected, line.unit) == ("fail", 3 * TINY.training_flops, "FLOPs")
