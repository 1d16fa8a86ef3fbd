"""Jobs of many real processes; `benchmarks/ranks.py --jobs` times them beside the same jobs without flopwatch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

JOB = Path(__file__).with_name("job.py")
# Each takes one or two seconds where the machine is quiet; with 0.1.0 the mildest fault took twelve more.
LONGEST_SECONDS = 10.0


def job(**options):
    command = [sys.executable, str(JOB), json.dumps(options)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=150)
    assert result.returncode == 0, result.stderr[-3000:]
    told = json.loads(result.stdout.splitlines()[-1])
    assert told["hung"] == 0, result.stderr[-3000:]
    return told, result.stderr


@pytest.mark.alone
@pytest.mark.parametrize("ranks", [2, 4, 17, 18, 32])
def test_every_size_starts_and_its_totals_are_exact(ranks):
    told, said = job(ranks=ranks)
    assert told["flops"] == 9 * ranks * told["flops_per_batch"], said[-3000:]
    assert set(told["codes"]) == {0}


# What becomes of the job without flopwatch, exit codes and steps, and what flopwatch has to say.
GOES_ON = ([0] * 4, [9] * 4, "finished")
FAULTS = {
    "raise": ([1] * 4, [None] * 4, "failed", None),
    "exit": ([1, 1, 1, 0], [None] * 4, "failed", "rank 3 published nothing new"),
    "kill": ([1, 1, 1, -9], [None] * 4, "failed", "rank 3 published nothing new"),
    "stop": (*GOES_ON, None),
    "missing": (*GOES_ON, "rank 3 published nothing (is FlopWatch among its callbacks?)"),
    "breaks": (*GOES_ON, "rank 3 failed in flopwatch"),
    "version": (*GOES_ON, "rank 3 runs flopwatch 9.9.9, the first rank"),
    "store": (*GOES_ON, "the job's store cannot be reached"),
}


@pytest.mark.alone
@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_of_a_rank_holds_the_job_up(fault):
    told, said = job(ranks=4, fault=fault)
    codes, steps, status, why = FAULTS[fault]
    assert (told["codes"], told["steps"], told["status"]) == (codes, steps, status)
    assert told["seconds"] < LONGEST_SECONDS
    if why is not None:
        assert told["flops"] is None
        assert f"totals over all ranks are unknown: {why}" in said
    else:
        # A rank raises in its sixth batch, when all have done five steps; one that was stopped goes on.
        done = 5 if fault == "raise" else 9
        assert told["flops"] == done * 4 * told["flops_per_batch"]


@pytest.mark.alone
@pytest.mark.parametrize("ranks", [2, 8, 32])
def test_a_budget_ends_all_ranks_at_the_same_step(ranks):
    told, said = job(ranks=ranks, steps=1000, sleep=0.01, budget=30)
    (step,) = set(told["steps"])
    assert 30 <= step < 1000
    assert told["flops"] == step * ranks * told["flops_per_batch"], said[-3000:]


@pytest.mark.alone
def test_a_rank_that_is_slow_to_hear_ends_at_the_same_step_too():
    told, said = job(ranks=4, steps=5000, sleep=0.01, budget=30, fault="deaf", deaf_seconds=3)
    (step,) = set(told["steps"])
    assert 30 <= step < 5000
    assert told["flops"] == step * 4 * told["flops_per_batch"], said[-3000:]


@pytest.mark.alone
def test_where_one_rank_cannot_stop_none_does():
    told, said = job(ranks=2, steps=200, sleep=0.01, budget=30, fault="missing")
    assert told["steps"] == [200, 200]
    assert "training continues past the budget, since not all ranks can be told to stop: rank 1 published noth" in said
