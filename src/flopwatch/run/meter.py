"""The ledger of a run: whole numbers in, windows and totals out. It knows no Trainer, clock, file or device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from flopwatch.run.records import Totals, known_fields


class Amounts(NamedTuple):
    """Work of a batch on one device; unknown amounts are `None`."""

    flops: int | None = 0
    tokens: int | None = 0
    samples: int | None = 0
    hardware_flops: int | None = 0
    useful_tokens: int | None = 0


AMOUNTS = Amounts._fields


class Mark(NamedTuple):
    """All work up to a moment: of each of `AMOUNTS` the sum of what is known, and how often it was not known.

    Marks of several processes add up number by number; work between two marks of one process is their difference.
    """

    known: tuple[int, ...]
    unknown: tuple[int, ...]
    batches: int
    steps: int


NOTHING_DONE = Mark((0,) * len(AMOUNTS), (0,) * len(AMOUNTS), 0, 0)


@dataclass(frozen=True)
class Counts:
    """Work between two moments; `None` where a part of it could not be counted."""

    flops: int | None = 0
    tokens: int | None = 0
    samples: int | None = 0
    batches: int = 0
    steps: int = 0
    hardware_flops: int | None = 0
    useful_tokens: int | None = 0


def between(before: Mark, after: Mark, ranks_per_replica: int = 1) -> Counts:
    """Work from one mark to a later one.

    Args:
        before: The earlier mark.
        after: The later one.
        ranks_per_replica: How many of the processes behind the marks counted the same batch.
    """
    amounts = {
        name: (after.known[place] - before.known[place]) // ranks_per_replica
        if after.unknown[place] == before.unknown[place]
        else None
        for place, name in enumerate(AMOUNTS)
    }
    return Counts(**amounts, batches=after.batches - before.batches, steps=after.steps - before.steps)


def add(left: int | None, right: int | None) -> int | None:
    """Return a sum, or `None` if a part of it is unknown."""
    return None if left is None or right is None else left + right


class Meter:
    """Adds up the batches and steps of this process."""

    def __init__(self) -> None:
        self._known = [0] * len(AMOUNTS)
        self._unknown = [0] * len(AMOUNTS)
        self._batches = 0
        self._steps = 0

    def add(self, amounts: Amounts, *, batches: int = 1) -> None:
        """Add a micro-batch; an amount that is not known makes what it is part of unknown."""
        for place, amount in enumerate(amounts):
            if amount is None:
                self._unknown[place] += 1
            else:
                self._known[place] += amount
        self._batches += batches

    def step(self, count: int = 1) -> None:
        """Add finished optimizer steps."""
        self._steps += count

    def mark(self) -> Mark:
        """Return all work of this process so far."""
        return Mark(tuple(self._known), tuple(self._unknown), self._batches, self._steps)


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
        **{name: add(getattr(initial, name), amount) for name, amount in asdict(work).items()},  # type: ignore[arg-type]
        seconds=initial.seconds + seconds,
        device_seconds=initial.device_seconds + seconds * devices,
        joules=add(initial.joules, joules),
        seconds_by_kind={
            kind: initial.seconds_by_kind.get(kind, 0.0) + seconds_by_kind.get(kind, 0.0) for kind in sorted(kinds)
        },
    )


def totals_from(state: Mapping[str, Any]) -> Totals:
    """The totals of a checkpoint; entries of other versions are left out."""
    return Totals(**known_fields(Totals, state))
