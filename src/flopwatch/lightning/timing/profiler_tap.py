"""Learns from Lightning's profiler when a batch is fetched, run, and a checkpoint saved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from flopwatch.lightning.patch import Patch
from flopwatch.lightning.timing.stopwatch import Stopwatch


class Listener(NamedTuple):
    """Called when an action starts, and when it stops."""

    start: Callable[[], None]
    stop: Callable[[], None]


class ProfilerTap:
    """Listens to a Lightning profiler's actions, whichever profiler the user has, and tells the stopwatch.

    Args:
        profiler: The Trainer's profiler; it goes on working as before.
        stopwatch: What to tell.
        begins: Called when a batch begins to run.
        ends: Called when it has been run, or was given up.

    Attributes:
        interrupts: Called when a checkpoint is about to be saved.
    """

    def __init__(
        self, profiler: Any, stopwatch: Stopwatch, begins: Callable[[], None], ends: Callable[[], None]
    ) -> None:
        def batch_begins() -> None:
            stopwatch.become("training")
            begins()

        def checkpoint_begins() -> None:
            stopwatch.enter("checkpoint")
            self.interrupts()

        def batch_ends() -> None:
            ends()
            stopwatch.become("callbacks")

        # Moving the batch to the device comes right after fetching it and is waiting for data, too.
        self._starts: dict[str, Callable[[], None]] = {
            "run_training_batch": batch_begins,
            "[_TrainingEpochLoop].train_dataloader_next": stopwatch.fetching,
            "save_checkpoint": checkpoint_begins,
        }
        self._stops: dict[str, Callable[[], None]] = {
            "run_training_batch": batch_ends,
            "[_TrainingEpochLoop].train_dataloader_next": stopwatch.fetched,
            "save_checkpoint": lambda: stopwatch.leave("checkpoint"),
        }
        self._contexts = {name: _Action(start, self._stops[name]) for name, start in self._starts.items()}
        self._profiler = profiler
        self.interrupts: Callable[[], None] = _nothing
        self._patches: tuple[Patch, ...] = ()

    def attach(self) -> None:
        """Begin to listen."""
        profiler = self._profiler
        if type(profiler).__name__ == "PassThroughProfiler":
            # Lightning's default does nothing about thirty times a step: with this it costs less than without us.
            instead = {"start": self._only_start, "stop": self._only_stop, "profile": self._only_profile}
            self._patches = tuple(Patch(profiler, name, listener) for name, listener in instead.items())
        else:
            self._patches = (Patch(profiler, "start", self._listen_first), Patch(profiler, "stop", self._listen_last))

    def listen(self, listeners: Mapping[str, Listener]) -> None:
        """Tell of further actions, too."""
        for name, (start, stop) in listeners.items():
            self._starts[name], self._stops[name], self._contexts[name] = start, stop, _Action(start, stop)

    def ignore(self, names: Iterable[str]) -> None:
        """Tell no more of these."""
        for name in names:
            for actions in (self._starts, self._stops, self._contexts):
                actions.pop(name, None)

    def remove(self) -> None:
        """Restore the profiler's own methods."""
        for patch in self._patches:
            patch.remove()

    def _only_start(self, start: Callable[[str], Any]) -> Callable[[str], None]:
        return _calls(self._starts)

    def _only_stop(self, stop: Callable[[str], Any]) -> Callable[[str], None]:
        return _calls(self._stops)

    def _only_profile(self, profile: Callable[[str], Any]) -> Callable[[str], AbstractContextManager[None]]:
        contexts, nothing = self._contexts, nullcontext()

        def profiled(action_name: str) -> AbstractContextManager[None]:
            return contexts.get(action_name, nothing)

        return profiled

    # Lightning starts and stops about thirty actions in every step: the wrappers do as little as they can.
    def _listen_first(self, start: Callable[[str], Any]) -> Callable[[str], Any]:
        starts = self._starts

        def started(action_name: str) -> Any:
            if action_name in starts:
                starts[action_name]()
            return start(action_name)

        return started

    def _listen_last(self, stop: Callable[[str], Any]) -> Callable[[str], Any]:
        stops = self._stops

        def stopped(action_name: str) -> Any:
            result = stop(action_name)
            if action_name in stops:
                stops[action_name]()
            return result

        return stopped


def _calls(moves: Mapping[str, Callable[[], None]]) -> Callable[[str], None]:
    def listen(action_name: str) -> None:
        move = moves.get(action_name)
        if move is not None:
            move()

    return listen


class _Action(AbstractContextManager[None]):
    """Calls a function when an action begins and another when it ends."""

    def __init__(self, start: Callable[[], None], stop: Callable[[], None]) -> None:
        self._start, self._stop = start, stop

    def __enter__(self) -> None:
        self._start()

    def __exit__(self, *_: object) -> None:
        self._stop()


def _nothing() -> None:
    """Do nothing."""
