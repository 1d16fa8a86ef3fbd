"""Which kind of time every second was: a stack of kinds over one clock, fed by hooks and profiler actions."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from flopwatch.lightning.patch import Patch

Kind = Literal["setup", "training", "data_wait", "validation", "checkpoint", "other"]
Clock = Callable[[], float]
_IN_LOOP: tuple[Kind, Kind] = ("training", "data_wait")


@dataclass(frozen=True)
class Lap:
    """Time since the last lap: in the training loop, waiting for data within it, and altogether."""

    seconds: float
    data_wait_seconds: float
    wall_seconds: float


class Stopwatch:
    """Books every second from its making on under exactly one kind.

    Kinds nest: a checkpoint saved during validation is a checkpoint's time, and then validation's again.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._kinds: list[Kind] = ["setup"]
        self._booked: dict[Kind, float] = defaultdict(float)
        self._since = self._started = self._lap_started = clock()
        self._lap_booked: dict[Kind, float] = {}

    def become(self, kind: Kind) -> None:
        """Replace the outermost kind."""
        self._book()
        self._kinds[0] = kind

    def enter(self, kind: Kind) -> None:
        """Begin a kind inside the present one."""
        self._book()
        self._kinds.append(kind)

    def leave(self, kind: Kind) -> None:
        """End a kind and whatever is still open inside it; nothing happens if it was never begun."""
        self._book()
        if kind in self._kinds[1:]:
            del self._kinds[self._kinds.index(kind, 1) :]

    def inside(self, kind: Kind) -> bool:
        """Whether a kind is open."""
        return kind in self._kinds

    def lap(self) -> Lap:
        """Close a lap."""
        now = self._book()
        training, data_wait = (self._booked[kind] - self._lap_booked.get(kind, 0.0) for kind in _IN_LOOP)
        wall_seconds = now - self._lap_started
        self._lap_booked, self._lap_started = dict(self._booked), now
        return Lap(training + data_wait, data_wait, wall_seconds)

    def lap_seconds(self) -> float:
        """Wall time since the last lap."""
        return self._clock() - self._lap_started

    def seconds_by_kind(self) -> dict[str, float]:
        """Everything booked so far; the values add up to `elapsed_seconds`."""
        self._book()
        return {kind: seconds for kind, seconds in self._booked.items() if seconds}

    def elapsed_seconds(self) -> float:
        """Wall time since the stopwatch was made."""
        return self._clock() - self._started

    def _book(self) -> float:
        now = self._clock()
        self._booked[self._kinds[-1]] += now - self._since
        self._since = now
        return now


class ProfilerTap:
    """Listens to a Lightning profiler's actions, whichever profiler the user has, and tells the stopwatch.

    Args:
        profiler: The Trainer's profiler; it goes on working as before.
        stopwatch: What to tell.
    """

    _ACTIONS: dict[str, Kind] = {
        "[_TrainingEpochLoop].train_dataloader_next": "data_wait",
        "save_checkpoint": "checkpoint",
    }

    def __init__(self, profiler: Any, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch
        self._patches = (Patch(profiler, "start", self._listen_first), Patch(profiler, "stop", self._listen_last))

    def remove(self) -> None:
        """Give the profiler its own methods back."""
        for patch in self._patches:
            patch.remove()

    # Lightning starts and stops about thirty actions in every step: the wrappers do as little as they can.
    def _listen_first(self, start: Callable[[str], Any]) -> Callable[[str], Any]:
        actions, enter = self._ACTIONS, self._stopwatch.enter

        def started(action_name: str) -> Any:
            if action_name in actions:
                enter(actions[action_name])
            return start(action_name)

        return started

    def _listen_last(self, stop: Callable[[str], Any]) -> Callable[[str], Any]:
        actions, leave = self._ACTIONS, self._stopwatch.leave

        def stopped(action_name: str) -> Any:
            result = stop(action_name)
            if action_name in actions:
                leave(actions[action_name])
            return result

        return stopped
