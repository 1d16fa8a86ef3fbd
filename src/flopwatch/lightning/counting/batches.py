"""What the model is fed by a batch: by the user's function, else by the batch's shapes."""

from __future__ import annotations

from typing import Any

from flopwatch.lightning.counting.shapes import BatchShape, is_plain, of_tensors_alone, shape_of
from flopwatch.model.architecture import Inputs, tokens_of
from flopwatch.model.batch import Batch
from flopwatch.units import quoted

_MOST_SHAPES = 10_000


class UnreadableBatchError(Exception):
    """The user's function failed on a batch; the text says what was expected and what it returned."""


class BatchReader:
    """Reads shapes of batches.

    Args:
        function: The user's function from a batch to (sequences, tokens per sequence) or to a `Batch`.
        inputs: What the model takes; tokens where that is not known.
    """

    def __init__(self, function: BatchShape | None, inputs: Inputs | None) -> None:
        self._function, self._inputs = function, inputs
        self.is_users = function is not None
        # Of plain tuples, lists and dictionaries of tensors, by what is in them.
        self._shapes: dict[Any, Batch | None] = {}

    def is_sure(self, batch: Any) -> bool:
        """Whether the model is sure to be fed what the batch holds."""
        return self.is_users or is_plain(batch)

    def _by_tensors(self, batch: Any) -> Batch | None:
        like = of_tensors_alone(batch)
        if like is not None and like in self._shapes:
            return self._shapes[like]
        shape = shape_of(batch, self._inputs or "tokens")
        if like is not None and len(self._shapes) < _MOST_SHAPES:
            self._shapes[like] = shape
        return shape

    def tokens(self, shape: Batch) -> int:
        """Return the tokens of a batch, padding included."""
        return tokens_of(self._inputs, shape)

    def shape(self, batch: Any) -> Batch | None:
        """Return the shape of a batch, or `None` if it is unknown.

        Raises:
            UnreadableBatchError: If the user's function fails.
        """
        if self._function is None:
            return self._by_tensors(batch)
        shape: Any = None
        try:
            shape = self._function(batch)
            if isinstance(shape, Batch):
                return shape
            sequences, seq_len = shape
            return Batch(int(sequences), int(seq_len))
        except Exception as error:
            got = f"it returned {quoted(shape)}" if shape is not None else f"{type(error).__name__}: {str(error)[:200]}"
            raise UnreadableBatchError(
                f"batch_shape failed: expected (sequences, tokens per sequence) or a Batch; {got}"
            ) from error
