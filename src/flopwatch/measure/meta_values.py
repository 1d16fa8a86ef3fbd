"""Whole numbers with values beside floating point numbers without: token ids, grids, masks and what follows from them.

On the meta device nothing has a value, so that code which looks for an image's tokens among the ids cannot run. Under
this mode whole numbers stay on the CPU, wherever code wants them to be, and what is computed of them alone is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from flopwatch.measure.meta import META

_LARGEST = 2**24  # values; larger ones, such as masks of pairs, are shapes only
_WITH_MASKS = ("index", "index_put", "_unsafe_index", "_unsafe_index_put", "index_put_")
_FILLED = ("new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like")
_COPIES = ("_to_copy", "to")
_CHOOSE = ("topk", "argmax", "max", "sort", "argsort")
_BUILDS = (torch.tensor, torch.as_tensor)


class WholeNumbers(TorchDispatchMode):
    """Runs what is computed of whole numbers alone on the CPU, everything else on the meta device.

    Args:
        choices: Whether the places of largest values, of which there are none, are whole numbers with values, too: each
            row chooses the ones after those of the row before, so that all are chosen equally often.
    """

    def __init__(self, *, choices: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._choices = choices

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator where its values are, or without values."""
        named = dict(kwargs or {})
        name = getattr(operator, "_overloadpacket", operator).__name__
        tensors = [each for each in tree_leaves((args, named)) if isinstance(each, torch.Tensor)]
        if not tensors:
            return _made(operator, args, named)
        if all(not each.is_meta for each in tensors):
            return self._of_values(operator, name, args, named, tensors)
        if name in _FILLED and named.get("dtype") is not None:
            return _made(operator, args, {**named, "device": META})
        if all(each.is_meta for each in tensors):
            out = operator(*args, **_staying(named, name))
            return _chosen(args, out) if self._choices and name in _CHOOSE else out
        if _changes_values(operator, args):
            return args[0]
        return _mixed(operator, name, args, named)

    def _of_values(
        self, operator: Any, name: str, args: tuple[Any, ...], named: dict[str, Any], tensors: list[torch.Tensor]
    ) -> Any:
        if name in _COPIES and _wants_meta(named) and _is_a_view_of_few(tensors[0], named):
            return tensors[0]
        if name in _COPIES and _wants_meta(named) and not _is_floating(tensors[0], named):
            return operator(*args, **{**named, "device": torch.device("cpu")})
        if _broadcast_size(tensors) > _LARGEST:
            return operator(*_without_values(args), **_without_values(named))
        if _wants_meta(named) and not tensors[0].is_floating_point():
            return _made(operator, args, named)
        return operator(*args, **named)


def _chosen(args: tuple[Any, ...], out: Any) -> Any:
    """Give places among the last dimension values."""
    size = args[0].shape[-1]
    return tree_map(lambda each: _in_turn(each, size) if _is_places(each) else each, out)


def _is_places(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.long and value.numel() <= _LARGEST


def _in_turn(places: torch.Tensor, size: int) -> torch.Tensor:
    return torch.arange(places.numel()).reshape(places.shape) % size


def _staying(named: dict[str, Any], name: str) -> dict[str, Any]:
    """What has no values has none on another device either."""
    return {**named, "device": META} if name in _COPIES and named.get("device") is not None else named


def _changes_values(operator: Any, args: tuple[Any, ...]) -> bool:
    """Whether values would be overwritten by something without; they stay, since only shapes matter."""
    return bool(operator._schema.is_mutable and isinstance(args[0], torch.Tensor) and not args[0].is_meta)


def _mixed(operator: Any, name: str, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """An operator on tensors with and without values: masks become the places that they name, the rest loses values."""
    if name == "index" and len(args[1]) == 1 and _is_mask(args[1][0]):
        mask = args[1][0]
        rows = int(_first_of_repeated(mask).sum()) * (mask.numel() // _first_of_repeated(mask).numel())
        return args[0].new_empty((rows, *args[0].shape[mask.dim() :]), device=META)
    if name in _WITH_MASKS:
        args = (args[0], [_places(each) for each in args[1]], *args[2:])
        args = (args[0], [part for parts in args[1] for part in parts], *args[2:])
    elif name == "masked_select" and not args[1].is_meta:
        return args[0].new_empty(int(torch.broadcast_to(args[1], args[0].shape).sum()), device=META)
    return operator(*_without_values(args), **_without_values(named))


def _is_mask(index: Any) -> bool:
    return isinstance(index, torch.Tensor) and index.dtype == torch.bool and not index.is_meta


def _first_of_repeated(mask: torch.Tensor) -> torch.Tensor:
    """A mask without what repeats its values."""
    for dimension, stride in enumerate(mask.stride()):
        mask = mask.narrow(dimension, 0, 1) if stride == 0 else mask
    return mask


def _places(index: Any) -> tuple[Any, ...]:
    return index.nonzero().unbind(1) if _is_mask(index) else (index,)


def _without_values(values: Any) -> Any:
    return tree_map(
        lambda each: (
            torch.empty_like(each, device=META) if isinstance(each, torch.Tensor) and not each.is_meta else each
        ),
        values,
    )


def _made(operator: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """What an operator makes of no tensor, with values if these are whole numbers that were asked for without."""
    out = operator(*args, **named)
    if not isinstance(out, torch.Tensor) or not out.is_meta or not _wants_meta(named):
        return out
    if out.is_floating_point() or out.is_complex() or out.numel() > _LARGEST or "empty" in operator.name():
        return out
    return operator(*args, **{**named, "device": torch.device("cpu")})


def _wants_meta(named: dict[str, Any]) -> bool:
    device = named.get("device")
    return device is not None and torch.device(device).type == "meta"


def _is_floating(tensor: torch.Tensor, named: dict[str, Any]) -> bool:
    dtype = named.get("dtype") or tensor.dtype
    return bool(dtype.is_floating_point or dtype.is_complex) or tensor.numel() > _LARGEST


def _is_a_view_of_few(tensor: torch.Tensor, named: dict[str, Any]) -> bool:
    """Whether a mask is one of few values that is repeated, as a token's for all of its features, and stays a mask."""
    stays = tensor.dtype == torch.bool and named.get("dtype") in (None, torch.bool)
    return stays and tensor.numel() > _LARGEST >= tensor.untyped_storage().nbytes()


def _broadcast_size(tensors: list[torch.Tensor]) -> int:
    try:
        return int(torch.broadcast_shapes(*(each.shape for each in tensors)).numel())
    except RuntimeError:
        return max(each.numel() for each in tensors)


class BuiltWithValues(TorchFunctionMode):
    """Makes new tensors on the meta device, but those that are given by values on the CPU."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Set the device where the code names none."""
        named = dict(kwargs or {})
        if function in _device_constructors() and function not in _BUILDS and named.get("device") is None:
            named["device"] = META
        elif function in _BUILDS and _wants_meta(named):
            named["device"] = torch.device("cpu")
        return function(*args, **named)
