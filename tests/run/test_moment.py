from dataclasses import replace

import pytest

from flopwatch.run.moment import Moment, as_float, hours
from flopwatch.run.records import Totals
from tests import samples

TOTALS = Totals(device_seconds=7200.0, joules=7_200_000)


def at(totals=TOTALS, **changes):
    return Moment(samples.window(10, 1010.0), samples.H100, totals, **changes)


def test_what_was_spent_by_hand():
    moment = at(kg_co2_per_kwh=0.3)
    # 7,200 device-seconds; 7.2 MJ of 3.6 MJ a kWh; 2 kWh of 0.3 kg.
    assert (moment.device_hours(), moment.kwh(), moment.kg_co2()) == (2.0, 2.0, pytest.approx(0.6))
    # 8e15 FLOPs of two devices in 10 s.
    assert moment.device_tflops() == 400.0


def test_what_is_unknown_stays_so():
    assert at().kg_co2() is None
    assert at(replace(TOTALS, joules=None), kg_co2_per_kwh=0.3).kg_co2() is None
    unread = Moment(samples.window(10, 1010.0, clock_samples=0), samples.H100, TOTALS)
    assert unread.megahertz(1.5e9) is None
    assert at().megahertz(None) is None
    assert (as_float(None), hours(None)) == (None, None)


def test_units_of_loggers():
    assert at().megahertz(1.5e9) == 1500.0
    assert (as_float(3), hours(1800.0)) == (3.0, 0.5)
