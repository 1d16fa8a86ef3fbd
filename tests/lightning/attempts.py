"""Attempts of one run, forked from a process that has imported everything: killed, failed or stopped, and gone on with.

Each keeps a diary of its batches, so that what was done in all is known to the batch.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from flopwatch.run.lineage import last_sign
from flopwatch.run.run_file import find_run_file, read_start
from tests import running
from tests.lightning.models import FLOPS_PER_BATCH

SCRIPT = Path(__file__).parent / "scripts" / "attempts_of_a_run.py"


@dataclass(frozen=True)
class Attempt:
    """From which step's checkpoint, how many batches, how it ends ("kill", "raise", "stop"), and what steps are."""

    goes_on_from: int | None
    batches: int | None
    end: str = "kill"
    steps: int = 60
    accumulate: int = 1


@dataclass(frozen=True)
class Done:
    """What an attempt did: its first and its last step, batches, and seconds from before the fit to its end."""

    since: int
    until: int
    batches: int
    seconds: float


def run(folder, plan, timeout=400):
    """Run the attempts one after another; returns what each of them did."""
    folder.mkdir(exist_ok=True)
    words = json.dumps([asdict(each) for each in plan])
    result = running.run(SCRIPT, folder, words, timeout=timeout)
    assert result.returncode == 0, result.stderr[-3000:]
    return [_done(path) for path in sorted(folder.glob("diary-*"))]


def _done(path):
    (since, began), *batches, (_, ended) = [json.loads(line) for line in path.read_text().splitlines()]
    return Done(since, batches[-1][0] if batches else since, len(batches), ended - began)


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
    assert (totals.counts.steps, totals.counts.batches) == (kept_steps, kept_batches)
    assert totals.counts.flops == kept_batches * FLOPS_PER_BATCH
    assert totals.counts.steps + totals.lost_steps == steps
    assert totals.counts.flops + totals.lost_flops == batches * FLOPS_PER_BATCH
    # Each process's time is all of it, but for what comes before its set-up and, at a kill, after its last sign.
    seconds = sum(each.seconds for each in done)
    assert seconds - 0.6 * len(done) < totals.seconds <= seconds
    assert totals.device_seconds == pytest.approx(totals.seconds)
    assert sum(totals.seconds_by_kind.values()) + totals.lost_seconds == pytest.approx(totals.seconds, abs=0.1)


def rounds(folder, count, steps, chance):
    """So many attempts from any checkpoint that there is, each killed, failed or stopped, and one to the end."""
    plan, checkpoints = [Attempt(None, 5, steps=steps)], [3]
    for _ in range(count - 1):
        since, batches = chance.choice(checkpoints), chance.randint(1, 8)
        end = chance.choice(["kill", "kill", "raise", "stop"])
        plan.append(Attempt(since, min(batches, steps - since - 1), end, steps))
        checkpoints += [step for step in range(since + 1, since + plan[-1].batches + 1) if step % 3 == 0]
    plan.append(Attempt(chance.choice(checkpoints[:3]), None, "end", steps))
    return run(folder, plan), *totals_of(folder)
