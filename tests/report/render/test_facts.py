"""The lines of a report, on the healthy run of the samples with one thing changed at a time."""

from dataclasses import replace
from pathlib import Path

import pytest

from flopwatch.report.render import facts
from flopwatch.report.report import summarize
from flopwatch.run.records import Device
from flopwatch.run.run_file import Run, Segment
from tests import samples

TERA = samples.TERA


def healthy(work=samples.WORK, hardware=samples.HARDWARE, **changes):
    _, _, *windows, event, last, end = samples.healthy_run()
    segment = Segment(samples.start(), work, (*windows, last), (event,), end, hardware)
    return replace(summarize(Run(Path("run.jsonl"), (segment,))), **changes)


def totals(**changes):
    return samples.changed(healthy().totals, **changes)


def test_the_headline_by_hand():
    assert facts.headline(healthy()) == [
        ("MFU", "40%"),
        ("run MFU", "24%"),  # 16.8e15 of 35 s x 2 x 1e15
        ("model FLOPs", "16.8 PFLOPs"),
        ("tokens", "8.4K"),
        ("wall time", "35s"),
        ("device time", "1m 10s"),  # two devices
    ]


def test_losses_are_told_where_they_are_known():
    report = healthy(loss=2.31449, validation_loss=2.45)
    assert ("loss", "2.314") in facts.headline(report)
    assert ("validation loss", "2.45") in facts.headline(report)
    assert facts.loss_words(report) == "loss 2.314, validation 2.45"
    assert facts.loss_words(healthy(validation_loss=2.45)) == "validation 2.45"
    assert facts.loss_words(healthy()) == ""


def test_without_an_mfu_the_headline_has_the_pace_and_no_rows_of_nothing():
    images = totals(flops=None, tokens=None, samples=840)
    # 16 PFLOPs of 20 s on two devices.
    assert healthy().device_flops_per_second == pytest.approx(4e14)
    assert dict(facts.headline(healthy(mfu=None)))["speed per device"] == "400 TFLOP/s"
    changes = {"tokens_per_second": None, "samples_per_second": 40.0, "device_flops_per_second": None}
    report = healthy(mfu=None, run_mfu=None, totals=images, **changes)
    assert facts.headline(report) == [
        *(("samples/s", "40"), ("step", "1s"), ("samples", "840"), ("wall time", "35s"), ("device time", "1m 10s")),
    ]


def test_a_run_says_what_it_took_and_how_it_ended():
    hours = totals(device_seconds=7_200.0)
    assert facts.spent_words(healthy(totals=hours, usd=5.0)) == "35s wall time, 2 device-hours, $5.00"
    assert facts.subtitle(healthy()) == "finished at step 21, on 2 x NVIDIA H100 80GB HBM3"
    assert facts.status_words(healthy(status="killed or still running")) == (
        "last seen at step 21, no end recorded (killed, or still running)"
    )


def test_an_mfu_stands_with_its_peak_its_convention_and_how_it_was_counted():
    assert facts.headline_basis(healthy()) == (
        "MFU is relative to a peak of 1 PFLOP/s dense bf16 (datasheet: a sheet) per device; FLOPs are those of llama"
        " with"
        " causal attention (its parameter count equals the live model's)."
    )
    assert "the record of how FLOPs were counted is unreadable" in facts.headline_basis(healthy(work=None))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"mfu": None, "work": None}, "the record of how FLOPs were counted is unreadable"),
        ({"mfu": None, "work": None, "points": ()}, "no batch was finished"),
        ({"mfu": None, "work": replace(samples.WORK, verification="withheld", note="no formula")}, "no formula"),
        ({"mfu": None, "device": Device("CPU", 1, peak_source="a CPU has no peak")}, "a CPU has no peak"),
        ({"mfu": None, "points": (), "step": 1}, "no step finished after the first one (warm-up)"),
    ],
)
def test_without_an_mfu_there_is_a_reason(changes, reason):
    assert facts.no_mfu_reason(healthy(**changes)) == reason
    assert reason is None or facts.headline_basis(healthy(**changes)) == f"No MFU: {reason}."


def test_the_run_has_a_date_and_says_of_a_measured_peak_what_it_is_worth():
    lines = dict(facts.run_lines(healthy()))
    assert lines["started"] == "1970-01-01 00:16:40 UTC"  # 1,000 s
    assert "note" not in lines
    measured = replace(samples.H100, peak_source="measured: a product")
    assert "compare runs by tokens/s" in dict(facts.run_lines(healthy(device=measured)))["note"]
    assert dict(facts.run_lines(healthy(started_at=1e30)))["started"] == "n/a"


def test_earlier_processes_with_another_peak_are_mentioned():
    one = healthy().each_process[0]
    other = replace(one, device=replace(samples.H100, peak_flops_per_second=5e14))
    report = healthy(each_process=(other, one), processes=2)
    assert dict(facts.run_lines(report))["peak per device"].endswith("each is measured against its own")
    assert dict(facts.run_lines(report))["processes"] == "2, each resumed from the previous one"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"attention": "full"}, ("attention convention", "full: all pairs, as PaLM and nanoGPT count")),
        ({"active_parameters": 400}, ("model", "llama, 1K parameters, 400 active")),
        ({"trainable_parameters": 10}, ("model", "llama, 1K parameters, 10 trained")),
        (
            {"sequences": 1, "source_len": 30},
            ("first batch", "1 sequence x 100 tokens and 30 source positions per device"),
        ),
        ({"seq_len": None, "image_size": (32, 64)}, ("first batch", "4 images x 32 x 64 pixels per device")),
        ({"seq_len": None, "sequences": None}, ("first batch", "n/a samples per device")),
        # 24,000 FLOPs of 400 tokens.
        ({}, ("model FLOPs per token", "60 FLOPs")),
        ({"hardware_flops": 30_000}, ("recomputed", "25.0% of model FLOPs, by activation checkpointing")),
    ],
)
def test_how_the_work_was_counted(changes, line):
    assert line in facts.work_lines(replace(samples.WORK, **changes))


OPERATORS = "matrix multiplications and convolutions"


@pytest.mark.parametrize(
    ("verification", "method", "words"),
    [
        ("verified", "config", "from the config: exact matrix multiplications, head included, no recomputation"),
        ("watched", "measured", f"from the operators that ran in training batches: {OPERATORS}"),
        ("sampled", "measured", f"from the operators that ran in training batches: {OPERATORS}"),
        ("given", "measured", "by the user's function"),
        ("measured only", "measured", f"by running a copy of training_step on the meta device: {OPERATORS}"),
    ],
)
def test_where_flops_are_from_is_what_their_status_says(verification, method, words):
    work = replace(samples.WORK, verification=verification, method=method)
    assert ("FLOPs counted", words) in facts.work_lines(work)


def test_what_has_no_tokens_and_was_watched_has_no_attention_convention():
    images = replace(samples.WORK, method="measured", tokens=None)
    assert "attention convention" not in dict(facts.work_lines(images))
    assert "attention convention" in dict(facts.work_lines(replace(images, tokens=400)))


def test_without_a_count_the_reason_stands_alone():
    assert facts.work_lines(replace(samples.WORK, verification="withheld")) == [
        ("counted", "no FLOPs; the reason is above")
    ]
    assert facts.work_lines(None)[0][1].startswith("no record: ")
    assert facts.component_lines(None) == []


def test_a_batch_in_a_few_words():
    assert facts.work_words(samples.WORK) == "60 FLOPs per token with causal attention"
    measured = replace(samples.WORK, method="measured", tokens=None)
    assert facts.work_words(measured) == "24 kFLOPs per batch"


def test_speed_and_totals_say_what_they_are_of():
    report = healthy(usd=12.5, totals=totals(useful_tokens=6_300))
    speed, whole = dict(facts.speed_lines(report)), dict(facts.total_lines(report))
    assert speed["MFU"] == "40%"
    assert speed["HFU"] == "50% (with recomputed FLOPs)"
    assert speed["samples/s"] == "4"  # 80 in 20 s
    assert whole["run MFU"] == "24% (over all wall time)"
    assert whole["tokens"] == "8.4K, 25.0% of them padding"
    assert whole["cost"] == "$12.50"
    assert facts.budget_lines(report.budgets)[1] == ("budget of 40 steps", "52.5% used")  # 21 of 40


def test_what_is_unknown_or_says_nothing_new_is_left_out():
    report = healthy(mfu=0.4, hfu=0.4001, mfu_at_clock=None, tokens_per_second=None, run_mfu=None)
    lines = dict([*facts.speed_lines(report), *facts.total_lines(report)])
    assert {"HFU", "MFU at clock", "cost", "tokens/s", "run MFU"}.isdisjoint(lines)
    assert "n/a" not in lines.values()


def test_restarts_say_what_they_cost():
    assert facts.restart_lines(healthy()) == []
    lost = totals(lost_seconds=90.0, lost_steps=None, lost_flops=None)
    (first, work) = facts.restart_lines(healthy(totals=lost))
    assert first == (
        "process 1",
        "1970-01-01 00:16:40 UTC, 35s: steps 0 to 21 on 2 x NVIDIA H100 80GB HBM3, 4 x 100 tokens,"
        " MFU 40% of 1 PFLOP/s per device, finished",
    )
    assert work[1].startswith("an unknown number of steps (n/a, 1m 30s) were repeated")


def test_of_very_many_processes_the_first_and_the_last_are_shown():
    report = healthy()
    many = facts.restart_lines(replace(report, processes=1_000, each_process=report.each_process * 1_000))
    assert (len(many), many[20]) == (41, ("...", "960 more processes"))
    assert many[-1][0] == "process 1000"


def test_wall_time_is_the_largest_first_without_what_would_read_as_nothing():
    report = healthy(seconds={"setup": 1.0, "training": 8998.5, "other": 0.5, "validation": 1000.0})
    # 1 and 0.5 of 10,000 s are 0.01% and less.
    assert facts.time_lines(report) == [
        ("training steps", 8998.5, pytest.approx(0.89985)),
        ("validation", 1000.0, pytest.approx(0.1)),
    ]


def test_components_have_their_share_of_the_forward():
    assert facts.component_lines(samples.WORK) == [("layers.mlp", 600, 6_000, 0.75), ("lm_head", 400, 2_000, 0.25)]
