"""What an operator is, by its name and its arguments: counted by a formula, free, heavy, or of another package."""

from __future__ import annotations

from typing import Any

import torch
from torch._ops import HigherOrderOperator
from torch.utils._pytree import tree_leaves

from flopwatch.measure.formulas import FREE, HEAVY, formula_of
from flopwatch.measure.packages import RULES

_FREE_NAMESPACES = frozenset(
    {"prim", "prims", "profiler", "c10d", "_c10d_functional", "c10d_functional", "inductor", "fsdp"}
)


def is_composite(operator: Any) -> bool:
    """Whether inference mode has left an operator whole that is taken apart into others everywhere else."""
    if formula_of(operator) is not None:
        return False
    return bool(operator.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd))


def is_another_packages(operator: Any) -> bool:
    """Return whether an operator does not come with torch."""
    return operator.namespace != "aten" and operator.namespace not in _FREE_NAMESPACES


def is_free(operator: Any, args: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """Whether an operator without a formula multiplies no matrices."""
    if isinstance(operator, HigherOrderOperator):
        return False
    name = operator.name().partition("::")[2].partition(".")[0].rstrip("_")
    if operator.namespace in _FREE_NAMESPACES or f"{operator.namespace}::{name}" in FREE:
        return True
    if operator.namespace == "aten":
        if name.startswith("_foreach_"):
            return True
        if name in HEAVY:
            return False
        if name in FREE or torch.Tag.pointwise in operator.tags or operator.is_view or _is_pointwise_gradient(name):
            return True
    floats = [
        each for each in tree_leaves((args, named)) if isinstance(each, torch.Tensor) and each.is_floating_point()
    ]
    return len(floats) < (2 if operator.namespace == "aten" else 1)


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
