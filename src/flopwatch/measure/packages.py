"""FLOPs of operators that other packages register with torch, by qualified name; none of the packages is imported.

Arguments are told by their names in the operator's schema, so that a version that adds one still counts, and one that
renames what a rule reads is not counted, which is said. Names and layouts were read in these sources:

- torch 2.13.0: `native_functions.yaml`, `nn/attention/varlen.py`, `nn/modules/linear_cross_entropy.py`
- flash-attn 2.8.3: `flash_attn/flash_attn_interface.py`; main of 2026-08 (version 3): `hopper/flash_attn_interface.py`,
  `hopper/flash_api.cpp`
- xformers 0.0.33.post2 and 0.0.35: `ops/fmha/flash.py`, `ops/fmha/flash3.py`, `ops/sp24.py`, `ops/tiled_matmul.py`,
  `csrc/sparse24/sparse24.cpp`
- mslk 1.3.0rc1: `mslk/attention/fmha`, `csrc/gemm/gemm_ops.cpp`, `csrc/attention/cuda/cutlass_blackwell_fmha`
- fbgemm-gpu, main of 2026-08: `gen_ai/src/quantize/quantize_defs.cpp`, `gen_ai/src/attention/cuda`,
  `src/jagged_tensor_ops/jagged_tensor_ops_cpu.cpp`, `experimental/gemm/triton_gemm/fp8_gemm.py`
- bitsandbytes 0.50.1: `bitsandbytes/_ops.py`
- torchao, main of 2026-08: `ops.py`, `prototype/quantized_training/int8_mm.py`,
  `prototype/blockwise_fp8_training/kernels.py`, `quantization/quantize_/workflows/float8/kernels.py`
- transformers 5.23.0: `integrations/moe.py`
- torchvision, main: `csrc/ops/deform_conv2d.cpp`
- pyg-lib 0.8.0: `csrc/ops/matmul.cpp`
- causal-conv1d 1.6.1.post4: `causal_conv1d/cpp_functions.py`
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from math import prod
from typing import Any

import torch

Given = dict[str, Any]
Formula = Callable[..., "int | None"]
Rule = Callable[[Given, Any], "int | None"]
RULES: dict[str, Rule] = {}

# By what one package or another calls the same argument.
_QUERY, _KEY, _VALUE = ("q", "query"), ("k", "key"), ("v", "value")
_LENGTHS = (("cu_seqlens_q", "cum_seq_q", "cu_seq_q"), ("cu_seqlens_k", "cum_seq_k", "cu_seq_k"))
_LONGEST = (("max_seqlen_q", "max_q", "max_seq_len_q"), ("max_seqlen_k", "max_k", "max_seq_len_k"))
_CAUSAL = ("causal", "is_causal")
_LEFT, _RIGHT = ("window_size_left", "window_left"), ("window_size_right", "window_right")
# Each of them changes which keys are met: caches, pages, chunks, and lengths that a tensor says.
_ELSEWHERE = (
    "k_new", "v_new", "qv", "q_v", "seqused_q", "seqused_k", "sequed_q", "sequed_k", "seqlen_kv", "seqlen_k",
    "leftpad_k", "block_table", "block_tables", "page_table", "kv_batch_idx", "attention_chunk",
)  # fmt: skip
_FROM_TOP_LEFT = 1  # `custom_mask_type` of PyTorch's memory-efficient kernels; 2 is aligned to the last key


def given(operator: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Given:
    """Tell an operator's arguments by name, defaults included."""
    arguments = operator._schema.arguments
    defaults = {each.name: each.default_value for each in arguments if each.has_default_value()}
    return {**defaults, **dict(zip((each.name for each in arguments), args, strict=False)), **named}


def rule_of(operator: Any) -> Rule | None:
    """Find the rule of an operator that a package has registered, whichever overload it is."""
    return RULES.get(operator.name().partition(".")[0])


def formula_of(operator: Any) -> Formula | None:
    """Return the formula of an operator registered by a package, callable like those of PyTorch's operators."""
    rule = rule_of(operator)
    if rule is None:
        return None

    def formula(*args: Any, out: Any = None, **named: Any) -> int | None:
        try:
            return rule(given(operator, args, named), out)
        except (AttributeError, KeyError):  # another version of the package, with other arguments
            return None

    return formula


def _for(*names: str) -> Callable[[Rule], Rule]:
    def keep(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, rule))
        return rule

    return keep


def _first(arguments: Given, names: Iterable[str], missing: Any = None) -> Any:
    return next((arguments[name] for name in names if arguments.get(name) is not None), missing)


def _each(namespaces: str, *names: str) -> list[str]:
    return [f"{namespace}::{name}" for namespace in namespaces.split() for name in names]


# Attention: queries, keys and values of (batch, tokens, heads, width), or of (all tokens, heads, width) with lengths.

_FORWARD = (
    *_each("aten", "_flash_attention_forward", "_efficient_attention_forward"),
    *_each("torch_attn", "_varlen_attn"),
    *_each("flash_attn", "_flash_attn_forward", "_flash_attn_varlen_forward"),
    *_each("flash_attn_3", "_flash_attn_forward", "fwd"),
    *_each("xformers_flash xformers_flash3 mslk_flash mslk_flash3", "flash_fwd"),
    *_each("fbgemm mslk", "fmha_fwd"),
)
_BACKWARD = (
    *_each("aten", "_flash_attention_backward", "_efficient_attention_backward"),
    *_each("torch_attn", "_varlen_attn_backward"),
    *_each("flash_attn", "_flash_attn_backward", "_flash_attn_varlen_backward"),
    *_each("flash_attn_3", "_flash_attn_backward", "bwd"),
    *_each("xformers_flash xformers_flash3 mslk_flash mslk_flash3", "flash_bwd"),
    *_each("fbgemm mslk", "fmha_bwd"),
)


@_for(*_FORWARD)
def attention(arguments: Given, out: Any) -> int | None:
    """Both products over all pairs, masked or not; unknown where a device holds the lengths and they differ."""
    spans, query, value = _spans(arguments), _first(arguments, _QUERY), _first(arguments, _VALUE)
    if spans is None:
        return None
    pairs = sum(count * queries * keys for queries, keys, count in spans)
    return int(2 * pairs * query.shape[-2] * (query.shape[-1] + value.shape[-1]))


@_for(*_BACKWARD)
def attention_backward(arguments: Given, out: Any) -> int | None:
    """Twice the forward: four products, not the five that the kernels run."""
    forward = attention(arguments, out)
    return None if forward is None else 2 * forward


def masked(operator: Any, args: tuple[Any, ...], named: dict[str, Any], flops: int) -> int:
    """Tell how many of an attention's FLOPs over all pairs its causal flag and its window leave out."""
    if rule_of(operator) not in (attention, attention_backward):
        return 0
    arguments = given(operator, args, named)
    spans, (left, right), last = _spans(arguments) or [], _window(arguments), _aligned_to_last_key(arguments)
    pairs = sum(count * queries * keys for queries, keys, count in spans)
    kept = sum(count * kept_pairs(queries, keys, left, right, last) for queries, keys, count in spans)
    return flops // pairs * (pairs - kept) if pairs else 0


def kept_pairs(queries: int, keys: int, left: int, right: int, last: bool = True) -> int:
    """Count the pairs whose key is at most so far to the left and to the right of the query; -1 is no bound.

    Args:
        queries: How many queries there are.
        keys: How many keys there are.
        left: How far to the left a key may be.
        right: How far to the right a key may be.
        last: Whether the last query stands at the last key, and not the first one at the first.
    """
    shift = keys - queries if last else 0
    upper = queries * keys if right < 0 else _below(queries, keys, shift + right)
    return upper - (0 if left < 0 else _below(queries, keys, shift - left - 1))


def _below(queries: int, keys: int, shift: int) -> int:
    """Pairs of a query i and a key j with j <= i + shift."""

    def triangle(rows: int) -> int:
        rows, over = min(max(rows, 0), keys), max(rows - keys, 0)
        return rows * (rows + 1) // 2 + over * keys

    return triangle(queries + shift) - triangle(shift)


def _spans(arguments: Given) -> list[tuple[int, int, int]] | None:
    """Stretches that attend within themselves: queries, keys, how many of it; lengths on a device are not read.

    They need not be where all are as long as the longest one, which is when that one fills all tokens.
    """
    query, key = _first(arguments, _QUERY), _first(arguments, _KEY)
    if query is None or key is None or any(_says_something(arguments.get(name)) for name in _ELSEWHERE):
        return None
    if "window_size" in arguments and isinstance(arguments["window_size"], int):
        return None
    lengths = [_first(arguments, names) for names in _LENGTHS]
    if lengths[0] is None and lengths[1] is None:
        return [(int(query.shape[-3]), int(key.shape[-3]), int(prod(query.shape[:-3])))]
    if lengths[0] is None or lengths[1] is None:
        return None
    tokens = [int(query.shape[-3]), int(key.shape[-3])]
    count = int(lengths[0].shape[0]) - 1
    longest = [_first(arguments, names, -1) for names in _LONGEST]
    if [count * int(each) for each in longest] == tokens:
        return [(int(longest[0]), int(longest[1]), count)]
    if all(each.device.type == "cpu" for each in lengths):
        ends = [each.tolist() for each in lengths]
        each_length = [[end - start for start, end in pairwise(side)] for side in ends]
        return [(queries, keys, 1) for queries, keys in zip(*each_length, strict=True)]
    return None


def _says_something(value: Any) -> bool:
    return isinstance(value, torch.Tensor) or (isinstance(value, int) and value > 0)


def _window(arguments: Given) -> tuple[int, int]:
    left, right = _first(arguments, _LEFT, -1), _first(arguments, _RIGHT, -1)
    if isinstance(arguments.get("window_size"), (list, tuple)):
        left, right = arguments["window_size"]
    causal = _first(arguments, _CAUSAL, False) or arguments.get("custom_mask_type")
    return int(left), 0 if causal else int(right)


def _aligned_to_last_key(arguments: Given) -> bool:
    return bool(arguments.get("bottom_right", True)) and arguments.get("custom_mask_type") != _FROM_TOP_LEFT


# Products: what comes out, times the entries of a row of what goes in on the left.

_LINEAR = (
    "f8f8bf16", "f8f8bf16_blockwise", "f8f8bf16_cublas", "f8f8bf16_groupwise", "f8f8bf16_lite", "f8f8bf16_rowwise",
    "f8f8bf16_rowwise_batched", "f8f8bf16_rowwise_grouped_stacked", "f8f8bf16_rowwise_out",
    "f8f8bf16_rowwise_preshuffle", "f8f8bf16_tensorwise", "f8f8f16_rowwise", "f8f8f16_rowwise_preshuffle",
    "f8i4bf16_rowwise", "bf16i4bf16_rowwise", "bf16i4bf16_rowwise_batched", "i8i8bf16", "i8i8bf16_dynamic",
    "bf16bf16bf16_grouped_stacked", "bf16bf16bf16_grouped_grad", "f8f8bf16_groupwise_grouped",
)  # fmt: skip
_LEFT_SIDE = ("XQ", "X", "A", "a", "input", "x_values")


@_for(
    *_each("fbgemm mslk", *_LINEAR),
    *_each("bitsandbytes", "int8_linear_matmul", "int8_scaled_mm", "gemv_4bit", "gemm_4bit"),
    *_each("torchao", "scaled_int8_mm", "blockwise_scaled_mm", "mx_fp8_bf16"),
    *_each("torchao", "triton_fp8_gemm_1x128_128x128", "triton_fp8_gemm_1x128_128x1"),
    *_each("ao", "blockwise_fp8_gemm"),
    *_each("triton", "matmul_fp8_row", "matmul_fp8_block"),
    *_each("xformers", "_sparse24_gemm"),
    *_each("transformers", "grouped_mm_fallback"),
    *_each("pyg", "segment_matmul"),
    *_each("fbgemm", "jagged_dense_bmm_forward"),
)
def product(arguments: Given, out: Any) -> int | None:
    """(.., k) to (.., n): 2k for every entry that comes out; of what is stored sparsely k are the stored ones."""
    into, left = _first({**arguments, "": out}, ("", "out", "output")), _first(arguments, _LEFT_SIDE)
    return None if left is None or into is None else int(2 * prod(into.shape) * left.shape[-1])


@_for("bitsandbytes::int8_mixed_scaled_mm")
def product_with_outliers(arguments: Given, out: Any) -> int | None:
    """As `product`: columns that are computed apart, in higher precision, are among its own."""
    return product({"A": arguments["CA"]}, out[0])


@_for(*_each("fbgemm mslk", "bf16bf16bf16_grouped_wgrad"))
def product_of_columns(arguments: Given, out: Any) -> int | None:
    """(t, n) and (t, k), each row to one group's (n, k): 2tnk."""
    return int(2 * prod(arguments["X"].shape) * arguments["W"].shape[-1])


@_for("fbgemm::jagged_jagged_bmm_forward")
def jagged_product(arguments: Given, out: Any) -> int | None:
    """(t, m) and (t, n), each row to one sequence's (m, n): 2tmn."""
    return int(2 * prod(arguments["x_values"].shape) * arguments["y_values"].shape[-1])


@_for("transformers::grouped_mm_fallback_backward")
def grouped_backward(arguments: Given, out: Any) -> int | None:
    """(t, k) x (groups, k, n): 2tkn for the gradient of the input and as much for that of the weight."""
    return int(4 * prod(arguments["input"].shape) * arguments["weight"].shape[-1])


@_for("pyg::grouped_matmul")
def products(arguments: Given, out: Any) -> int | None:
    """Count one product per input."""
    pairs = zip(arguments["input"], arguments["other"], strict=True)
    return int(sum(2 * prod(a.shape) * b.shape[-1] for a, b in pairs))


@_for(*_each("fbgemm mslk", "bf16bf16bf16_grouped", "bf16bf16bf16_grouped_cat"))
def linears(arguments: Given, out: Any) -> int | None:
    """Count as `products`, with the right-hand sides transposed."""
    return int(sum(2 * prod(a.shape) * b.shape[0] for a, b in zip(arguments["X"], arguments["W"], strict=True)))


@_for(*_each("fbgemm mslk", "f8f8bf16_rowwise_grouped", "f8f8bf16_rowwise_grouped_cat"))
def quantized_linears(arguments: Given, out: Any) -> int | None:
    """Count as `linears`."""
    return linears({"X": arguments["XQ"], "W": arguments["WQ"]}, out)


@_for("xformers::_cusplt_mm")
def half_sparse_product(arguments: Given, out: Any) -> int | None:
    """(m, k) with two of four stored, x (k, n): mkn."""
    rows, columns = arguments["shape"]
    return int(rows * columns * arguments["B"].shape[-1])


@_for("xformers_python::tiled_matmul_fwd")
def tiled_product(arguments: Given, out: Any) -> int | None:
    """Count tiled products: every tile meets the matching ones of the right side, 2mnk in total."""
    return 2 * int(sum(arguments["ms"]) * sum(arguments["ns"]) * sum(arguments["ks"]))


@_for("torch_nn::_linear_cross_entropy_batch_chunked")
def linear_cross_entropy(arguments: Given, out: Any) -> int | None:
    """The logits, and in the same pass the gradients that are asked for; its backward only scales them."""
    gradients = int(arguments["compute_input_grad"]) + int(arguments["compute_linear_weight_grad"])
    return int(2 * prod(arguments["input"].shape) * arguments["linear_weight"].shape[0]) * (1 + gradients)


@_for("torchvision::deform_conv2d")
def deformed_convolution(arguments: Given, out: Any) -> int | None:
    """As a convolution; where it looks is interpolated, which is elementwise."""
    return int(2 * out.shape[0] * prod(out.shape[2:]) * prod(arguments["weight"].shape))


@_for("torchvision::_deform_conv2d_backward")
def deformed_convolution_backward(arguments: Given, out: Any) -> int | None:
    """Count the forward's FLOPs for the columns' gradient (used for input and offsets), and again for the weight's."""
    forward = deformed_convolution(arguments, arguments["grad"])
    return None if forward is None else 2 * forward


@_for("DaoAILab::_causal_conv1d_fwd_cpp")
def causal_convolution(arguments: Given, out: Any) -> int | None:
    """(batch, channels, tokens) with a filter for every channel: a multiply-add for each of its entries."""
    return int(2 * prod(arguments["x"].shape) * arguments["weight"].shape[-1])


@_for("DaoAILab::_causal_conv1d_bwd_cpp")
def causal_convolution_backward(arguments: Given, out: Any) -> int | None:
    """Count the input's gradient and the weight's, each like the forward."""
    return int(4 * prod(arguments["x"].shape) * arguments["weight"].shape[-1])
