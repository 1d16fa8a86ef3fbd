"""A profile of three steps."""

from types import SimpleNamespace

import pytest

from flopwatch.check import profile
from flopwatch.check.isolation import isolated
from tests.check.machines_of import CPU
from tests.check.test_gpt import TINY


def test_three_steps_add_up(capfd):
    with isolated() as folder:
        time, flops = profile.check_profile(CPU, folder / "run", TINY)
    assert (time.outcome, flops.outcome) == ("pass", "pass")
    assert flops.found == 3 * TINY.training_flops
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("seconds", "outcome"), [(1.0, "pass"), (1.001, "fail"), (0.0, "fail")])
def test_parts_that_do_not_add_up_fail(seconds, outcome):
    account = SimpleNamespace(seconds=seconds, parts={"matmul": 0.75, "idle_host": 0.25, "copy_exposed": 0.0})
    line = profile.time(account)
    assert (line.outcome, line.expected, line.found) == (outcome, seconds, 1.0)
    assert line.words == "in 2 parts, most of it matmul (75.0%)"


def test_a_product_too_few_fails():
    account = SimpleNamespace(steps=3, flops=3 * TINY.training_flops - 2)
    line = profile.flops(account, TINY)
    assert (line.outcome, line.expected, line.unit) == ("fail", 3 * TINY.training_flops, "FLOPs")
