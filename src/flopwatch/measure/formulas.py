"""FLOPs of PyTorch's operators, by their shapes: what the counter knows, and what it knows to be free.

A multiply-add is two FLOPs. Where torch's own `FlopCounterMode` (2.13) counts something else, the reason is given.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from math import log2, prod
from typing import Any

import torch

from flopwatch.measure import flex, packages
from flopwatch.model import products

Formula = Callable[..., int]
aten = torch.ops.aten
FORMULAS: dict[Any, Formula] = {}
_SHIPPED: set[Any] = set()


def register(operator: Any, formula: Formula) -> None:
    """Register the FLOPs of an operator.

    Args:
        operator: The operator, such as `torch.ops.my_library.fused_attention` or an overload of it.
        formula: Called with the operator's own arguments and `out=`, its result; returns FLOPs as an int. Of the
            tensors only shapes may be used.

    A formula of flopwatch's own is replaced by it.

    Raises:
        ValueError: If it was given a formula before.
    """
    if operator in FORMULAS and operator not in _SHIPPED:
        raise ValueError(f"expected an operator without a formula, but {operator} has one")
    _SHIPPED.discard(operator)
    FORMULAS[operator] = formula


def formula_of(operator: Any) -> Callable[..., int | None] | None:
    """Find what an operator costs: by the user's formula, by one for PyTorch's own, by its name in another package.

    A formula gives `None` where what it takes is not to be had without waiting.
    """
    own = FORMULAS.get(_packet(operator)) or FORMULAS.get(operator)
    if own is not None:
        return own
    return flex.formula_of(operator) if flex.is_flex(operator) else packages.formula_of(operator)


def _packet(operator: Any) -> Any:
    return getattr(operator, "_overloadpacket", operator)


def _for(*names: str) -> Callable[[Formula], Formula]:
    """Register a formula for operators of PyTorch's own, as far as this version has them."""

    def keep(formula: Formula) -> Formula:
        for name in names:
            if hasattr(aten, name):
                register(getattr(aten, name), formula)
                _SHIPPED.add(getattr(aten, name))
        return formula

    return keep


def _entries(matrix: Any) -> int:
    """Entries that take part in a product: of a sparse matrix those that are stored."""
    if matrix.layout is torch.strided:
        return int(prod(matrix.shape))
    return int(matrix._nnz() if matrix.layout is torch.sparse_coo else matrix.values().numel())


def _multiply_add(a: Any, b: Any) -> int:
    """FLOPs of a multiply-add: two; of complex numbers four products and four sums."""
    return 8 if getattr(a, "dtype", None) is not None and a.is_complex() and b.is_complex() else 2


@_for("mm", "_int_mm", "_scaled_mm", "_scaled_mm_v2", "_sparse_mm")
def mm(a: Any, b: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """(m, k) x (k, n): 2mkn, of a sparse side what is stored. torch counts `_int_mm` and `_scaled_mm_v2` as zero."""
    if b.layout is not torch.strided and a.layout is torch.strided:
        return _multiply_add(a, b) * _entries(b) * int(a.shape[0])
    return _multiply_add(a, b) * _entries(a) * int(b.shape[1])


@_for("addmm", "_addmm_activation", "_sparse_addmm")
def addmm(bias: Any, a: Any, b: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """Count as `mm`; the bias is elementwise."""
    return mm(a, b)


@_for("linear", "mkldnn_linear")
def linear(x: Any, weight: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """(.., k) x (n, k): inference mode and nested tensors do not take it apart."""
    entries = x.values().numel() if x.layout is torch.jagged else prod(x.shape)
    return int(_multiply_add(x, weight) * entries * weight.shape[0])


@_for("linear_backward")
def linear_backward(x: Any, gradient: Any, weight: Any, mask: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """As much as the forward for the input's gradient and for the weight's."""
    return linear(x, weight) * (int(mask[0]) + int(mask[1]))


@_for("matmul")
def matmul(a: Any, b: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """As the products that it is made of outside of inference mode."""
    return int(_multiply_add(a, b) * prod(out.shape) * a.shape[-1])


@_for("bmm")
def bmm(a: Any, b: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """(b, m, k) x (b, k, n): 2bmkn."""
    return _multiply_add(a, b) * _entries(a) * int(b.shape[2])


@_for("baddbmm", "addbmm")
def baddbmm(bias: Any, a: Any, b: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """Count as `bmm`; torch counts `addbmm` as zero."""
    return bmm(a, b)


@_for("mv", "dot", "vdot")
def mv(a: Any, b: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """A multiply-add for every entry of the matrix or vector; torch counts zero."""
    return _multiply_add(a, b) * _entries(a)


@_for("addmv")
def addmv(bias: Any, a: Any, b: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """Count as `mv`."""
    return mv(a, b)


@_for("mkldnn_rnn_layer")
def rnn_layer(x: Any, into: Any, again: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """A fused recurrent layer: at each step of each sequence both weights, of the input and of the state."""
    return int(2 * x.shape[0] * x.shape[1] * (prod(into.shape) + prod(again.shape)))


@_for("mkldnn_rnn_layer_backward")
def rnn_layer_backward(x: Any, into: Any, again: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """Count the forward's FLOPs once for the gradients of inputs and states, and once for those of the weights."""
    return 2 * rnn_layer(x, into, again)


@_for("_cudnn_rnn", "miopen_rnn")
def fused_rnn(x: Any, weights: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """All layers and directions: at each step of each sequence every matrix among the weights; packed ones are flat."""
    sequences_and_steps = prod(x.shape[:-1])
    return int(2 * sequences_and_steps * sum(prod(each.shape) for each in weights if len(each.shape) == 2))


@_for("_cudnn_rnn_backward", "miopen_rnn_backward")
def fused_rnn_backward(x: Any, weights: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """Count as `rnn_layer_backward`."""
    return 2 * fused_rnn(x, weights)


@_for("_fft_c2c", "_fft_r2c", "_fft_c2r")
def fourier_transform(x: Any, dims: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """The usual 5 n log2 n of a complex transform, half of it where one side is real."""
    length = prod((out if not out.is_complex() else x).shape[dim] for dim in dims)
    both = x.is_complex() and out.is_complex()
    transforms = prod((out if not out.is_complex() else x).shape) // max(length, 1)
    flops: int = round((5.0 if both else 2.5) * transforms * length * log2(max(length, 1)))
    return flops


@_for("_grouped_mm", "_scaled_grouped_mm", "_scaled_grouped_mm_v2")
def grouped_mm(a: Any, b: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """Every row of one side meets one matrix of the other: experts' products, which torch counts as zero."""
    return products.grouped_product(a.shape, b.shape)


@_for("convolution", "_convolution", "cudnn_convolution", "mkldnn_convolution", "_slow_conv2d_forward")
def convolution(x: Any, weight: Any, bias: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """Every output position (input position, if transposed) meets a kernel of the channels of its group."""
    transposed = bool(rest[3]) if len(rest) > 3 else False
    return products.convolution(x.shape, weight.shape, out.shape, transposed)


@_for("conv1d", "conv2d", "conv3d")
def whole_convolution(x: Any, weight: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """As `convolution`: inference mode does not take it apart."""
    return products.convolution(x.shape, weight.shape, out.shape, transposed=False)


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
    one = products.convolution(x.shape, weight.shape, gradient.shape, transposed)
    return one * (int(mask[0]) + int(mask[1]))


def attention(query: Any, key: Any, value: Any) -> int:
    """Both products over all pairs."""
    return products.attention(query.shape, key.shape, value.shape)


_FUSED = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
    "_scaled_dot_product_flash_attention_for_cpu",
)


@_for("scaled_dot_product_attention", *_FUSED)
def fused_attention(query: Any, key: Any, value: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """Over all pairs, masked or not; torch counts the CPU's kernel as zero."""
    return attention(query, key, value)


@_for(*(f"{name}_backward" for name in _FUSED))
def fused_attention_backward(
    gradient: Any, query: Any, key: Any, value: Any, *rest: Any, out: Any = None, **options: Any
) -> int:
    """Twice the forward: four products. torch counts five, since the kernels recompute the scores."""
    return 2 * attention(query, key, value)


def gradients_left_out(operator: Any, args: Any, named: Any, needs: tuple[bool, bool, bool]) -> int:
    """FLOPs of a fused attention's backward for gradients that nobody asked for, though the kernel computes them.

    Args:
        operator: The backward's operator.
        args: Its arguments.
        named: Its named arguments.
        needs: Whether query, key and value have gradients.
    """
    given = {**dict(zip((each.name for each in operator._schema.arguments), args, strict=False)), **named}
    query, key, value = given["query"], given["key"], given["value"]
    both = attention(query, key, value)
    scores = both // (query.shape[-1] + value.shape[-1]) * query.shape[-1]
    of_query, of_key, of_value = needs
    left_out: int = scores * (2 - of_query - of_key) + (both - scores) * (2 - (of_query or of_key) - of_value)
    return left_out


def _is_the_users(operator: Any) -> bool:
    return any(each in FORMULAS and each not in _SHIPPED for each in (operator, _packet(operator)))


def masked_flops(operator: Any, args: Any, named: Any, flops: int) -> int:
    """Return the FLOPs over all pairs that an attention skips because it is causal or has a window."""
    if flex.is_flex(operator):
        return flex.masked(operator, args, named, flops)
    if packages.rule_of(operator) is not None:
        return 0 if _is_the_users(operator) else packages.masked(operator, args, named, flops)
    names = [each.name for each in operator._schema.arguments]
    if "is_causal" not in names or "query" not in names:
        return 0
    given = {**dict(zip(names, args, strict=False)), **named}
    if not given.get("is_causal"):
        return 0
    queries, keys = int(given["query"].shape[-2]), int(given["key"].shape[-2])
    return flops // (queries * keys) * (queries * keys - products.causal_pairs(queries, keys))


@_for("_euclidean_dist", "_cdist_forward")
def distances(a: Any, b: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """(.., p, k) and (.., r, k): as a product of the two, which is how PyTorch computes them where they are many."""
    return int(2 * prod(out.shape) * a.shape[-1])


@_for("_cdist_backward")
def distances_backward(gradient: Any, a: Any, b: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """Count the gradient of one side: the forward's FLOPs again."""
    return int(2 * prod(gradient.shape) * a.shape[-1])


@_for("_trilinear")
def trilinear(
    a: Any, b: Any, c: Any, of_a: Any, of_b: Any, of_c: Any, *rest: Any, out: Any = None, **options: Any
) -> int:
    """A multiply-add for every entry of the product of all three, as `bilinear` sums it."""
    shapes = [_expanded(list(each.shape), places) for each, places in ((a, of_a), (b, of_b), (c, of_c))]
    return int(2 * prod(max(sizes) for sizes in zip(*shapes, strict=True)))


def _expanded(sizes: list[int], places: Any) -> list[int]:
    for place in sorted(places):
        sizes.insert(place, 1)
    return sizes


@_for("linalg_solve_triangular")
def solve_triangular(a: Any, b: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """Half of the multiply-adds of a product of the same size; torch counts zero."""
    return int(prod(out.shape) * a.shape[-1])


def _names(file: str) -> frozenset[str]:
    return frozenset(resources.files("flopwatch").joinpath("data").joinpath(file).read_text(encoding="utf-8").split())


# Operators that multiply no matrices: reductions, normalization, pooling, losses, moving data. Anything that is tagged
# `pointwise` or is a view is free without being listed. Of heavy ones a single input is enough to be work that the
# formulas above would miss: decompositions, Fourier transforms, fused recurrent layers.
FREE = _names("free_operators.txt") | _names("free_package_operators.txt")
HEAVY = _names("heavy_operators.txt")
