"""The books of a run, with both clocks moved by the test."""

import os
from types import SimpleNamespace

import pytest

from flopwatch.hardware.telemetry import Telemetry
from flopwatch.lightning.options import Options
from flopwatch.lightning.ranks.reading import Sum
from flopwatch.lightning.session import ledger as module
from flopwatch.lightning.session.ledger import Ledger
from flopwatch.lightning.session.restart import Restart
from flopwatch.lightning.timing.stopwatch import Stopwatch
from flopwatch.run.budget import Budget
from flopwatch.run.counts import Counts
from flopwatch.run.records import BudgetLine, Totals
from tests import samples
from tests.lightning.fakes import mark


@pytest.fixture
def now(monkeypatch):
    now = [1010.0]
    monkeypatch.setattr(module.clock, "now", lambda: now[0])
    return now


def ledger(world_size=1):
    watch = SimpleNamespace(elapsed_seconds=lambda: 10.0, seconds_by_kind=lambda: {"training": 7.0, "setup": 3.0})
    return Ledger(samples.H100, watch, world_size)


def test_a_run_began_when_its_process_did_and_could_have_done_its_peak_since(now):
    one = ledger()
    assert one.started_at == one.began_at == one.process_started_at == 1000.0
    now[0] = 1030.0
    # 30 s on two devices of 1e15.
    assert one.capacity_flops() == 60e15


def test_totals_are_this_process_alone_until_those_of_all_are_known(now):
    one = ledger(world_size=2)
    own = mark(5, 2, 1)
    alone = one.totals(own, None, 10.0)
    # Work of one of two ranks is not the run's; its batches and steps are. Ten seconds on two devices.
    assert (alone.counts.flops, alone.counts.batches, alone.counts.steps, alone.joules) == (None, 2, 1, None)
    assert (alone.seconds, alone.device_seconds, alone.seconds_by_kind["training"]) == (10.0, 20.0, 7.0)
    both = one.totals(own, Sum(mark(11, 4, 1), 500, Telemetry()), 10.0, {"training": 1.0})
    assert (both.counts.flops, both.counts.batches, both.joules, both.seconds_by_kind) == (
        11,
        4,
        500,
        {"training": 1.0},
    )


def test_progress_is_known_of_one_rank_alone(now):
    assert ledger().progress(3, mark(5, 2, 1), 70).totals.counts.flops == 5
    assert ledger().progress(3, mark(5, 2, 1), 70).totals.joules == 70
    many = ledger(world_size=2).progress(3, mark(5, 2, 1), 70)
    assert (many.step, many.totals.counts.flops, many.totals.joules, many.totals.counts.batches) == (3, None, None, 2)


def test_a_process_goes_on_from_what_a_checkpoint_holds(now, monkeypatch, tmp_path):
    before = ledger()
    before.meter.add(Counts(7, 70, 7, 7, 7))
    now[0] = 1040.0
    total = Sum(before.meter.mark(), 400, Telemetry())
    state = before.state(before.totals(total.work, total, 40.0), "/a/run.jsonl", totals_in_run_file=False)
    assert (state["run_file"], state["time"], state["totals"]["flops"]) == ("/a/run.jsonl", 1040.0, 7)
    now[0] = 1110.0
    monkeypatch.setattr(module, "restart_from", lambda state, step, own: Restart(Totals(Counts(7)), seen_until=1050.0))
    after = ledger()
    restart = after.go_on_from(state, 5, tmp_path)
    assert restart.seen_until == 1050.0
    assert (after.started_at, after.initial.counts.flops) == (1000.0, 7)
    # 40 s of the first process and 60 s until the second one's start, at 1,100 s, on two devices of 1e15.
    assert after.capacity_before == 200e15
    assert after.capacity_flops() == 220e15


def test_a_clock_that_was_set_back_between_two_processes_leaves_no_time_below_nothing(now, monkeypatch, tmp_path):
    state = {**ledger().state(Totals(), None, totals_in_run_file=False), "time": 1040.0, "capacity_flops": 80e15}
    monkeypatch.setattr(module, "restart_from", lambda state, step, own: Restart(Totals(), seen_until=1045.0))
    # By its clock the second process began at 1,000 s, 45 s before the last sign of the first.
    after = ledger()
    after.go_on_from(state, 5, tmp_path)
    assert (after.set_back_seconds, after.began_at) == (45.0, 955.0)
    # 5 s from the checkpoint to that sign.
    assert after.capacity_before == 90e15


def test_a_clock_that_was_set_back_earlier_stays_so(now, monkeypatch, tmp_path):
    state = {**ledger().state(Totals(), None, totals_in_run_file=False), "time": 1030.0, "capacity_flops": 0.0}
    monkeypatch.setattr(module, "restart_from", lambda state, step, own: Restart(Totals(), seen_until=1050.0))
    now[0] = 1110.0
    after = ledger()
    after.go_on_from({**state, "set_back_seconds": 20.0}, 5, tmp_path)
    # Saved at 1,050 s and begun at 1,120 s by the run's first clock: 70 s on two devices of 1e15.
    assert (after.set_back_seconds, after.capacity_before) == (20.0, 140e15)


def test_a_checkpoint_without_totals_leaves_the_whole_run_unknown(now, caplog, tmp_path):
    one = ledger()
    with caplog.at_level("INFO", logger="flopwatch"):
        one.go_on_from({}, 5, tmp_path)
    assert "the checkpoint has no flopwatch totals" in caplog.text
    assert one.totals(mark(5, 2, 1), Sum(mark(5, 2, 1), 0, Telemetry()), 10.0).counts.flops is None
    assert one.capacity_flops() is None


def test_a_run_from_nothing_begins_at_nothing(now, tmp_path):
    one = ledger()
    assert one.go_on_from({}, 0, tmp_path).words is None
    assert one.totals(mark(5, 2, 1), Sum(mark(5, 2, 1), 3, Telemetry()), 10.0).joules == 3


class DDPStrategy:
    pass


def test_the_start_record_says_what_runs_on_what_from_where():
    one = Ledger(samples.H100, Stopwatch(lambda: 0.0), 1)
    one.initial, one.started_at, one.process_started_at = Totals(Counts(3)), 1000.0, 1100.0
    plugin = SimpleNamespace(precision="bf16-mixed")
    module = SimpleNamespace(hparams={"lr": 0.001, "api_key": "x"})
    trainer = SimpleNamespace(global_step=7, precision_plugin=plugin, strategy=DDPStrategy(), lightning_module=module)
    budgets = (Budget(40, "steps"), Budget(7200.0, "seconds"))
    restart = Restart(Totals(), ("/b/run.jsonl",))
    options = Options(usd_per_device_hour=2.0, kg_co2_per_kwh=0.3)
    record = one.start_record(trainer, "GPT", "1", budgets, options, restart, "/a/run.jsonl")
    assert (record.step, record.time, record.started_at, record.totals.counts.flops) == (7, 1100.0, 1000.0, 3)
    assert (record.precision, record.strategy, record.name) == ("bf16-mixed", "DDPStrategy", "GPT")
    assert record.budgets == (BudgetLine(40, "steps", "40 steps"), BudgetLine(7200.0, "seconds", "2h 00m"))
    assert record.hyperparameters == {"lr": 0.001}
    assert (record.resumed_from, record.lost_files) == ("/a/run.jsonl", ("/b/run.jsonl",))
    assert (record.usd_per_device_hour, record.kg_co2_per_kwh, record.pid) == (2.0, 0.3, os.getpid())
    assert record.versions["flopwatch"]
