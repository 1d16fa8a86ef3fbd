"""Profiles a few steps now and then with `torch.profiler`, and writes their traces beside the run file."""

from __future__ import annotations

import gzip
import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from flopwatch import units
from flopwatch.errors import in_words
from flopwatch.run.records import Profile

ACTIVE_STEPS = 3
_WARM_UP_STEPS = 1  # of the profiler itself, whose first step is slower
_FIRST_AFTER_STEPS = 10
_MOST_EXPORT_SECONDS = 60.0
_BLOCK = 2**20
_logger = logging.getLogger("flopwatch")


@dataclass(frozen=True)
class ProfileOptions:
    """What to profile.

    Attributes:
        ranks: Whose steps.
        every_steps: How many steps lie between two profiles; `None` if they are not counted.
        every_seconds: How many seconds do; with neither there is one profile.
    """

    ranks: tuple[int, ...] = (0,)
    every_steps: int | None = None
    every_seconds: float | None = None


class Recorder(Protocol):
    """A profiler of a few steps."""

    def start(self) -> None:
        """Begin."""

    def step(self) -> None:
        """An optimizer step has ended."""

    def stop(self) -> None:
        """End."""

    def export_chrome_trace(self, path: str) -> None:
        """Write the trace; on another thread."""


def torch_recorder() -> Recorder:
    """Return `torch.profiler` for one warm-up step and three recorded ones, with shapes, of the CPU and the device."""
    schedule = torch.profiler.schedule(wait=0, warmup=_WARM_UP_STEPS, active=ACTIVE_STEPS, repeat=1)
    return torch.profiler.profile(schedule=schedule, record_shapes=True)


def another_is_active(trainer_profiler: Any) -> str | None:
    """Name the profiler that is active already, of which torch allows but one; `None` without any.

    Args:
        trainer_profiler: The Trainer's.
    """
    if type(trainer_profiler).__name__ == "PyTorchProfiler":
        return "the Trainer's PyTorchProfiler"
    if getattr(torch.autograd.profiler, "_is_profiler_enabled", False):
        return "another torch.profiler"
    return None


class StepProfiler:
    """Profiles steps of this process.

    The first time after ten steps, then as often as the user wants. Starting and stopping take their time on the
    training thread; compressing and writing do not.

    Args:
        options: `None` to profile nothing.
        rank: Of this process.
        trainer_profiler: The Trainer's own profiler, which goes on working.
        make: Makes a profiler.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        options: ProfileOptions | None,
        rank: int,
        trainer_profiler: Any,
        *,
        make: Callable[[], Recorder] = torch_recorder,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._options = options if options is not None and rank in options.ranks else None
        self._rank, self._trainer_profiler, self._make, self._clock = rank, trainer_profiler, make, clock
        self.write_to(Path())
        self._recorder: Recorder | None = None
        self._times: list[float] = []
        self._last_step, self._last_at = 0, clock()
        self._step_began = self._start_seconds = 0.0
        self._steps = self._profiles = 0
        self._touched_window = self._just_ended = False
        self._exports: list[threading.Thread] = []

    def write_to(self, folder: Path, write: Callable[[Profile], None] = lambda _: None) -> None:
        """Say where traces go, and what is told of each.

        Args:
            folder: On the first rank the run file's; it is made if it is not there.
            write: Takes the record of a profile, on another thread.
        """
        self._folder, self._write = folder, write

    @property
    def is_active(self) -> bool:
        """Return whether steps are being profiled."""
        return self._recorder is not None

    def step_ended(self, step: int) -> None:
        """Note that an optimizer step has ended."""
        now = self._clock()
        self._steps += 1
        recorder = self._recorder
        if recorder is None:
            return
        self._times.append(now - self._step_began)
        recorder.step()
        if len(self._times) == _WARM_UP_STEPS + ACTIVE_STEPS:
            self._end(step, recorder)
        self._step_began = self._clock()

    def ends_window(self) -> bool:
        """Whether a window ought to end here, so that profiled steps have one for themselves."""
        return self._just_ended or self._is_due()

    def _is_due(self) -> bool:
        options = self._options
        if options is None or self.is_active or self._steps < _FIRST_AFTER_STEPS:
            return False
        if not self._profiles:
            return True
        if options.every_steps is not None:
            return self._steps - self._last_step >= options.every_steps
        return options.every_seconds is not None and self._clock() - self._last_at >= options.every_seconds

    def window_closed(self) -> None:
        """Begin, if it is time to; a window has just ended."""
        self._just_ended = False
        if not self._is_due():
            return
        self._profiles += 1
        self._last_step, self._last_at = self._steps, self._clock()
        active = another_is_active(self._trainer_profiler)
        if active is not None:
            _logger.warning("no steps are profiled: %s is active, and there can be one at a time", active)
            return
        began = self._clock()
        recorder = self._make()
        recorder.start()
        self._recorder, self._times = recorder, []
        self._step_began = self._clock()
        self._start_seconds = self._step_began - began

    def take(self) -> bool:
        """Whether steps were profiled in the window that ends now."""
        touched, self._touched_window = self._touched_window, self.is_active
        return touched or self.is_active

    def _end(self, step: int, recorder: Recorder) -> None:
        self._recorder, self._touched_window, self._just_ended = None, True, True
        began = self._clock()
        recorder.stop()
        seconds = sum(self._times[_WARM_UP_STEPS:]) / ACTIVE_STEPS
        profile = Profile(
            step=step,
            steps=ACTIVE_STEPS,
            step_seconds=seconds,
            extra_seconds=self._start_seconds + self._clock() - began,
            trace=str(self._folder / f"trace-step-{step}-rank-{self._rank}.json.gz"),
            rank=self._rank,
        )
        thread = threading.Thread(target=self._export, args=(recorder, profile), name="flopwatch-trace", daemon=True)
        self._exports.append(thread)
        thread.start()

    def _export(self, recorder: Recorder, profile: Profile) -> None:
        path = Path(profile.trace)
        plain = path.with_suffix("")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            recorder.export_chrome_trace(str(plain))
            compress(plain, path)
            self._write(profile)
        except Exception as error:
            _logger.warning("no trace of the profiled steps was written: %s", in_words(error))
            return
        words = "profiled %d steps up to step %s, %s each, and %s to start and stop; written: %s"
        seconds = units.format_duration(profile.step_seconds), units.format_duration(profile.extra_seconds)
        _logger.info(words, profile.steps, f"{profile.step:,}", *seconds, path)

    def finish(self) -> None:
        """Give up what is under way, and wait for traces that are being written; a minute at most."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.stop()
        elif self._options is not None and not self._profiles:
            _logger.info("no steps were profiled: the run ended before step %d", _FIRST_AFTER_STEPS + 1)
        until = time.monotonic() + _MOST_EXPORT_SECONDS
        for thread in self._exports:
            thread.join(max(until - time.monotonic(), 0.0))


def compress(plain: Path, path: Path) -> None:
    """Replace a file by a gzipped one, which appears when it is whole; other threads go on meanwhile."""
    unfinished = path.with_name(f"{path.name}.part")
    with plain.open("rb") as source, gzip.open(unfinished, "wb", compresslevel=5) as target:
        shutil.copyfileobj(source, target, _BLOCK)
    unfinished.replace(path)
    plain.unlink()
