"""Products of known FLOPs: real ones on the CPU, and lines of numbers by hand."""

import time

import pytest

from flopwatch.check.products import Load, against_peak, by_two_clocks, check_products, multiply
from tests.check.machines_of import CPU, H100


def test_products_are_timed_by_two_clocks():
    began = time.perf_counter()
    load = multiply(CPU, 0.2, size=64)
    assert load.flops % (2 * 64**3) == 0
    assert 0.2 <= load.wall_seconds <= time.perf_counter() - began
    assert load.device_seconds == pytest.approx(load.wall_seconds, rel=0.05)


def test_a_cpu_has_no_peak_but_two_clocks():
    peak, clocks = check_products(CPU)
    assert (peak.outcome, peak.words) == ("not here", "no datasheet peak for CPU")
    assert (clocks.outcome, clocks.unit) == ("pass", "FLOP/s")


def test_a_product_is_at_the_peak_or_below():
    # 600e12 FLOPs in a second: 60.6% of 989.4e12.
    line = against_peak(H100, Load(600 * 10**12, 1.0, 1.0))
    assert (line.outcome, line.expected, line.found) == ("pass", 989.4e12, 600e12)
    assert line.words == "60.6% of the bf16 peak"


@pytest.mark.parametrize(
    ("rate", "most_clock_hz", "outcome"),
    [
        (1000 * 10**12, None, "fail"),
        # The driver allows 1980 MHz where the sheet has 1830: 1.082 x 989.4 = 1070.5 TFLOP/s.
        (1000 * 10**12, 1980e6, "pass"),
        (1071 * 10**12, 1980e6, "fail"),
        # A lower clock does not lower the limit: the sheet's is what is checked.
        (980 * 10**12, 1000e6, "pass"),
    ],
)
def test_above_the_peak_only_by_a_higher_clock(rate, most_clock_hz, outcome):
    assert against_peak(H100, Load(rate, 1.0, 1.0), most_clock_hz).outcome == outcome


def test_a_rate_far_below_the_peak_is_a_fault():
    # A tenth of 989.4 TFLOP/s; a rate in GFLOP/s that is taken for TFLOP/s is a thousandth.
    assert against_peak(H100, Load(99 * 10**12, 1.0, 1.0)).outcome == "pass"
    line = against_peak(H100, Load(6 * 10**11, 1.0, 1.0))
    assert (line.outcome, line.expected, line.unit) == ("fail", pytest.approx(98.94e12), "FLOP/s at least")


def test_clocks_that_differ_fail_with_both_rates():
    # 100 FLOPs in 1.0 s by marks, in 1.03 s by the wall.
    line = by_two_clocks(Load(100, 1.0, 1.03))
    assert (line.outcome, line.found) == ("fail", 100.0)
    assert line.expected == pytest.approx(97.087, rel=1e-4)
    assert by_two_clocks(Load(100, 1.0, 1.01)).outcome == "pass"
