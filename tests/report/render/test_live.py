"""The numbers of a run that goes on, as a table and as lines."""

import pytest

from flopwatch.report.render import live
from flopwatch.run.metric_table import METRICS

ROW = {"trainer/global_step": 10, "perf/mfu": 0.4, "perf/step_seconds": 1.0, "budget/device_hours": 0.1}


def test_the_table_has_the_newest_value_and_its_range():
    rows = [{**ROW, "perf/mfu": 0.2}, {**ROW, "perf/mfu": 0.3}, ROW]
    (line,) = (line for line in live.screen(rows, "a run").splitlines() if line.startswith("MFU "))
    assert line.split() == ["MFU", "40%", "20%", "40%", "▁▄█"]
    assert live.screen([], "a run") == "a run\nno flopwatch window yet\n"
    assert live.screen(rows, "a run").startswith("a run, step 11\n")


def test_every_metric_has_a_form():
    assert all(live.shown(metric, 0.5) for metric in METRICS.values())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "NaN", None, True, [1], {}, 10**400])
def test_what_is_no_number_is_not_shown(value):
    keys = ["perf/mfu", "budget/hours_left", "perf/step_seconds", "trainer/global_step"]
    row = {**ROW, **dict.fromkeys(keys, value)}
    assert live.line(row, keys[:3]).split() == ["n/a"] * 4
    assert "step n/a" in live.screen([ROW, row], "a run")


def test_now_is_the_newest_window_and_not_the_last_known_value():
    rows = [{**ROW, "budget/hours_left": 1.0}, ROW]
    (line,) = (line for line in live.screen(rows, "a run").splitlines() if line.startswith("time left"))
    assert line.split()[2:5] == ["n/a", "1h", "00m"]


def test_a_validation_loss_stays_with_its_step():
    rows = [{**ROW, "trainer/global_step": 49, "loss/validation": 2.5}, {**ROW, "loss/train": 2.0}, ROW]
    assert live.newest(rows, METRICS["loss/validation"]) == "2.5 (step 50)"
    assert live.newest([*rows, {"loss/validation": 2.25}], METRICS["loss/validation"]) == "2.25"
    # A training loss is that of its window.
    assert live.newest(rows, METRICS["loss/train"]) == "n/a"
    assert live.newest([ROW], METRICS["loss/validation"]) == "n/a"


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_the_table_has_lowest_and_highest_values_at_every_width(columns):
    lines = live.screen([{**ROW, "perf/mfu": 0.2}, ROW], "a run", columns, 24).splitlines()
    assert lines[2].split()[:3] == ["now", "lowest", "highest"]
    assert ("last windows" in lines[2]) is (columns == 120)


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (100, 30), (150, 50), (40, 10)])
def test_the_table_fits_the_terminal(columns, lines):
    rows = [dict.fromkeys([*METRICS, "trainer/global_step"], 0.1 * place) for place in range(50)]
    shown = live.screen(rows, "runs/wandb/offline-run-20260101_000000-abcdefgh/run-abcdefgh.wandb", columns, lines)
    assert all(len(line) <= columns for line in shown.splitlines())
    assert len(shown.splitlines()) < lines
    assert "MFU" in shown


def test_sparklines_need_a_change():
    assert live.sparkline([1.0, 1.0]) == ""


def test_a_row_of_bars_goes_from_the_lowest_to_the_highest():
    # Seven steps between eight bars: 0 to 7 is one each, and a half is the middle, rounded to the even one.
    assert live.bars(range(8)) == "▁▂▃▄▅▆▇█"
    assert live.bars([5.0, -5.0, 5.0]) == "█▁█"
    assert live.bars([1.0]) == ""


def test_a_sparkline_is_of_the_last_thirty_two():
    assert live.sparkline([100.0] * 5 + [0.0] * 31 + [1.0]) == "▁" * 31 + "█"


def test_lines_show_what_the_first_row_has_below_its_headings():
    columns = live.columns_of({**ROW, "perf/hfu": 0.5})
    assert "perf/mfu" in columns
    heading, line = live.headings(columns), live.line(ROW, columns)
    assert len(heading) == len(line) == 12 * (len(columns) + 1)
    assert heading.split()[0] == "step"
    # The axis is one behind the step.
    assert line.split()[:2] == ["11", "40%"]


def test_hours_and_flops_are_shown_in_units_that_can_be_read():
    assert live.shown(METRICS["budget/hours_left"], 1.5) == "1h 30m"
    assert live.shown(METRICS["budget/flops"], 3.14e23) == "314 ZFLOPs"


def test_several_budgets_have_a_line_each_below_the_table():
    both = [("budget of 8 steps", "25.0% used"), ("budget of 1h 00m", "50.0% used, 30m 00s left")]
    shown = live.screen([ROW], "a run", budgets=both).splitlines()
    assert shown[-3:] == ["", "budget of 8 steps: 25.0% used", "budget of 1h 00m: 50.0% used, 30m 00s left"]
    assert len(live.screen([ROW], "a run", 80, 12, both).splitlines()) < 12
    assert "budget of" not in live.screen([ROW], "a run", budgets=both[:1])
