"""FLOPs of PyTorch's operators, by their shapes: what the counter knows, and what it knows to be free.

A multiply-add is two FLOPs. Where torch's own `FlopCounterMode` (2.13) counts something else, the reason is given.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from math import prod
from typing import Any

import torch

Formula = Callable[..., int]
aten = torch.ops.aten
FORMULAS: dict[Any, Formula] = {}


def register(operator: Any, formula: Formula) -> None:
    """Tell the counter what an operator costs.

    Args:
        operator: The operator, such as `torch.ops.my_library.fused_attention` or an overload of it.
        formula: Called with the operator's own arguments and `out=`, its result; returns FLOPs as an int. Of the
            tensors only shapes may be used.

    Raises:
        ValueError: If it has a formula already.
    """
    if operator in FORMULAS:
        raise ValueError(f"expected an operator without a formula, {operator} has one")
    FORMULAS[operator] = formula


def _for(*names: str) -> Callable[[Formula], Formula]:
    """Register a formula for operators of PyTorch's own, as far as this version has them."""

    def keep(formula: Formula) -> Formula:
        for name in names:
            if hasattr(aten, name):
                register(getattr(aten, name), formula)
        return formula

    return keep


@_for("mm", "_int_mm", "_scaled_mm", "_scaled_mm_v2")
def mm(a: Any, b: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """(m, k) x (k, n): 2mkn. torch counts `_int_mm` and `_scaled_mm_v2` as zero."""
    return 2 * int(a.shape[0] * a.shape[1] * b.shape[1])


@_for("addmm")
def addmm(bias: Any, a: Any, b: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """As `mm`; the bias is elementwise."""
    return mm(a, b)


@_for("bmm")
def bmm(a: Any, b: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """(b, m, k) x (b, k, n): 2bmkn."""
    return int(2 * prod(a.shape) * b.shape[2])


@_for("baddbmm", "addbmm")
def baddbmm(bias: Any, a: Any, b: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """As `bmm`; torch counts `addbmm` as zero."""
    return bmm(a, b)


@_for("mv", "dot", "vdot")
def mv(a: Any, b: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """A multiply-add for every entry of the matrix or vector; torch counts zero."""
    return int(2 * prod(a.shape))


@_for("addmv")
def addmv(bias: Any, a: Any, b: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """As `mv`."""
    return mv(a, b)


@_for("_grouped_mm", "_scaled_grouped_mm", "_scaled_grouped_mm_v2")
def grouped_mm(a: Any, b: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """Every row of one side meets one matrix of the other: experts' products, which torch counts as zero."""
    first, second = a.shape, b.shape
    if len(first) == 2:
        return 2 * int(first[0] * first[1] * second[-1])
    if len(second) == 2:
        return 2 * int(first[1] * first[2] * second[1])
    return int(2 * prod(first) * second[2])


@_for("convolution", "_convolution", "cudnn_convolution", "mkldnn_convolution", "_slow_conv2d_forward")
def convolution(x: Any, weight: Any, bias: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """Every output position (input position, if transposed) meets a kernel of the channels of its group."""
    transposed = bool(rest[3]) if len(rest) > 3 else False
    return _conv(x.shape, weight.shape, out.shape, transposed)


def _conv(x: Any, weight: Any, out: Any, transposed: bool) -> int:
    positions = (x if transposed else out)[2:]
    return int(2 * x[0] * prod(positions) * prod(weight))


@_for("convolution_backward")
def convolution_backward(
    gradient: Any,
    x: Any,
    weight: Any,
    bias_sizes: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
    mask: Any,
    out: Any = None,
) -> int:
    """As much as the forward for the input's gradient and for the weight's; torch counts the latter `groups` times."""
    one = _conv(x.shape, weight.shape, gradient.shape, transposed)
    return one * (int(mask[0]) + int(mask[1]))


def attention(query: Any, key: Any, value: Any) -> int:
    """Both products over all pairs: (.., T, e) x (.., S, e) and (.., T, S) x (.., S, v)."""
    *batch, queries, width = query.shape
    return int(2 * prod(batch) * queries * key.shape[-2] * (width + value.shape[-1]))


_FUSED = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
    "_scaled_dot_product_flash_attention_for_cpu",
)


@_for(*_FUSED)
def fused_attention(query: Any, key: Any, value: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """Over all pairs, masked or not; torch counts the CPU's kernel as zero."""
    return attention(query, key, value)


@_for(*(f"{name}_backward" for name in _FUSED))
def fused_attention_backward(
    gradient: Any, query: Any, key: Any, value: Any, *rest: Any, out: Any = None, **options: Any
) -> int:
    """Twice the forward: four products. torch counts five, since the kernels recompute the scores."""
    return 2 * attention(query, key, value)


@_for("linalg_solve_triangular")
def solve_triangular(a: Any, b: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """Half of the multiply-adds of a product of the same size; torch counts zero."""
    return int(prod(out.shape) * a.shape[-1])


def _names(file: str) -> frozenset[str]:
    return frozenset(resources.files("flopwatch").joinpath("data").joinpath(file).read_text(encoding="utf-8").split())


# Operators that multiply no matrices: reductions, normalization, pooling, losses, moving data. Anything that is tagged
# `pointwise` or is a view is free without being listed. Of heavy ones a single input is enough to be work that the
# formulas above would miss: decompositions, Fourier transforms, fused recurrent layers.
FREE = _names("free_operators.txt")
HEAVY = _names("heavy_operators.txt")
