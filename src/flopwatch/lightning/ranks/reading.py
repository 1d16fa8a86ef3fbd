"""How the first rank adds up what all ranks have published, as far as it is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from flopwatch.hardware.telemetry import Telemetry, over_devices
from flopwatch.lightning.ranks.marks import StepMark
from flopwatch.lightning.ranks.publishing import RankReading, UnreadableRecord, decode
from flopwatch.lightning.ranks.store import Store, present, read
from flopwatch.run.meter import Mark, of_all_ranks
from flopwatch.run.records import Memory

PATIENCE_SECONDS = 30.0
_PATIENCE_WITH_THE_SILENT_SECONDS = 2.0
_MOST_NAMED = 3


@dataclass(frozen=True)
class Sum:
    """All ranks together, up to a step, the work of each replica once; batches and steps are the first rank's.

    `slowest` is the rank that spent the most time of its own since the last window, `slowest_seconds` what it spent,
    `mean_seconds` what all spent on average.
    """

    work: Mark
    joules: int | None
    telemetry: Telemetry
    slowest: int | None = None
    slowest_seconds: float = 0.0
    mean_seconds: float = 0.0
    memory: Memory | None = None


@dataclass
class PendingSum:
    """A sum that may still be pending.

    Attributes:
        step: Up to which step.
        window: Whether a window ends there.
        value: The sum; `None` until it is settled, and if it will never be known.
        why_unknown: What keeps it from being known.
        passed_over: Whether a rank has gone on without keeping this step, so that only a later one can be known.
    """

    step: int
    window: bool
    value: Sum | None = None
    why_unknown: str = ""
    passed_over: bool = False
    asked_at: float = field(default_factory=time.monotonic)
    found: dict[int, StepMark] = field(default_factory=dict)
    done: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def settle(self, value: Sum | None, why: str = "") -> PendingSum:
        """Set the sum; only the first call has an effect."""
        with self.lock:
            if not self.done.is_set():
                self.value, self.why_unknown = value, why
                self.done.set()
        return self


class Reader:
    """Reads the ranks' records and settles sums; all but `ask` on the side thread.

    Args:
        keys: Of every rank, in order.
        version: Of flopwatch.
        ranks_per_replica: How many ranks count the same batch.
    """

    def __init__(self, keys: Sequence[str], version: str, ranks_per_replica: int = 1) -> None:
        self._keys, self._version, self._ranks_per_replica = keys, version, ranks_per_replica
        self._lock = threading.Lock()
        self._open: list[PendingSum] = []
        self._readings: dict[int, RankReading] = {}
        self._own_before: list[float] | None = [0.0] * len(keys)
        self._agreed: dict[int, int] = {}
        self._refused: dict[int, int] = {}
        self.out: dict[int, str] = {}  # by rank, why it does not count
        self._silent: set[int] = set()

    def ask(self, own: StepMark, *, window: bool) -> PendingSum:
        """Request the sum up to a step of the first rank; it is settled once all ranks have published that step."""
        pending = PendingSum(own.step, window, found={0: own})
        with self._lock:
            self._open.append(pending)
        return pending

    def is_waiting(self) -> bool:
        """Return whether any sum is pending."""
        return bool(self._open)

    def look(self, store: Store) -> None:
        """Read newly published records and settle the pending sums that they complete."""
        with self._lock:
            waiting = list(self._open)
        if not waiting:
            return
        # Its own work the first rank knows, but not yet what its GPU did.
        unread = {0, *(rank for rank in range(len(self._keys)) if rank not in self._readings)}
        lacking = unread | {rank for rank in range(len(self._keys)) for each in waiting if rank not in each.found}
        self._read(store, sorted(lacking), waiting)
        for each in waiting:
            self._settle(each)
        with self._lock:
            self._open = [each for each in self._open if not each.done.is_set()]

    def votes(self, store: Store, number: int) -> tuple[bool, bool]:
        """Whether all ranks agree to a proposal, and whether one refuses or cannot."""
        lacking = [rank for rank in range(len(self._keys)) if self._agreed.get(rank, 0) < number]
        self._read(store, lacking, ())
        agreed = all(self._agreed.get(rank, 0) >= number for rank in range(len(self._keys)))
        refused = bool(self.out) or any(each >= number for each in self._refused.values())
        return agreed, refused

    def why_not_all(self) -> str | None:
        """Which ranks have not been heard of or do not count, in words; `None` if there is none."""
        missing = [rank for rank in range(len(self._keys)) if rank not in self._readings and rank not in self.out]
        return self._words(missing) if self.out or missing else None

    def fail_all(self, why: str) -> None:
        """Settle all pending sums as unknown."""
        with self._lock:
            waiting, self._open = self._open, []
        for each in waiting:
            each.settle(None, why)

    def _read(self, store: Store, ranks: Sequence[int], waiting: Sequence[PendingSum]) -> None:
        ranks = list(self._present(store, [rank for rank in ranks if rank not in self.out]))
        for rank, payload in zip(ranks, read(store, [self._keys[rank] for rank in ranks]), strict=True):
            self._take(rank, payload, waiting)

    def _present(self, store: Store, ranks: Sequence[int]) -> Iterator[int]:
        """Return the ranks that have ever published a record."""
        yield from (rank for rank in ranks if rank in self._readings)
        unheard = [rank for rank in ranks if rank not in self._readings]
        there = present(store, [self._keys[rank] for rank in unheard])
        yield from (rank for rank, is_there in zip(unheard, there, strict=True) if is_there)

    def _take(self, rank: int, payload: bytes, waiting: Sequence[PendingSum]) -> None:
        try:
            record = decode(payload, self._version)
        except UnreadableRecord as error:
            self.out[rank] = str(error)
            return
        if record.left is not None:
            self.out[rank] = record.left
            return
        self._readings[rank] = record.reading
        self._agreed[rank], self._refused[rank] = record.agreed, record.refused
        newest = record.marks[-1].step if record.marks else -1
        for each in waiting:
            mark = next((mark for mark in record.marks if mark.step == each.step), None)
            if mark is not None:
                each.found[rank] = mark
                self._silent.discard(rank)
            elif newest > each.step and rank not in each.found:
                each.passed_over = True
                each.settle(None, f"rank {rank} moved on without recording its work at step {each.step:,}")

    def _settle(self, pending: PendingSum) -> None:
        if pending.done.is_set():
            pass
        elif self.out:
            pending.settle(None, self._words([]))
        elif len(pending.found) == len(self._keys) == len(self._readings):
            pending.settle(self._sum(pending))
            pending.found.clear()
            return
        else:
            self._give_up_if_late(pending)
        if pending.done.is_set() and pending.window:
            self._own_before = None

    def _give_up_if_late(self, pending: PendingSum) -> None:
        patience = _PATIENCE_WITH_THE_SILENT_SECONDS if self._silent else PATIENCE_SECONDS
        if time.monotonic() - pending.asked_at > patience:
            self._silent.update(self.give_up(pending))

    def give_up(self, pending: PendingSum) -> list[int]:
        """Settle a sum as unknown, naming the ranks that it lacks; on any thread."""
        late = [rank for rank in range(len(self._keys)) if rank not in pending.found]
        pending.settle(None, self._words(late))
        return late

    def _words(self, late: Sequence[int]) -> str:
        words = [f"rank {rank} {why}" for rank, why in sorted(self.out.items())[:_MOST_NAMED]]
        unheard = [rank for rank in late if rank not in self._readings]
        for ranks, what in (
            (unheard, "published nothing (is FlopWatch among its callbacks?)"),
            ([rank for rank in late if rank in self._readings], "published nothing new"),
        ):
            if ranks:
                words.append(f"{_named(ranks)} {what}")
        return "; ".join(words)

    def _sum(self, pending: PendingSum) -> Sum:
        found, ranks = pending.found, range(len(self._keys))
        readings = [self._readings[rank] for rank in ranks]
        counted = _each_gpu_once(readings)
        joules = [each.joules for each in counted]
        slowest, slowest_seconds, mean_seconds = self._paces(pending)
        return Sum(
            work=of_all_ranks([found[rank].work for rank in ranks], self._ranks_per_replica),
            joules=None if None in joules else sum(each or 0 for each in joules),
            telemetry=over_devices(
                [each.telemetry for each in readings], [each.telemetry.power_watts for each in counted]
            ),
            memory=fullest([each.memory for each in readings]),
            slowest=slowest,
            slowest_seconds=slowest_seconds,
            mean_seconds=mean_seconds,
        )

    def _paces(self, pending: PendingSum) -> tuple[int | None, float, float]:
        """Return the rank with the most own time since the last window, its seconds, and the mean."""
        before = self._own_before
        own = [pending.found[rank].own_seconds for rank in range(len(self._keys))]
        if pending.window:
            self._own_before = own
        if before is None:
            return None, 0.0, 0.0
        spent = [now - then for now, then in zip(own, before, strict=True)]
        slowest = max(range(len(spent)), key=lambda rank: (spent[rank], -rank))
        return slowest, spent[slowest], sum(spent) / len(spent)


def fullest(each: Sequence[Memory | None]) -> Memory | None:
    """Return the memory of the rank that has filled most of its device, with all ranks' retries; unknown if one's is.

    Args:
        each: Of every rank.
    """
    known = [memory for memory in each if memory is not None]
    if not known or len(known) < len(each):
        return None
    most = max(known, key=lambda memory: memory.peak_bytes / memory.total_bytes)
    return replace(most, retries=sum(memory.retries for memory in known))


def _each_gpu_once(readings: Sequence[RankReading]) -> list[RankReading]:
    """Return one reading per GPU, from its lowest rank; readings of unnamed GPUs all count."""
    seen: set[str] = set()
    counted = []
    for each in readings:
        if each.gpu is None or each.gpu not in seen:
            counted.append(each)
        if each.gpu is not None:
            seen.add(each.gpu)
    return counted


def _named(ranks: Sequence[int]) -> str:
    names = ", ".join(str(rank) for rank in ranks[:_MOST_NAMED])
    if len(ranks) == 1:
        return f"rank {names}"
    more = f" and {len(ranks) - _MOST_NAMED:,} more" if len(ranks) > _MOST_NAMED else ""
    return f"ranks {names}{more}"
