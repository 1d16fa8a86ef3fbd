"""Whether the driver's device is torch's, and what readings cost."""

from dataclasses import replace

import pytest

from flopwatch.check.device import check_device, costs, same_device
from flopwatch.hardware.nvml.lookup import FoundGpu
from tests.check.machines_of import CPU, H100, found


def test_a_cpu_has_no_driver():
    assert {(line.outcome, line.words) for line in check_device(CPU)} == {
        ("not here", "no NVIDIA GPU that torch can use")
    }


def test_the_same_device_by_uuid_name_and_sms():
    line = same_device(H100, found())
    assert line.outcome == "pass"
    # Enough of a UUID to see a difference, too little to tell whose GPU it is.
    assert line.found == "NVIDIA H100 80GB HBM3, UUID 1234abcd..., 132 SMs"


@pytest.mark.parametrize(
    "changes", [{"uuid": "GPU-99990000-0000"}, {"name": "NVIDIA H200"}, {"sm_count": 114}], ids=str
)
def test_another_device_fails(changes):
    line = same_device(H100, found(**changes))
    assert line.outcome == "fail"
    assert line.found != line.expected


def test_a_torch_that_tells_no_uuid_is_compared_by_the_rest():
    machine = replace(H100, described=replace(H100.described, uuid=None))
    gpu = FoundGpu("handle", "handle", is_slice=False, doubt="found by its number")
    line = same_device(machine, found(gpu=gpu))
    assert (line.outcome, line.words) == ("pass", "found by its number")


def test_readings_that_are_quick_pass_with_their_sum():
    line = costs({"SM clock": 0.001, "energy": 0.002, "power": "Not Supported"})
    assert (line.outcome, line.expected, line.found) == ("pass", 0.010, pytest.approx(0.003))
    assert line.words == "for 2 readings; the slowest takes 2 ms; not readable: power"


def test_a_slow_reading_is_named():
    line = costs({"SM clock": 0.001, "energy": 0.02})
    assert line.outcome == "fail"
    assert "slow: energy 20 ms" in line.words


def test_what_refuses_all_readings_is_not_here():
    assert costs({"SM clock": "Not Supported"}).words == "SM clock: Not Supported"
