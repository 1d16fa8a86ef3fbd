"""What a batch holds, from shapes alone: no value is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch

from flopwatch.model.architecture import Inputs
from flopwatch.model.batch import Batch

BatchShape = Callable[[Any], "tuple[int, int] | Batch"]


def get(values: Any, name: str) -> Any:
    """An entry of a mapping, or an attribute."""
    return values.get(name) if isinstance(values, Mapping) else getattr(values, name, None)


def shape_of(batch: Any, inputs: Inputs = "tokens") -> Batch | None:
    """Return what a batch feeds a model with such inputs, or `None` if that is unknown."""
    reader = _READERS.get(inputs)
    return None if reader is None else reader(batch)


def image_batch(images: torch.Tensor) -> Batch:
    """A batch of images, channels first."""
    return Batch(int(images.shape[0]), image_size=(int(images.shape[2]), int(images.shape[3])))


def token_batch(tokens: torch.Tensor) -> Batch:
    """A batch of token ids, one row per sequence."""
    return Batch(int(tokens.shape[0]), int(tokens.shape[1]))


def _tokens(batch: Any) -> Batch | None:
    if isinstance(batch, Mapping) or hasattr(batch, "input_ids"):
        batch = get(batch, "input_ids")
    elif isinstance(batch, Sequence) and batch:
        batch = batch[0]
    return token_batch(batch) if is_tokens(batch) else None


def _images(batch: Any) -> Batch | None:
    if isinstance(batch, Mapping) or hasattr(batch, "pixel_values"):
        batch = get(batch, "pixel_values")
    elif isinstance(batch, Sequence) and batch:
        batch = batch[0]
    return image_batch(batch) if is_images(batch) else None


def _images_and_tokens(batch: Any) -> Batch | None:
    """Text with images or tiles; in a row for each sequence they may be filled up, which only values tell."""
    texts, pixels = _tokens(batch), get(batch, "pixel_values") if hasattr(batch, "keys") else None
    if texts is None:
        return None
    if pixels is None:
        return replace(texts, images=0) if _is_text_alone(batch) else None
    if not isinstance(pixels, torch.Tensor) or pixels.dim() not in (4, 5) or not pixels.is_floating_point():
        return None
    *several, _, height, width = pixels.shape
    return replace(texts, image_size=(int(height), int(width)), images=prod(several))


def _grids_and_tokens(batch: Any) -> Batch | None:
    """Text with patches of images; how many of which sizes only values tell."""
    texts, pixels = _tokens(batch), get(batch, "pixel_values") if hasattr(batch, "keys") else None
    if texts is None or (pixels is None and not _is_text_alone(batch, "pixel_values_videos")):
        return None
    padded = int(pixels.shape[1]) if isinstance(pixels, torch.Tensor) and pixels.dim() == 3 else 0
    return replace(texts, images=0, source_len=padded)


def _sounds_and_tokens(batch: Any) -> Batch | None:
    """Text with frames of sounds."""
    texts, frames = _tokens(batch), get(batch, "input_features") if hasattr(batch, "keys") else None
    if texts is None or (frames is None and not _is_text_alone(batch)):
        return None
    if frames is None:
        return replace(texts, clips=0)
    if not isinstance(frames, torch.Tensor) or frames.dim() != 3:
        return None
    return replace(texts, clips=int(frames.shape[0]), source_len=int(frames.shape[2]))


def _is_text_alone(batch: Any, *known: str) -> bool:
    """Whether no tensor in a batch could be an image or a sound under a name of its own."""
    values = (each for name, each in batch.items() if name not in known) if isinstance(batch, Mapping) else ()
    return not any(isinstance(each, torch.Tensor) and each.is_floating_point() and each.dim() > 2 for each in values)


def _targets(batch: Any) -> Batch | None:
    """The decoder reads its own ids, or the labels shifted by one, which are as long."""
    for name in ("decoder_input_ids", "labels"):
        if is_tokens(found := get(batch, name)):
            return token_batch(found)
    return None


def _source_and_tokens(batch: Any) -> Batch | None:
    source, targets = get(batch, "input_ids"), _targets(batch)
    if not is_tokens(source) or targets is None or source.shape[0] != targets.sequences:
        return None
    return Batch(targets.sequences, targets.seq_len, int(source.shape[1]))


def _frames_and_tokens(batch: Any) -> Batch | None:
    frames, targets = get(batch, "input_features"), _targets(batch)
    if not isinstance(frames, torch.Tensor) or frames.dim() != 3 or targets is None:
        return None
    return Batch(targets.sequences, targets.seq_len, int(frames.shape[2]))


_READERS: Mapping[Inputs, Callable[[Any], Batch | None]] = {
    "tokens": _tokens,
    "source and tokens": _source_and_tokens,
    "images": _images,
    "images and tokens": _images_and_tokens,
    "grids and tokens": _grids_and_tokens,
    "sounds and tokens": _sounds_and_tokens,
    "frames and tokens": _frames_and_tokens,
}


def is_plain(batch: Any) -> bool:
    """Whether a batch's shape is sure to be the model's without looking: `input_ids`, or inputs and targets alike.

    A lone tensor is not: its last token may only be a target.
    """
    if isinstance(batch, Mapping) or hasattr(batch, "input_ids"):
        return is_tokens(get(batch, "input_ids"))
    pair = batch[:2] if isinstance(batch, (list, tuple)) else ()
    return len(pair) == 2 and all(is_tokens(each) for each in pair) and pair[0].shape == pair[1].shape


def has_pairs_of_its_own(batch: Any) -> bool:
    """Whether a batch brings a mask with an entry for every pair, or cumulative lengths without position ids."""
    keys = batch if isinstance(batch, Mapping) and batch.get("position_ids") is None else ()
    if any(str(name).startswith("cu_seq") for name in keys):
        return True
    mask = get(batch, "attention_mask") if isinstance(batch, Mapping) or hasattr(batch, "attention_mask") else None
    return isinstance(mask, torch.Tensor) and mask.dim() > 2


def is_tokens(value: Any) -> bool:
    """Whether this is a tensor of token ids, one row per sequence."""
    return (
        isinstance(value, torch.Tensor)
        and value.dim() == 2
        and not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)
    )


def is_images(value: Any) -> bool:
    """Return whether a tensor holds images, channels first."""
    return isinstance(value, torch.Tensor) and value.dim() == 4 and value.is_floating_point()


_DEEPEST = 8
_MOST_VALUES = 8


def _parts(value: Any, path: str, depth: int) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, torch.Tensor):
        yield (path, _shape(value), value.dtype)
    elif isinstance(value, (str, int)):
        yield (path, value)
    elif depth < _DEEPEST and isinstance(value, Mapping):
        for key, each in value.items():
            yield from _parts(each, f"{path}.{key}", depth + 1)
    elif depth < _DEEPEST and isinstance(value, Sequence) and not isinstance(value, bytes):
        for place, each in enumerate(value):
            yield from _parts(each, f"{path}.{place}", depth + 1)
    elif depth < _DEEPEST and hasattr(value, "__dict__"):
        for key, each in vars(value).items():
            yield from _parts(each, f"{path}.{key}", depth + 1)


def _shape(tensor: torch.Tensor) -> tuple[Any, ...]:
    """The shape of a tensor; of one that holds several, their number and theirs."""
    if tensor.is_nested and tensor.layout is torch.strided:
        return (tensor.size(0), *(tuple(each.shape) for each in tensor.unbind()))
    return tuple(tensor.shape)


def of_tensors_alone(batch: Any) -> tuple[Any, ...] | None:
    """Names, shapes and dtypes of a plain tuple, list or dictionary of tensors; `None` for anything else."""
    parts: list[Any]
    if type(batch) is dict:
        parts, values = list(batch), batch.values()
    elif type(batch) in (list, tuple):
        parts, values = [], batch
    else:
        return None
    for each in values:
        if type(each) is not torch.Tensor or each.is_nested:
            return None
        parts += each.shape, each.dtype
    return tuple(parts)


class Signatures:
    """What batches have in common that cost the same; a number or string that keeps changing is no part of it.

    A batch has the signature that it began with: its training step may take entries out.
    """

    def __init__(self) -> None:
        self._values: dict[str, set[Any]] = {}
        self._began: tuple[int, tuple[Any, ...]] | None = None

    def at_its_start(self, batch: Any) -> tuple[Any, ...]:
        """Return the signature of a batch that is about to run, and keep it for as long as no other one begins."""
        self._began = None
        signature = self._read(batch)
        self._began = id(batch), signature
        return signature

    def of(self, batch: Any) -> tuple[Any, ...]:
        """Return the signature of a batch."""
        if self._began is not None and self._began[0] == id(batch):
            return self._began[1]
        return self._read(batch)

    def _read(self, batch: Any) -> tuple[Any, ...]:
        plain = of_tensors_alone(batch)
        if plain is not None:
            return plain
        return tuple(part for part in _parts(batch, "", 0) if len(part) == 3 or self._tells(*part))

    def _tells(self, path: str, value: Any) -> bool:
        values = self._values.setdefault(path, set())
        if len(values) <= _MOST_VALUES:
            values.add(value)
        return len(values) <= _MOST_VALUES


def samples_of(batch: Any) -> int | None:
    """Sequences or images: the first dimension that all tensors of a batch share."""
    sizes = {part[1][0] for part in _parts(batch, "", 0) if len(part) == 3 and part[1]}
    return sizes.pop() if len(sizes) == 1 else None
