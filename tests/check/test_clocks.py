"""Lines of a GPU under load, from readings by hand."""

from dataclasses import replace

import pytest

from flopwatch.check import clocks
from flopwatch.check.clocks import check_clocks
from flopwatch.check.products import Load
from flopwatch.check.readings import Readings
from tests.check.machines_of import CPU, H100, found

# 1800 MHz, 600 W, a power cap in two of ten seconds. 1800e6 x 540,672 is 973.2 TFLOP/s, of which 778.6 are 80%.
READ = Readings(
    seconds=10.0,
    clocks_hz=(1800e6,) * 10,
    bits=(0x4,) * 2 + (0x0,) * 8,
    watts=(600.0,) * 10,
    joules=6000.0,
    reason_seconds={"power_cap": 2.0, "software_thermal": 0.0},
    tensor_active=0.82,
)
LOAD = Load(7786 * 10**12, 10.0, 10.0)


def lines(load=LOAD, machine=H100, driver=None, **changes):
    read = replace(READ, **changes)
    return {line.name: line for line in clocks.lines(machine, driver or found(), load, read)}


def outcomes(**changes):
    return {name: line.outcome for name, line in lines(**changes).items()}


def test_a_cpu_has_none_of_them():
    found_ = list(check_clocks(CPU))
    assert {line.outcome for line in found_} == {"not here"}
    assert tuple(line.name for line in found_) == clocks.NAMES


def test_all_agree():
    assert set(outcomes().values()) == {"pass"}
    read = lines()
    assert read["SM clock under load"].words == (
        "10 readings; the table's peak is for 1830 MHz, held down by: power cap"
    )
    assert read["product at that clock"].words == "80.0% of what the clock allows"
    assert read["throttling, two ways"].words == ("share of time by the driver's counter of power cap; 20% of readings")
    assert read["energy, two ways"].words == "by the counter; mean power 600 W of 700 W"
    assert read["tensor activity"].expected == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({"clocks_hz": (1800e6, 2100e6)}, "SM clock under load"),
        ({"driver": found(max_sm_clock_hz=1800e6)}, "SM clock under load"),  # the table's 1830 cannot be reached
        ({"driver": found(max_sm_clock_hz=1980e9)}, "SM clock under load"),  # kHz taken for MHz
        ({"load": Load(10_000 * 10**12, 10.0, 10.0), "tensor_active": 1.0}, "product at that clock"),
        # 486 TFLOP/s of the 973.2 that the clock allows are just below a half; so much needs half of the cycles.
        ({"load": Load(4860 * 10**12, 10.0, 10.0), "tensor_active": 0.5}, "product at that clock"),
        ({"reason_seconds": {"power_cap": 0.002}}, "throttling, two ways"),  # milliseconds taken for seconds
        ({"joules": 6.0}, "energy, two ways"),
        ({"tensor_active": 0.4}, "tensor activity"),  # fewer cycles than the product needs
        ({"tensor_active": 1.05}, "tensor activity"),
    ],
)
def test_each_disagreement_fails_one_line(changes, failing):
    assert [name for name, outcome in outcomes(**changes).items() if outcome == "fail"] == [failing]


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        (
            {"clocks_hz": (), "refused": {"SM clock": "Not Supported"}},
            {"SM clock under load", "product at that clock", "tensor activity"},
        ),
        ({"bits": ()}, {"throttling, two ways"}),
        ({"reason_seconds": None}, {"throttling, two ways"}),
        ({"joules": None}, {"energy, two ways"}),
        ({"watts": ()}, {"energy, two ways"}),
        ({"tensor_active": None}, {"tensor activity"}),
        (
            {"machine": replace(H100, described=replace(H100.described, flops_per_clock=None))},
            {"product at that clock", "tensor activity"},
        ),
    ],
)
def test_what_cannot_be_read_is_not_here_with_the_reason(changes, missing):
    read = lines(**changes)
    assert {name for name, line in read.items() if line.outcome == "not here"} == missing
    assert all(read[name].words for name in missing)
    if "refused" in changes:
        assert read["SM clock under load"].words == "SM clock: Not Supported"


@pytest.mark.parametrize(
    ("changes", "expected", "got", "unit"),
    [
        # One reading of 2100 MHz where the driver allows 1980; the mean of 1950 would be no fault.
        ({"clocks_hz": (1800e6, 2100e6)}, 1980e6, 2100e6, "Hz at most"),
        # The table's 1830 MHz less a step of 15, and what the driver allows.
        ({"driver": found(max_sm_clock_hz=1755e6)}, 1815e6, 1755e6, "Hz at least"),
        # MHz taken for Hz.
        ({"clocks_hz": (1800.0,) * 10}, 198e6, 1800.0, "Hz at least"),
    ],
)
def test_a_clock_that_fails_names_the_one_at_fault(changes, expected, got, unit):
    line = lines(**changes)["SM clock under load"]
    assert (line.outcome, line.unit) == ("fail", unit)
    assert (line.expected, line.found) == (pytest.approx(expected), got)


def test_a_low_clock_without_a_reason_says_so():
    assert lines(bits=(0,) * 10)["SM clock under load"].words.endswith("held down by: no reason given")
