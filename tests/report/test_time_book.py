"""One book of all wall time: by hand, and equal to the waterfall whatever a run was like."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flopwatch.report import summarize
from flopwatch.report.findings import _TIME
from flopwatch.report.time_book import seconds_by_kind
from flopwatch.run.counts import Counts
from flopwatch.run.records import End, Totals
from flopwatch.run.run_file import Segment
from flopwatch.run.time_kinds import TIME_KINDS, kinds_at
from tests import samples
from tests.report.test_waterfall import run_of

INSIDE = kinds_at("part of steps")


def process(began, ended, before, after, count=2, peak=1e15):
    """A process from one moment to another, with totals at either; it ended by itself."""
    device = replace(samples.H100, count=count, peak_flops_per_second=peak)
    return Segment(
        samples.start(time=began, started_at=1000.0, totals=before, device=device),
        samples.WORK,
        (),
        (),
        End("finished", ended, 10, after, {}),
    )


def booked(**seconds):
    return Totals(Counts(10**15, hardware_flops=10**15), seconds_by_kind=seconds)


def test_what_a_process_does_not_hold_is_unknown_where_nothing_lies_between_two():
    # Two processes back to back; the second one took 300 s, of which its books hold 100.
    first, second = booked(training=90.0, setup=10.0), booked(training=180.0, setup=20.0)
    run = run_of(process(1000.0, 1100.0, Totals(), first), process(1100.0, 1400.0, first, second))
    assert seconds_by_kind(run) == {"training": 180.0, "setup": 20.0, "unknown": 200.0}
    report = summarize(run)
    assert report.seconds == {"training": 180.0, "setup": 20.0, "unknown": 200.0}
    assert {part.kind for part in report.parts} & {"unknown", "interruption"} == {"unknown"}
    assert "interruption" not in {each.kind for each in report.findings}


def test_what_lies_between_two_processes_and_what_the_first_one_slept_are_told_apart():
    # The first: 100 s, of which 60 are booked; then 50 s of nothing; then 20 s, all of them booked.
    first, second = booked(training=60.0), booked(training=80.0)
    run = run_of(process(1000.0, 1100.0, Totals(), first), process(1150.0, 1170.0, first, second))
    assert seconds_by_kind(run) == {"training": 80.0, "interruption": 50.0, "unknown": 40.0}


def test_of_a_killed_process_all_that_has_no_sign_is_interruption():
    first = booked(training=60.0)
    killed = replace(process(1000.0, 1060.0, Totals(), first), end=None)
    run = run_of(killed, process(1200.0, 1220.0, first, booked(training=80.0)))
    # From 1,000 s on: 60 s kept, 140 s of nothing, 20 s.
    assert seconds_by_kind(run) == {"training": 80.0, "interruption": 140.0}


def test_flopwatch_has_a_kind_of_its_own_and_is_never_advised_against():
    assert TIME_KINDS["flopwatch"].words == "flopwatch itself"
    assert "flopwatch" not in _TIME
    assert {"setup", "validation", "checkpoint", "callbacks", "other", "lost", "interruption"} == set(_TIME)


seconds = st.integers(0, 10**8).map(lambda milliseconds: milliseconds / 1000)


@st.composite
def runs(draw):
    """Up to four processes on the same devices, with whatever lay between and whatever their books lack."""
    segments, before, now = [], Totals(), 1000.0
    for _ in range(draw(st.integers(1, 4))):
        spent = {kind: draw(seconds) for kind in draw(st.sets(st.sampled_from(["setup", "training", "callbacks"])))}
        lost = draw(seconds)
        after = replace(
            before,
            counts=before.counts + Counts(flops=1, hardware_flops=1),
            lost_seconds=before.lost_seconds + lost,
            seconds_by_kind={
                kind: before.seconds_by_kind.get(kind, 0.0) + spent.get(kind, 0.0)
                for kind in {*spent, *before.seconds_by_kind, "training"}
            },
        )
        ended = now + sum(spent.values()) + lost + draw(st.sampled_from([0.0, 0.5, 200.0]))
        segment = process(now, ended, before, after)
        segments.append(replace(segment, end=None) if draw(st.booleans()) else segment)
        now, before = ended + draw(st.sampled_from([0.0, 0.01, 30.0])), after
    segments[-1] = process(segments[-1].start.time, now, segments[-1].start.totals, before)
    return run_of(*segments)


@settings(max_examples=200, deadline=None)
@given(runs())
def test_the_table_of_wall_time_is_the_waterfall(run):
    report = summarize(run)
    parts = {part.kind: part.device_seconds / 2 for part in report.parts}
    inside = sum(amount for kind, amount in parts.items() if kind in INSIDE or kind == "training")
    table = {kind: amount for kind, amount in report.seconds.items() if kind != "training"}
    assert inside == pytest.approx(report.seconds.get("training", 0.0), abs=1e-6)
    assert {kind: amount for kind, amount in parts.items() if kind not in (*INSIDE, "training")} == pytest.approx(table)
    assert sum(report.seconds.values()) == pytest.approx(report.wall_seconds, abs=1e-6)
