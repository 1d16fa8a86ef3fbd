"""Losses along a run's windows, by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from flopwatch.report.points import Losses, Point, between, loss_over_flops, losses_of, points_of
from flopwatch.run.run_file import Run, Segment
from tests import samples


def point(step, loss=None, validation_loss=None, total_flops=None):
    return Point(
        *(float(step), step, None, None, None, total_flops, None, False), loss=loss, validation_loss=validation_loss
    )


def test_a_point_has_the_losses_and_what_the_run_had_cost():
    window = samples.window(10, 1012.0, loss=2.5, validation_loss=2.75)
    run = Run(Path("run.jsonl"), (Segment(samples.start(usd_per_device_hour=36.0), None, (window,), (), None),))
    (found,) = points_of(run)
    # Two devices for 12 s at $36 an hour are 24 x $0.01; ten steps of 400 tokens.
    assert (found.loss, found.validation_loss, found.total_tokens) == (2.5, 2.75, 4_000)
    assert found.usd == pytest.approx(0.24)
    (unpaid,) = points_of(replace(run, segments=(replace(run.segments[0], start=samples.start()),)))
    assert unpaid.usd is None


def test_the_last_losses_are_those_last_known():
    points = [point(10, 3.0, 3.5), point(20, 2.5, 2.25), point(30, 2.6, 2.75), point(40)]
    assert losses_of(points) == Losses(training=2.6, validation=2.75, lowest_validation=2.25)
    assert losses_of([point(1)]) == Losses(None, None, None)


def test_a_loss_between_two_windows_is_on_the_line_between_them():
    curve = loss_over_flops([point(1, 4.0, total_flops=100), point(2, 3.0, total_flops=300), point(3, 2.0)])
    assert curve == [(100, 4.0), (300, 3.0)]
    # A quarter of the way from 100 to 300.
    assert between(curve, 150) == 3.75
    assert (between(curve, 100), between(curve, 300)) == (4.0, 3.0)
    assert between(curve, 99) is None
    assert between(curve, 301) is None
    assert between([(100, 4.0)], 100) == 4.0
    assert between([(100, 4.0)], 101) is None
    assert between([], 1) is None


def test_of_windows_without_work_the_later_one_counts():
    assert between([(100, 4.0), (100, 3.0), (200, 2.0)], 100) == 3.0
