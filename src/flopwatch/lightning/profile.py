"""Profiles a few steps now and then, and writes their traces beside the run file."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flopwatch import units
from flopwatch.errors import in_words
from flopwatch.lightning.recorder import (
    ACTIVE_STEPS,
    WARM_UP_STEPS,
    Recorder,
    TorchRecorder,
    another_profiler,
)
from flopwatch.run.records import Profile

_STEPS = WARM_UP_STEPS + ACTIVE_STEPS
_FIRST_AFTER_STEPS = 10
_MOST_EXPORT_SECONDS, _EXPORT_SECONDS_AFTER_AN_ERROR = 60.0, 2.0
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


class StepProfiler:
    """Profiles steps: the first time after ten, then as often as the user wants.

    Which steps these are depends on their number alone where there are several ranks, so that all of them end a window
    before and after them, whoever records: recording slows every rank that waits for the one that does. Starting and
    stopping take their time on the training thread; writing does not.

    Args:
        options: `None` to profile nothing.
        rank: Of this process.
        world_size: Of how many.
        trainer_profiler: The Trainer's own profiler, which goes on working.
        make: Makes a profiler.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        options: ProfileOptions | None,
        rank: int,
        world_size: int,
        trainer_profiler: Any,
        *,
        make: Callable[[], Recorder] = TorchRecorder,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._options, self._rank, self._several = options, rank, world_size > 1
        self._records = options is not None and rank in options.ranks
        self._trainer_profiler, self._make, self._clock = trainer_profiler, make, clock
        self._folder, self._name = Path(), "trace"
        self._write: Callable[[Profile], None] = lambda _: None
        self._recorder: Recorder | None = None
        self._left = 0  # steps of the present profile
        self._times: list[float] = []
        self._extra_seconds = self._step_began = 0.0
        self._steps = self._profiles = self._last_step = 0
        self._last_at = clock()
        self._touched_window = self._ends_window = self._told = False
        self._export_thread: threading.Thread | None = None

    def write_to(self, folder: Path, name: str = "trace", write: Callable[[Profile], None] | None = None) -> None:
        """Say where traces go, and what is told of each.

        Args:
            folder: On the first rank the run file's; it is made if it is not there.
            name: What tells runs in one folder apart, where it is known.
            write: Takes the record of a profile, on another thread.
        """
        self._folder, self._name = folder, name
        if write is not None:
            self._write = write

    @property
    def is_wanted(self) -> bool:
        """Return whether the user wants any profile."""
        return self._options is not None

    @property
    def is_active(self) -> bool:
        """Return whether steps are being profiled, on this rank or on another one."""
        return self._left > 0

    def step_ended(self, step: int) -> None:
        """Note that an optimizer step has ended."""
        self._steps += 1
        if not self._left:
            return
        self._left -= 1
        if not self._left:
            self._touched_window = self._ends_window = True
        if self._recorder is not None:
            self._record(step, self._recorder)

    def _record(self, step: int, recorder: Recorder) -> None:
        """Pass a step on; what goes wrong there costs the profile."""
        now = self._clock()
        self._times.append(now - self._step_began)
        try:
            recorder.step()
            if not self._left:
                recorder.stop()
        except Exception:
            self._drop()
            raise
        self._step_began = self._clock()
        self._extra_seconds += self._step_began - now
        if not self._left:
            self._recorder = None
            self._export(step, recorder)

    def ends_window(self) -> bool:
        """Whether a window ends here, so that profiled steps have one for themselves."""
        return self._ends_window or self._is_due()

    def _is_due(self) -> bool:
        options = self._options
        if options is None or self._left or self._steps < _FIRST_AFTER_STEPS:
            return False
        if not self._profiles:
            return True
        if options.every_steps is not None:
            return self._steps - self._last_step >= options.every_steps
        if options.every_seconds is None or self._several:
            return False
        return self._clock() - self._last_at >= options.every_seconds

    def window_closed(self) -> None:
        """Begin, if it is time to; a window has just ended."""
        self._ends_window = False
        if not self._is_due():
            return
        self._profiles += 1
        self._last_step, self._last_at, self._left = self._steps, self._clock(), _STEPS
        options = self._options
        if self._several and options is not None and options.every_seconds is not None and self._rank == 0:
            self._tell("with several ranks profile_every is a number of steps: steps are profiled once")
        if self._records:
            self._begin()

    def _begin(self) -> None:
        began = self._clock()
        self._times = []
        busy = self._export_thread is not None and self._export_thread.is_alive()
        active = "the last trace is still being written" if busy else None
        another = another_profiler(self._trainer_profiler)
        if another is not None:
            active = f"{another} is there, and only one can be at a time"
        if active is not None:
            self._tell(f"no steps are profiled: {active}")
            self._left = self._left if self._several else 0  # other ranks may be profiled
            return
        recorder = self._make()
        recorder.start()
        self._recorder = recorder
        self._step_began = self._clock()
        self._extra_seconds = self._step_began - began

    def _tell(self, words: str) -> None:
        if not self._told:
            self._told = True
            _logger.warning("%s", words)

    def take(self) -> bool:
        """Whether steps were profiled in the window that ends now."""
        touched, self._touched_window = self._touched_window, self.is_active
        return touched or self.is_active

    def give_up(self) -> None:
        """Stop recording, and keep nothing of it."""
        if self._left:
            self._left, self._touched_window = 0, True
        self._drop()

    def _drop(self) -> None:
        """Keep nothing of what is recorded; other ranks may be at it, so its steps are profiled ones all the same."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.stop()

    def _export(self, step: int, recorder: Recorder) -> None:
        profile = Profile(
            step=step,
            steps=ACTIVE_STEPS,
            step_seconds=sum(self._times[WARM_UP_STEPS:]) / ACTIVE_STEPS,
            extra_seconds=self._extra_seconds,
            trace=str(unused(self._folder, f"{self._name}-step-{step}-rank-{self._rank}")),
            rank=self._rank,
        )
        self._export_thread = threading.Thread(
            target=self._write_trace, args=(recorder, profile), name="flopwatch-trace", daemon=True
        )
        self._export_thread.start()

    def _write_trace(self, recorder: Recorder, profile: Profile) -> None:
        path = Path(profile.trace)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            recorder.write(path)
            self._write(profile)
        except Exception as error:
            _logger.warning("no trace of the profiled steps was written: %s", in_words(error))
            return
        words = "profiled %d steps up to step %s, %s each on the host, and %s for the profiler itself; written: %s"
        seconds = units.format_duration(profile.step_seconds), units.format_duration(profile.extra_seconds)
        _logger.info(words, profile.steps, f"{profile.step:,}", *seconds, path)

    def wait(self, *, after_an_error: bool) -> None:
        """Wait for a trace that is being written: a minute at most, two seconds after an error."""
        if self._records and not self._profiles and not after_an_error:
            _logger.info("no steps were profiled: the run ended before step %d", _FIRST_AFTER_STEPS + 1)
        if self._export_thread is not None:
            self._export_thread.join(_EXPORT_SECONDS_AFTER_AN_ERROR if after_an_error else _MOST_EXPORT_SECONDS)


def unused(folder: Path, name: str) -> Path:
    """Return the path of a trace that is not there yet, so that no run's trace is another one's."""
    paths = (
        folder / f"{name}{number}.json.gz"
        for number in itertools.chain([""], (f"-{each}" for each in itertools.count(2)))
    )
    return next(path for path in paths if not path.exists())
