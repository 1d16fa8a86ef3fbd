import pytest

from flopwatch.trace.formulas import Call, cost_of, part_of

BF16 = "c10::BFloat16"


def call(*shapes, dtype=BF16, values=()):
    return Call(tuple(tuple(each) for each in shapes), (dtype,) * len(shapes), tuple(values))


def flops(operator, *shapes, values=()):
    cost = cost_of(f"aten::{operator}" if "::" not in operator else operator, call(*shapes, values=values))
    return None if cost is None else cost.flops


def test_matrix_products():
    # 2 * 3 * 4 * 5 = 120
    assert flops("mm", (3, 4), (4, 5)) == 120
    assert flops("_scaled_mm", (3, 4), (4, 5), (), ()) == 120
    assert flops("addmm", (5,), (3, 4), (4, 5), (), ()) == 120
    # 2 * 7 * 3 * 4 * 5 = 840
    assert flops("bmm", (7, 3, 4), (7, 4, 5)) == 840
    assert flops("baddbmm", (7, 3, 5), (7, 3, 4), (7, 4, 5), (), ()) == 840
    assert flops("linear", (7, 3, 4), (5, 4), (5,)) == 840
    # batches 7 x 1 and 2: 14 products of 120
    assert flops("matmul", (7, 1, 3, 4), (2, 4, 5)) == 1680
    # a vector is one row or column: 2 * 4 * 5 = 40, 2 * 3 * 4 = 24, 2 * 4 = 8
    assert flops("matmul", (4,), (4, 5)) == 40
    assert flops("matmul", (3, 4), (4,)) == 24
    assert flops("matmul", (4,), (4,)) == 8
    assert flops("mv", (3, 4), (4,)) == 24
    assert flops("addmv", (3,), (3, 4), (4,)) == 24


def test_grouped_products():
    # 6 rows of 4, each times one of 3 matrices of 4 x 5: 2 * 6 * 4 * 5 = 240
    assert flops("_grouped_mm", (6, 4), (3, 4, 5), (3,)) == 240
    assert flops("_grouped_mm", (3, 2, 4), (3, 4, 5), (3,)) == 240


def test_convolutions():
    # 7x7 kernels, stride 2, padding 3 on 224: 112 x 112 positions; 2 * 2 * 112 * 112 * (64 * 3 * 49) = 472,055,808
    image, kernel = (2, 3, 224, 224), (64, 3, 7, 7)
    asked = ["", "", "", "[2, 2]", "[3, 3]", "[1, 1]", "False", "[0, 0]", "1"]
    assert flops("convolution", image, kernel, (), values=asked) == 472_055_808
    assert flops("cudnn_convolution", image, kernel, values=["", "", "[3, 3]", "[2, 2]", "[1, 1]", "1"]) == 472_055_808
    miopen = ["", "", "", "[3, 3]", "[2, 2]", "[1, 1]", "1"]
    assert flops("miopen_convolution", image, kernel, (), values=miopen) == 472_055_808
    # dilation 2 makes a kernel of 3 as wide as 5: 10 - 4 = 6 positions; groups: 2 * 1 * 6 * (8 * 1 * 3) = 288
    spread = ["", "", "", "[1]", "[0]", "[2]", "False", "[0]", "4"]
    assert flops("convolution", (1, 4, 10), (8, 1, 3), (), values=spread) == 288
    # transposed: each of 5 x 5 input positions meets 4 * 8 * 9 entries: 2 * 1 * 25 * 288 = 14,400
    turned = ["", "", "", "[2, 2]", "[0, 0]", "[1, 1]", "True", "[0, 0]", "1"]
    assert flops("convolution", (1, 4, 5, 5), (4, 8, 3, 3), (), values=turned) == 14_400
    assert flops("cudnn_convolution_transpose", (1, 4, 5, 5), (4, 8, 3, 3)) == 14_400


def test_the_backward_of_a_convolution_counts_the_gradients_that_were_asked_for():
    # forward: 2 * 1 * 4 * 4 * (8 * 3 * 9) = 6,912
    shapes = [(1, 8, 4, 4), (1, 3, 6, 6), (8, 3, 3, 3), (), (), (), (), (), (), (), ()]
    values = ["", "", "", "[8]", "[1, 1]", "[0, 0]", "[1, 1]", "False", "[0, 0]", "1"]
    assert flops("convolution_backward", *shapes, values=[*values, "[True, True, False]"]) == 13_824
    assert flops("convolution_backward", *shapes, values=[*values, "[False, True, True]"]) == 6_912
    assert flops("convolution_backward", *shapes) == 13_824


@pytest.mark.parametrize(
    ("operator", "causal", "heads_last"),
    [
        ("_scaled_dot_product_flash_attention", 4, False),
        ("_scaled_dot_product_flash_attention_for_cpu", 4, False),
        ("_scaled_dot_product_efficient_attention", 6, False),
        ("_scaled_dot_product_cudnn_attention", 6, False),
        ("_flash_attention_forward", 8, True),
        ("flash_attn::_flash_attn_forward", 5, True),
    ],
)
def test_attention_counts_all_pairs_unless_the_trace_says_that_it_is_causal(operator, causal, heads_last):
    # 2 * 2 batches * 3 heads * 4 queries * 4 keys * (8 + 8) = 3,072; of 16 pairs causal masking keeps 10
    shape = (2, 4, 3, 8) if heads_last else (2, 3, 4, 8)
    name = operator if "::" in operator else f"aten::{operator}"
    full = cost_of(name, call(shape, shape, shape))
    assert (full.flops, full.attention) == (3_072, "full")
    kept = cost_of(name, call(shape, shape, shape, values=[*[""] * causal, "True"]))
    assert (kept.flops, kept.attention) == (1_920, "causal")


@pytest.mark.parametrize(
    ("operator", "causal", "heads_last"),
    [
        ("_scaled_dot_product_flash_attention_backward", 11, False),
        ("_scaled_dot_product_efficient_attention_backward", 11, False),
        ("_scaled_dot_product_cudnn_attention_backward", 14, False),
        ("_flash_attention_backward", 11, True),
    ],
)
def test_the_backward_of_attention_is_twice_the_forward(operator, causal, heads_last):
    shape = (2, 4, 3, 8) if heads_last else (2, 3, 4, 8)
    assert flops(operator, shape, shape, shape, shape, values=[*[""] * causal, "False"]) == 6_144
    assert flops(operator, shape, shape, shape, shape, values=[*[""] * causal, "True"]) == 3_840


@pytest.mark.parametrize(
    ("operator", "shapes"),
    [
        ("mm", ()),
        ("mm", ((3, 4),)),
        ("mm", ((3, 4), (5, 6))),
        ("mm", ((3,), (4, 5))),
        ("mm", ((-3, 4), (4, 5))),
        ("convolution", ((1, 3, 8, 8), (4, 3, 3, 3), ())),
        ("_flash_attention_forward", ((128, 3, 8),) * 3),
        ("add", ((3, 4), (3, 4))),
    ],
)
def test_what_the_trace_does_not_tell_is_absent(operator, shapes):
    assert flops(operator, *shapes) is None


def test_bytes_and_precision():
    # (3 * 4 + 4 * 5 + 3 * 5) * 2 bytes = 94
    cost = cost_of("aten::mm", call((3, 4), (4, 5)))
    assert (cost.least_bytes, cost.dtype) == (94, "bf16")
    assert cost_of("aten::mm", call((3, 4), (4, 5), dtype="float")).dtype == "fp32"
    assert cost_of("aten::_scaled_mm", call((3, 4), (4, 5), dtype="c10::Float8_e4m3fn")).dtype == "fp8"
    unknown = cost_of("aten::mm", call((3, 4), (4, 5), dtype="strange"))
    assert (unknown.flops, unknown.least_bytes, unknown.dtype) == (120, None, None)


def test_the_part_is_by_name():
    assert part_of("aten::bmm") == "matmul"
    assert part_of("aten::cudnn_convolution") == "convolution"
    assert part_of("aten::_efficient_attention_forward") == "attention"
    assert part_of("aten::add") is None


def test_products_that_a_compiler_wrote_count_where_it_is_clear_which_matrices_they_are():
    name = "triton_tem_fused_addmm_relu_3"
    assert part_of(name) == "matmul"
    # 2 * 3 * 4 * 5 = 120, with a bias and a scalar between
    assert cost_of(name, call((3, 4), (4, 5), (5,), (), (3, 5))).flops == 120
    assert cost_of("triton_tem_fused_bmm_0", call((7, 3, 4), (7, 4, 5), (7, 3, 5))).flops == 840
    # no result that fits, two pairs that do, or no shapes
    assert cost_of(name, call((3, 4), (4, 5), (15,))) is None
    assert cost_of(name, call((3, 4), (4, 5), (3, 6), (6, 5), (3, 5))) is None
    assert cost_of(name, call()) is None
    assert part_of("triton_poi_fused_addmm_relu_3") is None


def test_flash_attentions_causal_mask_is_aligned_at_the_end():
    def of(queries, keys):
        q, k = (1, queries, 1, 8), (1, keys, 1, 8)
        values = ["", "", "", "0.", "1.", "True"]
        return cost_of("flash_attn::_flash_attn_forward", call(q, k, k, values=values)).flops // (2 * 16)

    # One query after four keys meets all five; of 2 after 2 the first meets 3, the second 4; of 4 two meet no key.
    assert of(1, 5) == 5
    assert of(2, 4) == 7
    assert of(4, 2) == 3
    assert of(3, 3) == 6


@pytest.mark.parametrize(
    ("name", "place", "tensors"), [("_efficient_attention_forward", 9, 3), ("_efficient_attention_backward", 14, 4)]
)
def test_the_memory_efficient_kernels_align_their_mask_by_its_kind(name, place, tensors):
    def of(kind):
        q, k = (1, 2, 1, 8), (1, 4, 1, 8)
        shapes = [q, k, k] if tensors == 3 else [q, q, k, k]
        return cost_of(f"aten::{name}", call(*shapes, values=[*[""] * place, kind]))

    # Two queries of four keys: from the first pair on they meet 1 and 2 keys, up to the last pair 3 and 4.
    of_a_pair = 2 * (8 + 8) * (1 if tensors == 3 else 2)
    assert [of(kind).flops // of_a_pair for kind in ("0", "1", "2")] == [2 * 4, 1 + 2, 3 + 4]
    assert [of(kind).attention for kind in ("0", "1", "2")] == ["full", "causal", "causal"]


def test_sizes_and_strides_of_nothing_are_no_crash():
    empty = (1, 2, 0, 8)
    assert flops("_scaled_dot_product_flash_attention", empty, empty, empty, values=["", "", "", "0.", "True"]) is None
    still = ["", "", "", "[0, 0]", "[0, 0]", "[1, 1]", "False", "[0, 0]", "1"]
    assert flops("convolution", (1, 3, 8, 8), (4, 3, 3, 3), (), values=still) is None
