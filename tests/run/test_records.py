from dataclasses import FrozenInstanceError, replace

import pytest

from flopwatch.run.records import Device, Totals, known_fields
from tests import samples


def test_fields_of_a_newer_version_are_left_out():
    assert known_fields(Device, {"name": "CPU", "count": 1, "colour": "red"}) == {"name": "CPU", "count": 1}


@pytest.mark.parametrize(
    ("changes", "per_token"),
    [
        ({}, 60.0),  # 24,000 FLOPs of 4 x 100 tokens, as an older file has it
        ({"method": "config", "tokens": 300}, 80.0),
        ({"method": "config", "tokens": None}, None),  # a model without tokens
        ({"training_flops": None}, None),
        ({"seq_len": None}, None),
        ({"training_flops": 0}, 0.0),
    ],
)
def test_training_flops_of_a_token_are_of_the_first_batch(changes, per_token):
    assert replace(samples.WORK, **changes).training_flops_per_token == per_token


def test_totals_of_nothing_are_zero_and_what_older_files_lack_is_unknown():
    totals = Totals()
    assert (totals.flops, totals.tokens, totals.steps, totals.lost_steps) == (0, 0, 0, 0)
    assert (totals.hardware_flops, totals.useful_tokens, totals.joules) == (None, None, None)


def test_a_record_is_never_changed():
    with pytest.raises(FrozenInstanceError):
        samples.H100.count = 3
