import json
from pathlib import Path

from flopwatch.report.listing import ListedRun
from flopwatch.report.render.listing import render_json, render_text

RUN = ListedRun(Path("runs/a/run.jsonl"), "GPT", "finished", 1000.0, 93_784.0, 1234, 0.4123, 0.3, 10**30, 5, None)


def test_a_run_without_a_price_has_no_cost():
    header, _, row = render_text([RUN], 80).splitlines()
    assert "cost" not in header
    assert row.split()[-4:] == ["1d", "2h", "1,234", "41.2%"]


def test_a_long_path_loses_its_beginning_where_there_is_no_room():
    long = ListedRun(**{**vars(RUN), "path": Path("x" * 90, "tail", "run-2.jsonl"), "usd": 1234.5})
    narrow = render_text([long], 80).splitlines()
    assert all(len(line) <= 80 for line in narrow)
    assert narrow[2].startswith("...")
    assert "/run-2.jsonl " in narrow[2]
    assert narrow[2].endswith("$1,234")
    assert f"{'x' * 90}/tail/run-2.jsonl" in render_text([long], 200)


def test_a_loss_is_shown_where_no_path_is_cut_for_it():
    trained = ListedRun(**{**vars(RUN), "loss": 2.31449})
    assert render_text([trained], 80).splitlines()[2].split()[-1] == "2.314"
    long = ListedRun(**{**vars(trained), "path": Path("runs/2026-01-01-of-a-large-model/run.jsonl")})
    assert "loss" not in render_text([long, trained], 80)
    assert "2.314" in render_text([long, trained], 100)


def test_a_short_name_beside_loss_and_cost_fits_eighty_columns():
    """9 for the name, 11, 16, 7, 9, 5, 4 and 7 for the others, and two between them: 82, so that the loss gives way."""
    full = {**vars(RUN), "path": Path("restarted/run.jsonl"), "status": "interrupted", "wall_seconds": 3529.0}
    runs = [ListedRun(**{**full, "step": step, "loss": 2.36, "usd": 156.83}) for step in (1_101_790, 1_790)]
    assert max(map(len, render_text(runs, 80).splitlines())) <= 80
    assert "loss" not in render_text(runs, 80)
    # Steps of five characters leave room for it.
    assert "loss" in render_text(runs[1:], 80)
    assert max(map(len, render_text(runs[1:], 80).splitlines())) <= 80


def test_a_run_that_recorded_no_end_is_explained_once():
    killed = ListedRun(**{**vars(RUN), "status": "killed or still running"})
    shown = render_text([killed, killed], 80)
    assert shown.count("no end recorded (killed, or still running)") == 1


def test_json_is_in_base_units():
    (run,) = json.loads(render_json([RUN]))["runs"]
    assert (run["path"], run["mfu"], run["flops"], run["usd"]) == ("runs/a/run.jsonl", 0.4123, 10**30, None)
