import pytest

from flopwatch.report.listing import in_order, listed_run, runs_in
from flopwatch.report.report import summarize
from flopwatch.run.run_file import read_run
from tests import samples
from tests.run.test_run_file import write


def test_a_row_has_the_numbers_of_the_report(tmp_path):
    path = write(tmp_path / "run.jsonl", [samples.start(usd_per_device_hour=36.0), *samples.healthy_run()[1:]])
    (run,) = runs_in(tmp_path).runs
    # Two devices for 35 s at $36 an hour each: 2 x 35 / 3600 x 36 = 0.70.
    assert (run.status, run.step, run.wall_seconds, run.usd) == ("finished", 21, 35.0, pytest.approx(0.7))
    assert run == listed_run(path, summarize(read_run(path)))


def test_a_run_that_was_resumed_is_one_and_copies_of_wandb_are_none(tmp_path):
    first = write(tmp_path / "a" / "run.jsonl", samples.healthy_run()[:-1])
    write(
        tmp_path / "b" / "run.jsonl",
        [samples.start(time=1100.0, step=21, resumed_from=str(first)), samples.end(step=21, at=1110.0)],
    )
    write(tmp_path / "wandb" / "x" / "files" / "flopwatch" / "run.jsonl", samples.healthy_run())
    (run,) = runs_in(tmp_path).runs
    assert run.path == tmp_path / "b" / "run.jsonl"


def test_what_is_unknown_comes_last(tmp_path):
    write(tmp_path / "a" / "run.jsonl", [samples.start(usd_per_device_hour=1.0), *samples.healthy_run()[1:]])
    write(tmp_path / "b" / "run.jsonl", [samples.start(time=2000.0, started_at=2000.0)])
    runs = runs_in(tmp_path).runs
    assert [each.path.parent.name for each in in_order(runs, "cost")] == ["a", "b"]
    assert [each.path.parent.name for each in in_order(runs, "when")] == ["b", "a"]
    for order in ("mfu", "time", "steps"):
        assert [each.path.parent.name for each in in_order(runs, order)] == ["a", "b"]
