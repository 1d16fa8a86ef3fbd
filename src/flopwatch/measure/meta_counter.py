"""What counting on the meta device takes beyond counting a real step, none of it felt by other threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors
from torch.utils._pytree import tree_leaves

from flopwatch.errors import MeasurementError
from flopwatch.measure.meta import META
from flopwatch.measure.watching import StepCounter, storage_of

_MOST_SECONDS = 30.0
_ALL, _ANY = ("all", "_is_all_true"), ("any", "_is_any_true")
_READ = torch.ops.aten._local_scalar_dense.default
_ATTENTION = torch.ops.aten.scaled_dot_product_attention.default
# Of the fused ones this has shapes in most versions of torch, for values of another width than the keys, too.
_FUSED = torch.ops.aten._scaled_dot_product_efficient_attention
# torch 2.4 has no shapes for it.
_HAS_SHAPES = torch._C._dispatch_has_kernel_for_dispatch_key(_FUSED.default.name(), "Meta")


class DataDependentError(RuntimeError):
    """Code that looks at the values of a tensor, of which a measurement has none."""


class MetaCounter(StepCounter):
    """Counts what a copy on the meta device runs, by the innermost module, and answers checks of all or any values.

    Args:
        module: The copy, which gets hooks.
    """

    _counts_meta = True

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self._until = time.monotonic() + _MOST_SECONDS
        self._verdicts: dict[int, bool] = {}
        self._mask_sums: set[int] = set()
        # Storages are told apart by their address, so what was noted must stay alive.
        self._kept: list[torch.Tensor] = []
        self._stack = [""]
        for name, child in module.named_modules():
            child.register_forward_pre_hook(_enter(self._stack, name))
            child.register_forward_hook(_leave(self._stack), always_call=True)

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator and count it, or answer a read."""
        if time.monotonic() > self._until:
            raise MeasurementError(f"its measurement took longer than {_MOST_SECONDS:.0f} s")
        if operator is _READ and args[0].is_meta:
            return self._read(args[0])
        if operator.namespace == "c10d" and _holds_data(args):
            raise MeasurementError("the code waits for other ranks, which a measurement cannot do")
        out = super().__torch_dispatch__(operator, types, args, kwargs)
        self._remember(getattr(operator, "_overloadpacket", operator).__name__, args, out)
        return out

    def _place(self, tensors: list[torch.Tensor]) -> str:
        """Return the innermost running module."""
        return self._stack[-1]

    def _note(self, operator: Any, tensors: list[torch.Tensor]) -> None:
        """Note what was not counted, but what is computed of whole numbers alone is no work of the model's."""
        if any(each.is_meta or each.is_floating_point() for each in tensors):
            super()._note(operator, tensors)

    def _remember(self, name: str, args: tuple[Any, ...], out: Any) -> None:
        """Keep verdicts of `all`, of `any`, and of whether a mask adds up to a number."""
        if name in _ALL or name in _ANY:
            self._verdicts[storage_of(out)] = name in _ALL
        elif name == "sum" and args[0].dtype == torch.bool:
            self._mask_sums.add(storage_of(out))
        elif name == "eq" and storage_of(args[0]) in self._mask_sums:
            self._verdicts[storage_of(out)] = True
        else:
            return
        self._kept.append(out)

    def _read(self, tensor: torch.Tensor) -> bool:
        """Code asks for a value: `all()` is taken as true, `any()` as false; no other value can be given."""
        verdict = self._verdicts.get(storage_of(tensor))
        if verdict is None:
            raise DataDependentError(
                "the code reads a tensor's value (.item(), a comparison, a size that depends on data)"
            )
        self._notes.add(f"a check of all or any values was assumed {'true' if verdict else 'false'}")
        return verdict


def _enter(stack: list[str], name: str) -> Callable[..., None]:
    return lambda module, args: stack.append(name)


def _leave(stack: list[str]) -> Callable[..., None]:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        stack.pop()

    return hook


def _holds_data(args: Any) -> bool:
    return any(isinstance(each, torch.Tensor) and not each.is_meta for each in tree_leaves(args))


class MadeOnMeta(TorchFunctionMode):
    """Makes new tensors on the meta device.

    `with torch.device("meta")` does so, too, but notes the device for the whole process, on which code that other
    threads have compiled is guarded.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Set the device where the code names none."""
        named = dict(kwargs or {})
        if function in _device_constructors() and named.get("device") is None:
            named["device"] = META
        return function(*args, **named)


@contextmanager
def causal_attention_whole() -> Iterator[None]:
    """Keep causal attention in one operator that carries the flag, on this thread.

    On the meta device PyTorch takes it apart before any mode sees it. The kernel stands above autograd, so that it is
    reached from PyTorch's own layers and in recomputation, too.
    """
    measuring = threading.get_ident()

    def attend(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None = None,
        dropout: float = 0.0,
        is_causal: bool = False,
        **options: Any,
    ) -> Any:
        plain = is_causal and mask is None and _are_of_one_batch(query, key, value)
        if threading.get_ident() != measuring or not plain:
            return _ATTENTION.decompose(query, key, value, mask, dropout, is_causal, **options)
        queries_per_key = query.shape[-3] // key.shape[-3]
        inputs = [query, *(each.repeat_interleave(queries_per_key, -3) for each in (key, value))]
        out = _FUSED(*(each.reshape(-1, *each.shape[-3:]) for each in inputs), None, True, is_causal=True)[0]
        return out.reshape(*query.shape[:-1], value.shape[-1])

    with torch.library._scoped_library("aten", "IMPL") as library:
        if _HAS_SHAPES:
            library.impl("scaled_dot_product_attention", attend, "AutogradMeta")
        yield


def _are_of_one_batch(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether no dimension before the last three is to be expanded; of the heads, keys may have fewer."""
    if query.dim() < 3 or not query.shape[:-3] == key.shape[:-3] == value.shape[:-3]:
        return False
    return key.shape[-3] == value.shape[-3] and query.shape[-3] % key.shape[-3] == 0
