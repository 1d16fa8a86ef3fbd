"""What the charts of losses hold."""

import pytest

from flopwatch.report.comparison import Entry
from flopwatch.report.points import Point
from flopwatch.report.render.loss_charts import loss_charts, loss_overlay
from tests.report.render.test_facts import healthy


def point(step, loss=None, validation_loss=None, usd=None, flops=1_000, first=False):
    return Point(
        *(10.0 * step, step, 0.4, None, None, flops and flops * step, None, first),
        total_tokens=5 * step,
        usd=usd,
        loss=loss,
        validation_loss=validation_loss,
    )


def drawn(*points):
    return {stack.charts[0].heading: stack.charts[0] for stack in loss_charts(healthy(points=points))}


def test_losses_stand_over_flops_and_time_without_a_price():
    charts = drawn(point(1, 3.0), point(2, 2.5, 2.75), point(3, 2.0))
    assert list(charts) == ["Loss over model FLOPs", "Loss over time"]
    training, validation = charts["Loss over model FLOPs"].lines
    assert training.points == ((1_000.0, 3.0), (2_000.0, 2.5), (3_000.0, 2.0))
    assert (validation.points, validation.style) == (((2_000.0, 2.75),), "dots")
    over_time = charts["Loss over time"]
    assert (over_time.across, over_time.until) == ("time", 30.0)
    assert over_time.lines[0].points == ((10.0, 3.0), (20.0, 2.5), (30.0, 2.0))


def test_with_a_price_they_stand_over_dollars_and_without_flops_over_tokens():
    charts = drawn(point(1, 3.0, usd=0.5, flops=None), point(2, 2.0, usd=1.0, flops=None))
    assert list(charts) == ["Loss over tokens", "Loss over cost"]
    assert (charts["Loss over cost"].across, charts["Loss over cost"].until) == ("usd", 1.0)
    assert charts["Loss over tokens"].lines[0].points == ((5.0, 3.0), (10.0, 2.0))


def test_what_was_paid_for_steps_that_were_done_again_is_a_gap():
    # The steps after the first were lost: $2 were paid for nothing, FLOPs go on from where they were.
    charts = drawn(point(1, 3.0, usd=1.0), point(2, 2.6, usd=4.0, first=True), point(3, 2.0, usd=5.0))
    assert charts["Loss over cost"].lines[0].points == ((1.0, 3.0), (4.0, None), (4.0, 2.6), (5.0, 2.0))


def test_a_high_beginning_is_cut_off_and_told():
    losses = [11.0, *(3.0 - place / 100 for place in range(1, 41))]
    chart, _ = drawn(*(point(step, loss) for step, loss in enumerate(losses, 1))).values()
    assert chart.heading == "Loss over model FLOPs (up to 11 at first)"
    # The first tenth is up to step 5, whose 2.96 is the highest after it; down to 2.6, with a twentieth around.
    assert (chart.high, chart.low) == pytest.approx((2.96 + 0.018, 2.6 - 0.018))


def test_equal_and_negative_losses_have_an_axis():
    chart, _ = drawn(point(1, -2.0), point(2, -2.0)).values()
    assert (chart.low, chart.high) == pytest.approx((-2.1, -1.9))


def test_what_is_no_line_is_no_chart():
    assert drawn(point(1, 2.0), point(2)) == {}
    assert drawn() == {}


def test_runs_keep_the_colour_of_their_mfu():
    entries = [
        *(Entry("a", points=(point(1), point(2))), Entry("none")),
        Entry("b", points=(point(1, 3.0), point(2, 2.0))),
    ]
    (chart,) = loss_overlay(entries).charts
    assert [(line.name, line.tone) for line in chart.lines] == [("b", "run1")]
    assert (chart.across, chart.until) == ("flops", 2_000.0)
    assert loss_overlay(entries[:2]) is None
