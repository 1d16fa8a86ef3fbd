"""Bars of parts: lengths by hand, and one colour for one part."""

from flopwatch.report.comparison import Entry
from flopwatch.report.render.stacked import Segment, stacked_bars

RUNS = [
    Entry("a", parts={"setup": 0.1, "rest": 0.5, "useful": 0.4}),
    Entry("unknown"),
    Entry("b", parts={"lost": 0.25, "rest": 0.25, "useful": 0.5}),
]


def test_each_run_whose_parts_are_known_has_a_bar_and_parts_have_one_colour():
    drawn = stacked_bars(RUNS)
    assert [bar.name for bar in drawn.bars] == ["a", "b"]
    # In the order of the table: start-up, repeated steps, the rest; three losses have three colours.
    assert drawn.bars[0].segments == (
        Segment("lost0", "10.00", "start-up, through the first batch: 10.0%"),
        Segment("lost2", "50.00", "kernels, communication, launch gaps: 50.0%"),
        Segment("useful", "40.00", "useful model FLOPs: 40.0%"),
    )
    assert [each.tone for each in drawn.bars[1].segments] == ["lost1", "lost2", "useful"]
    assert [key.tone for key in drawn.keys] == ["lost0 fill", "lost1 fill", "lost2 fill", "useful fill"]


def test_the_smallest_of_many_parts_are_one():
    kinds = ("setup", "data_wait", "validation", "checkpoint", "callbacks", "other", "lost", "clock", "recomputed")
    parts = {kind: (place + 1) / 100 for place, kind in enumerate(kinds)}
    (bar,) = stacked_bars([Entry("a", parts={**parts, "useful": 0.55})]).bars
    # Eight have colours, the useful one and seven losses of 3% and more; 1% and 2% are one.
    assert bar.segments[0] == Segment("part", "3.00", "all other parts: 3.0%")
    assert len(bar.segments) == 9


def test_what_is_below_zero_is_not_drawn_and_the_rest_fills_the_bar():
    (bar,) = stacked_bars([Entry("a", parts={"rest": -0.25, "setup": 0.25, "useful": 1.0})]).bars
    assert [(each.percent, each.words[-6:]) for each in bar.segments] == [("20.00", " 25.0%"), ("80.00", "100.0%")]


def test_without_parts_there_are_no_bars():
    assert stacked_bars([Entry("a")]).bars == ()
    assert stacked_bars([]).keys == ()


def test_training_steps_that_are_not_divided_have_a_colour_of_their_own():
    drawn = stacked_bars([Entry("a", parts={"setup": 0.5, "useful": 0.5}), Entry("b", parts={"training": 1.0})])
    tones = [key.tone for key in drawn.keys]
    assert tones == ["lost0 fill", "trained fill", "useful fill"]
    assert [each.tone for each in drawn.bars[1].segments] == ["trained"]
