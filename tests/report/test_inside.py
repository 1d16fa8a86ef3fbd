"""Phases, memory and a profile of a run: from windows, and from the trace beside its file."""

import gzip
import json
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
from flopwatch.trace import Limits, read_trace
from flopwatch.trace.parts import PARTS
from tests import samples
from tests.trace import traces
from tests.trace.traces import ELEMENTWISE, GEMM, H100, annotation, device_step, kernel, launch, operator

GIB = 2**30


def test_phases_of_windows_are_one_with_their_rates():
    windows = [samples.window(10 * n, 1000.0 + n, phases=samples.PHASES) for n in (1, 2)]
    found = inside([*windows, samples.window(30, 1003.0)], samples.H100, None)
    assert (found.phases.seconds, found.phases.forward_seconds) == pytest.approx((2.0, 0.6))
    # 1.8e14 FLOPs in 0.6 s, and 4e14 in 1 s, of 1e15 FLOP/s.
    assert (found.forward_mfu, found.backward_mfu) == pytest.approx((0.3, 0.4))
    assert (found.memory, found.profiled) == (None, None)


def held(*gib, step=100, after=0, **changes):
    """Windows of a hundred steps in which tensors hold so much at the end."""
    windows = []
    for number, each in enumerate(gib, 1):
        memory = replace(Memory(60 * GIB, 70 * GIB, int(each * GIB), 80 * GIB, 0), **changes)
        windows.append(samples.window(after + step * number, 1000.0 + number, memory=memory))
    return windows


LEAK = held(*[40 + 0.5 * n for n in range(20)])


def test_memory_that_grows_window_by_window_is_a_leak():
    found = memory_use([LEAK], 2000)
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
    assert memory_use([held(*gib)], 2000).growth_bytes_per_step is None


def test_windows_without_memory_have_none():
    assert memory_use([[samples.window(10, 1010.0)], []], 10) is None


def test_the_most_that_any_process_held_with_the_retries_of_all():
    first = [
        *held(50, peak_bytes=75 * GIB, reserved_bytes=71 * GIB, retries=2),
        *held(50, after=100, peak_bytes=75 * GIB, reserved_bytes=79 * GIB, retries=5),
    ]
    found = memory_use([first, held(40, after=200, retries=1), [samples.window(400, 1001.0)]], 400)
    assert found.held == Memory(75 * GIB, 79 * GIB, 40 * GIB, 80 * GIB, 5 + 1)
    # A first window, of one step, may hold the most: the run died in the next one.
    start_up = replace(held(50, peak_bytes=76 * GIB)[0], first=True)
    assert memory_use([[start_up]], 1).held.peak_bytes == 76 * GIB


def test_what_was_held_on_larger_devices_is_no_share_of_smaller_ones():
    larger = held(50, total_bytes=141 * GIB, peak_bytes=120 * GIB, reserved_bytes=130 * GIB, retries=7)
    found = memory_use([larger, held(40, after=100)], 200)
    assert (found.peak_frac, found.reserved_frac, found.held.retries) == (0.75, 0.875, 7)


def test_a_leak_is_one_of_the_last_process():
    # Ten windows of each alone are flat; together they would be a rise.
    assert memory_use([LEAK, held(*[60.0] * 20, after=2000)], 4000).growth_bytes_per_step is None
    assert memory_use([LEAK, [samples.window(2100, 1001.0)]], 2100).growth_bytes_per_step is None
    again = memory_use([held(*[60.0] * 20), held(*[40 + 0.5 * n for n in range(20)], after=2000)], 4000)
    assert (again.growth_bytes_per_step, again.full_at_step) == (GIB / 200, 8000)


def test_a_step_that_is_over_is_not_foretold():
    # Full at step 6,000, and not so in the windows that follow without a reading.
    assert memory_use([LEAK], 5999).full_at_step == 6000
    assert memory_use([LEAK], 6000).full_at_step is None
    assert memory_use([LEAK], 6000).growth_bytes_per_step == GIB / 200
    assert memory_use([held(*[40 + 0.5 * n for n in range(20)], peak_bytes=80 * GIB)], 2000).full_at_step is None


def test_a_report_looks_at_the_memory_of_all_processes(tmp_path):
    first, *_ = run_of(tmp_path, "gone.json").segments
    one = replace(first, windows=tuple(held(50, peak_bytes=75 * GIB, retries=2)), profiles=(), end=None)
    two = replace(first, windows=tuple(held(40, after=100, retries=1)), profiles=(), end=None)
    found = summarize(Run(tmp_path / "run.jsonl", (one, two))).inside.memory
    assert (found.held.peak_bytes, found.held.retries) == (75 * GIB, 3)


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
    # A profiled step took 40 us on the device, the others 32 us.
    assert found.slower(32e-6) == pytest.approx(0.25)
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
        (lambda path: path.write_text("no trace"), "cannot be read; "),
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
    # Six events and a dozen facts; how small the packed file is does not matter.
    for limits in (Limits(events=5), Limits(unpacked_bytes=trace.stat().st_size - 1)):
        found, note = profile_of(run_of(tmp_path, trace), limits)
        assert found is None
        assert note == f"the trace of the profiled steps is large; `flopwatch trace {trace}` reads it"
    assert read_trace(trace).first.steps == 1


def test_a_small_file_of_very_many_events_is_large(tmp_path):
    path = tmp_path / "trace.json.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"[" + b"{}," * 500_000 + b"{}]")
    assert path.stat().st_size < 100_000
    assert "is large" in profile_of(run_of(tmp_path, path))[1]


SECRET = "root:x:0:0:root:/root:/bin/bash"


@pytest.mark.parametrize("content", [SECRET, f"[{SECRET}]", json.dumps({"password": SECRET}), json.dumps(SECRET)])
def test_nothing_of_a_file_that_is_no_trace_is_told(tmp_path, trace, content):
    trace.write_text(content)
    found, note = profile_of(run_of(tmp_path, trace))
    assert found is None
    assert note == f"the trace of the profiled steps cannot be read; `flopwatch trace {trace}` says why"


def test_a_command_in_a_note_is_safe_to_copy(tmp_path):
    path = tmp_path / "a;b.json"
    path.write_text("no trace")
    assert f"`flopwatch trace '{path}'` says why" in profile_of(run_of(tmp_path, path))[1]


@pytest.mark.parametrize("name", ["passwd", "key.pem", "trace.json.bak", ".env", "trace.jsonl", ""])
def test_a_run_file_names_no_file_but_a_trace(tmp_path, trace, name):
    shutil.copy(trace, tmp_path / "passwd")
    found, note = profile_of(run_of(tmp_path, f"{tmp_path}/{name}"))
    assert found is None
    assert "is not read: expected a name that ends in .json or .json.gz, got '" in note


def test_the_trace_beside_the_run_file_goes_first(tmp_path, trace):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(trace, elsewhere / trace.name)
    found, _ = profile_of(run_of(tmp_path, elsewhere / trace.name))
    assert found.trace.first.path == trace


@pytest.mark.parametrize("name", ["\0.json", "x" * 1_999 + ".json", "loop.json"])
def test_a_name_that_no_file_has_is_a_note(tmp_path, name):
    (tmp_path / "loop.json").symlink_to(tmp_path / "loop.json")
    assert "is not there: " in profile_of(run_of(tmp_path, name))[1]


def test_a_trace_that_vanishes_is_a_note(tmp_path, trace, monkeypatch):
    monkeypatch.setattr(Path, "is_file", lambda path: path.unlink(missing_ok=True) is None)
    found, note = profile_of(run_of(tmp_path, trace))
    assert found is None
    assert "cannot be read; " in note


def test_other_ranks_profiles_are_not_the_runs(tmp_path, trace):
    assert profile_of(run_of(tmp_path, trace, rank=3)) == (None, None)
    assert profile_of(Run(tmp_path / "run.jsonl", ())) == (None, None)


@pytest.mark.parametrize(("micros", "is_used"), [(1.0e6, False), (1.4e6, True), (1.7e6, True), (2e6, False)])
def test_a_trace_of_other_steps_than_those_that_were_timed_is_left_out(tmp_path, micros, is_used):
    # By the run's clock a step took 1.5 s; what makes the traced ones longer or shorter is not in the others.
    trace = traces.written(tmp_path / "trace.json", *STEP, annotation(0, micros, "ProfilerStep#1"), **H100)
    found, note = profile_of(run_of(tmp_path, trace))
    assert (found is not None, note is None) == (is_used, is_used)
    if micros == 2e6:
        assert note.startswith(
            "the trace of the profiled steps is left out, as it shows steps of 2s, by the run's clock 1.5s; `flopwatch "
        )


def test_waiting_for_data_is_no_part_of_the_rest(tmp_path):
    # The wait is 50 us more than the step; the rest is divided as without it.
    loader = annotation(-50, 0, "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__")
    step = annotation(-50, 40, "ProfilerStep#1")
    without = read_trace(traces.written(tmp_path / "a.json", *STEP, **H100)).first
    with_wait = read_trace(traces.written(tmp_path / "b.json", *STEP, loader, step, **H100)).first
    assert with_wait.parts["idle_data"] == pytest.approx(50e-6)
    assert rest_shares(with_wait, 50e12) == pytest.approx(rest_shares(without, 50e12))


def test_every_part_of_a_trace_has_its_words():
    assert set(INSIDE_REST) == {*PARTS} - {"idle_data"}


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
    on_cpu = rest_shares(replace(account, device="CPU"), 50e12)
    assert on_cpu == {
        **{kind: each for kind, each in shares.items() if kind != "launch_gaps"},
        "outside_operators": shares["launch_gaps"],
    }


def test_without_a_peak_or_with_one_that_products_pass_the_rest_stays_whole(trace):
    account = read_trace(trace).first
    assert rest_shares(account, None) is None
    assert rest_shares(account, 1e12) is None
    assert rest_shares(replace(account, rows=()), 50e12) is None


SHARES = st.lists(st.floats(0, 1), min_size=9, max_size=9).filter(lambda each: sum(each) > 0)


@settings(max_examples=50, deadline=None)
@given(SHARES)
def test_the_waterfall_adds_up_to_the_integer_however_the_rest_is_divided(amounts):
    run = run_of(Path(), "gone.json")
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
