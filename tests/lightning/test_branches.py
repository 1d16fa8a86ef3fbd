"""Branches that were rolled back: what was kept and what was lost are all that was done, to the integer."""

import random
import shutil

import pytest

from flopwatch.report.report import summarize
from flopwatch.run.lineage import last_sign
from flopwatch.run.run_file import find_run_file, read_run, read_start
from tests.lightning.attempts import Attempt, run
from tests.lightning.models import FLOPS_PER_BATCH

STEPS = 24


def totals_of(folder):
    """The totals at the end of the last attempt, and in its start record those that it went on from."""
    path = find_run_file(folder / "flopwatch")
    sign = last_sign(path)
    assert sign.ended
    return read_start(path).totals, sign.progress.totals


def check(done, totals, kept_steps, kept_batches):
    """Kept and lost are all that was done; `done` are the attempts as their diaries have them."""
    batches = sum(each.batches for each in done)
    steps = sum(each.until - each.since for each in done)
    assert (totals.steps, totals.batches) == (kept_steps, kept_batches)
    assert totals.flops == kept_batches * FLOPS_PER_BATCH
    assert totals.steps + totals.lost_steps == steps
    assert totals.flops + totals.lost_flops == batches * FLOPS_PER_BATCH
    # Each process's time is all of it, but for what comes before its set-up and, at a kill, after its last sign.
    seconds = sum(each.seconds for each in done)
    assert seconds - 0.6 * len(done) < totals.seconds <= seconds
    assert totals.device_seconds == pytest.approx(totals.seconds)
    assert sum(totals.seconds_by_kind.values()) + totals.lost_seconds == pytest.approx(totals.seconds, abs=0.1)


def test_a_branch_that_is_rolled_back_twice_is_lost_with_its_checkpoints(tmp_path):
    # Checkpoints come every 3 steps. The first is killed after step 8; the second goes on from 3, saves 6 and 9, and is
    # killed after 10; the third goes on from 9, saves 12, and fails after 13; the fourth goes back to 3 and ends well
    # after 7; the fifth is killed after 5; the sixth goes back to 3 once more, to the end.
    plan = [
        Attempt(None, 8),
        Attempt(3, 7),
        Attempt(9, 4, "raise"),
        Attempt(3, 4, "stop"),
        Attempt(3, 2),
        Attempt(3, None, "end", STEPS),
    ]
    done = run(tmp_path, plan)
    assert [(each.since, each.until) for each in done] == [(0, 8), (3, 10), (9, 13), (3, 7), (3, 5), (3, STEPS)]
    began, totals = totals_of(tmp_path)
    # 8 - 3, 7, 4, 4 and 2.
    assert began.lost_steps == totals.lost_steps == 5 + 7 + 4 + 4 + 2
    check(done, totals, STEPS, STEPS)
    report = summarize(read_run(tmp_path / "flopwatch"))
    assert 0 < report.goodput < 1
    assert report.run_mfu > 0
    assert sum(report.seconds.values()) == pytest.approx(report.wall_seconds, abs=0.1)
    assert report.seconds["lost"] == pytest.approx(totals.lost_seconds)


def test_micro_batches_of_an_unfinished_step_are_lost(tmp_path):
    # Of three batches a step: 4 steps and 2 batches, killed; from step 3 again 1 step and 1 batch, failed; then all.
    # At its first batch the second saves step 3 anew, without the gradients of that batch, but to go on after it.
    plan = [
        Attempt(None, 14, accumulate=3),
        Attempt(3, 4, "raise", accumulate=3),
        Attempt(3, None, "end", 6, accumulate=3),
    ]
    done = run(tmp_path, plan)
    _, totals = totals_of(tmp_path)
    # 14 - 9 and 4 batches. Of the 18 of 6 steps, the third one did 8.
    assert (totals.lost_steps, totals.lost_flops) == (1 + 1, (5 + 4) * FLOPS_PER_BATCH)
    assert [each.batches for each in done] == [14, 4, 8]
    check(done, totals, 6, 9 + 8)


def test_branches_at_random_are_exact(tmp_path):
    done, _, totals = rounds(tmp_path, 5, random.Random(7405))
    check(done, totals, STEPS, STEPS)


def rounds(folder, count, chance):
    """So many attempts from any checkpoint that there is, each killed, failed or stopped, and one to the end."""
    plan, checkpoints = [Attempt(None, 5, steps=STEPS)], [3]
    for _ in range(count - 1):
        since, batches = chance.choice(checkpoints), chance.randint(1, 8)
        end = chance.choice(["kill", "kill", "raise", "stop"])
        plan.append(Attempt(since, min(batches, STEPS - since - 1), end, STEPS))
        checkpoints += [step for step in range(since + 1, since + plan[-1].batches + 1) if step % 3 == 0]
    plan.append(Attempt(chance.choice(checkpoints[:3]), None, "end", STEPS))
    return run(folder, plan), *totals_of(folder)


def test_a_file_in_between_that_is_gone_makes_the_loss_unknown(tmp_path):
    plan = [Attempt(None, 4, "stop"), Attempt(3, 4, "stop"), Attempt(6, 2, "stop")]
    run(tmp_path, plan)
    middle = sorted((tmp_path / "flopwatch").iterdir())[1]
    shutil.rmtree(middle)
    run(tmp_path, [Attempt(3, None, "end", 8)])
    began, totals = totals_of(tmp_path)
    assert (began.lost_steps, began.lost_flops, began.joules) == (None, None, None)
    assert totals.steps == 8
    (event,) = read_run(tmp_path / "flopwatch").segments[-1].events
    assert event.message.startswith(f"what was lost is not known: the run file {middle / 'run.jsonl'} of a process in")
