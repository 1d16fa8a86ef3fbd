"""What an operator is, by its name and its arguments: counted by a formula, free, heavy, or of another package."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from flopwatch.measure.formulas import FORMULAS, FREE, HEAVY, Formula

_FREE_NAMESPACES = frozenset(
    {"prim", "prims", "profiler", "c10d", "_c10d_functional", "c10d_functional", "inductor", "fsdp"}
)


def formula_of(operator: Any) -> Formula | None:
    """Find what tells the FLOPs of an operator, or nothing."""
    return FORMULAS.get(operator._overloadpacket) or FORMULAS.get(operator)


def is_composite(operator: Any) -> bool:
    """Whether inference mode has left an operator whole that is taken apart into others everywhere else."""
    if formula_of(operator) is not None:
        return False
    return bool(operator.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd))


def is_another_packages(operator: Any) -> bool:
    """Whether it does not come with torch."""
    return operator.namespace != "aten" and operator.namespace not in _FREE_NAMESPACES


def is_free(operator: Any, args: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """Whether an operator without a formula multiplies no matrices."""
    if operator.namespace in _FREE_NAMESPACES:
        return True
    name = operator.name().partition("::")[2].partition(".")[0].rstrip("_")
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
    return name.rpartition(".")[2].rstrip("_") in HEAVY or name.startswith("torch_attn.")


def _is_pointwise_gradient(name: str) -> bool:
    forward = getattr(torch.ops.aten, name.removesuffix("_backward"), None) if name.endswith("_backward") else None
    if forward is None:
        return False
    return any(torch.Tag.pointwise in getattr(forward, each).tags for each in forward.overloads())
