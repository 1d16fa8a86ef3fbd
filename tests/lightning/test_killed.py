"""Runs that are killed with SIGKILL at any step and go on from their last checkpoint, again and again.

One process imports everything and forks for each attempt, so that an attempt costs a second.
"""

import json
import random
from pathlib import Path

import pytest

from flopwatch.run.run_file import read_run, read_start
from tests import running
from tests.lightning.models import FLOPS_PER_BATCH, TOKENS_PER_BATCH

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent / "scripts" / "killed_and_resumed.py"
# Steps that the run has, and after how many a checkpoint is saved.
STEPS, EVERY = 60, 7


def run(folder, plan):
    """Attempts that are killed after so many steps each, then one that is not; returns the steps as they were done."""
    folder.mkdir(exist_ok=True)
    result = running.run(SCRIPT, folder, json.dumps(plan), STEPS, EVERY, timeout=400)
    assert result.returncode == 0, result.stderr[-3000:]
    return [int(step) for step in (folder / "diary").read_text().split()]


def ended(folder):
    (end,) = [segment.end for segment in read_run(folder).segments if segment.end is not None]
    return end


def work(totals):
    return totals.counts.flops, totals.counts.tokens, totals.counts.samples, totals.counts.batches, totals.counts.steps


@pytest.fixture(scope="module")
def in_one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert run(folder, []) == list(range(1, STEPS + 1))
    return ended(folder).totals


def test_an_uninterrupted_run_loses_nothing(in_one):
    assert work(in_one) == (STEPS * FLOPS_PER_BATCH, STEPS * TOKENS_PER_BATCH, 2 * STEPS, STEPS, STEPS)
    assert (in_one.lost_steps, in_one.lost_flops, in_one.lost_seconds) == (0, 0, 0.0)


def test_twenty_kills_keep_the_totals_and_lose_what_was_done_again(in_one, tmp_path):
    # Every attempt does 1 to 12 steps: some are killed before they save a checkpoint, some after one or two. The first
    # comes to its checkpoint, as a run that starts from nothing again is another run.
    random_ = random.Random(7405)
    plan = [EVERY + 1, *(random_.randint(1, 12) for _ in range(19))]
    plan = _that_stays_below(STEPS, plan)
    assert len(plan) == 20
    steps = run(tmp_path, plan)
    totals = ended(tmp_path).totals
    repeated = len(steps) - len(set(steps))
    assert set(steps) == set(range(1, STEPS + 1))
    assert repeated > 20
    assert work(totals) == work(in_one)
    assert totals.lost_steps == repeated
    assert totals.lost_flops == repeated * FLOPS_PER_BATCH
    assert 0 < totals.lost_seconds < totals.seconds
    assert sum(totals.seconds_by_kind.values()) + totals.lost_seconds == pytest.approx(totals.seconds, abs=0.05)


def _that_stays_below(steps, plan):
    """Shorten attempts that would come too near to the run's end, so that all of them are killed."""
    kept, at = [], 0
    for length in plan:
        if at + length >= steps - 1:
            length = 1
        kept.append(length)
        at += length // EVERY * EVERY if (at + length) // EVERY == at // EVERY else 0
        at = (at + length) // EVERY * EVERY if length >= EVERY else at
    return kept


def test_processes_that_saved_nothing_are_named_by_the_one_that_goes_on(tmp_path):
    # The first saves after step 7; three go on from it and save nothing; the last one ends the run.
    steps = run(tmp_path, [8, 3, 2, 4])
    assert steps == [*range(1, 9), 8, 9, 10, 8, 9, 8, 9, 10, 11, *range(8, STEPS + 1)]
    totals = ended(tmp_path).totals
    assert totals.lost_steps == 1 + 3 + 2 + 4
    newest = max(tmp_path.rglob("run.jsonl"), key=lambda path: path.stat().st_mtime)
    assert len(read_start(newest).lost_files) == 3


def test_a_run_killed_before_its_first_checkpoint_starts_anew_and_claims_nothing(in_one, tmp_path):
    steps = run(tmp_path, [3])
    assert steps == [1, 2, 3, *range(1, STEPS + 1)]
    totals = ended(tmp_path).totals
    assert work(totals) == work(in_one)
    assert totals.lost_steps == 0
