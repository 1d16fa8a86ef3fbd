import dataclasses
from dataclasses import replace
from pathlib import Path

import pytest

from flopwatch.report.render import RENDERERS
from flopwatch.report.render.facts import no_mfu_reason
from flopwatch.report.report import summarize
from flopwatch.run.counts import Counts
from flopwatch.run.records import BudgetLine, Totals
from flopwatch.run.run_file import Run, Segment, read_run
from tests import samples
from tests.run.test_run_file import write

TERA = 10**12


def report_of(tmp_path, records, name="run.jsonl"):
    return summarize(read_run(write(tmp_path / name, records)))


def test_a_healthy_run_by_hand(tmp_path):
    report = report_of(tmp_path, samples.healthy_run())
    # Two windows of 8e15 FLOPs in 10 s on 2 devices of 1e15, warm-up left out: 0.4. At 1.6 GHz: 0.5.
    assert report.mfu == pytest.approx(0.4)
    assert report.mfu_at_clock == pytest.approx(0.5)
    # 1.68e16 FLOPs in 35 s of wall time: 1.68e16 / 35 / 2e15 = 0.24.
    assert report.run_mfu == pytest.approx(0.24)
    assert (report.tokens_per_second, report.step_seconds, report.data_wait_fraction) == (400.0, 1.0, 0.1)
    assert (report.wall_seconds, report.step, report.status) == (35.0, 21, "finished")
    assert report.sm_clock_hz == pytest.approx(1.6e9)
    assert sum(report.seconds.values()) == report.wall_seconds
    # 1.68e16 of 1e17 FLOPs; 21 of 40 steps.
    assert [budget.fraction for budget in report.budgets] == [pytest.approx(0.168), 0.525]
    assert [(point.seconds, point.mfu) for point in report.points] == [(9.0, 0.08), (21.0, 0.4), (33.0, 0.4)]


def test_what_the_gpus_did_by_hand(tmp_path):
    start, *rest = samples.healthy_run()
    # The last window saw no power cap and lasted 12 s as the one before: a quarter of the time is an eighth.
    rest[-2] = dataclasses.replace(rest[-2], throttled={"power_cap": 0.0, "sync_boost": 0.0}, throttled_frac=0.0)
    report = report_of(tmp_path, [start, samples.HARDWARE, *rest])
    assert report.hardware == samples.HARDWARE
    assert report.throttled == {"power_cap": 0.125, "sync_boost": 0.0}
    assert (report.throttled_frac, report.throttle_counted) == (0.125, True)
    assert report.slow_clock_frac == pytest.approx(0.1)
    # 1,200 W x 24 s are 28,800 J for 8,000 tokens and 1.6e16 FLOPs.
    assert (report.power_watts, report.joules_per_token) == (1200.0, 3.6)
    assert report.joules_per_flop == pytest.approx(1.8e-12)
    assert (report.tensor_active, report.tensor_mfu) == (pytest.approx(0.55), pytest.approx(0.44))
    assert (report.sm_clock_hz_min, report.telemetry_coverage) == (1.5e9, 1.0)


def test_windows_without_telemetry_count_as_not_read(tmp_path):
    records = samples.healthy_run()
    unread = {"throttled": None, "throttled_frac": None, "power_watts": None, "clock_samples": 0, "sm_clock_hz": None}
    records[5] = dataclasses.replace(records[5], **unread)
    report = report_of(tmp_path, records)
    assert (report.throttled_frac, report.joules_per_token, report.telemetry_coverage) == (0.25, 3.6, 0.5)


def test_a_device_that_was_settled_later_replaces_the_starts(tmp_path):
    start, *rest = samples.healthy_run()
    settled = dataclasses.replace(samples.H100, dtype="fp16", peak_flops_per_second=500e12)
    report = report_of(tmp_path, [start, settled, *rest])
    assert (report.device.dtype, report.mfu) == ("fp16", pytest.approx(0.8))


def test_a_killed_run_has_the_totals_of_its_last_window(tmp_path):
    report = report_of(tmp_path, samples.healthy_run()[:-1])
    assert report.status == "killed or still running"
    assert report.totals == Totals(
        Counts(16_800 * TERA, 8_400, 84, None, None, batches=21, steps=21), 33.0, 66.0, joules=39_600
    )
    assert report.wall_seconds == 33.0
    assert sum(report.seconds.values()) == pytest.approx(report.wall_seconds)


def test_an_empty_run_knows_nothing_and_breaks_nothing(tmp_path):
    report = report_of(tmp_path, [samples.start()])
    assert (report.mfu, report.run_mfu, report.points, report.work) == (None, None, (), None)


def test_a_run_of_warm_up_alone_has_no_steady_mfu(tmp_path):
    report = report_of(tmp_path, samples.healthy_run()[:3])
    assert report.mfu is None
    assert report.totals.counts.flops is not None


def test_a_short_last_window_with_few_clock_samples_is_left_out_of_mfu_at_clock_alone(tmp_path):
    records = samples.healthy_run()
    records[5] = dataclasses.replace(records[5], clock_samples=1)
    report = report_of(tmp_path, records)
    assert report.mfu_at_clock == pytest.approx(0.5)
    assert report.mfu == pytest.approx(0.4)


def test_one_uncounted_window_withholds_the_mean(tmp_path):
    records = samples.healthy_run()
    records[3] = samples.changed(records[3], flops=None)
    assert report_of(tmp_path, records).mfu is None


def test_a_resumed_run_adds_the_interruption(tmp_path):
    first = write(tmp_path / "a" / "run.jsonl", samples.healthy_run())
    totals = samples.end().totals
    # Until 1065 s the two devices could have done 65 s x 2 x 1e15.
    resumed = samples.start(
        time=1065.0, step=21, totals=totals, capacity_flops=130e15, resumed_from=str(first.resolve())
    )
    later = samples.window(31, 1080.0, totals=samples.totals(31, 1080.0, 24_800 * TERA))
    report = report_of(tmp_path, [resumed, later], "b/run.jsonl")
    assert report.processes == 2
    assert report.seconds["interruption"] == 30.0
    assert report.wall_seconds == 80.0
    assert report.totals.counts.flops == 24_800 * TERA
    assert report.totals.counts.steps == 31
    # Three windows of 8e15 FLOPs in 10 s each.
    assert report.mfu == pytest.approx(0.4)
    # 2.48e16 / 80 s / 2e15.
    assert report.run_mfu == pytest.approx(0.155)


def test_another_device_after_a_restart_counts_with_its_own_peak(tmp_path):
    first = write(tmp_path / "a" / "run.jsonl", samples.healthy_run())
    bigger = dataclasses.replace(samples.H100, count=4)
    resumed = samples.start(
        time=1065.0, step=21, device=bigger, capacity_flops=130e15, resumed_from=str(first.resolve())
    )
    later = samples.window(31, 1080.0, 16_000 * TERA, totals=samples.totals(31, 1080.0, 32_800 * TERA))
    report = report_of(tmp_path, [resumed, later], "b/run.jsonl")
    # (8 + 8 + 16) PFLOPs over 10 s x (2 + 2 + 4) devices of 1 PFLOP/s: 32 / 80.
    assert report.mfu == pytest.approx(0.4)
    # 3.28e16 of 130e15 and 15 s x 4 x 1e15.
    assert report.run_mfu == pytest.approx(32.8 / 190)


def with_restart(tmp_path):
    """21 steps in 35 s on two devices; then 30 s of nothing; then a process whose first 8 s were done in vain."""
    first = write(tmp_path / "a" / "run.jsonl", samples.healthy_run())
    bigger = dataclasses.replace(samples.H100, count=4)
    totals = dataclasses.replace(
        samples.totals(31, 1080.0, 32_800 * TERA),
        seconds_by_kind={"setup": 5.0, "training": 36.0, "data_wait": 1.0},
        lost_steps=6,
        lost_flops=4_800 * TERA,
        lost_seconds=8.0,
    )
    changes = {"usd_per_device_hour": 2.0, "budgets": (BudgetLine(1.0, "usd", "$1.00"),), "batches_per_epoch": 62}
    changes["budgets"] += (BudgetLine(2.0, "epochs", "2 epochs"), BudgetLine(260.0, "device_seconds", "..."))
    # Of the first process's 35 s all were kept.
    kept = dataclasses.replace(samples.end().totals, seconds_by_kind={"setup": 4.0, "training": 30.0, "data_wait": 1.0})
    changes |= {"totals": kept, "resumed_from": str(first.resolve())}
    resumed = samples.start(time=1065.0, step=21, device=bigger, **changes)
    later = samples.window(31, 1080.0, 16_000 * TERA, totals=totals)
    work = dataclasses.replace(samples.WORK, sequences=8)
    return report_of(tmp_path, [resumed, work, later], "b/run.jsonl")


def test_time_of_a_resumed_run_is_kept_lost_or_between(tmp_path):
    report = with_restart(tmp_path)
    # 80 s of wall time: 42 kept, 8 lost, the rest between the processes.
    assert report.seconds == {"setup": 5.0, "training": 36.0, "data_wait": 1.0, "lost": 8.0, "interruption": 30.0}
    assert report.goodput == pytest.approx(36 / 80)


def test_every_process_has_its_own_device_and_batch(tmp_path):
    first, second = with_restart(tmp_path).each_process
    assert (first.first_step, first.last_step, first.device.count, first.sequences) == (0, 21, 2, 4)
    assert (second.first_step, second.last_step, second.device.count, second.sequences) == (21, 31, 4, 8)
    assert (first.status, second.status) == ("finished", "killed or still running")
    # 8 PFLOPs / 10 s / 2; 16 PFLOPs / 10 s / 4.
    assert (first.mfu, second.mfu) == (pytest.approx(0.4), pytest.approx(0.4))


def test_budgets_of_time_and_money_are_used_up_by_devices(tmp_path):
    money, epochs, hours = with_restart(tmp_path).budgets
    # 160 device-seconds at $2 an hour; 31 of 124 batches.
    assert money.fraction == pytest.approx(160 / 3600 * 2)
    assert epochs.fraction == pytest.approx(31 / 124)
    assert hours.fraction == pytest.approx(160 / 260)


def test_a_clock_that_was_set_back_makes_no_time_negative():
    kinds = {"setup": 4.0, "training": 22.0, "other": 0.5}
    ended = replace(samples.end(), time=1010.0, totals=replace(samples.end().totals, seconds_by_kind=kinds))
    run = Run(Path("run.jsonl"), (Segment(samples.start(), samples.WORK, (), (), ended),))
    assert summarize(run).seconds == kinds


@pytest.mark.parametrize("form", RENDERERS)
def test_an_end_without_hardware_flops_is_reported(tmp_path, form):
    end = samples.end()
    kinds = {"setup": 4.0, "training": 22.0, "data_wait": 3.0, "validation": 4.0, "checkpoint": 1.5, "other": 0.5}
    totals = samples.changed(end.totals, hardware_flops=0, seconds_by_kind=kinds)
    report = summarize(
        read_run(write(tmp_path / "run.jsonl", [*samples.healthy_run()[:-1], replace(end, totals=totals)]))
    )
    # 16.8e15 FLOPs are a part of 35 s x 2 devices x 1e15; zero hardware FLOPs contradict them, and are not known then.
    assert {part.kind: part.flops for part in report.parts}["useful"] == 16_800 * samples.TERA
    assert "recomputed" not in {part.kind for part in report.parts}
    assert report.totals.counts.hardware_flops is None
    assert "16.8" in RENDERERS[form](report) or "16800000000000000" in RENDERERS[form](report)


def test_a_run_that_ends_as_it_starts_has_no_shares(tmp_path):
    # 5e-324 s of wall time: next to nothing, of which nothing is a share.
    records = [samples.start(time=0.0, started_at=0.0), samples.WORK, samples.end(at=5e-324)]
    report = summarize(read_run(write(tmp_path / "run.jsonl", records)))
    assert (report.run_mfu, report.goodput, report.mfu) == (None, None, None)
    assert "inf" not in RENDERERS["text"](report).split()


def test_without_a_window_the_reason_counts_the_steps(tmp_path):
    def reason(*records):
        return no_mfu_reason(summarize(read_run(write(tmp_path / f"run-{len(records)}-{id(records)}.jsonl", records))))

    warm_up = samples.healthy_run()[2]
    late = samples.end(step=150)
    head = samples.start(), samples.WORK
    assert reason(*head, warm_up, late) == (
        "no window ended after the first step (warm-up), although 150 steps were done"
    )
    assert reason(*head, warm_up) == "no step finished after the first one (warm-up)"
    windows = [samples.window(10, 1010.0), samples.window(20, 1020.0, None)]
    assert reason(*head, *windows, late) == "the FLOPs or the duration of 1 of 2 windows are unknown"


def killed_and_resumed(tmp_path):
    """A process that saved step 300 after 305 s and was killed around step 350 after 345; the next began after 400."""
    windows = [samples.window(290, 1300.0), samples.window(340, 1340.0)]
    first = write(tmp_path / "a" / "run.jsonl", [samples.start(), samples.WORK, *windows])
    kept = samples.changed(samples.totals(300, 1345.0, 240_000 * TERA), hardware_flops=300_000 * TERA)
    kept = replace(kept, lost_steps=50, lost_flops=40_000 * TERA, lost_seconds=40.0)
    kept = replace(kept, seconds_by_kind={"setup": 25.0, "training": 280.0})
    resumed = samples.start(
        time=1400.0, step=300, totals=kept, capacity_flops=800e15, resumed_from=str(first.resolve())
    )
    later = samples.changed(kept, flops=320_000 * TERA, hardware_flops=400_000 * TERA, steps=400)
    later = replace(later, seconds=445.0, device_seconds=890.0, seconds_by_kind={"setup": 25.0, "training": 380.0})
    end = replace(samples.end(400, 1500.0), totals=later)
    return report_of(tmp_path, [resumed, samples.WORK, samples.window(400, 1500.0, totals=later), end], "b/run.jsonl")


def test_a_killed_process_ends_where_the_next_one_went_on(tmp_path):
    report = killed_and_resumed(tmp_path)
    first, second = report.each_process
    assert (first.first_step, first.last_step, second.first_step, second.last_step) == (0, 300, 300, 400)
    # 25 + 280 s that were kept and 40 that were not.
    assert (first.seconds, second.seconds) == (345.0, 100.0)
    assert report.totals.lost_steps == 50


def test_device_hours_of_the_table_are_those_of_the_headline(tmp_path):
    report = killed_and_resumed(tmp_path)
    paid = sum(part.device_seconds for part in report.parts if part.kind != "interruption")
    assert paid == pytest.approx(report.totals.device_seconds) == 890.0
    assert sum(part.device_seconds for part in report.parts) == pytest.approx(2 * 500.0)


def test_what_to_do_has_the_shares_of_the_table(tmp_path):
    report = killed_and_resumed(tmp_path)
    shares = {part.kind: part.flops / sum(each.flops for each in report.parts) for part in report.parts}
    found = {each.kind: each.of_run for each in report.findings if each.of_run is not None}
    assert {"recomputed", "lost", "interruption"} <= set(found)
    assert found == pytest.approx({kind: shares[kind] for kind in found})
    # 8e16 of 2 x 500 s x 1e15 FLOP/s were recomputed: 8%; of hardware FLOPs it is a fifth.
    assert found["recomputed"] == pytest.approx(0.08)
    assert next(each.share for each in report.findings if each.kind == "recomputed") == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("changes", "is_compared"),
    [({}, True), ({"trainable_parameters": 8_000_000_000}, True), ({"trainable_parameters": 40_000_000}, False)],
)
def test_published_runs_are_compared_where_all_parameters_train(tmp_path, changes, is_compared):
    size = {"parameters": 8_000_000_000, "active_parameters": 8_000_000_000, "tokens": 400, "method": "config"}
    records = samples.healthy_run()
    records[1] = replace(records[1], **size, **changes)
    assert (report_of(tmp_path, records).known is not None) == is_compared
