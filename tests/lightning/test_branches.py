"""Branches that were rolled back: what was kept and what was lost are all that was done, to the integer."""

import random
import shutil

import pytest

from flopwatch.report.report import summarize
from flopwatch.run.run_file import read_run
from tests.lightning.attempts import Attempt, check, rounds, run, totals_of
from tests.lightning.models import FLOPS_PER_BATCH
from tests.versions import lightning_2_5

STEPS = 24


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


@lightning_2_5
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
    done, _, totals = rounds(tmp_path, 5, STEPS, random.Random(7405))
    check(done, totals, STEPS, STEPS)


def test_a_file_in_between_that_is_gone_makes_the_loss_unknown(tmp_path):
    plan = [Attempt(None, 4, "stop"), Attempt(3, 4, "stop"), Attempt(6, 2, "stop")]
    run(tmp_path, plan)
    middle = sorted((tmp_path / "flopwatch").iterdir())[1]
    shutil.rmtree(middle)
    run(tmp_path, [Attempt(3, None, "end", 8)])
    began, totals = totals_of(tmp_path)
    assert (began.lost_steps, began.lost_flops, began.joules) == (None, None, None)
    assert totals.counts.steps == 8
    (event,) = read_run(tmp_path / "flopwatch").segments[-1].events
    assert event.message.startswith(f"the lost work is unknown: the run file {middle / 'run.jsonl'} of a process in")
