"""A run out of rows, each number by hand."""

from pathlib import Path

import pytest

from flopwatch.errors import WandbError
from flopwatch.model.architecture import ComponentRow
from flopwatch.run.records import Device
from flopwatch.wandb.rebuilt import rebuild

FACTS = {
    "device": "NVIDIA H100 80GB HBM3",
    "device_count": 2,
    "dtype": "bf16",
    "peak_flops_per_second": 1e15,
    "versions": {"flopwatch": "0.2.0"},
}


def row(step, at, **more):
    """Ten steps of a second each; half of each of two devices' peak; two devices since 1,000 s."""
    values = {"trainer/global_step": step - 1, "_timestamp": at, "perf/step_seconds": 1.0}
    values |= {"perf/device_tflops_per_sec": 500.0, "budget/device_hours": 2 * (at - 1000.0) / 3600}
    return {**values, "budget/flops": 1e15 * step, **more}


def rebuilt(*rows, facts=FACTS, status="finished"):
    return rebuild(rows, {"flopwatch": facts}, path=Path("a/b/c"), name="a run", run_id="c", status=lambda: status)


TWO = row(10, 1010.0), row(20, 1022.0)


def test_a_window_by_hand():
    more = {
        "perf/tokens_per_sec": 400.0,
        "step/data_wait_frac": 0.1,
        "gpu/sm_clock_mhz": 1600.0,
        "perf/hfu": 0.6,
        "budget/hours_left": 0.5,
        "budget/kwh": 0.01,
    }
    (segment,) = rebuilt(row(10, 1010.0), row(20, 1022.0, **more)).segments
    first, window = segment.windows
    assert (first.first, window.first) == (True, False)
    assert (window.step, window.counts.steps, window.seconds, window.wall_seconds) == (20, 10, 10.0, 12.0)
    # 500 TFLOP/s x 2 devices x 10 s; 400 tokens/s; 0.6 of 2 x 1e15 x 10 s.
    assert (window.counts.flops, window.counts.tokens, window.counts.hardware_flops) == (10**16, 4000, 12 * 10**15)
    assert (window.data_wait_seconds, window.sm_clock_hz, window.seconds_left) == (1.0, 1.6e9, 1800.0)
    assert (window.totals.counts.flops, window.totals.seconds, window.totals.joules) == (20 * 10**15, 22.0, 36_000)


def test_hyperparameters_are_those_of_the_config():
    config = {"flopwatch": FACTS, "lr": 0.1, "api_key": "x", "_wandb": {}, "optimizer": {"name": "sgd"}}
    run = rebuild([row(10, 1010.0)], config, path=Path("a"), name="a", run_id="c", status=lambda: None)
    assert run.segments[0].start.hyperparameters == {"lr": 0.1}


def test_losses_are_those_of_the_rows_and_may_be_below_zero():
    (segment,) = rebuilt(
        row(10, 1010.0, **{"loss/train": 2.5, "loss/validation": "NaN"}), row(20, 1022.0, **{"loss/train": -0.5})
    ).segments
    assert [(each.loss, each.validation_loss) for each in segment.windows] == [(2.5, None), (-0.5, None)]


def test_the_run_began_as_long_before_its_first_row_as_its_devices_had_worked():
    run = rebuilt(*TWO)
    (segment,) = run.segments
    assert segment.start.started_at == pytest.approx(1000.0)
    assert segment.start.device == Device("NVIDIA H100 80GB HBM3", 2, "bf16", 1e15)
    assert (segment.start.name, segment.start.versions) == ("a run", {"flopwatch": "0.2.0"})
    assert (segment.end.status, segment.end.step) == ("finished", 20)
    assert run.notes[0].startswith("rebuilt from W&B's rows, without flopwatch's run file")


def test_a_run_that_goes_on_has_no_end():
    assert rebuilt(*TWO, status=None).segments[0].end is None


def test_steps_that_were_logged_again_count_once():
    again = row(20, 1100.0, **{"perf/device_tflops_per_sec": 250.0}), row(30, 1112.0)
    run = rebuilt(*TWO, row(30, 1034.0), *again)
    (segment,) = run.segments
    assert [window.step for window in segment.windows] == [10, 20, 30]
    # 250 TFLOP/s x 2 x 10 s; the window after the restart is warm-up.
    assert [window.counts.flops for window in segment.windows] == [10**16, 5 * 10**15, 10**16]
    assert [window.first for window in segment.windows] == [True, True, False]
    assert run.notes[1] == "2 rows were logged again after a restart; the last of each step is kept"


def test_rows_of_others_and_rows_that_lack_a_number_are_left_out():
    slow, undated = row(15, 1015.0, **{"perf/step_seconds": "fast"}), {**row(15, 1015.0), "_timestamp": None}
    others = {"val/loss": 1.0}, slow, undated
    assert [window.step for window in rebuilt(TWO[0], *others, TWO[1]).segments[0].windows] == [10, 20]


def test_a_run_without_rows_of_ours_is_refused():
    with pytest.raises(WandbError, match="expected a run with flopwatch rows, found none in a/b/c"):
        rebuilt({"loss": 1.0})


def test_the_run_mfu_that_was_logged_says_what_the_devices_could_have_done():
    rows = TWO[0], row(20, 1022.0, **{"perf/run_mfu": 0.2})
    # 20 PFLOPs at 0.2 are of 100 PFLOPs; of those 22 s x 2 x 1e15 are since the start.
    assert rebuilt(*rows).segments[0].start.capacity_flops == pytest.approx(56e15)
    assert rebuilt(*TWO).segments[0].start.capacity_flops is None


def test_what_the_config_says_wrongly_is_unknown():
    facts = {"device": 7, "device_count": -3, "peak_flops_per_second": 0, "dtype": ["bf16"], "versions": "new"}
    start = rebuilt(*TWO, facts=facts).segments[0].start
    assert (start.device, start.versions) == (Device("unknown device", 1), {})
    assert rebuilt(*TWO, facts="nothing").segments[0].work is None


def test_how_the_work_was_counted_is_read_back():
    batch = {"sequences": 4, "seq_len": 100, "tokens": 400, "forward_flops": 8_000, "training_flops": 24_000}
    counted = {"verification": "verified", "verification_note": "a note", "first_batch": batch, "parameters": 1000}
    counted |= {"parameters_by_component": {"mlp": 600, "head": 400, "gone": 1}}
    counted |= {"forward_flops_per_token": {"mlp": 15.0, "head": 5.0}}
    work = rebuilt(*TWO, facts={**FACTS, **counted}).segments[0].work
    assert (work.verification, work.note, work.training_flops, work.method) == ("verified", "a note", 24_000, "config")
    # 15 and 5 FLOPs of each of 400 tokens.
    assert work.components == (ComponentRow("mlp", 600, 6_000), ComponentRow("head", 400, 2_000))


@pytest.mark.parametrize("changes", [{"verification": "dreamt"}, {"first_batch": None}])
def test_what_an_older_or_another_program_wrote_is_no_count(changes):
    counted = {"verification": "verified", "first_batch": {"sequences": 4}, **changes}
    assert rebuilt(*TWO, facts={**FACTS, **counted}).segments[0].work is None
