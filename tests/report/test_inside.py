"""Phases, memory and a profile of a run: from windows, and from the trace beside its file."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flopwatch.report.inside import inside, memory_use, profile_of, rest_shares
from flopwatch.report.report import report_of, summarize
from flopwatch.report.waterfall import waterfall
from flopwatch.run.counts import Counts
from flopwatch.run.records import End, Memory, Profile, Totals
from flopwatch.run.run_file import Run, Segment
from flopwatch.run.time_kinds import INSIDE_REST, REST
from flopwatch.trace import read_trace
from flopwatch.trace.parts import PARTS
from tests import samples
from tests.trace import traces
from tests.trace.traces import ELEMENTWISE, GEMM, H100, device_step, kernel, launch, operator

GIB = 2**30


def test_phases_of_windows_are_one_with_their_rates():
    windows = [samples.window(10 * n, 1000.0 + n, phases=samples.PHASES) for n in (1, 2)]
    found = inside([*windows, samples.window(30, 1003.0)], samples.H100, None)
    assert (found.phases.seconds, found.phases.forward_seconds) == pytest.approx((2.0, 0.6))
    # 1.8e14 FLOPs in 0.6 s, and 4e14 in 1 s, of 1e15 FLOP/s.
    assert (found.forward_mfu, found.backward_mfu) == pytest.approx((0.3, 0.4))
    assert (found.memory, found.profiled) == (None, None)


def held(*gib, step=100):
    """Windows of a hundred steps in which tensors hold so much at the end."""
    windows = []
    for number, each in enumerate(gib, 1):
        memory = Memory(60 * GIB, 70 * GIB, int(each * GIB), 80 * GIB, 0)
        windows.append(samples.window(step * number, 1000.0 + number, memory=memory))
    return windows


def test_memory_that_grows_window_by_window_is_a_leak():
    found = memory_use(held(*[40 + 0.5 * n for n in range(20)]))
    # Half a GiB in a hundred steps; 20 GiB are left at step 2,000: full after 4,000 steps more.
    assert found.growth_bytes_per_step == GIB / 200
    assert found.full_at_step == 2000 + 4000
    assert (found.peak_frac, found.reserved_frac) == (0.75, 0.875)


@pytest.mark.parametrize(
    "gib",
    [
        [40.0] * 20,
        [40, 50, *[50.0] * 18],  # the optimizer's states come with the first step
        [40 + (n % 2) for n in range(20)],
        [40 + 0.001 * n for n in range(20)],  # 20 MiB in all
        [40 + n for n in range(5)],  # too few to tell
        [*[40 + n for n in range(10)], *[49.0] * 10],  # it grew, and stopped
    ],
)
def test_memory_that_settles_is_none(gib):
    assert memory_use(held(*gib)).growth_bytes_per_step is None


def test_windows_without_memory_have_none():
    assert memory_use([samples.window(10, 1010.0)]) is None


# A step of 40 us: a product of 2 x 256 x 1024 x 512 FLOPs in 10 us, 21 us elementwise, 9 us in which the host was late.
STEP = (
    device_step(0, 40),
    operator(0, 1, "aten::mm", (256, 1024), (1024, 512), **{"External id": 1}),
    kernel(0, 10, GEMM, **{"External id": 1}),
    kernel(10, 30, ELEMENTWISE),
    launch(35, 2),
    kernel(39, 40, ELEMENTWISE, correlation=2),
)
FLOPS = 2 * 256 * 1024 * 512
# Of 100 s on two devices of 1e15 FLOP/s 70 are training steps, with 30e15 model FLOPs in them.
TOTALS = Totals(
    Counts(flops=30 * 10**15, tokens=1000, hardware_flops=30 * 10**15, useful_tokens=1000),
    seconds=100.0,
    device_seconds=200.0,
    seconds_by_kind={"setup": 10.0, "training": 70.0, "data_wait": 20.0},
)


@pytest.fixture
def trace(tmp_path):
    return traces.written(tmp_path / "trace.json", *STEP, **H100)


def run_of(folder, trace_path, rank=0):
    profile = Profile(14, 3, step_seconds=1.5, extra_seconds=2.0, trace=str(trace_path), rank=rank)
    start, work, *windows = samples.healthy_run()
    windows = tuple(each for each in windows if hasattr(each, "wall_seconds"))
    segment = Segment(start, work, windows, (), End("finished", 1100.0, 21, TOTALS, {}), None, (profile,))
    return Run(folder / "run.jsonl", (segment,))


def test_the_trace_is_read_where_it_was_written_or_beside_a_moved_run_file(tmp_path, trace):
    found, note = profile_of(run_of(tmp_path, trace))
    assert (found.profile.step, found.trace.first.device, note) == (14, "NVIDIA H100 80GB HBM3", None)
    # A profiled step took 1.5 s, the others 1 s.
    assert found.slower(1.0) == pytest.approx(0.5)
    assert found.slower(None) is None
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.move(trace, moved / trace.name)
    again, _ = profile_of(run_of(moved, trace))
    assert again.trace.first.path == moved / trace.name


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.unlink(), "is not there: "),
        (lambda path: path.write_text("no trace"), "cannot be read: "),
    ],
)
def test_a_trace_that_cannot_be_had_is_a_note_of_the_report(tmp_path, trace, spoil, words):
    spoil(trace)
    run = run_of(tmp_path, trace)
    found, note = profile_of(run)
    assert found is None
    assert words in note
    assert note in report_of(run).notes


def test_a_large_trace_is_left_to_the_command(tmp_path, trace):
    found, note = profile_of(run_of(tmp_path, trace), largest_bytes=10)
    assert found is None
    assert note == f"the trace of the profiled steps is large; `flopwatch trace {trace}` reads it"


def test_other_ranks_profiles_are_not_the_runs(tmp_path, trace):
    assert profile_of(run_of(tmp_path, trace, rank=3)) == (None, None)
    assert profile_of(Run(tmp_path / "run.jsonl", ())) == (None, None)


def test_every_part_of_a_trace_has_its_words():
    assert set(INSIDE_REST) == set(PARTS)


def test_the_rest_is_what_steps_lost_besides_their_flops(trace):
    account = read_trace(trace).first
    # At 5e13 FLOP/s the product needs 5.369 of its 10 us; lost are 4.631, 21 and 9 of 34.631 us.
    needed = FLOPS / 50e12 * 1e6
    shares = rest_shares(account, 50e12)
    lost = (10 - needed) + 21 + 9
    assert shares["matmul_below_peak"] == pytest.approx((10 - needed) / lost, rel=1e-3)
    assert shares["other_compute"] == pytest.approx(21 / lost, rel=1e-3)
    assert shares["launch_gaps"] == pytest.approx(9 / lost, rel=1e-3)
    assert sum(shares.values()) == pytest.approx(1.0)


def test_without_a_peak_or_with_one_that_products_pass_the_rest_stays_whole(trace):
    account = read_trace(trace).first
    assert rest_shares(account, None) is None
    assert rest_shares(account, 1e12) is None
    assert rest_shares(replace(account, rows=()), 50e12) is None


SHARES = st.lists(st.floats(0, 1), min_size=9, max_size=9).filter(lambda each: sum(each) > 0)


@settings(max_examples=50, deadline=None)
@given(SHARES)
def test_the_waterfall_adds_up_to_the_integer_however_the_rest_is_divided(amounts):
    run = run_of(Path(), "gone")
    shares = {kind: each / sum(amounts) for kind, each in zip(INSIDE_REST.values(), amounts, strict=True)}
    whole = {part.kind: part for part in waterfall(run)}
    divided = {part.kind: part for part in waterfall(run, shares)}
    assert REST in whole
    assert REST not in divided
    assert sum(part.flops for part in divided.values()) == sum(part.flops for part in whole.values())
    seconds = sum(part.device_seconds for part in whole.values())
    assert sum(part.device_seconds for part in divided.values()) == pytest.approx(seconds)
    for kind in set(whole) - {REST}:
        assert divided[kind].flops == whole[kind].flops


def test_the_first_thing_to_do_is_to_find_out_where_the_largest_loss_is_unknown(tmp_path, trace):
    report = summarize(run_of(tmp_path, trace))
    assert max(report.parts, key=lambda part: part.flops).kind == REST
    assert report.findings[0].kind == REST
    known = report_of(run_of(tmp_path, trace))
    assert {part.kind for part in known.parts} >= {"matmul_below_peak", "other_compute", "launch_gaps"}
    assert known.findings[0].kind in {"launch_bound", "unfused_elementwise"}
    assert known.findings[0].mfu_gain > 0
