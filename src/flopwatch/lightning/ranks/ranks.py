"""The processes of a run: which of them share a replica, sums over all of them, and a step to stop at for all."""

from __future__ import annotations

import atexit
import itertools
import logging
import threading
import time
import weakref
from collections.abc import Callable
from importlib import metadata
from typing import Any

from flopwatch.errors import in_words
from flopwatch.lightning.ranks.marks import StepMark, ends_window
from flopwatch.lightning.ranks.publishing import OwnRecord, RankReading
from flopwatch.lightning.ranks.reading import PendingSum, Reader, Sum
from flopwatch.lightning.ranks.stopping import Chair, StopVote
from flopwatch.lightning.ranks.store import Store, jobs_store
from flopwatch.run.meter import Mark

_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.005, 0.5
_HELD_PAUSE_SECONDS = 0.01
_LISTEN_SECONDS, _LISTENED_A_SECOND = 0.2, 10_000
_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 1.0, 60.0
_GROWTH, _ROUNDS_APART = 1.5, 10
_EXIT_SECONDS = 0.5
_NEVER = 2**62
_NO_STORE = "this strategy has no process group with a readable store"
_sessions = itertools.count()
_logger = logging.getLogger("flopwatch")


def _alone(read: Callable[[bool], RankReading], mark: Mark, *, window: bool) -> PendingSum:
    reading = read(window)
    return PendingSum(0, window).settle(Sum(mark, reading.joules, reading.telemetry, memory=reading.memory))


class Ranks:
    """The processes of a run.

    Work is counted once per data-parallel replica: ranks that share a replica (tensor parallel) see the same batch, so
    their sum is divided by how many they are.

    Args:
        strategy: The Trainer's strategy.
        rank: This process's number.
        world_size: Number of processes.
    """

    def __init__(self, strategy: Any, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size
        self.per_replica = ranks_per_replica(strategy, world_size)
        self._base = f"flopwatch/{next(_sessions)}"
        self._read: Callable[[bool], RankReading] = lambda _: RankReading()
        self._side: _SideThread | None = None
        self._stop_at = _NEVER
        self._why_no_sum = _NO_STORE

    def start(self, read: Callable[[bool], RankReading], *, stops: bool) -> None:
        """Start publishing, and on the first rank reading.

        Args:
            read: Gives this rank's reading on the side thread; its argument says whether a window has ended.
            stops: Whether training may be stopped at a budget.
        """
        self._read = read
        if self.world_size == 1:
            return
        store = jobs_store() if self.per_replica else None
        if store is None:
            if self.rank == 0:
                _logger.warning("%s; totals over all ranks are unknown", _NO_STORE)
            return
        try:
            self._side = _SideThread(self, store, self._base, read, stops=stops)
        except RuntimeError as error:
            self._why_no_sum = f"rank {self.rank} cannot publish: {error}"
            _logger.warning("%s; totals over all ranks are unknown", self._why_no_sum)

    def note(self, step: int, mark: Mark, own_seconds: float) -> None:
        """Note this rank's work up to a step that it has done, and the time that it spent by itself."""
        if self._side is not None:
            self._side.record.note(StepMark(step, mark, own_seconds))
            self._side.vote.note(step)

    def ends_window(self, step: int, steps: int, seconds: float, wanted_seconds: float) -> bool:
        """Whether a window that is measured by time ends at this step, on each rank at one that others know."""
        if self.world_size == 1:
            return seconds >= wanted_seconds
        return ends_window(step, steps, seconds, wanted_seconds)

    def sum_at(self, step: int, mark: Mark, own_seconds: float, *, window: bool = False) -> PendingSum | None:
        """Publish the work up to the step that was just noted; on the first rank, the sum of all that is to come."""
        if self.world_size == 1:
            return _alone(self._read, mark, window=window)
        if self._side is None:
            return PendingSum(step, window).settle(None, self._why_no_sum)
        self._side.record.keep(step, window=window)
        pending = None
        if self._side.reader is not None:
            pending = self._side.reader.ask(StepMark(step, mark, own_seconds), window=window)
        self._side.wake()
        return pending

    def are_well(self) -> bool:
        """Whether all ranks have been heard of and count, as far as the first one knows."""
        return self._side is not None and self._side.reader is not None and self._side.reader.why_not_all() is None

    def wait_for(self, pending: PendingSum, until: float) -> None:
        """Wait for a sum until a moment of the monotonic clock; what is not known by then never will be."""
        if pending.done.wait(max(until - time.monotonic(), 0.0)):
            return
        if self._side is not None and self._side.reader is not None:
            self._side.reader.give_up(pending)
        else:
            pending.settle(None, self._why_no_sum)

    @property
    def aims_to_stop(self) -> bool:
        """Return whether a step to stop at is agreed on or proposed."""
        if self._side is not None and self._side.chair is not None:
            return self._side.chair.is_set
        return self._stop_at < _NEVER

    def aim_to_stop(self, step: int, now: int, step_seconds: float) -> None:
        """Stop at a step, or as soon afterwards as all ranks can be told; on the first rank only."""
        if self.world_size == 1:
            self._stop_at = min(self._stop_at, step)
        elif self._side is not None and self._side.chair is not None:
            self._side.chair.aim(step, now, step_seconds, 3 * self._side.listen_seconds)
            self._side.wake()

    def must_stop(self, step: int, step_seconds: float) -> bool:
        """Whether training ends here; waits only at a step that all have agreed to wait at, and then for seconds."""
        if self._side is None:
            return step >= self._stop_at
        if self._side.chair is not None:
            self._side.chair.aim_again(step, step_seconds)
        if self._side.vote.holds():
            self._side.wake()
        return self._side.vote.must_stop(step)

    def finish(self) -> None:
        """Publish one last time and end; waits for a moment at most."""
        if self._side is not None:
            self._side.finish(_EXIT_SECONDS)

    def leave(self, why: str = "failed in flopwatch") -> None:
        """Publish that this rank has stopped counting."""
        if self._side is None:
            self.start(self._read, stops=False)
        if self._side is not None:
            self._side.record.leave(why)
            self._side.finish(0.0)


class _SideThread:
    """Speaks with the store: writes this rank's record where it has changed, and reads what is waited for."""

    def __init__(
        self, ranks: Ranks, store: Store, base: str, read: Callable[[bool], RankReading], *, stops: bool
    ) -> None:
        rank, world_size = ranks.rank, ranks.world_size
        version = metadata.version("flopwatch")
        keys = [f"{base}/rank/{each}" for each in range(world_size)]
        self.record = OwnRecord(version, read)
        self.vote = StopVote(f"{base}/stop")
        self.reader = Reader(keys, version, ranks.per_replica) if rank == 0 else None
        self.chair = Chair(self.vote, self.reader) if self.reader is not None and stops else None
        self.listen_seconds = max(_LISTEN_SECONDS, world_size / _LISTENED_A_SECOND)
        self._stops, self._own_key = stops, keys[rank]
        self._store = store
        self._pause = self._round_seconds = self._retry_at = 0.0
        self._retry_seconds = _RETRY_SECONDS
        self._over, self._told = False, rank != 0
        self._wakened = threading.Event()
        self._wakened.set()
        self._thread = threading.Thread(target=self._run, name="flopwatch-ranks", daemon=True)
        self._thread.start()
        atexit.register(_end, weakref.ref(self))

    def wake(self) -> None:
        """Wake the thread at once."""
        self._pause = 0.0
        self._wakened.set()

    def finish(self, seconds: float) -> None:
        """End after a last look; wait at most the given time."""
        self._over = True
        self.wake()
        if threading.current_thread() is not self._thread:
            self._thread.join(seconds)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            self._wakened.wait(self._until_next())
            self._wakened.clear()
            is_last = self._over  # before the round, so that one begins after everything that was noted
            self._try_round()
        if self.reader is not None:
            self.reader.fail_all("training has ended")

    def _try_round(self) -> None:
        now = time.monotonic()
        if now < self._retry_at and not self._over:
            return
        try:
            self._round(self._store)
            self._retry_seconds, self._retry_at = _RETRY_SECONDS, 0.0
        except Exception as error:
            self._lose(error)
        self._round_seconds = time.monotonic() - now

    def _round(self, store: Store) -> None:
        if self._stops and self.vote.listen(store):
            self.record.touch()
        payload = self.record.take(self.vote.agreed, self.vote.refused)
        if payload is not None:
            store.set(self._own_key, payload)
        if self.chair is not None and self.chair.is_at_work():
            self.chair.look(store)
        if self.reader is not None:
            self.reader.look(store)

    def _lose(self, error: Exception) -> None:
        """Retry after a while; pending sums are unknown."""
        self._retry_at = time.monotonic() + self._retry_seconds
        self._retry_seconds = min(2 * self._retry_seconds, _LONGEST_RETRY_SECONDS)
        words = f"the job's store cannot be reached ({in_words(error, 120)})"
        if self.reader is not None:
            self.reader.fail_all(words)
        self.record.touch()
        if not self._told:
            self._told = True
            _logger.warning("%s; totals over all ranks are unknown until it can", words)

    def _until_next(self) -> float | None:
        """Seconds until there is something to look at again; `None` for until the thread is woken."""
        if self._retry_at:
            return max(self._retry_at - time.monotonic(), 0.0)
        if self.vote.holds():
            return _HELD_PAUSE_SECONDS
        if self._is_waiting():
            longer = max(_GROWTH * self._pause, _SHORTEST_PAUSE_SECONDS)
            self._pause = max(min(longer, _LONGEST_PAUSE_SECONDS), _ROUNDS_APART * self._round_seconds)
            return self._pause
        return self.listen_seconds if self._stops else None

    def _is_waiting(self) -> bool:
        reads = self.reader is not None and self.reader.is_waiting()
        return reads or (self.chair is not None and self.chair.is_at_work())


def _end(side: weakref.ref[_SideThread]) -> None:
    """Before the interpreter ends, let the thread come back from torch: one that is late aborts the process."""
    thread = side()
    if thread is not None:
        thread.finish(_EXIT_SECONDS)


def ranks_per_replica(strategy: Any, world_size: int) -> int:
    """How many ranks share a replica of the model and see the same batch; zero if the strategy's answer is no divisor.

    FSDP and DeepSpeed shard a model without sharing batches: their replicas are as many as ranks. A strategy with
    tensor parallelism states fewer replicas for its sampler.
    """
    stated = getattr(strategy, "distributed_sampler_kwargs", None) or {}
    replicas = stated.get("num_replicas", world_size)
    return world_size // replicas if replicas and world_size % replicas == 0 else 0
