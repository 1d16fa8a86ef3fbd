from dataclasses import replace

from flopwatch.run.records import Device, known_fields
from tests import samples


def test_fields_of_a_newer_version_are_left_out():
    assert known_fields(Device, {"name": "CPU", "count": 1, "colour": "red"}) == {"name": "CPU", "count": 1}


def test_flops_per_token_are_of_the_first_batch():
    # 24,000 FLOPs of 4 x 100 tokens; later files say how many tokens there were.
    assert samples.WORK.training_flops_per_token == 60.0
    assert replace(samples.WORK, method="config", tokens=300).training_flops_per_token == 80.0
    assert replace(samples.WORK, training_flops=None).training_flops_per_token is None
    assert replace(samples.WORK, method="measured", tokens=None).training_flops_per_token is None
