"""What only a batch's values tell, read without ever waiting for the device: padding, documents, sizes of images."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from flopwatch.lightning.apart import Apart
from flopwatch.lightning.counting.shapes import get, is_tokens
from flopwatch.model.media import PIXEL_MASK
from flopwatch.model.resized import PLACES, TILE_MASK, TOKEN_KINDS
from flopwatch.model.sounds import SOUND_MASK
from flopwatch.run.counts import UNKNOWN, Counts

_LONGEST_WAIT = 1.0
_READABLE = ("cpu", "cuda")  # of others torch cannot tell whether a copy has arrived without waiting for it


@dataclass(frozen=True)
class Lengths:
    """Tokens that are no padding, and the lengths of packed documents; `None` where the batch does not say.

    `told` are the values of the tensors that were asked for, of those that are there; `None` where they were not read.
    """

    useful_tokens: int | None = None
    documents: tuple[int, ...] | None = None
    told: Mapping[str, Sequence[Any]] | None = None


class LengthReading:
    """Lengths of one batch, on their way from the device.

    A tensor on the CPU is read at once. One on a GPU is copied beside the training stream's work, and read when the
    copy has arrived; nobody waits for it.

    Args:
        mask: An attention mask, one where there is a token.
        positions: Position ids, which begin anew with every packed document.
        told: Small tensors whose values are wanted, or lists in their place; `None` where they cannot be read.
    """

    def __init__(
        self, mask: torch.Tensor | None, positions: torch.Tensor | None, told: Mapping[str, Any] | None = None
    ) -> None:
        self._mask, self._positions = _to_host(mask), _to_host(positions)
        self._told = None if told is None else {name: _to_host(each) for name, each in told.items()}
        on_cuda = any(getattr(each, "is_cuda", False) for each in (mask, positions, *(told or {}).values()))
        self._event = torch.cuda.Event() if on_cuda else None
        if self._event is not None:
            self._event.record()

    def ready(self, wait: bool = False) -> bool:
        """Whether the values are here; with `wait`, after at most a second."""
        until = time.monotonic() + _LONGEST_WAIT
        while self._event is not None and not self._event.query():
            if not wait or time.monotonic() > until:
                return False
            time.sleep(0.001)
        return True

    def lengths(self) -> Lengths:
        """Return the values; call only once they are ready."""
        useful = None if self._mask is None else int((self._mask != 0).sum())
        told = None if self._told is None else {name: _listed(name, each) for name, each in self._told.items()}
        return Lengths(useful, None if self._positions is None else documents_of(self._positions), told)


def _listed(name: str, values: Any) -> list[Any]:
    """The values as a list; of masks over the frames of sounds how many each has."""
    if not isinstance(values, torch.Tensor):
        return list(values)
    found: list[Any] = (values != 0).sum(-1).tolist() if name == SOUND_MASK else values.tolist()
    return found


def _to_host(tensor: Any) -> Any:
    if not isinstance(tensor, torch.Tensor) or not tensor.is_cuda:
        return tensor
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor.detach(), non_blocking=True)


def documents_of(positions: torch.Tensor) -> tuple[int, ...] | None:
    """Lengths of the documents whose positions count up by one; `None` where each sequence is a single one.

    [[0, 1, 2, 0, 1]] are documents of 3 and 2 tokens.
    """
    begins = torch.ones_like(positions, dtype=torch.bool)
    begins[:, 1:] = positions[:, 1:] != positions[:, :-1] + 1
    starts = torch.cat([begins.flatten().nonzero().flatten(), torch.tensor([positions.numel()])])
    if len(starts) - 1 == positions.shape[0]:
        return None
    return tuple(starts.diff().tolist())


def reading_of(batch: Any, *, packed: bool, told: Sequence[str] = ()) -> LengthReading | None:
    """Begin to read what a batch's values tell, `None` where it says nothing of the kind or reading would wait.

    Args:
        batch: As the DataLoader gave it, on the device.
        packed: Whether position ids tell documents apart, as Hugging Face's models take them where no attention mask
            is given.
        told: Names of tensors whose values are wanted.
    """
    if not isinstance(batch, Mapping) and not hasattr(batch, "input_ids"):
        return None
    tokens, mask, positions = (get(batch, name) for name in ("input_ids", "attention_mask", "position_ids"))
    if not is_tokens(tokens) or tokens.device.type not in _READABLE:
        return None
    values = _wanted(batch, told) if told else None
    if isinstance(mask, torch.Tensor):
        reads_mask = mask.shape == tokens.shape
        return LengthReading(mask if reads_mask else None, None, values) if reads_mask or told else None
    if not packed or not is_tokens(positions) or positions.shape != tokens.shape:
        return LengthReading(None, None, values) if told else None
    return LengthReading(None, positions, values)


def _wanted(batch: Any, names: Sequence[str]) -> Mapping[str, Any] | None:
    """The tensors of these names, of large ones the part that tells; `None` if one is of an unreadable device."""
    found = {name: each for name in names if (each := get(batch, name)) is not None}
    tensors = [each for each in found.values() if isinstance(each, torch.Tensor)]
    if any(each.device.type not in _READABLE for each in tensors):
        return None
    return {name: _PARTS[name](each) if name in _PARTS else each for name, each in found.items()}


def _first_pixels(mask: Any) -> Any:
    return mask[..., 0, 0].flatten() if isinstance(mask, torch.Tensor) and mask.dim() > 2 else mask


def _last_places(places: Any) -> Any:
    """The place of each image's last patch."""
    return places.amax(1) if isinstance(places, torch.Tensor) and places.dim() == 3 else places


def _sums_of_rows(mask: Any) -> Any:
    """Every second row of each tile, in every second column."""
    return mask[..., ::2, ::2].sum(-1) if isinstance(mask, torch.Tensor) and mask.dim() > 2 else mask


# What of a large tensor tells enough; of the kinds of tokens it is that they are there.
_PARTS: Mapping[str, Callable[[Any], Any]] = {
    PIXEL_MASK: _first_pixels,
    **dict.fromkeys(PLACES, _last_places),
    TILE_MASK: _sums_of_rows,
    TOKEN_KINDS: lambda kinds: kinds[:1, :1],
}


class LateLengths:
    """Batches whose lengths are still on their way from the device, in order."""

    def __init__(self) -> None:
        self._apart = Apart()
        self._pending: deque[tuple[LengthReading, Callable[[Lengths], Counts]]] = deque()

    def amounts(
        self, batch: Any, amounts_of: Callable[[Lengths], Counts], *, packed: bool, told: Sequence[str] = ()
    ) -> Counts:
        """Work of a batch, by its lengths; where they are late, nothing yet, and the work comes out of `settle`.

        Args:
            batch: As the DataLoader gave it, on the device.
            amounts_of: From lengths to work.
            packed: Whether position ids tell documents apart.
            told: Names of tensors whose values are wanted.
        """
        reading = reading_of(batch, packed=packed, told=told)
        if reading is None:
            return amounts_of(Lengths())
        if reading.ready() and not self._pending:
            return self._read(reading, amounts_of)
        self._pending.append((reading, amounts_of))
        return Counts()

    def settle(self, *, last: bool) -> list[Counts]:
        """Work of earlier batches whose lengths have arrived in the meantime; at the `last` call, of all."""
        settled = []
        while self._pending and (self._pending[0][0].ready(wait=last) or last):
            reading, amounts_of = self._pending.popleft()
            settled.append(self._read(reading, amounts_of) if reading.ready() else UNKNOWN)
        return settled

    def _read(self, reading: LengthReading, amounts_of: Callable[[Lengths], Counts]) -> Counts:
        """Work by lengths that are here; where they cannot be read, what does not depend on them."""
        lengths = self._apart.run("reading the lengths in a batch", reading.lengths)
        known = Lengths() if lengths is None else lengths
        amounts = self._apart.run("counting a batch by its lengths", amounts_of, known) or UNKNOWN
        return replace(amounts, flops=None, hardware_flops=None, useful_tokens=None) if lengths is None else amounts
