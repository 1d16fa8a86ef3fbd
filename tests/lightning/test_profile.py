"""Profiles of a few steps: when they begin and end, what they cost, and what real fits write."""

import gzip
import json
import logging
import threading

import pytest
import torch
from pytorch_lightning.profilers import PyTorchProfiler

from flopwatch import FlopWatch
from flopwatch.errors import ArgumentError, FlopwatchError
from flopwatch.lightning.options import profile_of
from flopwatch.lightning.profile import ProfileOptions, StepProfiler
from flopwatch.run.records import Profile
from flopwatch.run.run_file import read_run
from flopwatch.trace import read_trace
from tests.lightning.models import FLOPS_PER_BATCH, TinyGPT, loader, trainer


class Recorder:
    """Notes what it is told; starting and stopping take 2 s each by the test's clock."""

    def __init__(self, clock):
        self.clock, self.told, self.thread = clock, [], None

    def start(self):
        self.clock.now += 2.0
        self.told.append("start")

    def step(self):
        self.told.append("step")

    def stop(self):
        self.clock.now += 2.0
        self.told.append("stop")

    def write(self, path):
        self.thread = threading.current_thread()
        path.write_bytes(gzip.compress(b"{}"))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Loop:
    """Steps of a second, with a window wherever one ought to end."""

    def __init__(self, folder, options=None, rank=0, make=None, world_size=1):
        self.clock, self.recorders, self.written, self.windows = Clock(), [], [], []
        options = options or ProfileOptions()
        self.profiler = StepProfiler(options, rank, world_size, None, make=make or self.make, clock=self.clock)
        self.profiler.write_to(folder, "trace", self.written.append)
        self.step = 0

    def make(self):
        self.recorders.append(Recorder(self.clock))
        return self.recorders[-1]

    def run(self, steps):
        for _ in range(steps):
            self.step += 1
            self.clock.now += 1.0
            self.profiler.step_ended(self.step)
            if self.profiler.ends_window():
                self.windows.append((self.step, self.profiler.take()))
                if self.profiler._export_thread is not None:
                    self.profiler._export_thread.join()
                self.profiler.window_closed()
        return self


def test_three_steps_after_the_tenth_have_a_window_of_their_own(tmp_path):
    loop = Loop(tmp_path).run(40)
    loop.profiler.wait(after_an_error=False)
    # The window before ends at step 10; one step of warm-up and three recorded ones end at step 14.
    assert loop.windows == [(10, False), (14, True)]
    (recorder,) = loop.recorders
    assert recorder.told == ["start", *["step"] * 4, "stop"]
    assert not loop.profiler.is_active
    path = tmp_path / "trace-step-14-rank-0.json.gz"
    assert loop.written == [Profile(14, 3, step_seconds=1.0, extra_seconds=4.0, trace=str(path), rank=0)]
    assert gzip.decompress(path.read_bytes()) == b"{}"
    assert list(tmp_path.iterdir()) == [path]
    assert recorder.thread is not threading.current_thread(), "the training thread does not write"


def test_again_after_so_many_steps_or_so_much_time(tmp_path):
    by_steps = Loop(tmp_path, ProfileOptions(every_steps=20)).run(60)
    assert [step for step, profiled in by_steps.windows if profiled] == [14, 34, 54]
    # 30 s after step 10 began the first one: 4 s of it were starting and stopping, so 26 steps.
    by_steps.profiler.wait(after_an_error=False)
    by_time = Loop(tmp_path / "time", ProfileOptions(every_seconds=30.0)).run(60)
    assert [step for step, profiled in by_time.windows if profiled] == [14, 40]
    by_time.profiler.wait(after_an_error=False)


@pytest.mark.parametrize(("options", "rank"), [(ProfileOptions(), 1), (ProfileOptions(ranks=(3,)), 0)])
def test_other_ranks_record_nothing_and_end_the_same_windows(tmp_path, options, rank):
    loop = Loop(tmp_path, options, rank, world_size=4).run(40)
    # They wait for the rank that records, so their steps are slower, too.
    assert (loop.windows, loop.recorders) == ([(10, False), (14, True)], [])


def test_with_several_ranks_an_interval_is_of_steps(tmp_path, caplog):
    by_steps = Loop(tmp_path, ProfileOptions(every_steps=20), world_size=2).run(60)
    assert [step for step, profiled in by_steps.windows if profiled] == [14, 34, 54]
    by_time = Loop(tmp_path, ProfileOptions(every_seconds=5.0), world_size=2).run(60)
    assert [step for step, profiled in by_time.windows if profiled] == [14]
    assert caplog.text.count("with several ranks profile_every is a number of steps: steps are profiled once") == 1


class Failing(Recorder):
    """Fails at a step."""

    def step(self):
        super().step()
        if self.told.count("step") == 4:
            raise RuntimeError("CUPTI")


def test_a_step_that_fails_ends_the_profile(tmp_path):
    recorders = []

    def make():
        recorders.append(Failing(Clock()))
        return recorders[-1]

    loop = Loop(tmp_path, make=make).run(13)
    with pytest.raises(RuntimeError, match="CUPTI"):
        loop.profiler.step_ended(14)
    assert recorders[0].told[-1] == "stop"
    assert not loop.profiler.is_active
    assert loop.profiler.take(), "its window was a slower one"
    assert loop.profiler.ends_window(), "and ends where it does on the other ranks"
    loop.run(40)
    assert recorders[0].told.count("step") == 4


def test_starting_and_each_step_of_the_profiler_are_told_as_what_it_cost(tmp_path):
    class Slow(Recorder):
        def step(self):
            self.clock.now += 0.5

    loop = Loop(tmp_path)
    loop.profiler._make = lambda: Slow(loop.clock)
    loop.run(20).profiler.wait(after_an_error=False)
    # 2 s to start, four steps of 0.5 s, 2 s to stop; a profiled step is still one second.
    assert [(each.extra_seconds, each.step_seconds) for each in loop.written] == [(6.0, 1.0)]


def test_several_windows_that_a_profile_reaches_into_are_all_marked(tmp_path):
    loop = Loop(tmp_path).run(12)
    assert loop.profiler.take()
    loop.run(2)
    assert loop.windows[-1] == (14, True)
    assert not loop.profiler.take()
    loop.profiler.wait(after_an_error=False)


def test_a_run_that_ends_in_a_profile_stops_it(tmp_path, caplog):
    loop = Loop(tmp_path).run(12)
    assert loop.profiler.take(), "the last window has profiled steps"
    loop.profiler.give_up()
    loop.profiler.wait(after_an_error=False)
    assert loop.recorders[0].told[-1] == "stop"
    assert not loop.profiler.is_active
    assert loop.written == []


def test_a_run_that_is_too_short_says_so(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    Loop(tmp_path).run(5).profiler.wait(after_an_error=False)
    assert "no steps were profiled: the run ended before step 11" in caplog.text


def test_a_trace_that_cannot_be_written_is_told_and_nothing_more(tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("")
    loop = Loop(blocked / "folder").run(20)
    loop.profiler.wait(after_an_error=False)
    assert "no trace of the profiled steps was written: " in caplog.text
    assert loop.written == []


def test_a_trace_that_is_there_is_never_replaced(tmp_path):
    for expected in ("trace-step-14-rank-0", "trace-step-14-rank-0-2", "trace-step-14-rank-0-3"):
        loop = Loop(tmp_path).run(20)
        loop.profiler.wait(after_an_error=False)
        assert loop.written[0].trace == str(tmp_path / f"{expected}.json.gz")


def fit(folder, **options):
    watch = FlopWatch(dirpath=folder, peak_flops_per_second=1e12, profile=True, **options.pop("watch", {}))
    model = TinyGPT()
    trainer(folder, watch, **{"max_steps": 40, **options}).fit(model, loader(200))
    (segment,) = read_run(folder).segments
    return watch, segment, model


def test_a_fit_writes_a_trace_that_can_be_read_and_leaves_its_steps_out_of_mfu(tmp_path):
    watch, segment, _ = fit(tmp_path)
    (found,) = segment.profiles
    assert [(each.step, each.profiled) for each in segment.windows] == [
        (1, False),
        (10, False),
        (14, True),
        (40, False),
    ]
    read = read_trace(found.trace)
    assert (read.first.steps, read.first.device) == (3, "CPU")
    # Three steps of one batch: every product of TinyGPT, by the trace's own shapes; attention counts all pairs there.
    assert read.first.matmul_flops > 0
    # Nothing of ours is in the steps that the trace shows: they are as long as those that were timed.
    assert read.first.host_step_seconds == pytest.approx(found.step_seconds, rel=0.15)
    steady = [each for each in segment.windows if not each.first]
    flops, seconds = sum(each.counts.flops for each in steady), sum(each.seconds for each in steady)
    assert flops == 35 * FLOPS_PER_BATCH  # of 40 steps the first, and four of the profile
    assert watch.mfu == pytest.approx(flops / seconds / 1e12)
    assert segment.end.totals.counts.flops == 40 * FLOPS_PER_BATCH


def test_training_is_the_same_to_the_bit(tmp_path):
    torch.manual_seed(0)
    _, _, profiled = fit(tmp_path / "with")
    torch.manual_seed(0)
    plain = TinyGPT()
    trainer(tmp_path / "without", max_steps=40).fit(plain, loader(200))
    for name, weight in plain.state_dict().items():
        assert torch.equal(weight, profiled.state_dict()[name]), name


def test_where_the_trainer_profiles_with_torch_ours_stays_away(tmp_path, caplog):
    theirs = PyTorchProfiler(dirpath=tmp_path, filename="theirs", schedule=None)
    _, segment, _ = fit(tmp_path / "run", profiler=theirs)
    assert segment.profiles == ()
    assert "no steps are profiled: the Trainer's PyTorchProfiler is there" in caplog.text
    assert segment.end.status == "finished"


def test_where_another_profiler_is_open_ours_stays_away(tmp_path, caplog):
    with torch.profiler.profile() as theirs:
        _, segment, _ = fit(tmp_path / "run")
    assert segment.profiles == ()
    assert "another torch.profiler is there" in caplog.text
    assert theirs.events()


def test_a_profiler_that_fails_costs_the_profile_alone(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(torch.profiler, "profile", lambda **_: 1 / 0)
    _, segment, _ = fit(tmp_path)
    assert (segment.profiles, segment.end.status) == ((), "finished")
    assert "profiling failed, everything else continues" in caplog.text


def test_no_batch_is_watched_while_steps_are_profiled(tmp_path):
    _, segment, _ = fit(tmp_path)
    with gzip.open(segment.profiles[0].trace, "rt") as file:
        events = json.load(file)["traceEvents"]
    steps = {each["name"] for each in events if str(each.get("name", "")).startswith("ProfilerStep#")}
    assert steps == {"ProfilerStep#1", "ProfilerStep#2", "ProfilerStep#3"}
    assert not any("watching.py" in str(each.get("name")) for each in events)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((False,), None),
        ((True,), ProfileOptions()),
        ((True, "1 hour", [0, 8]), ProfileOptions((0, 8), every_seconds=3600.0)),
        ((True, "1K steps"), ProfileOptions(every_steps=1000)),
    ],
)
def test_what_the_user_wants_is_read(arguments, expected):
    assert profile_of(*arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("yes",), "expected True or False for profile, got 'yes'"),
        ((True, 5), "expected an interval like '1 hour' or '1000 steps' for profile_every, got 5"),
        ((True, "3 tokens"), "expected an interval like"),
        ((True, "often"), "often"),
        ((False, "1 hour"), "profile_every='1 hour' needs profile=True"),
        ((True, None, "all"), "expected a list of ranks like"),
        ((True, None, [-1]), "expected a list of ranks like"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_training(arguments, words):
    names = ("profile", "profile_every", "profile_ranks")
    with pytest.raises((ArgumentError, FlopwatchError), match=words):
        FlopWatch(**dict(zip(names, arguments, strict=False)))


def test_where_a_rank_cannot_record_its_windows_end_with_those_of_the_others(tmp_path):
    loop = Loop(tmp_path, make=lambda: 1 / 0, world_size=2)
    with pytest.raises(ZeroDivisionError):
        loop.run(10)
    loop.run(10)
    assert loop.windows == [(10, False), (14, True)]
