"""Going on from a checkpoint, beside run files that are written by hand."""

import os

from flopwatch.lightning.session.restart import restart_from
from flopwatch.run.counts import Counts
from flopwatch.run.flat_totals import flat, totals_from
from flopwatch.run.record_lines import to_json
from flopwatch.run.records import Checkpoint, End, Progress, Totals
from flopwatch.run.run_file import progress_path
from tests import samples
from tests.run.test_run_file import write

KEPT = Totals(Counts(800, hardware_flops=800, steps=10, batches=10), 20.0, 40.0, joules=100)


def state(run_file, **changes):
    named = None if run_file is None else str(run_file)
    return {"totals": flat(KEPT), "time": 1020.0, "started_at": 1000.0, "run_file": named, **changes}


def ended(step=16, at=1032.0, status="failed", **changes):
    spent = {"flops": 80 * step, "steps": step, "batches": step, "seconds": at - 1000.0}
    spent |= {"device_seconds": 2 * (at - 1000.0), "joules": 160, **changes}
    return End(status, at, step, totals_from(spent), {})


def test_what_was_done_after_the_checkpoint_is_lost_and_what_it_took_is_spent(tmp_path):
    before = write(tmp_path / "1" / "run.jsonl", [samples.start(), samples.WORK, ended()])
    restart = restart_from(state(before), 10, tmp_path / "2" / "run.jsonl")
    totals = restart.totals
    # Six steps of 80 FLOPs, 12 s on two devices, 60 J.
    assert (totals.counts.flops, totals.counts.steps) == (800, 10)
    assert (totals.lost_steps, totals.lost_flops, totals.lost_seconds) == (6, 480, 12.0)
    assert (totals.seconds, totals.device_seconds, totals.joules) == (32.0, 64.0, 160)
    assert restart.words == "lost work of the previous process: 6 steps after the checkpoint, 12s"
    assert restart.seen_until == 1032.0


def test_a_process_that_ended_at_its_checkpoint_lost_nothing(tmp_path):
    end = ended(10, 1020.0, "finished", joules=100)
    before = write(tmp_path / "1" / "run.jsonl", [samples.start(), samples.WORK, end])
    restart = restart_from(state(before), 10, tmp_path / "2" / "run.jsonl")
    assert (restart.totals.lost_steps, restart.totals.seconds, restart.words) == (0, 20.0, None)
    assert restart.lost_files == ()


def test_one_step_is_no_steps(tmp_path):
    before = write(tmp_path / "1" / "run.jsonl", [samples.start(), samples.WORK, ended(11)])
    words = restart_from(state(before), 10, tmp_path / "2" / "run.jsonl").words
    assert words.startswith("lost work of the previous process: 1 step after the checkpoint")


def test_a_sibling_that_saved_nothing_is_lost_altogether(tmp_path):
    before = write(tmp_path / "1" / "run.jsonl", [samples.start(), samples.WORK, ended(10, 1020.0, joules=100)])
    start = samples.start(time=1050.0, step=10, resumed_from=str(before), totals=KEPT)
    sibling = write(tmp_path / "2" / "run.jsonl", [start, samples.WORK, ended(14, 1058.0, seconds=28.0, joules=None)])
    restart = restart_from(state(before), 10, tmp_path / "3" / "run.jsonl")
    # Four steps in the 8 s of wall time of the second process; its energy is not known, so that of all is not.
    assert (restart.totals.lost_steps, restart.totals.lost_seconds, restart.totals.joules) == (4, 8.0, None)
    assert restart.lost_files == (str(sibling.resolve()),)
    assert restart.words == "lost work of 2 previous processes: 4 steps after the checkpoint, 8s"


def test_where_the_file_is_gone_what_was_lost_is_unknown_and_what_was_kept_is_not(tmp_path):
    restart = restart_from(state(tmp_path / "1" / "run.jsonl"), 10, tmp_path / "2" / "run.jsonl")
    assert (restart.totals.counts.flops, restart.totals.lost_steps, restart.totals.joules) == (800, None, None)
    assert restart.words.startswith("the lost work is unknown: the run file ")
    assert restart.words.endswith("; keep run files next to checkpoints")


def test_totals_that_came_later_are_read_from_the_file(tmp_path):
    later = Totals(Counts(1600, hardware_flops=1600, steps=10, batches=10), 20.0, 40.0, joules=200)
    records = [samples.start(), samples.WORK, Checkpoint(10, later), ended(10, 1020.0, flops=1600, joules=200)]
    before = write(tmp_path / "1" / "run.jsonl", records)
    here = tmp_path / "2" / "run.jsonl"
    assert restart_from(state(before, totals_in_run_file=True), 10, here).totals.counts.flops == 1600
    assert restart_from(state(before), 10, here).totals.counts.flops == 800


def test_a_checkpoint_without_a_file_is_taken_as_it_is(tmp_path):
    restart = restart_from(state(None, set_back_seconds=5.0), 10, tmp_path / "run.jsonl")
    assert (restart.totals.counts.flops, restart.totals.lost_steps, restart.words) == (800, 0, None)
    assert restart.seen_until == 1025.0


def test_a_process_whose_last_sign_is_older_than_its_checkpoint_may_have_done_more(tmp_path):
    before = write(tmp_path / "1" / "run.jsonl", [samples.start(pid=2**22 + 1), samples.WORK])
    progress_path(before).write_text(to_json(Progress(1012.0, 8, KEPT)) + "\n")
    os.utime(progress_path(before), (1012.0, 1012.0))
    restart = restart_from(state(before), 10, tmp_path / "2" / "run.jsonl")
    assert restart.totals.lost_steps is None
    # The checkpoint is of 1,020 s.
    assert f"the last entry in {before} is 8s older than the checkpoint" in restart.words
