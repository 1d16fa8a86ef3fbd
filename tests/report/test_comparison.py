"""What runs are compared by, on entries that are made up and on the two ways to make one."""

from dataclasses import replace
from pathlib import Path

import pytest

from flopwatch.report.comparison import (
    EQUAL_FLOPS,
    FACTS,
    MEASURES,
    Entry,
    at_equal_flops,
    best_of,
    entry_of,
    entry_of_ended,
    equal_flops,
    total_of,
    without_equal,
)
from flopwatch.report.points import Point
from flopwatch.report.report import summarize
from flopwatch.run.run_file import Run, Segment
from flopwatch.wandb.online import EndedRun
from tests import samples

BY_NAME = {measure.name: measure for measure in MEASURES}


def entries(name, *values):
    return [Entry(str(place), {} if value is None else {name: value}) for place, value in enumerate(values)]


@pytest.mark.parametrize(
    ("name", "values", "best"),
    [
        ("mfu", (0.3, 0.5, None), 0.5),
        ("step_seconds", (2.0, 1.0), 1.0),
        ("mfu", (0.4, 0.4), None),  # the same is no better
        ("mfu", (0.4, None), None),
        ("flops", (1, 2), None),  # more work is neither
        ("hfu", (0.3, 0.5), None),
    ],
)
def test_the_best_is_of_runs_that_differ_and_where_an_end_is_better(name, values, best):
    assert best_of(BY_NAME[name], entries(name, *values)) == best


@pytest.mark.parametrize(
    ("name", "values", "total"),
    [
        ("usd", (1.5, 2.0), 3.5),
        ("usd", (1.5, None), None),
        ("mfu", (0.3, 0.5), None),
        ("flops", (10**30, 1), 10**30 + 1),
    ],
)
def test_what_all_spent_together_is_known_where_each_says_it(name, values, total):
    assert total_of(BY_NAME[name], entries(name, *values)) == total


def healthy(**start):
    _, work, *windows, event, last, end = samples.healthy_run()
    segment = Segment(samples.start(**start), work, (*windows, last), (event,), end)
    return summarize(Run(Path("run.jsonl"), (segment,)))


def test_an_entry_has_what_the_report_says():
    entry = entry_of(replace(healthy(usd_per_device_hour=36.0), loss=2.5, validation_loss=2.75))
    assert entry.name == "GPT 20260101-000000"
    assert entry.numbers == pytest.approx(
        {
            "mfu": 0.4,
            "mfu_at_clock": 0.5,
            "hfu": 0.5,
            "run_mfu": 0.24,  # 16.8e15 of 35 s x 2 devices x 1e15
            "loss": 2.5,
            "validation_loss": 2.75,
            "tokens_per_second": 400.0,
            "tokens_per_usd": 12_000.0,  # 8,400 of $0.70
            "tokens_per_device_hour": 432_000.0,  # 8,400 in 70 device-seconds
            "step_seconds": 1.0,
            "data_wait": 0.1,
            "throttled": 0.25,
            "flops": 16_800 * samples.TERA,
            "tokens": 8400,
            "device_hours": 70 / 3600,
            "kwh": 42_000 / 3_600_000,
            "usd": 0.7,
            "wall_seconds": 35.0,
        }
    )
    assert entry.facts == {
        "status": "finished at step 21",
        "model": "llama",
        "parameters": "1K",
        "device": "NVIDIA H100 80GB HBM3",
        "devices": "2",
        "dtype": "bf16",
        "peak": "1 PFLOP/s",
        "peak_source": "datasheet: a sheet",
        "attention": "causal",
        "verification": "parameters equal",
        "budget": "100 PFLOPs, 40 steps",
        "driver": "580.95.05",
    }


def along(name, *losses):
    """Windows of a step and 100 FLOPs each."""
    points = [
        Point(*(float(step), step, None, None, None, 100 * step, None, False), loss=loss)
        for step, loss in enumerate(losses, 1)
    ]
    return Entry(name, points=tuple(points))


def test_losses_are_held_against_each_other_at_the_most_flops_that_all_reached():
    long, short, unknown = along("long", 5.0, 4.0, 3.0, 2.0), along("short", 6.0, None, 4.0), along("unknown", None)
    assert equal_flops([long, short, unknown]) == 300
    compared = at_equal_flops([long, short, unknown])
    assert [entry.numbers for entry in compared] == [{EQUAL_FLOPS: 3.0}, {EQUAL_FLOPS: 4.0}, {}]
    # Half way between 200 and 300 FLOPs of the long one; of one that began later nothing is known there.
    half = replace(short, points=(replace(short.points[0], total_flops=250),))
    late = replace(long, name="late", points=long.points[2:])
    assert equal_flops([long, half, late]) == 250
    assert [entry.numbers.get(EQUAL_FLOPS) for entry in at_equal_flops([long, half, late])] == [3.5, 6.0, None]


def test_one_run_alone_has_no_equal():
    assert equal_flops([along("long", 5.0, 4.0), along("unknown", None)]) is None
    assert at_equal_flops([along("long", 5.0, 4.0)])[0].numbers == {}


def test_a_run_without_a_name_has_its_id_and_what_is_unknown_is_left_out():
    bare = replace(healthy(name=None), work=None, budgets=(), mfu=None, usd=None)
    entry = entry_of(bare)
    assert entry.name == "20260101-000000"
    assert not {"mfu", "usd"} & set(entry.numbers)
    assert not {"model", "parameters", "attention", "budget"} & set(entry.facts)


def test_an_entry_from_w_and_b_has_what_flopwatch_wrote_there():
    summary = {"mfu_mean": 0.4, "flops_total": 5e18, "status": "finished", "tokens_total": "many", "kwh_total": True}
    summary |= {"loss_last": -0.5, "validation_loss_last": "NaN"}
    config = {"model_type": "llama", "parameters": 7e9, "peak_flops_per_second": 989.4e12, "device_count": 8}
    entry = entry_of_ended(EndedRun("r1", "a run", "https://w/r1", config, summary))
    # Words and truth values are no numbers.
    assert entry.numbers == {"mfu": 0.4, "flops": 5e18, "loss": -0.5}
    assert entry.facts == {
        **{"status": "finished", "model": "llama", "parameters": "7B", "devices": "8"},
        "peak": "989 TFLOP/s",
    }
    assert (entry.name, entry.url, entry.points) == ("a run", "https://w/r1", ())


def rows(*losses, prefix="", axis="trainer/global_step", base=10**15):
    """A row for each ten steps of 1 PFLOP each."""
    return tuple(
        {
            axis: 10 * place - 1, "_timestamp": 1000.0 + place, f"{prefix}perf/step_seconds": 0.1,
            f"{prefix}budget/device_hours": place / 100, f"{prefix}budget/flops": 10.0 * place * base,
            f"{prefix}loss/train": loss,
        }
        for place, loss in enumerate(losses, 1)
    )  # fmt: skip


def ended(name, rows=(), no_rows=None, **summary):
    return entry_of_ended(EndedRun(name, name, f"https://w/{name}", {}, summary, rows, no_rows))


def test_runs_of_w_and_b_are_held_against_each_other_by_their_rows():
    long = ended("long", rows(5.0, 4.0, 3.0, 2.0), loss_last=2.0)
    # 2 PFLOPs a step: 20 after ten steps and 40 after twenty; the long one has 40 after forty.
    dear = ended("dear", rows(6.0, 3.5, prefix="exp1-", axis="global_step", base=2 * 10**15), loss_last=3.5)
    assert equal_flops([long, dear]) == 40 * 10**15
    assert [entry.numbers[EQUAL_FLOPS] for entry in at_equal_flops([long, dear])] == [2.0, 3.5]
    # Between 10 and 20 PFLOPs, at 15, half way from 5 to 4.
    short = ended("short", rows(7.0, base=1.5 * 10**15), loss_last=7.0)
    assert [entry.numbers[EQUAL_FLOPS] for entry in at_equal_flops([long, short])] == [4.5, 7.0]


def test_steps_that_were_logged_again_count_as_they_were_the_last_time():
    lost = (*rows(5.0, 4.0, 9.0), *rows(5.0, 4.0, 3.0)[2:])
    compared = at_equal_flops([ended("again", lost), ended("plain", rows(5.0, 4.0, 3.5))])
    assert [entry.numbers[EQUAL_FLOPS] for entry in compared] == [3.0, 3.5]


def test_why_a_loss_at_equal_flops_is_unknown_is_told():
    long, short = ended("long", rows(5.0, 4.0), loss_last=4.0), ended("short", rows(5.0), loss_last=5.0)
    bare = ended("bare", no_rows="W&B has no rows with both loss and FLOPs", loss_last=4.0)
    late = ended("late", rows(5.0, 4.0)[1:], loss_last=4.0)
    broken = ended("broken", ({"loss/train": 1.0},), loss_last=4.0)
    assert without_equal(at_equal_flops([long, short, bare, late, broken, ended("without")])) == {
        "W&B has no rows with both loss and FLOPs": ["bare"],
        "its first window ends above that": ["late"],
        "no window with both loss and FLOPs is known": ["broken"],
    }
    # One curve alone has nothing to be held against, one run alone needs no reason.
    assert without_equal(at_equal_flops([long, bare])) == {"W&B has no rows with both loss and FLOPs": ["bare"]}
    assert without_equal(at_equal_flops([bare])) == {}


def test_a_run_without_a_peak_has_none_to_be_from():
    why = "a CPU has no datasheet peak; pass a number as FlopWatch(peak_flops_per_second=...)"
    report = healthy()
    bare = entry_of(replace(report, device=replace(report.device, peak_flops_per_second=None, peak_source=why)))
    ended_ = entry_of_ended(EndedRun("a", "a", "/a", {"peak_source": why}, {}))
    assert not {"peak", "peak_source"} & (set(bare.facts) | set(ended_.facts))


def test_both_ways_to_an_entry_use_the_names_of_the_table():
    entry = entry_of(healthy(usd_per_device_hour=1.0))
    assert set(entry.numbers) <= set(BY_NAME)
    assert set(entry.facts) == set(FACTS)
