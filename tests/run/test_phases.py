"""Phases as shares and rates, by hand; what is not told is unknown."""

from dataclasses import replace

import pytest

from flopwatch.run import phases
from tests import samples

STEP = samples.PHASES


def test_shares_are_of_the_whole_step():
    parts = ("transfer_seconds", "forward_seconds", "backward_seconds", "clip_seconds", "optimizer_seconds")
    assert [phases.share(STEP, part) for part in parts] == pytest.approx([0.01, 0.3, 0.5, 0.04, 0.1])
    assert phases.share(None, "forward_seconds") is None
    assert phases.share(replace(STEP, seconds=0.0), "forward_seconds") is None


def test_rates_are_of_one_device_though_the_run_has_two():
    # 9e13 FLOPs in 0.3 s and 2e14 in 0.5 s, of 1e15 FLOP/s.
    assert phases.forward_mfu(STEP, samples.H100) == pytest.approx(0.3)
    assert phases.backward_mfu(STEP, samples.H100) == pytest.approx(0.4)


def test_without_flops_or_a_peak_there_is_no_rate():
    for step, device in (
        (None, samples.H100),
        (replace(STEP, forward_flops=None, backward_flops=None), samples.H100),
        (STEP, replace(samples.H100, peak_flops_per_second=None)),
    ):
        assert (phases.forward_mfu(step, device), phases.backward_mfu(step, device)) == (None, None)


def test_steps_together_have_their_sums():
    other = replace(STEP, seconds=3.0, forward_seconds=0.9, recomputed_flops=None)
    both = phases.together([STEP, None, other])
    assert (both.seconds, both.forward_seconds, both.backward_flops) == pytest.approx((4.0, 1.2, 4e14))
    assert both.recomputed_flops is None
    assert phases.together([None]) is None
