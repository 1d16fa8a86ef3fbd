from dataclasses import replace

import pytest

from flopwatch.run.moment import Moment, as_float, hours
from flopwatch.run.records import Device, Totals
from tests import samples

TOTALS = Totals(device_seconds=7200.0, joules=7_200_000)


def moment(device=samples.H100, totals=TOTALS, kg_co2_per_kwh=None, **changes):
    return Moment(samples.window(10, 1010.0, **changes), device, totals, kg_co2_per_kwh=kg_co2_per_kwh)


def test_a_device_has_its_part_of_the_work():
    # 8e15 FLOPs in 10 s on two devices.
    assert moment().device_tflops() == 400.0
    assert moment(flops=None).device_tflops() is None
    assert moment(seconds=0.0).device_tflops() is None


@pytest.mark.parametrize(
    ("clock_hz", "samples_taken", "megahertz"),
    [(1.6e9, 10, 1600.0), (None, 10, None), (0.0, 10, None), (1.6e9, 0, None)],
)
def test_a_clock_is_known_where_one_was_read(clock_hz, samples_taken, megahertz):
    assert moment(clock_samples=samples_taken).megahertz(clock_hz) == megahertz


def test_time_energy_and_what_it_emits_are_of_the_run():
    one = moment(kg_co2_per_kwh=0.4)
    # 7,200 device-seconds; 7.2 MJ are 2 kWh.
    assert (one.device_hours(), one.kwh(), one.kg_co2()) == (2.0, 2.0, 0.8)
    assert moment().kg_co2() is None, "nobody said what the grid emits"
    unknown = moment(totals=replace(TOTALS, joules=None), kg_co2_per_kwh=0.4)
    assert (unknown.kwh(), unknown.kg_co2()) == (None, None)


def test_what_is_unknown_stays_so():
    assert (as_float(3), as_float(None), hours(5400.0), hours(None)) == (3.0, None, 1.5, None)
    assert moment(device=Device("CPU", 1)).device_tflops() == 800.0
