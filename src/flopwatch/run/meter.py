"""The ledger of a run: whole numbers in, windows and totals out. It knows no Trainer, clock, file or device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flopwatch.run.counts import AMOUNTS, COUNTED, Counts, add, values
from flopwatch.run.records import Totals

_ALL_KNOWN: dict[str, int] = {}  # never written to
_BATCHES, _STEPS = COUNTED.index("batches"), COUNTED.index("steps")


@dataclass(frozen=True, slots=True)
class Mark:
    """All work of a process up to a moment.

    Attributes:
        known: The sum of what is known.
        unknown: How often each amount was not known, where it ever was not; so it is known between two moments whether
            anything was unknown there.
    """

    known: Counts = field(default_factory=Counts)
    unknown: Mapping[str, int] = field(default_factory=dict)

    def since(self, before: Mark) -> Counts:
        """Return the work since an earlier mark."""
        gaps: dict[str, Any] = {
            name: None for name, count in self.unknown.items() if count != before.unknown.get(name, 0)
        }
        return replace(self.known - before.known, **gaps)

    def all(self) -> Counts:
        """Return the work since the beginning."""
        return self.since(NOTHING_DONE)


NOTHING_DONE = Mark()


def of_all_ranks(marks: Sequence[Mark], ranks_per_replica: int) -> Mark:
    """All ranks' work; batches and steps are the first rank's.

    Args:
        marks: Of every rank, in order.
        ranks_per_replica: How many of the ranks counted the same batch.
    """
    total = sum((each.known for each in marks), Counts())
    amounts = {name: getattr(total, name) // ranks_per_replica for name in AMOUNTS}
    unknown: Counter[str] = Counter()
    for each in marks:
        unknown.update(each.unknown)
    return Mark(replace(marks[0].known, **amounts), unknown)


class Meter:
    """Adds up the work of this process."""

    def __init__(self) -> None:
        self._known = [0] * len(COUNTED)
        self._unknown: dict[str, int] = {}

    def add(self, work: Counts) -> None:
        """Add work; an amount that is not known makes what it is part of unknown."""
        for place, amount in enumerate(values(work)):
            if amount is None:
                self._unknown[COUNTED[place]] = self._unknown.get(COUNTED[place], 0) + 1
            else:
                self._known[place] += amount

    def end_batch(self, steps: int) -> None:
        """Add a batch, and as many optimizer steps as ended with it."""
        self._known[_BATCHES] += 1
        self._known[_STEPS] += steps

    def mark(self) -> Mark:
        """Return all work of this process so far."""
        return Mark(Counts(*self._known), self._unknown.copy() if self._unknown else _ALL_KNOWN)


def totals_of(
    initial: Totals,
    work: Counts,
    *,
    seconds: float,
    devices: int,
    joules: int | None,
    seconds_by_kind: Mapping[str, float],
) -> Totals:
    """The run's totals: those that a process began with, and its work, its time and its energy since."""
    kinds = {*initial.seconds_by_kind, *seconds_by_kind}
    return replace(
        initial,
        counts=initial.counts + work,
        seconds=initial.seconds + seconds,
        device_seconds=initial.device_seconds + seconds * devices,
        joules=add(initial.joules, joules),
        seconds_by_kind={
            kind: initial.seconds_by_kind.get(kind, 0.0) + seconds_by_kind.get(kind, 0.0) for kind in sorted(kinds)
        },
    )
