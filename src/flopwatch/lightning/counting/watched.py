"""What batches cost, from those that were watched while they ran."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any, Literal

from flopwatch.errors import MeasurementError
from flopwatch.lightning.counting.contents import Contents
from flopwatch.lightning.counting.counter import Cost, Look, Pattern, Seen, Subject
from flopwatch.lightning.counting.shapes import Signatures
from flopwatch.measure.results import Measurement
from flopwatch.run.counts import Counts, add
from flopwatch.run.records import Work

_MOST_SIGNATURES = 10_000


@dataclass
class Known:
    """What watched batches of one signature cost: the last one, how many, sums over all, and the range."""

    last: Cost
    batches: int = 0
    flops: int = 0
    hardware_flops: int | None = 0
    least: int = 0
    most: int = 0

    def learn(self, cost: Cost) -> None:
        """Add a batch."""
        self.least = min(self.least, cost.flops) if self.batches else cost.flops
        self.most = max(self.most, cost.flops)
        self.last = cost
        self.batches += 1
        self.flops += cost.flops
        self.hardware_flops = add(self.hardware_flops, cost.hardware_flops)

    def mean(self) -> Cost:
        """Return the mean cost of the batches.

        Raises:
            MeasurementError: If there was none.
        """
        if not self.batches:
            raise MeasurementError("no batch was watched yet")
        hardware_flops = None if self.hardware_flops is None else round(self.hardware_flops / self.batches)
        return Cost(round(self.flops / self.batches), hardware_flops)


class WatchedCosts:
    """Costs of batches by their signatures and by which parameters train.

    Equal ones cost the same until a watched batch shows otherwise; from then on what is not watched is the mean.
    """

    def __init__(self) -> None:
        self._signatures = Signatures()
        self._known: dict[Any, Known] = {}
        self._all = Known(Cost(0, 0))
        self._varies = False
        self._guessed = 0

    @property
    def status(self) -> Literal["watched", "sampled"]:
        """Return the status: whether every batch was watched, or resembles a watched one."""
        return "sampled" if self._guessed else "watched"

    def spread(self) -> str:
        """How far the costs of watched batches lie apart, in words."""
        return (
            f"{self._all.batches:,} watched batches ran {self._all.least:,} to {self._all.most:,} FLOPs,"
            f" {self._guessed:,} others count as their mean"
        )

    def knows(self, batch: Any, training: Hashable = 0) -> bool:
        """Whether a batch of the same signature was watched, and all of them cost the same."""
        return (training, self._signatures.at_its_start(batch)) in self._known and not self._varies

    def learn(self, batch: Any, cost: Cost, training: Hashable = 0) -> None:
        """Store what a watched batch cost."""
        signature = self._like(batch, training)
        known = self._known.get(signature)
        if known is None:
            if len(self._known) >= _MOST_SIGNATURES:
                self._known.clear()
            known = self._known[signature] = Known(cost)
        self._varies = self._varies or known.last.flops != cost.flops
        for each in (known, self._all):
            each.learn(cost)

    def suppose(self, batch: Any, cost: Cost, training: Hashable) -> None:
        """Take it that batches like this one, of which none was watched, cost so much."""
        known = self._known.setdefault(self._like(batch, training), Known(cost))
        if not known.batches:
            known.learn(cost)

    def has(self, batch: Any, training: Hashable) -> bool:
        """Whether anything is known of a batch's like."""
        return self._like(batch, training) in self._known

    def same(self, batch: Any, training: Hashable) -> Cost | None:
        """Return what each batch like this one cost, unless some cost something else."""
        known = self._known.get(self._like(batch, training))
        return None if known is None or self._varies else known.last

    def cost(self, batch: Any, training: Hashable = 0) -> Cost:
        """Return the assumed cost of an unwatched batch.

        Raises:
            MeasurementError: If none was watched yet.
        """
        known = self._known.get(self._like(batch, training))
        if known is not None and not self._varies:
            return known.last
        self._guessed += 1
        return (known or self._all).mean()

    def _like(self, batch: Any, training: Hashable) -> tuple[Any, ...]:
        return training, self._signatures.of(batch)


def cost_of(measured: Measurement) -> Cost:
    """Return the cost of a watched batch.

    Raises:
        MeasurementError: If something could not be counted into which weights went, or that is known for heavy work,
            or was not seen.
    """
    if measured.missing:
        lost = measured.missing[0]
        modules = sorted({each.rpartition(".")[0] for each in lost.parameters})
        where = f", with weights of {modules[0] or 'the module'}" if modules else ""
        raise MeasurementError(
            f"{lost.operator} ran {lost.calls} times{where} and has no formula; add one with flopwatch.measure.register"
        )
    if measured.unseen:
        raise MeasurementError(
            f"{measured.unseen[0]} got a gradient, but torch.compile hides its products, or those of a weight of its"
            " shape (Triton templates, CUDA graphs); the default compile mode shows them"
        )
    if not measured.training_flops:
        raise MeasurementError("no matrix product was seen in the batch; if there are any, pass FlopWatch(config=...)")
    return Cost(measured.training_flops, measured.hardware_flops, measured.forward_flops)


class WatchedCounter:
    """Counts batches by the cost of watched ones.

    Args:
        subject: What is counted.
        batch: The first batch, which was watched.
        look: What was seen of it.
        training: How it trained.
        why: Why the closed form is not taken.

    Raises:
        MeasurementError: If nothing could be seen of the batch.
    """

    def __init__(self, subject: Subject, batch: Any, look: Look, training: Pattern, why: str) -> None:
        if not isinstance(look, Seen):
            raise look if look is not None else MeasurementError("the batch was not watched")
        cost = cost_of(look.counted)
        self._costs, self._contents, self._warnings = WatchedCosts(), Contents(subject, batch), subject.warnings
        self._subject, self._tells_backwards = subject, False
        self._learn(batch, cost, training)
        self.work = replace(
            self._contents.described(batch, cost),
            verification="watched",
            note="; ".join(_notes(look.counted, why)),
            forward_flops=look.counted.forward_flops,
            components=look.counted.rows(subject.module),
        )

    def count(self, batch: Any, look: Look, training: Pattern) -> Counts:
        """Return what the batch, or a similar watched one, cost."""
        cost = self._cost(batch, look, training)
        flops, hardware_flops = (None, None) if cost is None else (cost.flops, cost.hardware_flops)
        return self._contents.amounts(batch, flops, hardware_flops)

    def _cost(self, batch: Any, look: Look, training: Pattern) -> Cost | None:
        try:
            if isinstance(look, MeasurementError):
                raise look
            if isinstance(look, Seen):
                cost = cost_of(look.counted)
                self._learn(batch, cost, training)
                return cost
            if self._tells_backwards and training.backwards == 0 and not self._costs.has(batch, training):
                raise MeasurementError("it had no backward pass, and no similar batch was watched")
            return self._costs.cost(batch, training)
        except MeasurementError as error:
            self._warnings.say(f"a batch could not be counted: {error}; its FLOPs are unknown")
            return None

    def _learn(self, batch: Any, cost: Cost, training: Pattern) -> None:
        """Keep what a watched batch cost, and what its like will cost without a backward pass."""
        self._costs.learn(batch, cost, training)
        self._tells_backwards = self._tells_backwards or training.backwards > 0
        alone = training._replace(backwards=0)
        if training.backwards == 1 and cost.forward_flops and self._subject.tells_forward_only(alone):
            self._costs.suppose(batch, Cost(cost.forward_flops, cost.forward_flops), alone)

    def knows(self, batch: Any, training: Pattern) -> bool:
        """Whether one of the same signature was watched, and all such cost the same."""
        return self._costs.knows(batch, training)

    def cost(self, batch: Any, training: Pattern) -> Cost | None:
        """Return what a similar watched batch cost, if all of them cost the same."""
        return self._costs.same(batch, training)

    def objection(self, batch: Any, seen: Seen, training: Pattern) -> str | None:
        """Return `None`: the watched count is the count."""
        return None

    def at_the_end(self) -> Work:
        """How many batches were guessed, where they turned out to cost differently."""
        if self._costs.status == self.work.verification:
            return self.work
        return replace(self.work, verification="sampled", note=f"{self.work.note}; {self._costs.spread()}")


def _notes(seen: Measurement, why: str) -> list[str]:
    notes = [f"counted as it ran, because {why}", *seen.assumptions]
    if seen.uncounted:
        notes.append(f"not counted, without a formula: {', '.join(each.operator for each in seen.uncounted)}")
    return notes
