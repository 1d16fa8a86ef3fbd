"""FLOPs of PyTorch's operators, by their shapes: what the counter knows, and what it knows to be free.

A multiply-add is two FLOPs. Where torch's own `FlopCounterMode` (2.13) counts something else, the reason is given.
"""

from __future__ import annotations

from collections.abc import Callable
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
    return 2 * prod(a.shape) * int(b.shape[2])


@_for("baddbmm", "addbmm")
def baddbmm(bias: Any, a: Any, b: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """As `bmm`; torch counts `addbmm` as zero."""
    return bmm(a, b)


@_for("mv", "dot", "vdot")
def mv(a: Any, b: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """A multiply-add for every entry of the matrix or vector; torch counts zero."""
    return 2 * prod(a.shape)


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
    return 2 * prod(first) * int(second[2])


@_for("convolution", "_convolution", "cudnn_convolution", "mkldnn_convolution", "_slow_conv2d_forward")
def convolution(x: Any, weight: Any, bias: Any, *rest: Any, out: Any = None, **options: Any) -> int:
    """Every output position (input position, if transposed) meets a kernel of the channels of its group."""
    transposed = bool(rest[3]) if len(rest) > 3 else False
    return _conv(x.shape, weight.shape, out.shape, transposed)


def _conv(x: Any, weight: Any, out: Any, transposed: bool) -> int:
    positions = (x if transposed else out)[2:]
    return 2 * int(x[0]) * prod(positions) * prod(weight)


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
    return 2 * prod(batch) * int(queries * key.shape[-2] * (width + value.shape[-1]))


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


# Operators that multiply no matrices: elementwise work, reductions, normalization, pooling, moving data. Anything that
# is tagged `pointwise` or is a view is free without being listed.
FREE = frozenset(
    """
    _adaptive_avg_pool2d _adaptive_avg_pool2d_backward _adaptive_avg_pool3d _adaptive_avg_pool3d_backward
    _batch_norm_no_update _batch_norm_with_update _chunk_cat _conj _cslt _cummax_helper _efficientzerotensor
    _embedding_bag _embedding_bag_backward _embedding_bag_dense_backward _embedding_bag_forward_only
    _euclidean_dist_ _foreach_copy _fused_dropout _fused_rms_norm _fused_rms_norm_backward _index_put_impl
    _local_scalar_dense _log_softmax _log_softmax_backward_data _masked_scale _masked_softmax _native_batch_norm_legit
    _native_batch_norm_legit_functional _native_batch_norm_legit_no_training _nested_view_from_buffer _neg_view
    _pdist_free _reshape_alias _reshape_copy _safe_softmax _softmax _softmax_backward_data _sparse_softmax
    _thnn_fused_lstm_cell _to_copy _trilinear_free _unique2 _unsafe_index _unsafe_index_put _unsafe_view
    _weight_norm_interface _weight_norm_interface_backward adaptive_avg_pool1d adaptive_max_pool2d
    adaptive_max_pool2d_backward affine_grid_generator alias all amax amin aminmax any arange argmax argmin argsort
    as_strided avg_pool1d avg_pool2d avg_pool2d_backward avg_pool3d avg_pool3d_backward batch_norm_backward bernoulli
    bincount bucketize cat channel_shuffle clone col2im constant_pad_nd copy copy_ count_nonzero ctc_loss cummax cummin
    cumprod cumsum cudnn_batch_norm cudnn_batch_norm_backward detach diagonal_backward diagonal_scatter dropout embedding
    embedding_bag embedding_dense_backward empty empty_like empty_permuted empty_strided equal exponential fill
    flatten flip full full_like gather glu glu_backward grid_sampler_2d grid_sampler_2d_backward grid_sampler_3d
    histc huber_loss huber_loss_backward im2col index index_add index_copy index_fill index_put index_reduce
    index_select kl_div kthvalue lift lift_fresh linspace log_sigmoid_backward log_sigmoid_forward log_softmax logcumsumexp
    logspace logsumexp masked_fill masked_scatter masked_select max max_pool2d_with_indices
    max_pool2d_with_indices_backward max_pool3d_with_indices max_pool3d_with_indices_backward mean median min miopen_batch_norm
    mode multi_margin_loss multilabel_margin_loss_forward multinomial nan_to_num nanmedian native_batch_norm
    native_batch_norm_backward native_dropout native_dropout_backward native_group_norm native_group_norm_backward
    native_layer_norm native_layer_norm_backward new_empty new_empty_strided new_full new_ones new_zeros nextafter
    nll_loss2d_backward nll_loss2d_forward nll_loss_backward nll_loss_forward nonzero norm normal normal_functional ones
    ones_like pixel_shuffle pixel_unshuffle prod put rand rand_like randint randint_like randn randn_like randperm
    reflection_pad1d reflection_pad1d_backward reflection_pad2d reflection_pad2d_backward repeat repeat_interleave
    replication_pad2d replication_pad2d_backward resize rms_norm roll rot90 rrelu_with_noise scalar_tensor scatter
    scatter_add scatter_reduce searchsorted segment_reduce select_backward select_scatter set_ slice_backward slice_scatter
    smooth_l1_loss smooth_l1_loss_backward softmax soft_margin_loss sort split split_with_sizes stack std std_mean sum
    topk trace triu_indices tril_indices tril triu unfold_backward uniform unique_consecutive unique_dim
    upsample_bicubic2d upsample_bicubic2d_backward upsample_bilinear2d upsample_bilinear2d_backward upsample_linear1d
    upsample_nearest1d upsample_nearest2d upsample_nearest2d_backward upsample_nearest3d upsample_trilinear3d value_selecting_reduction_backward
    var var_mean where zero zeros zeros_like binary_cross_entropy binary_cross_entropy_backward mse_loss
    mse_loss_backward linalg_vector_norm _foreach_norm max_unpool2d fractional_max_pool2d lerp addcmul addcdiv outer ger
    """.split()
)
# One input is enough for these to be work that the formulas above would miss.
HEAVY = frozenset(
    """
    _fft_c2c _fft_c2r _fft_r2c linalg_cholesky_ex linalg_eig linalg_eigh _linalg_eigh linalg_inv_ex linalg_lu_factor_ex
    linalg_qr _linalg_svd linalg_matrix_exp cholesky cholesky_inverse geqrf linalg_householder_product _linalg_det
    _linalg_slogdet linalg_lu linalg_pinv mkldnn_rnn_layer _cudnn_rnn lstm_mps miopen_rnn _thnn_fused_gru_cell
    """.split()
)
