"""A dispatch mode that counts every operator that runs under it, and says which it could not count."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as functional
from torch import nn
from torch._ops import HigherOrderOperator
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flopwatch.errors import MeasurementError
from flopwatch.measure.formulas import FREE, HEAVY, attention, formula_of
from flopwatch.measure.packages import RULES
from flopwatch.model.batch import attended_pairs

Phase = Literal["forward", "backward", "recomputed"]
_FREE_NAMESPACES = frozenset(
    {"prim", "prims", "profiler", "c10d", "_c10d_functional", "c10d_functional", "inductor", "fsdp"}
)
_MOST_SECONDS = 30.0
_READS = (torch.ops.aten._local_scalar_dense.default,)


class DataDependentError(RuntimeError):
    """Code that looks at the values of a tensor, of which a measurement has none."""


class FlopCounter(TorchDispatchMode):
    """Counts FLOPs by phase, and forward FLOPs by module; operators without a formula are listed.

    What runs while gradients are enabled during the backward pass is recomputation (activation checkpointing): the
    gradient's own operators run with gradients disabled.

    Args:
        module: The module whose parameters and submodules are told apart.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops: Counter[Phase] = Counter()
        self.by_module: Counter[str] = Counter()
        self.uncounted: dict[str, int] = defaultdict(int)
        self.uncounted_parameters: dict[str, set[str]] = defaultdict(set)
        self.assumptions: set[str] = set()
        self._until = time.monotonic() + _MOST_SECONDS
        self._stack = [""]
        self._verdicts: dict[int, bool] = {}
        self._mask_sums: set[int] = set()
        self._owners: dict[int, frozenset[str]] = {}
        # Storages are told apart by their address, so what was noted must stay alive.
        self._kept: list[torch.Tensor] = []
        # Frozen and quantized weights are buffers of two dimensions or more.
        tables = [(name, each) for name, each in module.named_buffers() if each.dim() >= 2]
        for name, parameter in (*module.named_parameters(), *tables):
            self._owners[storage_of(parameter)] = frozenset({name})
            self._kept.append(parameter)

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator and count it."""
        named = kwargs or {}
        if operator in _READS and args[0].is_meta:
            return self._read(args[0])
        out = operator(*args, **named)
        packet = operator._overloadpacket
        formula = formula_of(operator)
        given = {name: value for name, value in named.items() if name != "out"}
        flops = None if formula is None else formula(*args, **given, out=out)
        if flops is not None:
            self._count(flops)
        elif formula is not None or not is_free(operator, args, named):
            self._note(str(packet), args, named)
        if time.monotonic() > self._until:
            raise MeasurementError(f"its measurement took longer than {_MOST_SECONDS:.0f} s")
        self._follow(operator, args, out)
        return out

    def _count(self, flops: int) -> None:
        if not self.in_backward:
            self.flops["forward"] += flops
            self.by_module[self.current] += flops
        else:
            self.flops["recomputed" if torch.is_grad_enabled() else "backward"] += flops

    def _note(self, name: str, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.uncounted[name] += 1
        tensors = [each for each in tree_leaves((args, named)) if isinstance(each, torch.Tensor)]
        for each in tensors:
            self.uncounted_parameters[name] |= self._owners.get(storage_of(each), frozenset())

    def _follow(self, operator: Any, args: tuple[Any, ...], out: Any) -> None:
        """What is made of parameters alone is still a parameter; remember verdicts of all and any."""
        name = operator._overloadpacket.__name__
        inputs = [self._owners.get(storage_of(each)) for each in tree_leaves(args) if isinstance(each, torch.Tensor)]
        if inputs and None not in inputs:
            owners = frozenset().union(*(each for each in inputs if each))
            for each in tree_leaves(out):
                if isinstance(each, torch.Tensor):
                    self._owners[storage_of(each)] = owners
                    self._kept.append(each)
        if not isinstance(out, torch.Tensor):
            return
        if name in ("all", "any"):
            self._verdicts[storage_of(out)] = name == "all"
            self._kept.append(out)
        elif name == "sum" and args[0].dtype == torch.bool:
            self._mask_sums.add(storage_of(out))
            self._kept.append(out)
        elif name == "eq" and isinstance(args[0], torch.Tensor) and storage_of(args[0]) in self._mask_sums:
            self._verdicts[storage_of(out)] = True
            self._kept.append(out)

    def _read(self, tensor: torch.Tensor) -> Any:
        """Code asks for a value: `all()` is taken as true, `any()` as false; no other value can be given."""
        verdict = self._verdicts.get(storage_of(tensor))
        if verdict is not None:
            self.assumptions.add(f"a check of all or any values was taken as {'true' if verdict else 'false'}")
            return verdict
        raise DataDependentError("the code reads a tensor's value (.item(), a comparison, a size that depends on data)")

    @property
    def current(self) -> str:
        """The innermost module that runs."""
        return self._stack[-1]

    @contextmanager
    def attribute(self, module: nn.Module) -> Iterator[None]:
        """Attribute forward work to the innermost module that runs it."""
        handles = []
        for name, child in module.named_modules():
            handles += [
                child.register_forward_pre_hook(_enter(self._stack, name)),
                child.register_forward_hook(_leave(self._stack), always_call=True),
            ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @property
    def in_backward(self) -> bool:
        """Whether autograd is at work, whoever called it: `backward()`, `autograd.grad` or Lightning."""
        return int(torch._C._current_graph_task_id()) != -1


def _enter(stack: list[str], name: str) -> Callable[..., None]:
    def hook(module: nn.Module, args: Any) -> None:
        stack.append(name)

    return hook


def _leave(stack: list[str]) -> Callable[..., None]:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        stack.pop()

    return hook


def storage_of(tensor: torch.Tensor) -> int:
    """What tells a tensor's memory apart."""
    return int(tensor.untyped_storage()._cdata) if tensor.layout is torch.strided else id(tensor)


def is_free(operator: Any, args: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """Whether an operator without a formula multiplies no matrices."""
    if isinstance(operator, HigherOrderOperator):
        return False
    namespace, _, full = operator.name().partition("::")
    name = full.partition(".")[0].rstrip("_")
    if namespace in _FREE_NAMESPACES or f"{namespace}::{name}" in FREE:
        return True
    if namespace == "aten":
        if name.startswith("_foreach_"):
            return True
        if name in HEAVY:
            return False
        if name in FREE or torch.Tag.pointwise in operator.tags or operator.is_view or _is_pointwise_gradient(name):
            return True
    floats = [
        each for each in tree_leaves((args, named)) if isinstance(each, torch.Tensor) and each.is_floating_point()
    ]
    return len(floats) < (2 if namespace == "aten" else 1)


def is_heavy(name: str) -> bool:
    """Whether an operator, by its name as in "aten.linalg_qr", is known to do much more than elementwise work."""
    if name.rpartition(".")[2].rstrip("_") in HEAVY or name.replace(".", "::", 1) in RULES:
        return True
    return name.startswith(("torch_attn.", "higher_order."))


def _is_pointwise_gradient(name: str) -> bool:
    forward = getattr(torch.ops.aten, name.removesuffix("_backward"), None) if name.endswith("_backward") else None
    if forward is None:
        return False
    return any(torch.Tag.pointwise in getattr(forward, each).tags for each in forward.overloads())


class CausalAttention(TorchFunctionMode):
    """Notes how much of `scaled_dot_product_attention` its causal flag masks, which operators do not show.

    What activation checkpointing runs again during the backward pass is not seen here.

    Args:
        counter: Counts the products over all pairs at the same time.
    """

    def __init__(self, counter: FlopCounter) -> None:
        super().__init__()
        self.masked: Counter[Phase] = Counter()
        self.masked_by_module: Counter[str] = Counter()
        self.without_gradients = False
        self._counter = counter

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Look at calls of attention only."""
        named = kwargs or {}
        if function is not functional.scaled_dot_product_attention:
            return function(*args, **named)
        left_out = self._note(*args, **named)
        out = function(*args, **named)
        if left_out and out.requires_grad:
            # Only what gets a gradient has a backward.
            out.register_hook(lambda _: self.masked.update({"backward": left_out}))
        return out

    def _note(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: Any = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **named: Any,
    ) -> int:
        """Note a call, and return what its backward will leave out."""
        queries, keys = query.shape[-2], key.shape[-2]
        if not is_causal or queries != keys:
            return 0
        pairs = queries * keys
        left_out = pairs - attended_pairs(queries, causal=True)
        both, width = attention(query, key, value) // pairs, query.shape[-1]
        scores = both // (width + value.shape[-1]) * width
        output = both - scores
        needs_q, needs_k, needs_v = (each.requires_grad for each in (query, key, value))
        self.masked["forward"] += both * left_out
        self.masked_by_module[self._counter.current] += both * left_out
        self.without_gradients |= not torch.is_grad_enabled()
        return left_out * (scores * (needs_q + needs_k) + output * ((needs_q or needs_k) + needs_v))
