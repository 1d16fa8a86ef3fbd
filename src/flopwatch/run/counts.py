"""How much work: of a batch, a window, a process or a run."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


def add(left: int | None, right: int | None) -> int | None:
    """Return a sum, or `None` if a part of it is unknown."""
    return None if left is None or right is None else left + right


def subtract(left: int | None, right: int | None) -> int | None:
    """Return a difference, or `None` if a part of it is unknown."""
    return None if left is None or right is None else left - right


@dataclass(frozen=True, slots=True)
class Counts:
    """Amounts of work; `None` where a part could not be counted, which stays so in whatever it is added to.

    `hardware_flops` are `flops` with what activation checkpointing recomputes, `useful_tokens` are `tokens` without
    padding. `batches` are those of one rank, as all do equally many.
    """

    flops: int | None = 0
    tokens: int | None = 0
    samples: int | None = 0
    hardware_flops: int | None = 0
    useful_tokens: int | None = 0
    batches: int = 0
    steps: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Return both together."""
        return Counts(*map(add, values(self), values(other)))  # type: ignore[arg-type]

    def __sub__(self, other: Counts) -> Counts:
        """Return what this has more."""
        return Counts(*map(subtract, values(self), values(other)))  # type: ignore[arg-type]


COUNTED = tuple(each.name for each in dataclasses.fields(Counts))
AMOUNTS = tuple(name for name in COUNTED if name not in ("batches", "steps"))
UNKNOWN = Counts(**dict.fromkeys(AMOUNTS))  # type: ignore[arg-type]
values: Callable[[Counts], tuple[Any, ...]] = operator.attrgetter(*COUNTED)


def together(several: Iterable[Counts]) -> Counts:
    """Return the sum of one or more."""
    columns = zip(*map(values, several), strict=True)
    return Counts(*(None if None in amounts else sum(amounts) for amounts in columns))  # type: ignore[arg-type]


class Counted:
    """Has the amounts of its `counts` under their own names, too."""

    __slots__ = ()
    counts: Counts

    @property
    def flops(self) -> int | None:
        """Model FLOPs."""
        return self.counts.flops

    @property
    def hardware_flops(self) -> int | None:
        """Model FLOPs, and what activation checkpointing recomputes."""
        return self.counts.hardware_flops

    @property
    def tokens(self) -> int | None:
        """Tokens, padding included."""
        return self.counts.tokens

    @property
    def samples(self) -> int | None:
        """Sequences, images or rows."""
        return self.counts.samples

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return self.counts.steps
