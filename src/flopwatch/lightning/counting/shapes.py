"""What a batch holds, from shapes alone: no value is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch

from flopwatch.model.architecture import Inputs
from flopwatch.model.batch import Batch
from flopwatch.model.resized import TILE_MASK
from flopwatch.model.sounds import SOUND_MASK

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


def _images_and_tokens(batch: Any, *others: str) -> Batch | None:
    """Text with images or tiles; in a row for each sequence they may be filled up, which only values tell."""
    texts, pixels = _tokens(batch), _first(batch, *_PIXELS)
    if texts is None or _holds_others(batch, *_PIXELS, *others):
        return None
    if pixels is None:
        return replace(texts, images=0)
    if not isinstance(pixels, torch.Tensor) or pixels.dim() not in (4, 5) or not pixels.is_floating_point():
        return None
    *several, _, height, width = pixels.shape
    return replace(texts, image_size=(int(height), int(width)), images=prod(several))


def _grids_and_tokens(batch: Any, *others: str) -> Batch | None:
    """Text with patches of images; how many of which sizes only values tell."""
    texts = _tokens(batch)
    if texts is None or _holds_others(batch, *_GRIDS_OF, *others):
        return None
    if any(get(batch, name) is not None and not _has_any(batch, grids) for name, grids in _GRIDS_OF.items()):
        return None
    pixels = (get(batch, name) for name in _GRIDS_OF)
    filled_up = {int(each.shape[1]) for each in pixels if isinstance(each, torch.Tensor) and each.dim() == 3}
    if len(filled_up) > 1:  # images and videos, each of which has its own number of patches
        return None
    return replace(texts, images=0, patches=filled_up.pop() if filled_up else 0)


def _images_sounds_and_tokens(batch: Any) -> Batch | None:
    return _with_sounds(_images_and_tokens(batch, *_FRAMES, TILE_MASK), batch)


def _filled_grids_sounds_and_tokens(batch: Any) -> Batch | None:
    return _with_sounds(_grids_and_tokens(batch, *_FRAMES), batch)


def _with_sounds(seen: Batch | None, batch: Any) -> Batch | None:
    """Text and images with frames of sounds, which are heard only where their mask is there."""
    frames = _first(batch, *_FRAMES)
    if seen is None or frames is None:
        return None if seen is None else replace(seen, clips=0)
    unheard = get(batch, "input_features") is not None and get(batch, "input_features_mask") is None
    if not isinstance(frames, torch.Tensor) or frames.dim() != 3 or unheard:
        return None
    return replace(seen, clips=int(frames.shape[0]), source_len=int(frames.shape[1]))


def _grids_sounds_and_tokens(batch: Any) -> Batch | None:
    """Text with images and sounds of many sizes; how many of which only values tell."""
    texts = _tokens(batch)
    if texts is None or _holds_others(batch, *_GRIDS_OF, "input_features"):
        return None
    told_by = {**_GRIDS_OF, "input_features": (SOUND_MASK,)}
    if any(get(batch, name) is not None and not _has_any(batch, told) for name, told in told_by.items()):
        return None
    return replace(texts, images=0, clips=0)


def _sounds_and_tokens(batch: Any) -> Batch | None:
    """Text with frames of sounds."""
    texts, frames = _tokens(batch), get(batch, "input_features")
    if texts is None or _holds_others(batch, "input_features"):
        return None
    if frames is None:
        return replace(texts, clips=0)
    if not isinstance(frames, torch.Tensor) or frames.dim() != 3:
        return None
    return replace(texts, clips=int(frames.shape[0]), source_len=int(frames.shape[2]))


def _sounds_in_rows_and_tokens(batch: Any) -> Batch | None:
    """Text with sounds whose frames are rows, not columns."""
    turned = _sounds_and_tokens(batch)
    frames = get(batch, "input_features")
    return turned if turned is None or frames is None else replace(turned, source_len=int(frames.shape[1]))


def _sounds(batch: Any) -> Batch | None:
    """Frames of sounds, as many for each."""
    frames = get(batch, "input_features")
    if not isinstance(frames, torch.Tensor) or frames.dim() != 3:
        return None
    return Batch(int(frames.shape[0]), source_len=int(frames.shape[1]))


def _first(batch: Any, *names: str) -> Any:
    """What stands under the first of the names that is there."""
    return next((found for name in names if (found := get(batch, name)) is not None), None)


_PIXELS, _FRAMES = ("pixel_values", "image_pixel_values"), ("input_features", "audio_input_features")
_GRIDS_OF = {
    "pixel_values": ("image_grid_thw", "image_grid_hws", "spatial_shapes", "image_position_ids"),
    "pixel_values_videos": ("video_grid_thw", "video_position_ids"),
}


def _has_any(batch: Any, names: Sequence[str]) -> bool:
    return any(get(batch, name) is not None for name in names)


def _holds_others(batch: Any, *known: str) -> bool:
    """Whether something in a batch could be an image, a video or a sound under another name, or cannot be seen."""
    named = {f".{name}" for name in ("attention_mask", *known)}
    tensors = [part for part in _parts(batch, "", 0) if len(part) == 3]
    others = (part for part in tensors if part[0] not in named)
    return not tensors or any(len(shape) > 2 and _is_of_values(dtype) for _, shape, dtype in others)


def _is_of_values(dtype: torch.dtype) -> bool:
    """Whether pixels and sounds come in such numbers; positions and grids do not."""
    return dtype.is_floating_point or dtype == torch.uint8


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
    "grids, sounds and tokens": _grids_sounds_and_tokens,
    "sounds": _sounds,
    "sounds in rows and tokens": _sounds_in_rows_and_tokens,
    "images, sounds and tokens": _images_sounds_and_tokens,
    "filled grids, sounds and tokens": _filled_grids_sounds_and_tokens,
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
    elif depth < _DEEPEST:
        for key, each in _inside(value):
            yield from _parts(each, f"{path}.{key}", depth + 1)


def _inside(value: Any) -> Iterable[tuple[Any, Any]]:
    """Entries of a mapping, members of a sequence, attributes of an object."""
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, Sequence):
        return () if isinstance(value, bytes) else enumerate(value)
    slots = [(name, getattr(value, name, None)) for name in _slots(type(value))]
    return [*getattr(value, "__dict__", {}).items(), *slots]


def _slots(kind: type) -> tuple[str, ...]:
    named = (vars(each).get("__slots__", ()) for each in kind.__mro__)
    names = (name for each in named for name in ((each,) if isinstance(each, str) else each))
    return tuple(name for name in names if not name.startswith("__"))


def of_a_tuple(batch: Any) -> tuple[Any, ...] | None:
    """Shapes and dtypes of a plain tuple or list of tensors, which tell all of it; `None` for anything else."""
    return None if type(batch) is dict else of_tensors_alone(batch)


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
