"""Whether the driver's device is torch's, and what readings cost."""

from dataclasses import replace

import pytest

from flopwatch.check.device import check_device, costs, same_device
from flopwatch.check.text import Style, line_text
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


def test_uuids_that_differ_beyond_what_is_shown_fail_with_words():
    line = same_device(H100, found(uuid="GPU-1234abcd-0001"))
    assert (line.outcome, line.expected, line.words) == ("fail", line.found, "another UUID")
    assert "another UUID" in line_text(line, Style(width=200))


def test_a_torch_that_tells_no_uuid_is_compared_by_the_rest():
    machine = replace(H100, described=replace(H100.described, uuid=None))
    gpu = FoundGpu("handle", "handle", is_slice=False, doubt="found by its number")
    line = same_device(machine, found(gpu=gpu))
    assert (line.outcome, line.words) == ("pass", "found by its number; by name and SMs only")


def test_a_slice_without_a_uuid_is_compared_by_its_name_alone():
    gpu = FoundGpu("handle", "handle", is_slice=True)
    line = same_device(H100, found(gpu=gpu, uuid=None, sm_count=None))
    assert (line.outcome, line.words) == ("pass", "a MIG slice; by name only")


def test_readings_that_are_quick_pass_with_the_slowest_one():
    line = costs({"SM clock": 0.001, "energy": 0.002, "power": "Not Supported"})
    assert (line.outcome, line.expected, line.found) == ("pass", 0.005, 0.002)
    assert line.words == "for the slowest of 2 readings, energy; all together 3 ms; not readable: power"


def test_a_slow_reading_is_named_with_what_it_takes():
    # 6 ms are too many, also where three readings together take less than three times 5 ms.
    line = costs({"energy": 0.006, "power": 0.001, "SM clock": 0.0005})
    assert (line.outcome, line.expected, line.found) == ("fail", 0.005, 0.006)
    assert line.words == "for the slowest of 3 readings, energy; all together 7.5 ms"


def test_what_refuses_all_readings_is_not_here():
    assert costs({"SM clock": "Not Supported"}).words == "SM clock: Not Supported"
