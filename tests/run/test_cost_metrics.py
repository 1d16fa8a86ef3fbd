"""What a run uses: hardware and budgets."""

from dataclasses import replace

import pytest

from flopwatch.run.cost_metrics import COST
from flopwatch.run.moment import Moment
from flopwatch.run.records import Totals
from tests import samples


def test_they_are_hardware_and_budgets():
    assert {each.key.split("/")[0] for each in COST} == {"gpu", "budget"}


@pytest.mark.parametrize("retries", [0, 7])
def test_no_retries_are_a_number_too(retries):
    window = samples.window(10, 1010.0, memory=replace(samples.MEMORY, retries=retries))
    (row,) = [each for each in COST if each.key == "gpu/alloc_retries"]
    assert row.value(Moment(window, samples.H100, Totals())) == retries
