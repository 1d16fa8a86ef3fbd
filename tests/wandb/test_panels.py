from collections import Counter

from flopwatch.run.metric_table import METRICS
from flopwatch.wandb.panels import SECTIONS


def panels(name):
    return {each.name: each for each in SECTIONS}[name].panels


def test_sections_come_in_the_order_in_which_they_are_looked_at():
    assert [each.name for each in SECTIONS] == ["Loss", "Efficiency", "Budget", "Hardware", "Where time goes"]


def test_every_metric_is_in_one_chart_over_steps():
    keys = Counter(key for section in SECTIONS for panel in section.panels if panel.axis is None for key in panel.keys)
    assert keys == Counter(list(METRICS))


def test_keys_of_one_title_share_a_chart():
    for section in SECTIONS:
        titles = [panel.title for panel in section.panels]
        assert len(set(titles)) == len(titles)
    left = next(panel for panel in panels("Budget") if "budget/hours_left" in panel.keys)
    assert {"budget/hours_left_low", "budget/hours_left_high"} <= set(left.keys)


def test_charts_over_something_else_stand_after_the_others_of_their_section():
    loss = [panel.axis for panel in panels("Loss")]
    assert loss == [None, "budget/tokens", "budget/flops", "budget/device_hours", "budget/usd"]
    axes = [panel.axis for panel in panels("Efficiency")]
    assert axes[-2:] == ["budget/tokens", "budget/device_hours"]
    assert set(axes[:-2]) == {None}
    assert all(panel.axis is None for name in ("Budget", "Hardware", "Where time goes") for panel in panels(name))
