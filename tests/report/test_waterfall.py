"""Where the peak went: by hand, and adding up whatever a run was like."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flopwatch.report.waterfall import Part, shares
from flopwatch.report.waterfall import waterfall as waterfall_of_run
from flopwatch.run.counts import Counts
from flopwatch.run.records import End, Totals
from flopwatch.run.run_file import Run, Segment
from flopwatch.run.time_kinds import TIME_KINDS
from tests import samples

PETA = 10**15
# Two devices of 1e15 FLOP/s. 100 s of wall time can do 200 PFLOPs.
KINDS = {"setup": 10.0, "training": 60.0, "data_wait": 5.0, "validation": 12.0, "checkpoint": 8.0, "other": 5.0}
TOTALS = Totals(
    Counts(flops=60 * PETA, tokens=1000, hardware_flops=72 * PETA, useful_tokens=900),
    seconds=100.0,
    device_seconds=200.0,
    seconds_by_kind=KINDS,
)


def run_of(*segments):
    return Run(Path("run.jsonl"), tuple(segments))


def segment(windows=(), **start):
    return Segment(samples.start(**start), samples.WORK, tuple(windows), (), None)


def ended(run, totals, ended_at):
    """The run with an end of such totals."""
    end = End("finished", ended_at, 10, totals, {})
    return replace(run, segments=(*run.segments[:-1], replace(run.segments[-1], end=end)))


def waterfall(run, totals, ended_at):
    return waterfall_of_run(ended(run, totals, ended_at))


def flops_of(parts):
    return {part.kind: part.flops for part in parts}


def test_every_part_by_hand():
    # 20 s of training in a window whose clock was 1.5 of 1.83 GHz: 20 s x 2e15 x (1 - 1.5 / 1.83) = 7.2131e15.
    windows = [samples.window(10, 1030.0, sm_clock_hz=1.5e9, seconds=21.0, data_wait_seconds=1.0)]
    parts = waterfall(run_of(segment(windows, usd_per_device_hour=3.6)), TOTALS, 1100.0)
    clock = round(20 * 2e15 * (1 - 1.5 / 1.83))
    assert flops_of(parts) == {
        "setup": 20 * PETA,
        "data_wait": 10 * PETA,
        "validation": 24 * PETA,
        "checkpoint": 16 * PETA,
        "other": 10 * PETA,
        "clock": clock,
        "recomputed": 12 * PETA,
        "rest": 120 * PETA - clock - 12 * PETA - 60 * PETA,
        "padding": 6 * PETA,
        "useful": 54 * PETA,
    }
    assert sum(part.flops for part in parts) == 200 * PETA
    # Training's 120 device-seconds are shared out as its FLOPs: 54 of 120 PFLOPs are 54 of them, at $3.6 an hour
    # 5.4 cents.
    useful = parts[-1]
    assert (useful.kind, useful.device_seconds, useful.usd) == ("useful", pytest.approx(54.0), pytest.approx(0.054))
    assert sum(part.usd for part in parts) == pytest.approx(0.2)


def test_a_restart_on_other_devices_and_the_time_between():
    # 40 s on two devices, of which 30 s were kept and 10 s lost, 60 s of nothing, then 50 s on one device.
    kept = samples.changed(TOTALS, flops=10 * PETA, seconds_by_kind={"setup": 10.0, "training": 20.0})
    before = replace(kept, lost_seconds=10.0, lost_flops=3 * PETA, lost_steps=3)
    after = samples.changed(
        before, flops=30 * PETA, seconds_by_kind={"setup": 15.0, "training": 65.0}, useful_tokens=None
    )
    one = replace(samples.H100, count=1)
    later = segment(time=1100.0, totals=before, device=one, usd_per_device_hour=3.6)
    parts = waterfall(run_of(segment(), later), samples.changed(after, hardware_flops=None), 1150.0)
    assert flops_of(parts) == {
        "setup": 25 * PETA,  # 10 s x 2e15 + 5 s x 1e15
        "lost": 20 * PETA,
        "interruption": 120 * PETA,  # charged to the devices that waited
        "rest": 85 * PETA - 30 * PETA,  # training 20 s x 2e15 + 45 s x 1e15, of which 30 PFLOPs were done
        "useful": 30 * PETA,
    }
    by_kind = {part.kind: part for part in parts}
    assert by_kind["interruption"].device_seconds == 120.0
    assert by_kind["interruption"].usd == 0.0


def test_processes_whose_files_are_gone_are_in_it():
    before = samples.changed(
        TOTALS, flops=40 * PETA, seconds_by_kind={"training": 30.0}, seconds=30.0, device_seconds=60.0
    )
    start = samples.start(time=1050.0, started_at=1000.0, totals=before, capacity_flops=1e17)
    after = samples.changed(
        before, flops=50 * PETA, seconds_by_kind={"training": 40.0}, hardware_flops=None, useful_tokens=None
    )
    parts = waterfall(run_of(Segment(start, None, (), (), None)), after, 1060.0)
    # 50 s that could do 1e17, of which 30 s were training and 20 s lay between; then 10 s x 2e15.
    assert flops_of(parts) == {"interruption": 40 * PETA, "rest": 30 * PETA, "useful": 50 * PETA}


def test_before_the_first_file_there_were_other_devices():
    before = samples.changed(TOTALS, flops=None, seconds_by_kind={"training": 50.0}, seconds=50.0, device_seconds=400.0)
    start = samples.start(time=1050.0, started_at=1000.0, totals=before, capacity_flops=None)
    parts = waterfall(run_of(Segment(start, None, (), (), None)), before, 1050.0)
    assert [(part.kind, part.device_seconds) for part in parts] == [("training", 400.0)]


def test_a_machine_that_slept_is_no_interruption_of_the_run():
    parts = waterfall(run_of(segment()), TOTALS, 1100.0 + 3600.0)
    assert flops_of(parts)["unknown"] == 7200 * PETA
    assert "interruption" not in flops_of(parts)
    # A tenth of a second is two clocks of one process.
    assert "unknown" not in flops_of(waterfall(run_of(segment()), TOTALS, 1100.1))


def test_a_clock_that_went_backwards_has_no_waterfall():
    assert waterfall(run_of(segment()), TOTALS, 1050.0) == ()


def test_a_clock_loss_is_not_claimed_where_windows_are_gone():
    clocked = [samples.window(10, 1030.0, sm_clock_hz=1.5e9)]
    early = samples.changed(TOTALS, seconds_by_kind={"training": 10.0}, flops=PETA)
    gone = segment(time=1050.0, started_at=1000.0, totals=early, capacity_flops=1e17)
    gone = replace(gone, windows=tuple(clocked))
    assert "clock" not in flops_of(waterfall(run_of(gone), TOTALS, 1200.0))


def test_without_a_peak_there_is_time_alone_and_without_flops_no_split():
    nameless = replace(samples.H100, peak_flops_per_second=None)
    parts = waterfall(run_of(segment(device=nameless)), TOTALS, 1100.0)
    assert {part.flops for part in parts} == {None}
    assert {part.kind: part.device_seconds for part in parts} == {kind: 2 * seconds for kind, seconds in KINDS.items()}
    withheld = waterfall(run_of(segment()), samples.changed(TOTALS, flops=None), 1100.0)
    assert flops_of(withheld)["training"] == 120 * PETA
    assert "useful" not in flops_of(withheld)


def test_files_without_seconds_by_kind_have_no_waterfall():
    assert waterfall(run_of(segment()), replace(TOTALS, seconds_by_kind={}), 1100.0) == ()


seconds = st.floats(0, 1e6)


@st.composite
def runs(draw):
    """A run of up to four processes, on whatever devices, with whatever went wrong."""
    segments, totals, now = [], Totals(), 1000.0
    for _ in range(draw(st.integers(1, 4))):
        device = replace(
            samples.H100, count=draw(st.integers(1, 4096)), peak_flops_per_second=draw(st.floats(1e9, 5e15))
        )
        start = samples.start(time=now, totals=totals, device=device)
        window = samples.window(
            10, now + 10, seconds=draw(seconds), data_wait_seconds=0.0, sm_clock_hz=draw(st.floats(1e8, 3e9))
        )
        segments.append(Segment(start, None, (window,), (), None))
        kinds = {kind: draw(seconds) for kind in draw(st.sets(st.sampled_from(sorted(KINDS)), min_size=1))}
        lost, idle = draw(seconds), draw(st.floats(0, 1e5))
        flops, tokens = draw(st.integers(0, 10**26)), draw(st.integers(1, 10**14))
        hardware_flops, useful_tokens = flops * draw(st.integers(1, 2)), draw(st.integers(0, tokens))
        totals = replace(
            totals,
            counts=totals.counts + Counts(flops, tokens, 0, hardware_flops, useful_tokens),
            lost_seconds=totals.lost_seconds + lost,
            seconds_by_kind={
                kind: totals.seconds_by_kind.get(kind, 0.0) + kinds.get(kind, 0.0)
                for kind in {*kinds, *totals.seconds_by_kind}
            },
        )
        now += sum(kinds.values()) + lost + idle
    return run_of(*segments), totals, now


@settings(max_examples=200, deadline=None)
@given(runs())
def test_the_parts_add_up_to_the_integer(made):
    run, totals, ended_at = made
    parts = waterfall(run, totals, ended_at)
    starts = [segment.start for segment in run.segments]
    ends = [*(start.time for start in starts[1:]), ended_at]
    stretches = [(end - start.time, start.device) for start, end in zip(starts, ends, strict=True)]
    capacity = sum(length * device.count * device.peak_flops_per_second for length, device in stretches)
    device_seconds = sum(length * device.count for length, device in stretches)
    assert sum(part.flops for part in parts) == pytest.approx(capacity, rel=1e-9, abs=len(TIME_KINDS))
    assert sum(part.device_seconds for part in parts) == pytest.approx(device_seconds, rel=1e-6, abs=1e-3)
    split = flops_of(parts)
    if "useful" in split:
        assert split["useful"] + split.get("padding", 0) == totals.counts.flops
        assert split.get("recomputed", 0) == totals.counts.hardware_flops - totals.counts.flops
    assert [part.kind for part in parts] == [kind for kind in TIME_KINDS if kind in split]


def test_shares_are_of_flops_where_they_are_known_else_of_time():
    # Two devices with other peaks: the first ran for 30 s at 1 FLOP/s, the second for 10 s at 7.
    parts = (Part("interruption", 30, 30.0, None), Part("useful", 70, 10.0, None))
    assert shares(parts) == [0.3, 0.7]
    unknown = (Part("interruption", None, 30.0, None), Part("training", None, 10.0, None))
    assert shares(unknown) == [0.75, 0.25]
    assert shares(()) == []
