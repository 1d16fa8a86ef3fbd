"""The ledger of a run: whole numbers in, windows and totals out. It knows no Trainer, clock, file or device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from flopwatch.records import Totals


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
    joules: int | None = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{name: _add(getattr(self, name), getattr(other, name)) for name in _NAMES})  # type: ignore[arg-type]


_NAMES = tuple(each.name for each in fields(Counts))


def _add(left: int | None, right: int | None) -> int | None:
    return None if left is None or right is None else left + right


class Meter:
    """Adds up the batches of this process and the totals of the whole run.

    Work goes in with `add` and `step`, is taken out with `take` (where several processes train, their counts are then
    summed) and is booked with `book`.

    Args:
        totals: What the run had done before, for a resumed run.
    """

    def __init__(self, totals: Totals | None = None) -> None:
        self.totals = totals or Totals(hardware_flops=0, useful_tokens=0, joules=0)
        self._forget()

    def _forget(self) -> None:
        self._flops: int | None = 0
        self._hardware_flops: int | None = 0
        self._tokens: int | None = 0
        self._useful_tokens: int | None = 0
        self._samples: int | None = 0
        self._batches = 0
        self._steps = 0

    def add(
        self,
        flops: int | None,
        tokens: int | None,
        samples: int | None,
        hardware_flops: int | None = 0,
        useful_tokens: int | None = 0,
        *,
        batches: int = 1,
    ) -> None:
        """Add a micro-batch; an amount that is not known makes its total unknown, since the rest would be too small."""
        self._flops = _add(self._flops, flops)
        self._hardware_flops = _add(self._hardware_flops, hardware_flops)
        self._tokens = _add(self._tokens, tokens)
        self._useful_tokens = _add(self._useful_tokens, useful_tokens)
        self._samples = _add(self._samples, samples)
        self._batches += batches

    def step(self, count: int = 1) -> None:
        """Note that so many optimizer steps were done."""
        self._steps += count

    def lose_flops(self) -> None:
        """Note that the FLOPs since the last `take` are not what was added."""
        self._flops = self._hardware_flops = None

    def take(self, joules: int | None = 0) -> Counts:
        """Everything since the last call, of this process alone, with the energy that it took."""
        counts = Counts(
            flops=self._flops,
            tokens=self._tokens,
            samples=self._samples,
            batches=self._batches,
            steps=self._steps,
            hardware_flops=self._hardware_flops,
            useful_tokens=self._useful_tokens,
            joules=joules,
        )
        self._forget()
        return counts

    def book(self, counts: Counts, seconds: float, devices: int) -> Totals:
        """Add counts of all processes, and the time that they took, to the totals and return these."""
        sums = {name: _add(getattr(self.totals, name), getattr(counts, name)) for name in _NAMES}
        self.totals = replace(
            self.totals,
            **sums,  # type: ignore[arg-type]
            seconds=self.totals.seconds + seconds,
            device_seconds=self.totals.device_seconds + seconds * devices,
        )
        return self.totals

    def state_dict(self) -> dict[str, Any]:
        """The totals as plain numbers, for a checkpoint; only what was booked is in it."""
        return asdict(self.totals)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from the totals of a checkpoint; unknown entries are left out."""
        known = {name: state[name] for name in asdict(Totals()) if name in state}
        self.totals = Totals(**known)
