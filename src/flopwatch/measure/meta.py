"""Copies of modules and batches on the meta device: shapes without data, so that measuring costs no memory."""

from __future__ import annotations

import copy
import dataclasses
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

META = torch.device("meta")
_SHARED: tuple[type, ...] = (DataLoader, Dataset)
_LEFT_BEHIND = frozenset({"_trainer", "_fabric", "_compiler_ctx"})
_SHARED_NAMES = frozenset({"PreTrainedTokenizerBase", "LightningDataModule", "Trainer", "Logger", "Run", "Process"})


def meta_copy(module: nn.Module) -> nn.Module:
    """A deep copy whose tensors are all on the meta device; the module itself is not touched.

    Data sets, loaders, tokenizers and loggers that it holds are shared, not copied; a Trainer is left out.

    Args:
        module: What to copy.
    """
    memo: dict[int, Any] = {}
    compiled = []
    for owner in module.modules():
        if isinstance(getattr(owner, "_orig_mod", None), nn.Module):
            compiled.append(owner)
        for name, value in vars(owner).items():
            if name in _LEFT_BEHIND:
                memo[id(value)] = None
            else:
                _prepare(value, memo)
    kept = list(memo.values())
    for owner in compiled:
        memo[id(owner)] = copy.deepcopy(owner._orig_mod, memo)
    duplicate: nn.Module = copy.deepcopy(module, memo)
    del kept
    _make_plain(duplicate)
    return duplicate


def _prepare(value: Any, memo: dict[int, Any]) -> None:
    """Say beforehand what tensors become, and which things are not copied at all."""
    for each in _inside(value):
        if isinstance(each, torch.Tensor):
            memo.setdefault(id(each), _meta_tensor(each))
        elif isinstance(each, _SHARED) or _SHARED_NAMES & {base.__name__ for base in type(each).__mro__}:
            memo[id(each)] = each


def _inside(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from value


def _meta_tensor(tensor: torch.Tensor) -> torch.Tensor:
    made = torch.empty_like(tensor, device=META)
    if isinstance(tensor, nn.Parameter):
        made = nn.Parameter(made, requires_grad=tensor.requires_grad)
    elif tensor.is_leaf:
        made.requires_grad_(tensor.requires_grad)
    return made


def _make_plain(module: nn.Module) -> None:
    """Run the classes' own code, not compiled graphs nor functions set on a module, which may hold the original."""
    for each in module.modules():
        if getattr(each, "_compiled_call_impl", None) is not None:
            each._compiled_call_impl = None
        shadowing = [
            name
            for name, value in vars(each).items()
            if callable(value) and not isinstance(value, (nn.Module, types.MethodType)) and hasattr(type(each), name)
        ]
        for name in shadowing:
            del each.__dict__[name]
        if "_device" in vars(each):
            each.__dict__["_device"] = META


def meta_batch(batch: Any) -> Any:
    """The same batch with every tensor on the meta device; what is no tensor stays."""
    if isinstance(batch, torch.Tensor):
        return torch.empty_like(batch, device=META, requires_grad=False)
    if isinstance(batch, Mapping):
        made = {key: meta_batch(value) for key, value in batch.items()}
        return made if type(batch) is dict else _rebuilt(batch, made)
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(meta_batch(value) for value in batch))
    if isinstance(batch, Sequence) and not isinstance(batch, (str, bytes)):
        return type(batch)(meta_batch(value) for value in batch)  # type: ignore[call-arg]
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        values = {each.name: meta_batch(getattr(batch, each.name)) for each in dataclasses.fields(batch) if each.init}
        return dataclasses.replace(batch, **values)
    if callable(getattr(batch, "to", None)):
        return copy.copy(batch).to(META)
    return batch


def _rebuilt(batch: Any, made: dict[Any, Any]) -> Any:
    """A mapping of the same class, as Hugging Face's batches are; a plain dict where that cannot be made."""
    try:
        return type(batch)(made)
    except Exception:
        return made
