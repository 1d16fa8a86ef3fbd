"""What an operator of a trace costs, from the shapes that the profiler recorded: FLOPs, bytes at least, its precision.

Positions of arguments are those of PyTorch's schemas (2.13); older ones only lack arguments at the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from flopwatch.model import products
from flopwatch.trace.reader import Call

MATMUL, ATTENTION, CONVOLUTION = "matmul", "attention", "convolution"
_BYTES = {
    **dict.fromkeys(("float", "int"), 4),
    **dict.fromkeys(("double", "long int", "c10::complex<float>"), 8),
    **dict.fromkeys(("c10::BFloat16", "c10::Half", "short int"), 2),
    **dict.fromkeys(("signed char", "unsigned char", "bool"), 1),
}
_PRECISIONS = {"c10::BFloat16": "bf16", "c10::Half": "fp16", "float": "fp32", "double": "fp64", "signed char": "int8"}
_TRUE = ("True", "1")
_FROM_THE_START, _FROM_THE_END = "1", "2"  # kinds of causal masks of the memory-efficient kernels


class NoShapesError(Exception):
    """A call whose recorded arguments do not tell its FLOPs."""


@dataclass(frozen=True)
class Cost:
    """What one call of an operator costs.

    Attributes:
        flops: Its FLOPs.
        least_bytes: Bytes of what it reads and writes, each once; `None` where a type is not known.
        dtype: Precision of its operands: bf16, fp16, fp32 (the kernel tells TF32), fp64, fp8, int8.
        attention: "causal" or "full" for attention, else nothing.
    """

    flops: int
    least_bytes: int | None
    dtype: str | None
    attention: str = ""


@dataclass(frozen=True)
class _Work:
    """FLOPs of a call, and the sizes of what it reads and writes."""

    flops: int
    tensors: tuple[tuple[int, ...], ...]
    attention: str = ""


Formula = Callable[[Call], _Work]


def part_of(operator: str) -> str | None:
    """The part that an operator's time belongs to, if it multiplies matrices: by its name, such as "aten::mm"."""
    known = _known(operator)
    return None if known is None else known[0]


def cost_of(operator: str, call: Call) -> Cost | None:
    """What a call costs, or `None` if it multiplies no matrices or its arguments were not recorded."""
    known = _known(operator)
    if known is None:
        return None
    _, operand, formula = known
    try:
        work = formula(call)
    except (NoShapesError, ArithmeticError, IndexError, TypeError, ValueError):
        return None
    type_ = call.types[operand] if operand < len(call.types) else ""
    size = 1 if "Float8" in type_ else _BYTES.get(type_)
    least = None if size is None else size * sum(prod(each) for each in work.tensors)
    return Cost(work.flops, least, "fp8" if "Float8" in type_ else _PRECISIONS.get(type_), work.attention)


def _sizes(call: Call, place: int, dimensions: int = 1) -> tuple[int, ...]:
    """Sizes of a tensor that has at least so many dimensions."""
    sizes = call.shapes[place]
    if len(sizes) < dimensions or not all(isinstance(each, int) and each >= 0 for each in sizes):
        raise NoShapesError
    return tuple(sizes)


def _numbers(call: Call, place: int, count: int) -> tuple[int, ...]:
    """Whole numbers of a list argument, one for each dimension; a single one stands for all."""
    text = call.values[place]
    if not re.fullmatch(r"\[?[-\d, ]+\]?", text):
        raise NoShapesError
    found = tuple(int(each) for each in text.strip("[]").split(","))
    return found * count if len(found) == 1 else found


def _truth(call: Call, place: int) -> bool:
    """A truth value, by name or as 0 or 1; one that was not recorded counts as false."""
    return place < len(call.values) and call.values[place] in _TRUE


def _matrix_product(a: int, b: int) -> Formula:
    def formula(call: Call) -> _Work:
        first, second = _sizes(call, a, 2), _sizes(call, b, 2)
        if first[-1] != second[-2]:
            raise NoShapesError
        return _Work(products.product(first, second[-1]), (first, second, (*first[:-1], second[-1])))

    return formula


def _linear(call: Call) -> _Work:
    x, weight = _sizes(call, 0), _sizes(call, 1, 2)
    return _Work(products.product(x, weight[0]), (x, weight, (*x[:-1], weight[0])))


def _matmul(call: Call) -> _Work:
    """Batches are broadcast; a vector is a matrix of one row, or of one column."""
    first, second = _sizes(call, 0), _sizes(call, 1)
    rows, columns = first if len(first) > 1 else (1, *first), second if len(second) > 1 else (*second, 1)
    batch = _broadcast(rows[:-2], columns[:-2])
    out = (*batch, rows[-2], columns[-1])
    return _Work(products.product((*batch, *rows[-2:]), columns[-1]), (first, second, out))


def _broadcast(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    length = max(len(first), len(second))
    pairs = zip((1,) * (length - len(first)) + first, (1,) * (length - len(second)) + second, strict=True)
    return tuple(b if a == 1 else a for a, b in pairs)


def _grouped(call: Call) -> _Work:
    first, second = _sizes(call, 0, 2), _sizes(call, 1, 2)
    return _Work(products.grouped_product(first, second), (first, second))


def _vector_product(a: int) -> Formula:
    def formula(call: Call) -> _Work:
        sizes = _sizes(call, a)
        return _Work(products.product(sizes, 1), (sizes,))

    return formula


def _convolution(stride: int, padding: int, dilation: int | None, transposed: int | bool = False) -> Formula:
    """A convolution forward; `transposed` is the place of a truth value, or one itself."""

    def formula(call: Call) -> _Work:
        x, weight = _sizes(call, 0, 3), _sizes(call, 1, 3)
        turned = transposed if isinstance(transposed, bool) else _truth(call, transposed)
        if turned:
            return _Work(products.convolution(x, weight, x, transposed=True), (x, weight))
        count = len(x) - 2
        steps, pads = _numbers(call, stride, count), _numbers(call, padding, count)
        spread = _numbers(call, dilation, count) if dilation is not None else (1,) * count
        out = (x[0], weight[0], *_positions(x[2:], weight[2:], steps, pads, spread))
        return _Work(products.convolution(x, weight, out, transposed=False), (x, weight, out))

    return formula


def _positions(x: Any, kernel: Any, steps: Any, pads: Any, spread: Any) -> list[int]:
    """Output positions by dimension: (224 + 2 * 3 - (7 - 1) - 1) // 2 + 1 = 112."""
    each = zip(x, kernel, steps, pads, spread, strict=True)
    return [(size + 2 * pad - wide * (width - 1) - 1) // step + 1 for size, width, step, pad, wide in each]


def _convolution_backward(transposed: int | None, mask: int) -> Formula:
    """As much as the forward for each of the two gradients; both, if it was not recorded which were asked for."""

    def formula(call: Call) -> _Work:
        gradient, x, weight = (_sizes(call, place, 3) for place in range(3))
        turned = transposed is not None and _truth(call, transposed)
        one = products.convolution(x, weight, gradient, turned)
        text = call.values[mask] if mask < len(call.values) else ""
        asked = re.findall(r"True|False|[01]", text)[:2]
        both = sum(each in _TRUE for each in asked) if len(asked) == 2 else 2
        return _Work(one * both, (gradient, *(x, weight) * both))

    return formula


def _attention(
    query: int, causal: int, *, backward: bool = False, heads_last: bool = False, has_kinds: bool = False
) -> Formula:
    """Fused attention: query, key and value follow each other; (.., heads, tokens, width), or tokens before heads.

    PyTorch's operators align the first query with the first key. FlashAttention's own, tokens before heads, align the
    last with the last: 1 query of 5 keys meets all 5. The memory-efficient ones have kinds of masks for both.
    """

    def formula(call: Call) -> _Work:
        q, k, v = (_sizes(call, place, 4) for place in (query, query + 1, query + 2))
        if heads_last:
            q, k, v = ((*each[:-3], each[-2], each[-3], each[-1]) for each in (q, k, v))
        flops = products.attention(q, k, v) * (2 if backward else 1)
        mask = call.values[causal] if causal < len(call.values) else ""
        masked = mask in (_FROM_THE_START, _FROM_THE_END) if has_kinds else mask in _TRUE
        if masked:
            from_the_end = mask == _FROM_THE_END if has_kinds else heads_last
            flops = flops // (q[-2] * k[-2]) * _pairs(q[-2], k[-2], from_the_end=from_the_end)
        out = (*q[:-1], v[-1])
        tensors = (q, k, v, out, q, k, v, out) if backward else (q, k, v, out)
        return _Work(flops, tensors, "causal" if masked else "full")

    return formula


def _pairs(queries: int, keys: int, *, from_the_end: bool) -> int:
    """Pairs that causal masking keeps, aligned at the first query and key, or at the last."""
    if not from_the_end:
        return products.causal_pairs(queries, keys)
    both = min(queries, keys)
    return products.causal_pairs(both, both) + queries * max(keys - queries, 0)


def _template(call: Call) -> _Work:
    """A product that a compiler wrote: two operands and, at the end, their result, if it is clear which."""
    tensors = [_sizes(call, place) for place, sizes in enumerate(call.shapes) if sizes]
    out = tensors[-1]
    found = {
        (a, b)
        for place, a in enumerate(tensors[:-1])
        for b in tensors[place + 1 : -1]
        if len(a) == len(b) == len(out) > 1 and a[-1] == b[-2] and (*a[:-1], b[-1]) == out and a[:-2] == b[:-2]
    }
    if len(found) != 1:
        raise NoShapesError
    a, b = found.pop()
    return _Work(products.product(a, b[-1]), (a, b, out))


def _all(names: str, part: str, operand: int, formula: Formula) -> dict[str, tuple[str, int, Formula]]:
    return {f"aten::{name}" if "::" not in name else name: (part, operand, formula) for name in names.split()}


# Name: the part, whose type is the precision, the formula.
_TABLE: dict[str, tuple[str, int, Formula]] = {
    **_all("mm _int_mm _scaled_mm bmm", MATMUL, 0, _matrix_product(0, 1)),
    **_all("addmm _addmm_activation baddbmm addbmm", MATMUL, 1, _matrix_product(1, 2)),
    **_all("linear mkldnn_linear", MATMUL, 0, _linear),
    **_all("matmul", MATMUL, 0, _matmul),
    **_all("_grouped_mm _scaled_grouped_mm", MATMUL, 0, _grouped),
    **_all("mv dot vdot", MATMUL, 0, _vector_product(0)),
    **_all("addmv", MATMUL, 1, _vector_product(1)),
    **_all("convolution _convolution convolution_overrideable", CONVOLUTION, 0, _convolution(3, 4, 5, 6)),
    **_all("conv1d conv2d conv3d", CONVOLUTION, 0, _convolution(3, 4, 5)),
    **_all("cudnn_convolution", CONVOLUTION, 0, _convolution(3, 2, 4)),
    **_all("cudnn_convolution_relu", CONVOLUTION, 0, _convolution(3, 4, 5)),
    **_all("cudnn_convolution_add_relu", CONVOLUTION, 0, _convolution(5, 6, 7)),
    **_all("miopen_convolution miopen_depthwise_convolution", CONVOLUTION, 0, _convolution(4, 3, 5)),
    **_all("mkldnn_convolution", CONVOLUTION, 0, _convolution(4, 3, 5)),
    **_all("cudnn_convolution_transpose miopen_convolution_transpose", CONVOLUTION, 0, _convolution(0, 0, None, True)),
    **_all("_slow_conv2d_forward slow_conv3d_forward", CONVOLUTION, 0, _convolution(4, 5, None)),
    **_all("_conv_depthwise2d conv_depthwise3d slow_conv_dilated2d", CONVOLUTION, 0, _convolution(4, 5, 6)),
    **_all("convolution_backward", CONVOLUTION, 1, _convolution_backward(7, 10)),
    **_all("_slow_conv2d_backward", CONVOLUTION, 1, _convolution_backward(None, 6)),
    **_all("_scaled_dot_product_flash_attention", ATTENTION, 0, _attention(0, 4)),
    **_all("_scaled_dot_product_flash_attention_for_cpu", ATTENTION, 0, _attention(0, 4)),
    **_all("_scaled_dot_product_efficient_attention", ATTENTION, 0, _attention(0, 6)),
    **_all("_scaled_dot_product_cudnn_attention", ATTENTION, 0, _attention(0, 6)),
    **_all("_scaled_dot_product_fused_attention_overrideable", ATTENTION, 0, _attention(0, 5)),
    **_all("_scaled_dot_product_flash_attention_backward", ATTENTION, 1, _attention(1, 11, backward=True)),
    **_all("_scaled_dot_product_flash_attention_for_cpu_backward", ATTENTION, 1, _attention(1, 7, backward=True)),
    **_all("_scaled_dot_product_efficient_attention_backward", ATTENTION, 1, _attention(1, 11, backward=True)),
    **_all("_scaled_dot_product_fused_attention_overrideable_backward", ATTENTION, 1, _attention(1, 13, backward=True)),
    **_all("_cudnn_attention_backward", ATTENTION, 1, _attention(1, 14, backward=True)),
    **_all("_scaled_dot_product_cudnn_attention_backward", ATTENTION, 1, _attention(1, 14, backward=True)),
    **_all("_flash_attention_forward", ATTENTION, 0, _attention(0, 8, heads_last=True)),
    **_all("_flash_attention_backward", ATTENTION, 1, _attention(1, 11, backward=True, heads_last=True)),
    **_all("_cudnn_attention_forward", ATTENTION, 0, _attention(0, 10)),
    **_all("_efficient_attention_forward", ATTENTION, 0, _attention(0, 9, heads_last=True, has_kinds=True)),
    **_all(
        "_efficient_attention_backward",
        *(ATTENTION, 1, _attention(1, 14, backward=True, heads_last=True, has_kinds=True)),
    ),
    **_all("flash_attn::_flash_attn_forward", ATTENTION, 0, _attention(0, 5, heads_last=True)),
    **_all("flash_attn::_flash_attn_backward", ATTENTION, 1, _attention(1, 11, backward=True, heads_last=True)),
}
_TEMPLATE = re.compile(r"triton_tem_fused_(\w+_)?(mm|addmm|bmm|baddbmm)(_|$)")


def _known(operator: str) -> tuple[str, int, Formula] | None:
    return (MATMUL, 0, _template) if _TEMPLATE.match(operator) else _TABLE.get(operator)
