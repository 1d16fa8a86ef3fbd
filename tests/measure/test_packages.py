"""Operators of other packages and flex_attention: every number by hand, over a real step, without the packages."""

import pytest
import torch
from torch import nn

from flopwatch.measure import packages, register
from flopwatch.measure.formulas import FORMULAS
from flopwatch.measure.watching import StepCounter


def watched(step, module=None, attention="full"):
    counter = StepCounter(module or nn.Module())
    counter.start()
    try:
        step()
    finally:
        counter.stop()
    return counter.result(attention)


def two(measured):
    return measured.forward_flops, measured.backward_flops


@pytest.fixture
def operators():
    """Register an operator of a package for the length of a test: its schema, and what it gives back."""
    libraries = []

    def define(namespace, schema, result):
        library = torch.library.Library(namespace, "FRAGMENT")
        libraries.append(library)
        library.define(schema)
        library.impl(schema.partition("(")[0], result, "CompositeExplicitAutograd")
        return getattr(getattr(torch.ops, namespace), schema.partition("(")[0])

    yield define
    for library in libraries:
        library._destroy()


FLASH = (
    "(Tensor q, Tensor k, Tensor v, float dropout_p, float softmax_scale, bool causal, int window_size_left,"
    " int window_size_right, float softcap, Tensor? alibi_slopes, bool return_softmax)"
    " -> (Tensor, Tensor, Tensor, Tensor)"
)
FLASH_BACKWARD = (
    "(Tensor dout, Tensor q, Tensor k, Tensor v, Tensor out, Tensor softmax_lse, Tensor(a!)? dq, Tensor(b!)? dk,"
    " Tensor(c!)? dv, float dropout_p, float softmax_scale, bool causal, int window_size_left, int window_size_right,"
    " float softcap, Tensor? alibi_slopes, bool deterministic, Tensor? rng_state=None) -> Tensor"
)
VARLEN = (
    "(Tensor q, Tensor k, Tensor v, Tensor cu_seqlens_q, Tensor cu_seqlens_k, int max_seqlen_q, int max_seqlen_k,"
    " float dropout_p, float softmax_scale, bool causal, int window_size_left=-1, int window_size_right=-1,"
    " float softcap=0.0, Tensor? seqused_k=None) -> (Tensor, Tensor, Tensor, Tensor)"
)


def four(q, k, v, *rest, **named):
    return torch.empty_like(q), torch.empty(1), torch.empty(1), torch.empty(1)


def flash_attention(operators):
    """As flash-attn 2 does it: a Function around an operator for the forward and one for the backward."""
    forward = operators("flash_attn", "_flash_attn_forward" + FLASH, four)
    backward = operators("flash_attn", "_flash_attn_backward" + FLASH_BACKWARD, lambda dout, *rest: torch.empty(1))

    class Attention(torch.autograd.Function):
        @staticmethod
        def forward(ctx, q, k, v, causal, window):
            out, lse, _, _ = forward(q, k, v, 0.0, 1.0, causal, *window, 0.0, None, False)
            ctx.save_for_backward(q, k, v, out, lse)
            ctx.causal, ctx.window = causal, window
            return out

        @staticmethod
        def backward(ctx, gradient):
            saved = ctx.saved_tensors
            dq, dk, dv = (torch.zeros_like(each) for each in saved[:3])
            backward(gradient, *saved, dq, dk, dv, 0.0, 1.0, ctx.causal, *ctx.window, 0.0, None, False)
            return dq, dk, dv, None, None

    return Attention.apply


# Kept of 4 queries and 6 keys, the last query at the last key: 3 + 4 + 5 + 6; within two to the left 3 + 3 + 3 + 3;
# within one to both sides 3 + 3 + 3 + 2; all.
@pytest.mark.parametrize(
    ("causal", "window", "kept"),
    [(True, (-1, -1), 18), (True, (2, -1), 12), (False, (1, 1), 11), (False, (-1, -1), 24)],
)
def test_flash_attention_by_hand(operators, causal, window, kept):
    attend = flash_attention(operators)
    q, k, v = torch.randn(2, 4, 6, 8), torch.randn(2, 6, 3, 8), torch.randn(2, 6, 3, 8)  # batch, tokens, heads, width
    step = lambda: attend(q.requires_grad_(), k, v, causal, window).sum().backward()  # noqa: E731
    # A pair: two products of width 8 in each of 6 heads, 2 sequences; four in the backward.
    pair = 2 * 6 * 2 * (8 + 8)
    assert two(watched(step)) == (24 * pair, 2 * 24 * pair)
    causal_convention = watched(step, attention="causal")
    assert two(causal_convention) == (kept * pair, 2 * kept * pair)
    assert causal_convention.complete
    assert causal_convention.assumptions == ()


def test_lengths_that_fill_all_tokens_need_not_be_read(operators):
    attend = operators("flash_attn", "_flash_attn_varlen_forward" + VARLEN, four)
    q, ends = torch.randn(15, 2, 8), torch.empty(4, dtype=torch.int32, device="meta")
    assert packages._spans({"q": q, "k": q, "cu_seqlens_q": ends, "cu_seqlens_k": ends}) is None
    arguments = {"q": q, "k": q, "v": q, "cu_seqlens_q": ends, "cu_seqlens_k": ends}
    # 3 sequences of 5: 3 * 25 pairs of 2 heads of two products of width 8.
    assert packages.attention({**arguments, "max_seqlen_q": 5, "max_seqlen_k": 5}, None) == 3 * 25 * 2 * 2 * 16
    assert packages.attention({**arguments, "max_seqlen_q": 7, "max_seqlen_k": 7}, None) is None
    # On the CPU they are read: 3, 5 and 7 tokens, causal 6 + 15 + 28 pairs of 9 + 25 + 49.
    here = torch.tensor([0, 3, 8, 15], dtype=torch.int32)
    step = lambda: attend(q, q, q, here, here, 7, 7, 0.0, 1.0, True)  # noqa: E731
    assert watched(step).forward_flops == 83 * 2 * 2 * 16
    assert watched(step, attention="causal").forward_flops == 49 * 2 * 2 * 16


def test_where_lengths_cannot_be_had_the_total_is_withheld(operators):
    attend = operators("flash_attn", "_flash_attn_varlen_forward" + VARLEN, four)
    q, ends = torch.randn(15, 2, 8), torch.tensor([0, 3, 8, 15], dtype=torch.int32)
    measured = watched(lambda: attend(q, q, q, ends, ends, 7, 7, 0.0, 1.0, True, seqused_k=ends))
    assert [(each.operator, each.heavy) for each in measured.missing] == [
        ("flash_attn._flash_attn_varlen_forward", True)
    ]
    assert measured.training_flops is None


def test_flash_attention_3_and_xformers_call_the_same_by_other_names(operators):
    third = operators(
        "flash_attn_3",
        "fwd(Tensor q, Tensor k, Tensor v, Tensor? q_v=None, Tensor? cu_seqlens_q=None, Tensor? cu_seqlens_k=None,"
        " bool is_causal=False, int window_size_left=-1, int window_size_right=-1, int attention_chunk=0)"
        " -> (Tensor, Tensor, Tensor, Tensor)",
        four,
    )
    xformers = operators(
        "xformers_flash",
        "flash_fwd(Tensor query, Tensor key, Tensor value, Tensor? cu_seqlens_q, Tensor? cu_seqlens_k,"
        " Tensor? seqused_k, int max_seqlen_q, int max_seqlen_k, float p, float softmax_scale, bool is_causal,"
        " int window_left, int window_right, bool return_softmax, Tensor? block_tables)"
        " -> (Tensor, Tensor, Tensor, Tensor)",
        four,
    )
    q = torch.randn(1, 5, 2, 8)
    calls = (
        lambda: third(q, q, q, is_causal=True),
        lambda: xformers(q, q, q, None, None, None, 5, 5, 0.0, 1.0, True, -1, -1, False, None),
    )
    for call in calls:
        # 2 heads of two products of width 8; 25 pairs, or 1 + 2 + 3 + 4 + 5.
        assert watched(call).forward_flops == 25 * 2 * 2 * 16
        assert watched(call, attention="causal").forward_flops == 15 * 2 * 2 * 16
    assert not watched(lambda: third(q, q, q, is_causal=True, attention_chunk=2)).complete


def test_pytorchs_own_kernels_are_known_where_they_are_called_without_its_attention():
    operator = torch.ops.aten._efficient_attention_forward.default
    q = torch.empty(1, 5, 2, 8)
    for kind, kept in ((0, 15), (1, 1 + 2 + 3), (2, 3 + 4 + 5)):  # of 3 queries and 5 keys: all, from the first, last
        arguments = (q[:, :3], q, q, None, None, None, None, None, 0.0, kind)
        flops = packages.formula_of(operator)(*arguments, out=None)
        assert flops == 15 * 2 * 2 * 16
        assert flops - packages.masked(operator, arguments, {}, flops) == kept * 2 * 2 * 16


@pytest.mark.parametrize("queries", [1, 3, 6])
@pytest.mark.parametrize("keys", [1, 4, 7])
@pytest.mark.parametrize("window", [(-1, -1), (-1, 0), (2, 0), (0, 1), (3, 3), (9, 0)])
@pytest.mark.parametrize("last", [True, False])
def test_kept_pairs_are_those_of_a_mask_written_out(queries, keys, window, last):
    left, right = window
    shift = keys - queries if last else 0
    expected = sum(
        (left < 0 or key >= query + shift - left) and (right < 0 or key <= query + shift + right)
        for query in range(queries)
        for key in range(keys)
    )
    assert packages.kept_pairs(queries, keys, left, right, last) == expected


class FourBit(nn.Module):
    """A layer whose weight is quantized, as bitsandbytes keeps it: bytes in a parameter."""

    def __init__(self, dequantize):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(16, 1, dtype=torch.uint8), requires_grad=False)
        self.dequantize = dequantize

    def forward(self, x):
        absmax = torch.ones(1)
        return x @ self.dequantize(self.weight, absmax, 64, "nf4", [4, 8], torch.float32).T


def test_weights_of_four_bits_withhold_nothing(operators):
    dequantize = operators(
        "bitsandbytes",
        "dequantize_4bit(Tensor A, Tensor absmax, int blocksize, str quant_type, int[] shape, ScalarType dtype)"
        " -> Tensor",
        lambda a, absmax, blocksize, kind, shape, dtype: torch.ones(shape, dtype=dtype),
    )
    layer, x = FourBit(dequantize), torch.randn(3, 8, requires_grad=True)
    measured = watched(lambda: layer(x).sum().backward(), layer)
    # 3 rows through a weight of 4 x 8, and the input's gradient; the weight is frozen.
    assert two(measured) == (2 * 3 * 8 * 4, 2 * 3 * 8 * 4)
    assert measured.missing == ()


PRODUCTS = [
    # Schema, arguments, FLOPs: 2 * rows * entries of a row * columns.
    (
        "bitsandbytes",
        "int8_linear_matmul(Tensor A, Tensor B) -> Tensor",
        (torch.ones(3, 8), torch.ones(4, 8)),
        (3, 4),
        2 * 3 * 8 * 4,
    ),
    (
        "bitsandbytes",
        "gemv_4bit(Tensor A, Tensor B, int[] shapeB, Tensor absmax, Tensor code, int blocksize) -> Tensor",
        (torch.ones(1, 8), torch.ones(16, 1), [4, 8], torch.ones(1), torch.ones(1), 64),
        (1, 4),
        2 * 8 * 4,
    ),
    (
        "torchao",
        "scaled_int8_mm(Tensor A, Tensor B, Tensor A_scale, Tensor B_scale) -> Tensor",
        (torch.ones(3, 8), torch.ones(8, 4), torch.ones(3), torch.ones(4)),
        (3, 4),
        2 * 3 * 8 * 4,
    ),
    (
        "fbgemm",
        "f8f8bf16_rowwise(Tensor XQ, Tensor WQ, Tensor x_scale, Tensor w_scale, Tensor? bias=None,"
        " bool use_fast_accum=True) -> Tensor",
        (torch.ones(3, 8), torch.ones(4, 8), torch.ones(3), torch.ones(4)),
        (3, 4),
        2 * 3 * 8 * 4,
    ),
    (
        "pyg",
        "segment_matmul(Tensor input, Tensor ptr, Tensor other) -> Tensor",
        (torch.ones(6, 8), torch.tensor([0, 2, 6]), torch.ones(2, 8, 4)),
        (6, 4),
        2 * 6 * 8 * 4,
    ),
    (
        "torchvision",
        "deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask) -> Tensor",
        (torch.ones(2, 3, 8, 8), torch.ones(5, 3, 3, 3), torch.ones(2, 18, 6, 6), torch.ones(2, 9, 6, 6)),
        (2, 5, 6, 6),
        2 * 2 * 36 * 5 * 27,
    ),
]


@pytest.mark.parametrize(("namespace", "schema", "arguments", "shape", "flops"), PRODUCTS)
def test_products_by_hand(operators, namespace, schema, arguments, shape, flops):
    operator = operators(namespace, schema, lambda *args: torch.empty(shape))
    measured = watched(lambda: operator(*arguments))
    assert measured.forward_flops == flops
    assert measured.complete


def test_experts_of_transformers_forward_and_backward():
    moe = pytest.importorskip("transformers.integrations.moe")
    assert moe is not None
    tokens, experts = torch.randn(6, 8, requires_grad=True), torch.randn(2, 8, 4, requires_grad=True)
    ends = torch.tensor([2, 6], dtype=torch.int32)
    step = lambda: torch.ops.transformers.grouped_mm_fallback(tokens, experts, ends).sum().backward()  # noqa: E731
    # Each of 6 tokens meets one matrix of 8 x 4; twice as much for both gradients, whichever way it is taken apart.
    assert two(watched(step)) == (2 * 6 * 8 * 4, 2 * 2 * 6 * 8 * 4)


def test_a_causal_convolution_has_a_filter_for_every_channel(operators):
    convolve = operators(
        "DaoAILab",
        "_causal_conv1d_fwd_cpp(Tensor x, Tensor weight, Tensor? bias, Tensor? seq_idx, Tensor? initial_states,"
        " Tensor(a!) out, Tensor(b!)? final_states_out, bool silu_activation) -> ()",
        lambda *args: None,
    )
    x, weight = torch.ones(2, 3, 10), torch.ones(3, 4)
    step = lambda: convolve(x, weight, None, None, None, torch.empty_like(x), None, True)  # noqa: E731
    assert watched(step).forward_flops == 2 * 2 * 3 * 10 * 4


def test_a_region_of_interest_is_no_product(operators):
    pool = operators("torchvision", "roi_align(Tensor input, Tensor rois) -> Tensor", lambda x, rois: x.clone())
    measured = watched(lambda: pool(torch.ones(1, 2, 4, 4), torch.ones(3, 5)))
    assert (measured.complete, measured.forward_flops) == (True, 0)


@pytest.mark.parametrize("schema", ["mix(Tensor weight, Tensor x) -> Tensor", "mix(Tensor a, Tensor b) -> Tensor"])
def test_an_unknown_package_stays_uncounted(operators, schema):
    mix = operators("no_such_package", schema, lambda a, b: a @ b)
    layer = nn.Linear(4, 4)
    weight = layer.weight if "weight" in schema else torch.ones(4, 4)
    assert not watched(lambda: mix(weight, torch.ones(4, 4)), layer).complete


def test_a_version_with_other_arguments_is_not_guessed(operators):
    renamed = operators("torchao", "scaled_int8_mm(Tensor first, Tensor second) -> Tensor", lambda a, b: a @ b)
    assert [each.operator for each in watched(lambda: renamed(torch.ones(2, 2), torch.ones(2, 2))).missing] == [
        "torchao.scaled_int8_mm"
    ]


def test_a_formula_of_the_users_goes_before_a_shipped_one(operators):
    attend = operators("flash_attn", "_flash_attn_forward" + FLASH, four)
    q = torch.randn(1, 5, 2, 8)
    register(attend, lambda q, *rest, out: 7)
    try:
        step = lambda: attend(q, q, q, 0.0, 1.0, True, -1, -1, 0.0, None, False)  # noqa: E731
        assert [watched(step, attention=each).forward_flops for each in ("full", "causal")] == [7, 7]
    finally:
        del FORMULAS[attend]
