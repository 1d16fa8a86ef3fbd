"""Real processes over gloo."""

import time
from pathlib import Path

import pytest

from flopwatch.run.run_file import read_run
from flopwatch.trace import read_trace
from tests import running
from tests.lightning.models import FLOPS_PER_BATCH, TOKENS_PER_BATCH

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parent / "scripts"


def trained(script, *arguments, **variables):
    """Lightning starts the second process from the script's file."""
    result = running.run(SCRIPTS / script, *arguments, variables=variables, timeout=240)
    assert result.returncode == 0, result.stderr
    return result


def test_two_processes_count_both_ranks_work_once_and_resume(tmp_path):
    result = trained("two_ranks.py", tmp_path / "a")
    (path,) = tmp_path.rglob("run.jsonl")
    (segment,) = read_run(path).segments
    assert segment.start.device.count == 2
    # Both ranks do six steps of one batch each.
    assert segment.end.totals.counts.flops == 2 * 6 * FLOPS_PER_BATCH
    assert segment.end.totals.counts.tokens == 2 * 6 * TOKENS_PER_BATCH
    assert (segment.end.totals.counts.steps, segment.end.totals.counts.batches) == (6, 6)
    assert [window.step for window in segment.windows] == [1, 3, 6]
    last = segment.windows[-1]
    assert last.counts.flops == 2 * 3 * FLOPS_PER_BATCH
    assert "stopped measuring" not in result.stderr
    # A checkpoint in the middle of a window holds both ranks' work; the resumed run goes on from it.
    trained("two_ranks.py", tmp_path / "b", tmp_path / "a" / "step=4.ckpt")
    resumed = read_run(tmp_path / "b").segments[-1]
    assert resumed.start.totals.counts.flops == 2 * 4 * FLOPS_PER_BATCH
    assert resumed.end.totals.counts.flops == 2 * 8 * FLOPS_PER_BATCH


def test_a_rank_where_flopwatch_fails_holds_nobody_up(tmp_path):
    started = time.monotonic()
    result = trained("two_ranks_one_failing.py", tmp_path)
    assert time.monotonic() - started < 60
    (segment,) = read_run(tmp_path).segments
    assert (segment.end.status, segment.end.step) == ("finished", 6)
    assert segment.end.totals.counts.flops is None
    assert "totals over all ranks are unknown: rank 1 failed in flopwatch" in result.stderr


@pytest.mark.parametrize(
    ("uuids", "watts"),
    [
        # Two GPUs of 700 and 500 W, and then two ranks that share the first one.
        ("aaaa,bbbb", 1200.0),
        ("aaaa,aaaa", 700.0),
        ("aaaa,cccc", None),
    ],
)
def test_gpus_are_averaged_over_ranks_and_each_ones_energy_is_counted_once(tmp_path, fake_driver, uuids, watts):
    gpus = {"uuid__0": "GPU-aaaa", "uuid__1": "GPU-bbbb", "sm_clock__0": 1980, "sm_clock__1": 1500}
    fake_driver.set(count=2, power_mw__0=700_000, power_mw__1=500_000, reasons__1=4, **gpus)
    result = trained("two_ranks_on_fake_gpus.py", tmp_path, **fake_driver.environment(), UUIDS=uuids)
    (segment,) = read_run(tmp_path).segments
    window = segment.windows[-1]
    if watts is None:
        # The second rank's GPU is not to be found: clocks and energy of the run are not known, and that is said.
        assert (window.sm_clock_hz, window.power_watts, segment.end.totals.joules) == (None, None, None)
        assert "rank 1: GPU readings ended" in result.stderr
        assert "another rank's GPU is not being read" in segment.events[0].message
        return
    shared = uuids == "aaaa,aaaa"
    assert window.sm_clock_hz == (1980e6 if shared else 1740e6)
    assert window.sm_clock_hz_min == (1980e6 if shared else 1500e6)
    assert window.throttled_frac == pytest.approx(0.0 if shared else 0.5, abs=0.03)
    assert window.clock_samples >= 3
    assert window.power_watts == pytest.approx(watts, rel=0.03)
    assert segment.end.totals.joules > 0.5 * watts


def test_steps_of_several_ranks_are_profiled_in_a_window_that_all_of_them_end(tmp_path):
    trained("two_ranks_profiled.py", tmp_path)
    (segment,) = read_run(tmp_path).segments
    # All ranks end a window before and after the profile, and else at every twentieth step.
    profiled = {each.step: each.profiled for each in segment.windows}
    assert profiled == {1: False, 10: False, 14: True, 20: False, 40: False, 60: False}
    assert [(each.rank, each.step) for each in segment.profiles] == [(0, 14)]
    traces = [tmp_path / f"trace-step-14-rank-{rank}.json.gz" for rank in (0, 1)]
    both = read_trace(traces)
    assert [(each.rank, each.steps) for each in both.accounts] == [(0, 3), (1, 3)]
    assert both.communication_seconds > 0
    assert segment.end.totals.counts.flops == 2 * 60 * FLOPS_PER_BATCH
