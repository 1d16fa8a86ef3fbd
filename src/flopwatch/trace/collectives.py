"""Who waits for whom in collectives, from the traces of several ranks.

A collective's kernel starts when its rank arrives and ends when the data is there, so its time is waiting for the last
rank and transfer together. It ends at nearly the same moment on all ranks, which tells how far apart their clocks are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from flopwatch.trace.parts import COMMUNICATION
from flopwatch.trace.reader import NONE, Collective, Trace
from flopwatch.trace.work import Piece, Work

_NANO = 1e-9
_BETWEEN_TWO = ("send", "recv")


class CollectiveTime(NamedTuple):
    """A collective on one rank.

    Attributes:
        group: Its process group; empty in older traces, which do not tell.
        name: Its name.
        number: Its number within the group, as the trace says, or in order.
        start: Nanoseconds on the rank's clock.
        end: Likewise.
        is_told: Whether the trace says its number.
    """

    group: str
    name: str
    number: int
    start: int
    end: int
    is_told: bool = True


@dataclass(frozen=True)
class RankWaiting:
    """What a rank's collectives spent, in seconds over the profiled steps.

    Attributes:
        rank: Number of the trace, in the order given.
        collectives: How many were found on other ranks, too.
        waiting_seconds: From its own arrival to the last rank's.
        transfer_seconds: The rest of its collectives' time.
        caused_seconds: What all others waited for this rank, which arrived last.
    """

    rank: int
    collectives: int
    waiting_seconds: float
    transfer_seconds: float
    caused_seconds: float


def collective_times(trace: Trace, work: Work) -> tuple[CollectiveTime, ...]:
    """The collectives of a rank that lie within the profiled steps as a whole, in order."""
    pieces = sorted(piece for piece in work.pieces if piece.part == COMMUNICATION and _is_complete(trace, piece))
    counted: Counter[tuple[str, str]] = Counter()
    found = []
    for piece in pieces:
        known = trace.collectives.get(piece.event, Collective("", trace.names[piece.name], -1))
        if any(word in known.name.lower() for word in _BETWEEN_TWO) and known.number >= 0:
            continue
        kind = known.group, known.name
        number = known.number if known.number >= 0 else counted[kind]
        counted[kind] += 1
        found.append(CollectiveTime(*kind, number, piece.start, piece.end, known.number >= 0))
    return tuple(found)


def _is_complete(trace: Trace, piece: Piece) -> bool:
    event, device = piece.event, trace.device
    return event == NONE or (device.start[event], device.end[event]) == (piece.start, piece.end)


def waiting_of(ranks: Sequence[Sequence[CollectiveTime]]) -> tuple[RankWaiting, ...]:
    """Compare the collectives of several ranks; nothing if none of them ran on two."""
    shared: dict[tuple[str, str, int], dict[int, CollectiveTime]] = defaultdict(dict)
    uneven = _uneven(ranks)
    for rank, times in enumerate(ranks):
        for time in times:
            if time.is_told or time[:2] not in uneven:
                shared[time[:3]].setdefault(rank, time)
    together = [each for each in shared.values() if _is_whole(each, len(ranks))]
    ahead = _clocks(together)
    sums = [_Sums() for _ in ranks]
    for each in together:
        _compare({rank: time for rank, time in each.items() if rank in ahead}, ahead, sums)
    if not any(each.collectives for each in sums):
        return ()
    return tuple(
        RankWaiting(rank, each.collectives, each.waiting * _NANO, each.transfer * _NANO, each.caused * _NANO)
        for rank, each in enumerate(sums)
    )


def _uneven(ranks: Sequence[Sequence[CollectiveTime]]) -> set[tuple[str, str]]:
    """Kinds of collectives without numbers that some ranks have more of: which belong together is not known."""
    counts = [Counter(time[:2] for time in times) for times in ranks]
    kinds = {kind for each in counts for kind in each}
    return {kind for kind in kinds if len({each[kind] for each in counts if each[kind]}) > 1}


@dataclass
class _Sums:
    collectives: int = 0
    waiting: float = 0.0
    transfer: float = 0.0
    caused: float = 0.0


def _is_whole(times: Mapping[int, CollectiveTime], ranks: int) -> bool:
    """Whether a collective is known on all ranks that take part: all, where its group is not told."""
    told = all(time.group.strip() for time in times.values())
    return len(times) > 1 if told else len(times) == ranks > 1


def _clocks(together: Sequence[Mapping[int, CollectiveTime]]) -> dict[int, float]:
    """How far each rank's clock is ahead of the first one's, in nanoseconds, by the ends of what they share."""
    ahead = {0: 0.0}
    while True:
        apart: dict[int, list[float]] = defaultdict(list)
        for each in together:
            known = next((rank for rank in each if rank in ahead), None)
            for rank in each if known is not None else ():
                if rank not in ahead and known is not None:
                    apart[rank].append(each[rank].end - each[known].end + ahead[known])
        if not apart:
            return ahead
        ahead.update({rank: median(found) for rank, found in apart.items()})


def _compare(times: Mapping[int, CollectiveTime], ahead: Mapping[int, float], sums: Sequence[_Sums]) -> None:
    if len(times) < 2:
        return
    arrivals = {rank: time.start - ahead[rank] for rank, time in times.items()}
    last = max(arrivals, key=lambda rank: (arrivals[rank], rank))
    for rank, time in times.items():
        length = time.end - time.start
        waiting = min(arrivals[last] - arrivals[rank], length)
        sums[rank].collectives += 1
        sums[rank].waiting += waiting
        sums[rank].transfer += length - waiting
        sums[last].caused += waiting
