"""The live view: names, percent and charts at every size of terminal."""

import pytest

from flopwatch.report.render.live_charts import screen
from flopwatch.run.metric_table import METRICS

ROW = {"trainer/global_step": 10, "perf/mfu": 0.4, "perf/step_seconds": 1.0, "budget/device_hours": 0.1}
EVERYTHING = [dict.fromkeys([*METRICS, "trainer/global_step"], 0.1 * place) for place in range(50)]
BUDGETS = [("budget of 8 steps", "25.0% used"), ("budget of 1h 00m", "50.0% used, 30m 00s left")]


@pytest.mark.parametrize("budgets", [[], BUDGETS])
@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (100, 30), (150, 50), (200, 50), (40, 10), (20, 5)])
def test_a_screen_fits_its_terminal(columns, lines, budgets):
    shown = screen(EVERYTHING, "runs/wandb/offline-run-20260101_000000-abcdefgh/run.wandb", columns, lines, budgets)
    assert all(len(line) <= columns for line in shown.splitlines())
    assert len(shown.splitlines()) <= max(lines - 1, 6)
    assert "MFU" in shown


def test_at_eighty_by_twenty_four_titles_are_whole_and_shares_are_percent():
    rows = [{**ROW, "perf/mfu": 0.2 + 0.1 * place, "perf/tokens_per_sec": 1e6 + 1e5 * place} for place in range(3)]
    lines = screen(rows, "a run", 80, 24).splitlines()
    assert lines[0] == "a run, step 11"
    assert lines[2].split() == ["MFU", "40%", "tokens", "per", "second", "1.2M"]
    assert lines[3].startswith("40% ")
    assert any(line.startswith("20% ") for line in lines[4:12])
    assert [line.split() for line in lines[-2:]] == [
        ["MFU", "40%", "step", "time", "1s"],
        ["tokens", "per", "second", "1.2M", "device-hours", "so", "far", "0.1"],
    ]


def test_at_eighty_by_twenty_four_all_numbers_leave_a_row_to_charts():
    lines = screen(EVERYTHING, "a run", 80, 24).splitlines()
    # 0.1 x 49 is an MFU of 490%; dots are Braille.
    assert lines[2].startswith("MFU ")
    assert lines[3].startswith("490% ")
    assert any("\u2800" <= each <= "\u28ff" for each in "".join(lines[3:7]))
    assert lines[8].startswith("MFU ")  # the first number below
    assert len(lines) == 23


def test_what_does_not_change_has_a_number_and_no_chart():
    lines = screen([ROW, {**ROW, "perf/mfu": 0.4 + 1e-12}], "a run", 80, 24).splitlines()
    assert len(lines) == 4
    assert lines[2].split() == ["MFU", "40%", "device-hours", "so", "far", "0.1"]


def test_a_model_with_tokens_needs_no_chart_of_samples():
    rows = [{**ROW, "perf/tokens_per_sec": place, "perf/samples_per_sec": place} for place in (1.0, 2.0)]
    shown = screen(rows, "a run", 80, 24)
    assert shown.count("samples per second") == 1
    alone = [{**ROW, "perf/samples_per_sec": place} for place in (1.0, 2.0)]
    assert screen(alone, "a run", 80, 24).count("samples per second") == 2


def test_where_there_is_no_room_the_numbers_that_matter_stay():
    shown = screen(EVERYTHING, "a run", 40, 12)
    assert "time left" in shown
    assert "MFU of the whole run" not in shown


def test_a_validation_loss_stays_with_its_step():
    rows = [{**ROW, "loss/validation": 2.5}, {**ROW, "loss/validation": 2.25}, ROW]
    lines = screen(rows, "a run", 80, 24).splitlines()
    assert lines[2].split() == ["validation", "loss", "2.25", "(step", "11)"]  # above its chart
    assert lines[-2].split()[-4:] == ["loss", "2.25", "(step", "11)"]  # among the numbers


def test_several_budgets_have_a_line_each():
    assert screen([ROW], "a run", 80, 24, BUDGETS).splitlines()[-3:] == ["", *(": ".join(each) for each in BUDGETS)]
    assert "budget of" not in screen([ROW], "a run", 80, 24, BUDGETS[:1])


def test_before_the_first_window_it_says_so():
    assert screen([], "a run", 80, 24) == "a run\nno flopwatch window yet\n"


def test_what_is_no_number_now_is_not_shown_as_one():
    shown = screen([ROW, {**ROW, "perf/mfu": float("nan")}], "a run", 80, 24)
    assert "n/a" in shown
