"""The processes of a run: which of them share a replica, and sums over all of them that no training waits for."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from flopwatch.lightning.exchange import Exchange, Op, Request, Share, combined, from_numbers, to_numbers
from flopwatch.lightning.topology import children_of, parent_of
from flopwatch.meter import AMOUNTS, NOTHING_DONE, Mark
from flopwatch.telemetry import Telemetry, over_devices, to_minimize, to_sum

_TIMEOUT = timedelta(minutes=30)
_ARRIVAL_SECONDS = 60.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 2.0
_MOST_STEPS_NOTED = 10_000
_MICRO = 1e-6
_NEVER = 2**62
_TAG = 7405
_sessions = itertools.count()
_logger = logging.getLogger("flopwatch")


@dataclass(frozen=True)
class RankReading:
    """What a rank says of itself beside its work: what its GPU did, its energy so far, and whether it still counts."""

    telemetry: Telemetry = field(default_factory=Telemetry)
    joules: int | None = None
    counts: bool = True


@dataclass(frozen=True)
class Sum:
    """All ranks together, up to a step; batches and steps are the first rank's.

    `slowest` is the rank that spent the most time of its own since the last window, `slowest_seconds` what it spent,
    `mean_seconds` what all spent on average.
    """

    work: Mark
    joules: int | None
    telemetry: Telemetry
    slowest: int | None = None
    slowest_seconds: float = 0.0
    mean_seconds: float = 0.0


class PendingSum:
    """A sum that other ranks may still have to answer for.

    Args:
        request: What was asked.
        world_size: Number of ranks.
    """

    def __init__(self, request: Request, world_size: int) -> None:
        self._request, self._world_size = request, world_size

    def ready(self, seconds: float = 0.0) -> bool:
        """Whether it is settled, if need be after waiting for so long."""
        return self._request.done.wait(seconds) if seconds else self._request.done.is_set()

    def result(self) -> Sum | None:
        """The sum; `None` if it will never be known."""
        share = self._request.share
        if share is None or share.failed:
            return None
        return _to_sum(share, self._world_size)

    def why_unknown(self) -> str:
        """What keeps it from being known."""
        if self._request.share is not None:
            return "flopwatch failed on another rank"
        return "another rank is gone" if self._request.failed else "another rank does not answer"


class SettledSum(PendingSum):
    """A sum that nobody needs to be asked for, or can be."""

    def __init__(self, value: Sum | None) -> None:
        self._value = value

    def ready(self, seconds: float = 0.0) -> bool:
        """Always."""
        return True

    def result(self) -> Sum | None:
        """The sum."""
        return self._value

    def why_unknown(self) -> str:
        """What keeps it from being known."""
        return "they cannot be asked"


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
        self._key = f"flopwatch/{next(_sessions)}"
        self._store: Any = None
        self._links: _GlooLinks | None = None
        self._exchange: Exchange | None = None
        self._noted: deque[tuple[int, Mark, float]] = deque(maxlen=_MOST_STEPS_NOTED)
        self._own_before = 0.0
        self._step, self._over = -1, False
        self._moved = threading.Condition()
        self._stop_at = self._held_at = _NEVER
        self._read: Callable[[bool], RankReading] = lambda _: RankReading()
        if world_size > 1:
            self._links = self._connect()

    @property
    def broken(self) -> bool:
        """Whether sums over all ranks cannot be had."""
        if self.world_size == 1:
            return False
        return (
            self._links is None
            or not self.per_replica
            or (self._exchange is not None and self._exchange.error is not None)
        )

    def _connect(self) -> _GlooLinks | None:
        if not dist.is_available() or not dist.is_initialized():
            _logger.warning("this strategy has no process group to sum over; totals of all ranks are not known")
            return None
        try:
            self._store = distributed_c10d._get_default_store()
            if not all_arrive(self._store, f"{self._key}/start", self.world_size, _ARRIVAL_SECONDS):
                self._say("flopwatch is not on every rank; totals of all ranks are not known")
                return None
            links = self._build_links()
            if all_arrive(self._store, f"{self._key}/built", self.world_size, _ARRIVAL_SECONDS, willing=bool(links)):
                return links
            self._say("the ranks could not be connected for flopwatch; totals of all ranks are not known")
        except (RuntimeError, AttributeError) as error:
            _logger.warning("the ranks could not be asked for flopwatch: %s; their totals are not known", error)
        return None

    def _say(self, message: str) -> None:
        if self.rank == 0:
            _logger.warning("%s", message)

    def _build_links(self) -> _GlooLinks | None:
        try:
            return _GlooLinks(self.rank, self.world_size)
        except RuntimeError as error:
            _logger.debug("no links: %s", error)
            return None

    def start(self, read: Callable[[bool], RankReading]) -> None:
        """Begin to ask, or to answer.

        Args:
            read: Gives this rank's reading on the thread that answers; its argument says whether what the GPU did is
                taken, for a window, or only looked at.
        """
        self._read = read
        if self._links is not None:
            self._exchange = Exchange(self._links, self._share, self.rank == 0)

    def note(self, step: int, mark: Mark, own_seconds: float) -> None:
        """Note this rank's work up to a step that it has done, and the time that it spent by itself."""
        with self._moved:
            self._noted.append((step, mark, own_seconds))
            self._step = step
            self._moved.notify_all()

    def ask(self, op: Op, step: int, mark: Mark) -> PendingSum:
        """Ask for the sum of all work up to a step that this rank has done; on the first rank only."""
        if self.world_size == 1:
            return SettledSum(self._alone(op, mark))
        if self._exchange is None or self.broken:
            return SettledSum(None)
        return PendingSum(self._exchange.ask(op, step), self.world_size)

    def _alone(self, op: Op, mark: Mark) -> Sum | None:
        reading = self._read(op is Op.WINDOW)
        return Sum(mark, reading.joules, reading.telemetry) if reading.counts else None

    def propose_stop(self, step: int) -> Request | None:
        """Ask all ranks whether they can stop at a step; on the first rank only."""
        return None if self._exchange is None or self.broken else self._exchange.ask(Op.PROPOSE_STOP, step)

    def decide_stop(self, step: int, *, stop: bool) -> None:
        """Tell all ranks to stop at a step that they were asked about, or not to."""
        if self._exchange is not None:
            self._exchange.ask(Op.STOP if stop else Op.GO_ON, step)

    def must_stop(self, step: int, patience_seconds: float = 60.0) -> bool:
        """Whether training ends here; waits only at a step that is being asked about, for all to say the same."""
        if step < self._held_at and step < self._stop_at:
            return False
        with self._moved:
            self._moved.wait_for(lambda: self._held_at > step, patience_seconds)
            return self._stop_at <= step

    def finish(self, seconds: float) -> None:
        """End the exchange; waits a moment for the others."""
        with self._moved:
            self._over = True
            self._moved.notify_all()
        if self._exchange is None:
            return
        if self.rank == 0:
            self._exchange.ask(Op.END, 0)
        if self._exchange.join(seconds) and self._links is not None:
            self._links.close()

    def owns(self, uuid: str) -> bool:
        """Whether this rank is the first to ask for the GPU with this UUID, so that its energy is counted once."""
        if self._store is None:
            return True
        key, rank = f"{self._key}/gpu/{uuid}", str(self.rank)
        return bool(self._store.compare_set(key, "", rank) == rank.encode())

    def leave(self) -> None:
        """Answer from now on that this rank does not count any more; the first rank ends the exchange."""
        self._read = _does_not_count
        if self._exchange is None:
            self.start(_does_not_count)
        with self._moved:
            self._over = True
            self._moved.notify_all()
        if self.rank == 0 and self._exchange is not None:
            self._exchange.ask(Op.END, 0)

    def _share(self, op: Op, step: int) -> Share:
        try:
            return self._answer(op, step)
        except Exception as error:
            _logger.debug("this rank could not answer: %s", error)
            return replace(_EMPTY_SHARE, failed=1)

    def _answer(self, op: Op, step: int) -> Share:
        if op in (Op.SUM, Op.WINDOW):
            return self._work_share(step, op is Op.WINDOW)
        with self._moved:
            self._moved.notify_all()
            if op is Op.PROPOSE_STOP:
                self._held_at = step
            elif op is Op.STOP:
                self._stop_at, self._held_at = step, _NEVER
            else:
                self._held_at = _NEVER
            late = self._step >= step
        return replace(_EMPTY_SHARE, failed=int(late))

    def _work_share(self, step: int, whole_window: bool) -> Share:
        with self._moved:
            self._moved.wait_for(lambda: self._step >= step or self._over)
            noted = next((each for each in self._noted if each[0] >= step), self._noted[-1] if self._noted else None)
            missed = len(self._noted) == _MOST_STEPS_NOTED and self._noted[0][0] > step
            while self._noted and self._noted[0][0] < step:
                self._noted.popleft()
        _, mark, own_seconds = noted or (0, NOTHING_DONE, 0.0)
        reading = self._read(whole_window)
        own = own_seconds - self._own_before
        if whole_window:
            self._own_before = own_seconds
        return _to_share(mark, reading, own, self.rank, missed)


def ranks_per_replica(strategy: Any, world_size: int) -> int:
    """How many ranks share a replica of the model and see the same batch; zero if the strategy's answer is no divisor.

    FSDP and DeepSpeed shard a model without sharing batches: their replicas are as many as ranks. A strategy with
    tensor parallelism states fewer replicas for its sampler.
    """
    stated = getattr(strategy, "distributed_sampler_kwargs", None) or {}
    replicas = stated.get("num_replicas", world_size)
    return world_size // replicas if replicas and world_size % replicas == 0 else 0


class _GlooLinks:
    """Point-to-point messages in small groups: one with the parent and its other children, one with the own children.

    A group of all ranks would connect everyone with everyone. Groups are made from the top down, so that nobody waits
    for one that waits for another.
    """

    def __init__(self, rank: int, world_size: int) -> None:
        self._rank = rank
        self._parent = parent_of(rank)
        self._children = children_of(rank, world_size)
        self._like = _EMPTY_SHARE
        self._count = len(to_numbers(self._like))
        self._above = None if self._parent is None else _group_of(self._parent, world_size)
        self._below = _group_of(rank, world_size) if self._children else None

    def hear_parent(self) -> tuple[int, int]:
        op, argument = self._receive(self._parent, self._above, 2)
        return op, argument

    def tell_children(self, op: int, argument: int) -> None:
        message = torch.tensor([op, argument], dtype=torch.int64, device="cpu")
        for work in [dist.isend(message, child, group=self._below, tag=_TAG) for child in self._children]:
            if work is not None:
                work.wait()

    def hear_children(self, own: Share) -> Share:
        for child in self._children:
            own = combined(own, from_numbers(self._receive(child, self._below, self._count), self._like))
        return own

    def tell_parent(self, share: Share) -> None:
        numbers = torch.tensor(to_numbers(share), dtype=torch.int64, device="cpu")
        dist.send(numbers, self._parent, group=self._above, tag=_TAG)

    def _receive(self, source: int | None, group: Any, count: int) -> list[int]:
        numbers = torch.zeros(count, dtype=torch.int64, device="cpu")
        dist.recv(numbers, source, group=group, tag=_TAG)
        return list(numbers.tolist())

    def close(self) -> None:
        """Give the connections back."""
        for group in (self._above, self._below):
            if group is not None:
                try:
                    dist.destroy_process_group(group)
                except Exception as error:
                    _logger.debug("a group was not given back: %s", error)


def _group_of(parent: int, world_size: int) -> Any:
    members = [parent, *children_of(parent, world_size)]
    return dist.new_group(members, timeout=_TIMEOUT, backend="gloo", use_local_synchronization=True)


def _to_share(mark: Mark, reading: RankReading, own_seconds: float, rank: int, missed: bool) -> Share:
    telemetry = to_sum(reading.telemetry)
    own = round(own_seconds / _MICRO)
    extra = [reading.joules, *telemetry]
    batches_and_steps = (mark.batches, mark.steps) if rank == 0 else (0, 0)
    return Share(
        sums=[*mark.known, *mark.unknown, *batches_and_steps, own, *(each or 0 for each in extra)],
        unknown=[0] * (2 * len(AMOUNTS) + 3) + [int(each is None) for each in extra],
        lowest=to_minimize(reading.telemetry),
        highest=(own, rank),
        failed=int(missed or not reading.counts),
    )


_EMPTY_SHARE = _to_share(NOTHING_DONE, RankReading(), 0.0, 0, False)


def _does_not_count(_: bool) -> RankReading:
    return RankReading(counts=False)


def _to_sum(share: Share, world_size: int) -> Sum:
    amounts = iter([None if unknown else amount for amount, unknown in zip(share.sums, share.unknown, strict=True)])
    known, unknown = (tuple(_take(amounts, len(AMOUNTS))) for _ in range(2))
    batches, steps, own, joules = _take(amounts, 4)
    slowest_own, slowest = share.highest
    return Sum(
        work=Mark(known, unknown, batches or 0, steps or 0),  # type: ignore[arg-type]
        joules=joules,
        telemetry=over_devices(list(amounts), share.lowest, world_size),
        slowest=slowest,
        slowest_seconds=slowest_own * _MICRO,
        mean_seconds=(own or 0) * _MICRO / world_size,
    )


def _take(amounts: Iterator[int | None], count: int) -> list[int | None]:
    return list(itertools.islice(amounts, count))


def all_arrive(store: Any, key: str, world_size: int, seconds: float, *, willing: bool = True) -> bool:
    """Whether every rank calls this within the time; all ranks get the same answer, late ones too, and none hangs.

    Making a group waits for every rank, which would never end if flopwatch were only on some.

    Args:
        store: What the ranks share.
        key: The same on every rank, used once.
        world_size: Number of ranks.
        seconds: How long to wait for the others.
        willing: Whether this rank is all right; if one is not, the answer is no.
    """
    if not willing:
        return bool(store.compare_set(f"{key}/decision", "", "stop") == b"go")
    deadline = time.monotonic() + seconds
    here, pause = store.add(f"{key}/here", 1), _FIRST_PAUSE_SECONDS
    while here < world_size and time.monotonic() < deadline and not store.check([f"{key}/decision"]):
        time.sleep(pause)
        here, pause = store.add(f"{key}/here", 0), min(2 * pause, _LONGEST_PAUSE_SECONDS)
    vote = "go" if here >= world_size else "stop"
    return bool(store.compare_set(f"{key}/decision", "", vote) == b"go")
