"""What each operator costs, by hand: of shapes alone, through a measurement and in a real step."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from flopwatch.measure import formulas, measure, register
from flopwatch.measure.formulas import FORMULAS, FREE, HEAVY, formula_of, gradients_left_out, masked_flops
from flopwatch.measure.packages import RULES
from tests.measure.test_measure import Runs, X
from tests.measure.test_watching import three, watched
from tests.versions import torch_2_9

aten = torch.ops.aten


def made(*shape, dtype=torch.float32):
    return torch.empty(*shape, dtype=dtype, device="meta")


# FLOPs forward and backward of what torch's FlopCounterMode gets wrong or leaves out, by hand.
OPERATORS = {
    # 4 x 8 x 8 multiply-adds; the input is data, so only a's gradient.
    "mm": (lambda m, x: x @ m.a, 512, 512),
    "linear": (lambda m, x: functional.linear(x, m.a, m.b[0]), 512, 512),
    "mv": (lambda m, x: torch.mv(m.a, m.b[0]), 128, 128),
    "dot": (lambda m, x: torch.dot(m.a[0], m.b[0]), 16, 0),
    "addbmm": (lambda m, x: torch.addbmm(m.b, m.a[None], m.b[None]), 1024, 2048),
    "einsum": (lambda m, x: torch.einsum("ij,jk->ik", x, m.a), 512, 512),
    "solve": (lambda m, x: torch.linalg.solve_triangular(m.a, m.b, upper=False), 512, 512 + 1024),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_by_hand(name):
    function, forward, backward = OPERATORS[name]
    measured = measure(Runs(function), X)
    assert (measured.forward_flops, measured.backward_flops) == (forward, backward)
    assert measured.complete


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_a_convolution_in_groups_by_hand(groups):
    # 2 images, 16 outputs, 10 x 10 positions, 8 / groups inputs, 3 x 3 kernel.
    forward = 2 * 2 * 16 * 100 * (8 // groups) * 9
    image = torch.zeros(2, 8, 10, 10)
    convolution = nn.Conv2d(8, 16, 3, padding=1, groups=groups)
    measured = measure(convolution, image)
    assert (measured.forward_flops, measured.backward_flops) == (forward, forward)
    measured = measure(nn.Sequential(nn.Conv2d(8, 8, 1), convolution), image)
    assert measured.backward_flops == 2 * 2 * 64 * 100 + 2 * forward


def test_a_transposed_convolution_counts_input_positions():
    measured = measure(nn.ConvTranspose2d(8, 4, 2, stride=2), torch.zeros(1, 8, 5, 5))
    assert measured.forward_flops == 2 * 25 * 8 * 4 * 4


@torch_2_9
@pytest.mark.parametrize("shapes", [((24, 8), (3, 8, 16)), ((8, 24), (24, 16))])
def test_grouped_products_of_experts_are_counted(shapes):
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(shapes[1], dtype=torch.bfloat16))

        def forward(self, x, ends):
            return torch._grouped_mm(x, self.weight, offs=ends).sin()

    ends = torch.tensor([4, 12, 24], dtype=torch.int32)
    measured = measure(Experts(), torch.zeros(shapes[0], dtype=torch.bfloat16), ends)
    # Every one of 24 rows meets one 8 x 16 matrix, however they are spread.
    assert measured.forward_flops == 2 * 24 * 8 * 16
    assert measured.backward_flops == measured.forward_flops


def test_more_keys_than_queries_are_masked_from_the_first_ones_on():
    query, key = torch.randn(1, 1, 3, 8), torch.randn(1, 1, 5, 8)
    step = lambda: functional.scaled_dot_product_attention(query, key, key, is_causal=True)  # noqa: E731
    # Of 3 x 5 pairs 1 + 2 + 3 are kept.
    assert watched(nn.Module(), step).forward_flops == 6 * 4 * 8


def test_gradients_that_nobody_asked_for_do_not_count_though_the_kernel_computes_them():
    query, key, value = (torch.randn(1, 2, 6, 8) for _ in range(3))
    query.requires_grad_()
    step = lambda: functional.scaled_dot_product_attention(query, key, value).sum().backward()  # noqa: E731
    product = 2 * 2 * 6 * 6 * 8
    # Of four products: the gradient of the scores and that of the queries.
    assert watched(nn.Module(), step).backward_flops == 2 * product


@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_a_sparse_matrix_counts_what_is_stored(layout):
    dense = torch.zeros(6, 6)
    dense[0, 1] = dense[2, 3] = dense[5, 0] = 1.0
    sparse = dense.to_sparse() if layout == "coo" else dense.to_sparse_csr()
    step = lambda: torch.sparse.mm(sparse, torch.randn(6, 4))  # noqa: E731
    assert watched(nn.Module(), step).forward_flops == 2 * 3 * 4


def test_complex_products_are_four_times_real_ones():
    a = torch.randn(3, 4, dtype=torch.complex64)
    assert watched(nn.Module(), lambda: a @ a.T).forward_flops == 8 * 3 * 4 * 3


def test_fourier_transforms_by_the_usual_count():
    # 5 n log2 n of a complex transform of 16: 320; half of it where one side is real.
    assert watched(nn.Module(), lambda: torch.fft.fft(torch.randn(2, 16, dtype=torch.complex64))).forward_flops == 640
    assert watched(nn.Module(), lambda: torch.fft.rfft(torch.randn(2, 16))).forward_flops == 320
    spectrum = torch.fft.rfft(torch.randn(2, 16))
    assert watched(nn.Module(), lambda: torch.fft.irfft(spectrum)).forward_flops == 320


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_fused_lstm_counts_both_of_its_weights_at_every_step(bidirectional):
    lstm = nn.LSTM(6, 8, batch_first=True, bidirectional=bidirectional)
    directions = 2 if bidirectional else 1
    forward = directions * 2 * (3 * 5) * (4 * 8 * 6 + 4 * 8 * 8)
    measured = watched(lstm, lambda: lstm(torch.randn(3, 5, 6))[0].sum().backward())
    assert three(measured) == (forward, 2 * forward, 0)


# What no CPU runs in a test: the shapes are enough.
SHAPES = {
    # 3 x 4 by 4 x 5, the bias is elementwise.
    "addmm": (aten.addmm, (made(5), made(3, 4), made(4, 5)), None, 120),
    "scaled_mm": (aten._scaled_mm, (made(3, 4), made(4, 5)), None, 120),
    # Two products of 3 x 4 by 4 x 5.
    "bmm": (aten.bmm, (made(2, 3, 4), made(2, 4, 5)), None, 240),
    "baddbmm": (aten.baddbmm, (made(2, 3, 5), made(2, 3, 4), made(2, 4, 5)), None, 240),
    # 6 rows of 4 to 5, as inference mode leaves it.
    "linear": (aten.linear, (made(2, 3, 4), made(5, 4)), None, 240),
    "linear_backward": (aten.linear_backward, (made(6, 4), made(6, 5), made(5, 4), [True, False, True]), None, 240),
    "matmul": (aten.matmul, (made(2, 3, 4), made(4, 5)), made(2, 3, 5), 240),
    "addmv": (aten.addmv, (made(3), made(3, 4), made(4)), None, 24),
    # Two layers: 15 steps of 2 sequences, matrices 8 x 6, 8 x 8 twice and 8 x 8; biases do not multiply.
    "cudnn_rnn": (
        aten._cudnn_rnn,
        (made(15, 2, 6), [made(8, 6), made(8, 8), made(8), made(8, 8), made(8, 8), made(8)]),
        None,
        2 * 30 * (48 + 3 * 64),
    ),
    # 3 rows against 5 rows of 4.
    "cdist": (aten._cdist_forward, (made(3, 4), made(5, 4)), made(3, 5), 120),
    "cdist_backward": (aten._cdist_backward, (made(3, 4), made(3, 4), made(5, 4)), None, 96),
    # Bilinear: 2 rows, 5 outputs, 3 x 4 inputs.
    "trilinear": (
        aten._trilinear,
        (made(2, 3), made(5, 3, 4), made(2, 4), [1, 3], [0], [1, 2]),
        made(2, 5),
        2 * 2 * 5 * 3 * 4,
    ),
    # 8 groups: the weight holds one input for each of 16 outputs, 9 places each; 2 images of 10 x 10.
    "conv2d": (aten.conv2d, (made(2, 8, 10, 10), made(16, 1, 3, 3)), made(2, 16, 10, 10), 2 * 2 * 100 * 16 * 9),
    # 3 queries, 5 keys, 2 heads: 30 pairs of 8 wide scores and 4 wide values; the backward four products.
    "attention": (
        aten._scaled_dot_product_flash_attention,
        (made(1, 2, 3, 8), made(1, 2, 5, 8), made(1, 2, 5, 4)),
        None,
        30 * 2 * 12,
    ),
    "attention_backward": (
        aten._scaled_dot_product_flash_attention_backward,
        (made(1, 2, 3, 4), made(1, 2, 3, 8), made(1, 2, 5, 8), made(1, 2, 5, 4)),
        None,
        30 * 4 * 12,
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_enough(name):
    operator, arguments, out, flops = SHAPES[name]
    counted = formula_of(operator)(*arguments, out=out)
    assert counted == flops
    assert isinstance(counted, int)


def test_an_overload_has_its_operators_formula_and_a_free_one_has_none():
    assert formula_of(aten.mm.default) is formula_of(aten.mm)
    assert formula_of(aten.add.Tensor) is None


def test_the_keys_of_an_attention_that_starts_later_are_not_masked_before_it_starts():
    arguments = made(1, 2, 5, 8), made(1, 2, 3, 8), made(1, 2, 3, 8), 0.0, True
    operator = aten._scaled_dot_product_flash_attention.default
    # Of 5 queries and 3 keys 1 + 2 + 3 + 3 + 3 = 12 of 15 pairs are kept; 30 of both heads are 960 FLOPs, 6 are 192.
    assert masked_flops(operator, arguments, {}, 960) == 192
    assert masked_flops(operator, (*arguments[:4], False), {}, 960) == 0
    assert masked_flops(operator, arguments[:4], {"is_causal": True}, 960) == 192
    assert masked_flops(aten.mm.default, (made(3, 4), made(4, 5)), {}, 120) == 0


@pytest.mark.parametrize(
    ("needs", "left_out"),
    [
        ((True, True, True), 0),
        # Of 15 pairs: scores are 16 FLOPs a pair, values 8. Without the values' own gradient, one product of values.
        ((True, True, False), 15 * 8),
        ((True, False, True), 15 * 16),
        # The gradient of values needs neither scores' nor that of the scores themselves.
        ((False, False, True), 15 * (2 * 16 + 8)),
        ((False, False, False), 15 * (2 * 16 + 2 * 8)),
    ],
)
def test_products_of_gradients_that_nobody_asked_for(needs, left_out):
    operator = aten._scaled_dot_product_flash_attention_backward.default
    arguments = made(1, 1, 3, 4), made(1, 1, 3, 8), made(1, 1, 5, 8), made(1, 1, 5, 4)
    assert gradients_left_out(operator, arguments, {}, needs) == left_out


def test_a_formula_of_the_users_goes_before_ours_and_is_given_once(monkeypatch):
    monkeypatch.setattr(formulas, "FORMULAS", dict(FORMULAS))
    monkeypatch.setattr(formulas, "_SHIPPED", set(formulas._SHIPPED))
    register(aten.mm, lambda a, b, out: 7)
    assert formula_of(aten.mm.default)(made(3, 4), made(4, 5), out=None) == 7
    with pytest.raises(ValueError, match=r"expected an operator without a formula, but aten\.mm has one"):
        register(aten.mm, lambda a, b, out: 8)


def test_no_operator_is_both_free_and_counted():
    assert not set(RULES) & FREE
    assert not HEAVY & FREE
    assert not {f"aten::{getattr(each, '__name__', '')}" for each in FORMULAS} & FREE
