"""Dips, drifts and slow ranks in hand-made runs, and what is made of them."""

import random
from pathlib import Path

import pytest

from flopwatch.report.anomalies import Anomalies, CauseShare, Dip, Drift, SlowRank, anomalies
from flopwatch.report.render.efficiency import unusual_lines
from flopwatch.report.report import summarize
from flopwatch.run.run_file import Run, Segment
from tests import samples

PETA = 10**15
CALM = {"slowest_rank": None, "slowest_rank_ratio": None, "pause_seconds": {}}


def run_of(*changes):
    """Windows of ten steps in ten seconds, 8 PFLOPs each, with what is different in some."""
    windows = [
        samples.window(10 * number, 1000.0 + 12 * number, **{**CALM, **change})
        for number, change in enumerate(changes, 1)
    ]
    return Run(Path("run.jsonl"), (Segment(samples.start(), samples.WORK, tuple(windows), (), None),))


USUAL, SLOW = {}, {"flops": 4 * PETA}


def dips_of(*changes):
    return anomalies(run_of(*changes)).dips


def test_an_even_run_has_nothing_unusual():
    assert anomalies(run_of(*[USUAL] * 60)) == Anomalies()


def test_a_dip_has_its_start_its_length_and_its_cost():
    (dip,) = dips_of(*[USUAL] * 10, SLOW, SLOW, *[USUAL] * 10)
    # Windows 11 and 12 did 4 instead of 8 PFLOPs each. Window 11 begins 12 s of wall time before 1000 + 12 x 11.
    assert dip == Dip(
        started_at=1120.0, seconds=20.0, first_step=101, last_step=120, slower=0.5, lost_flops=8 * PETA, cause=None
    )


def test_the_dearest_dip_comes_first():
    dips = dips_of(*[USUAL] * 10, SLOW, *[USUAL] * 5, SLOW, SLOW, *[USUAL] * 10)
    assert [dip.last_step for dip in dips] == [180, 110]


def test_a_pace_that_varies_a_little_is_no_dip():
    assert dips_of(*[{"flops": (8 + (-1) ** place) * PETA} for place in range(40)]) == ()


@pytest.mark.parametrize(
    ("change", "cause", "detail"),
    [
        ({"data_wait_seconds": 6.0}, "data", None),
        ({"sm_clock_hz": 0.9e9, "throttled": {"power_cap": 0.1, "software_thermal": 0.8}}, "clock", "software_thermal"),
        ({"slowest_rank": 3, "slowest_rank_ratio": 1.9}, "slow rank", "3"),
        ({"pause_seconds": {"validation": 3.0}}, "pause", "validation"),
        # A tenth less clock does not explain half the pace.
        ({"sm_clock_hz": 1.44e9}, None, None),
        ({"data_wait_seconds": 2.0}, None, None),
    ],
)
def test_a_dip_has_the_cause_that_explains_it(change, cause, detail):
    usual = {"slowest_rank": 0, "slowest_rank_ratio": 1.0}
    (dip,) = dips_of(*[usual] * 10, {**usual, **SLOW, **change}, *[usual] * 10)
    assert (dip.cause, dip.detail) == (cause, detail)


def test_without_flops_tokens_tell_and_nothing_is_claimed_of_flops():
    (dip,) = dips_of(*[{"flops": None}] * 10, {"flops": None, "tokens": 1000}, *[{"flops": None}] * 10)
    assert (dip.slower, dip.lost_flops) == (0.75, None)


def test_a_few_windows_are_not_judged():
    assert anomalies(run_of(*[USUAL] * 6, SLOW)) == Anomalies()


def test_a_drift_is_told_and_noise_is_not():
    drifting = [{"flops": round((8.4 - 0.8 * place / 99) * PETA)} for place in range(100)]
    (drift,) = anomalies(run_of(*drifting)).drifts
    # From 8.4 to 7.6 around a median of 8: the medians of the fifths are a tenth of the way in.
    assert drift == Drift(10, 1000, pytest.approx(8.3232 / 8, rel=1e-3), pytest.approx(7.6768 / 8, rel=1e-3))
    noisy = [{"flops": round((8 + 0.9 * (-1) ** place) * PETA)} for place in range(100)]
    assert anomalies(run_of(*noisy)).drifts == ()


def test_a_rank_that_is_mostly_the_slowest_is_named():
    slow, other = {"slowest_rank": 5, "slowest_rank_ratio": 1.2}, {"slowest_rank": 2, "slowest_rank_ratio": 1.01}
    assert anomalies(run_of(*[slow] * 8, *[other] * 2)).slow_rank == SlowRank(5, pytest.approx(1.2), 0.8)
    assert anomalies(run_of(*[slow] * 5, *[other] * 5)).slow_rank is None
    assert anomalies(run_of(*[other] * 10)).slow_rank is None


# Nine tenths of the time are work as a rule, and three tenths here: a third of 8 PFLOPs.
STARVED = {"flops": 8 * PETA // 3, "data_wait_seconds": 7.0}


@pytest.mark.parametrize(
    ("before", "during", "after"),
    [(20, 23, 0), (20, 23, 20), (0, 23, 20), (20, 5, 0), (8, 40, 0), (10, 35, 4), (9, 90, 0), (0, 90, 9)],
)
def test_a_dip_that_lasts_longer_than_the_rest_is_found_whole(before, during, after):
    (dip,) = dips_of(*[USUAL] * before, *[STARVED] * during, *[USUAL] * after)
    assert (dip.first_step, dip.last_step) == (10 * before + 1, 10 * (before + during))
    assert (dip.slower, dip.cause) == (pytest.approx(2 / 3), "data")
    assert dip.lost_flops == pytest.approx(during * 16 / 3 * PETA)
    assert dip.causes == (CauseShare("data", pytest.approx(1.0)),)


def test_causes_have_their_shares_and_the_rest_is_unknown():
    # Of the half that is missing: waiting leaves 0.72 / 0.9 = 0.8 of the pace, so 0.2 of it; of those 0.8 a clock that
    # is a sixteenth lower takes 0.05. 0.2 / 0.5 is 40%, 0.05 / 0.5 is 10%.
    change = {**SLOW, "data_wait_seconds": 2.8, "sm_clock_hz": 1.5e9, "throttled": {"power_cap": 0.9}}
    run = run_of(*[USUAL] * 10, *[change] * 3, *[USUAL] * 10)
    (dip,) = anomalies(run).dips
    clock = CauseShare("clock", pytest.approx(0.1), "power_cap")
    assert dip.causes == (CauseShare("data", pytest.approx(0.4)), clock)
    assert dip.cause is None
    (line,) = unusual_lines(summarize(run))
    assert line.endswith("; 40% from waiting for data, 10% from a lower clock (power cap), the rest unknown.")
    assert "were 50.0% slower than the best stretch" in line


def noisy(seed, count, noise, pace=lambda place: 1.0):
    chance = random.Random(seed)
    return [{"flops": max(round(8 * PETA * pace(each) * chance.gauss(1, noise)), 1)} for each in range(count)]


@pytest.mark.parametrize("noise", [0.01, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("count", [10, 40, 400])
def test_a_noisy_but_steady_run_has_no_dips(noise, count):
    found = [len(dips_of(*noisy(seed, count, noise))) for seed in range(40)]
    # Of ten windows their noise itself is hardly known.
    assert sum(found) <= (1 if count > 10 else 4)


def test_what_comes_by_and_by_is_a_drift_and_no_dip():
    for seed in range(20):
        slower = anomalies(run_of(*noisy(seed, 200, 0.02, lambda place: 1 - 0.4 * place / 200)))
        assert slower.dips == ()
        assert len(slower.drifts) == 1
        warming = anomalies(run_of(*noisy(seed, 200, 0.02, lambda place: min(0.5 + place / 100, 1.0))))
        assert warming.dips == ()


def test_a_dip_of_a_noisy_run_is_found():
    for seed in range(20):
        (dip,) = dips_of(*noisy(seed, 100, 0.05, lambda place: 0.5 if 30 <= place < 80 else 1.0))
        # A window of chance may lie at an edge.
        assert (dip.first_step, dip.last_step) == (pytest.approx(301, abs=10), pytest.approx(800, abs=10))
        assert dip.slower == pytest.approx(0.5, abs=0.04)
