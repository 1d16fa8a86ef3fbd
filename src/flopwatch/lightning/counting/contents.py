"""Tokens and samples of batches whose FLOPs are not counted by their shapes."""

from __future__ import annotations

from typing import Any

from flopwatch.lightning.apart import Apart
from flopwatch.lightning.counting.batches import UnreadableBatchError
from flopwatch.lightning.counting.counter import Cost, Subject
from flopwatch.lightning.counting.lengths import Lengths
from flopwatch.lightning.counting.shapes import of_a_tuple, samples_of
from flopwatch.model.batch import Batch
from flopwatch.run.counts import Counts
from flopwatch.run.records import Work

_READING = "reading what a batch holds"
_MOST_SHAPES = 10_000


class Contents:
    """Reads what batches hold besides FLOPs: samples, tokens, padding.

    Args:
        subject: What is counted.
        batch: The first batch; where it is not sure that the model is fed what it holds, tokens are unknown.
    """

    def __init__(self, subject: Subject, batch: Any) -> None:
        self._subject = subject
        self._apart = Apart()
        self._tells_tokens = bool(self._apart.run(_READING, subject.reader.is_sure, batch))
        # Of batches that are plain tuples of tensors, by their shapes and FLOPs.
        self._known: dict[Any, Counts] = {}

    def amounts(self, batch: Any, flops: int | None, hardware_flops: int | None) -> Counts:
        """Work of a batch of such FLOPs; padding is left out of useful tokens as soon as its mask is here."""
        # A dictionary may hold a mask, whose lengths have to be read.
        plain = None if self._subject.reader.is_users else of_a_tuple(batch)
        like = None if plain is None else (plain, flops, hardware_flops)
        if like is not None and like in self._known:
            return self._known[like]
        shape, samples = self._shape(batch), self._apart.run(_READING, samples_of, batch)
        tokens = self._tokens(shape)
        if like is not None and len(self._known) < _MOST_SHAPES:
            self._known[like] = Counts(flops, tokens, samples, hardware_flops, None)

        def amounts_of(lengths: Lengths) -> Counts:
            return Counts(flops, tokens, samples, hardware_flops, lengths.useful_tokens if tokens else None)

        try:
            return self._subject.late.amounts(batch, amounts_of, packed=False)
        except Exception as error:
            self._apart.say(_READING, error)
            return amounts_of(Lengths())

    def _shape(self, batch: Any) -> Batch | None:
        if not self._tells_tokens:
            return None
        try:
            return self._subject.reader.shape(batch)
        except UnreadableBatchError as error:
            self._subject.warnings.say(str(error))
        except Exception as error:
            self._apart.say(_READING, error)
        return None

    def _tokens(self, shape: Batch | None) -> int | None:
        return None if shape is None else self._subject.reader.tokens(shape) or None

    def described(self, batch: Any, cost: Cost) -> Work:
        """The module and a batch of it; whoever counts it adds how."""
        shape = self._shape(batch)
        return Work(
            verification="withheld",
            note="",
            method="measured",
            model_type=type(self._subject.module).__name__,
            parameters=self._subject.parameters(),
            trainable_parameters=self._subject.trainable_parameters(),
            attention=self._subject.attention,
            sequences=samples_of(batch) if shape is None else shape.sequences,
            seq_len=None if shape is None else shape.seq_len,
            tokens=self._tokens(shape),
            training_flops=cost.flops,
            hardware_flops=cost.hardware_flops,
        )
