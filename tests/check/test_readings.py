"""A GPU that is read while products run: the fake driver's, through NVIDIA's real binding."""

import json
from pathlib import Path

import pytest

from flopwatch.check.readings import Readings

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parent / "scripts" / "on_fake_gpu.py"
H100 = {"uuid": "GPU-cafe", "sm_clock": 1980}


@pytest.fixture
def checked(python, fake_driver):
    def run(longest=10, **state):
        fake_driver.set(**{**H100, **state})
        result = python(SCRIPT, longest, environment=fake_driver.environment())
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""
        return {line["name"]: line for line in json.loads(result.stdout)["lines"]}

    return run


def test_the_mean_clock_is_that_of_all_readings():
    assert Readings(1.0, clocks_hz=(1e9, 2e9)).clock_hz == 1.5e9
    assert Readings(1.0).clock_hz is None


def test_every_line_is_there_and_reads_what_the_driver_says(checked):
    lines = checked(reasons=4)
    outcomes = {name: line["outcome"] for name, line in lines.items()}
    # A CPU's product is far too slow for an H100, and needs next to no cycles of it: 40% are far too many.
    of_the_cpu = ("product and peak", "product at that clock", "tensor activity")
    assert [outcomes.pop(name) for name in of_the_cpu] == ["fail"] * 3
    assert set(outcomes.values()) == {"pass"}
    assert lines["SM clock under load"]["found"] == 1980e6
    assert lines["throttling, two ways"]["found"] == pytest.approx(1.0, abs=0.05)
    assert lines["energy, two ways"]["found"] == pytest.approx(lines["energy, two ways"]["expected"], rel=0.05)
    assert "mean power 700 W of 700 W" in lines["energy, two ways"]["words"]
    assert lines["tensor activity"]["found"] == 0.4


@pytest.mark.parametrize(
    ("state", "failing"),
    [
        ({"sm_clock": 2100}, "SM clock under load"),
        ({"reasons": 4, "counter_divisor": 1000}, "throttling, two ways"),
        ({"energy_still": 1}, "energy, two ways"),
        ({"delay_us": 20_000}, "driver readings"),
        ({"name": "NVIDIA H200"}, "torch and driver agree"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_driver_that_contradicts_itself_fails(checked, state, failing):
    lines = checked(**state)
    assert lines[failing]["outcome"] == "fail"
    assert lines[failing]["found"] != lines[failing]["expected"]


def test_what_is_not_permitted_is_not_here(checked):
    lines = checked(error__nvmlGpmSampleGet=4, error__nvmlDeviceGetTotalEnergyConsumption=3)
    assert lines["tensor activity"]["words"] == "tensor activity: Insufficient Permissions"
    assert lines["energy, two ways"]["words"] == "energy counter: Not Supported"
    assert {lines[name]["outcome"] for name in ("tensor activity", "energy, two ways")} == {"not here"}


def test_a_device_that_the_driver_does_not_know_fails_in_one_line_a_group(checked):
    lines = checked(uuid="GPU-dead")
    assert lines["device"]["outcome"] == lines["under load"]["outcome"] == "fail"
    assert "the NVIDIA driver knows no GPU with UUID" in lines["device"]["words"]
    assert lines["product, two clocks"]["outcome"] == "pass"


@pytest.mark.parametrize("function", ["nvmlInit", "nvmlDeviceGetClockInfo"])
def test_a_driver_that_hangs_holds_up_nothing(checked, function):
    lines = checked(longest=1, **{f"hang__{function}": 1})
    assert lines["under load"]["words"] == ("DriverError: expected an answer of the NVIDIA driver within 1 s, got none")
    assert lines["product, two clocks"]["outcome"] == "pass"
