"""flex_attention over a real step: every number by hand."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch._higher_order_ops.flex_attention import flex_attention as flex_operator
from torch._higher_order_ops.flex_attention import flex_attention_backward
from torch.nn.attention.flex_attention import _identity, create_block_mask, flex_attention

from flopwatch.measure import flex
from flopwatch.measure.watching import StepCounter
from tests.measure.test_packages import two, watched

BLOCKS = create_block_mask(lambda b, h, q, k: q >= k, None, None, 250, 250, device="cpu", BLOCK_SIZE=64)


# Of blocks of 64: in the first three rows of blocks 1 + 2 + 3 of 64 x 64; in the last one 58 queries and all 250 keys.
KEPT = (1 + 2 + 3) * 64 * 64 + 58 * 250


PAIR = 2 * 2 * (16 + 16)  # two heads, two products of width 16


def heads(length=250, **options):
    torch.manual_seed(0)
    return tuple(torch.randn(1, 2, length, 16, **options) for _ in range(3))


@pytest.mark.parametrize("compiled", [False, True])
def test_flex_attention_counts_the_blocks_that_are_kept(compiled):
    torch._dynamo.reset()
    attend = torch.compile(flex_attention, backend="aot_eager") if compiled else flex_attention
    measured = {
        (convention, mask is None): watched(lambda mask=mask: attend(*heads(), block_mask=mask), attention=convention)
        for convention in ("full", "causal")
        for mask in (None, BLOCKS)
    }
    flops = {key: each.forward_flops for key, each in measured.items()}
    pairs = 250 * 250
    assert flops == {
        ("full", True): pairs * PAIR,
        ("full", False): pairs * PAIR,
        ("causal", True): pairs * PAIR,
        ("causal", False): KEPT * PAIR,
    }
    assert all(each.complete and each.assumptions == () for each in measured.values())


def flex_gradients(compiled, counter=None):
    torch._dynamo.reset()
    # The operator itself: on a CPU the function in front of it takes no tensor that needs a gradient.
    step = lambda q, k, v: flex_operator(q, k, v, _identity, BLOCKS.as_tuple(), 1.0, {})[0].pow(2).sum()  # noqa: E731
    tensors = heads(requires_grad=True)
    if counter is not None:
        counter.start()
    (torch.compile(step, backend="aot_eager") if compiled else step)(*tensors).backward()
    if counter is not None:
        counter.stop()
    return [each.grad for each in tensors]


@pytest.mark.parametrize("compiled", [False, True])
def test_flex_attentions_backward_is_four_products_and_stays_as_it_is(compiled):
    counter = StepCounter(nn.Module())
    with_ours, without = flex_gradients(compiled, counter), flex_gradients(compiled)
    assert all(torch.equal(one, other) for one, other in zip(with_ours, without, strict=True))
    assert two(counter.result("causal")) == (KEPT * PAIR, 2 * KEPT * PAIR)
    assert two(counter.result("full")) == (250 * 250 * PAIR, 2 * 250 * 250 * PAIR)


def test_a_block_mask_on_a_device_is_not_read_which_is_said(monkeypatch):
    monkeypatch.setattr(flex, "kept_pairs", lambda operator, args: None)
    measured = watched(lambda: flex_attention(*heads(), block_mask=BLOCKS), attention="causal")
    assert measured.forward_flops == 250 * 250 * PAIR
    assert measured.assumptions == (flex.UNREAD,)
    monkeypatch.undo()
    mask = [each.to("meta") if isinstance(each, torch.Tensor) else each for each in BLOCKS.as_tuple()]
    assert flex.kept_pairs(flex_operator, (*heads(), None, mask)) is None


def test_a_compiled_kernel_of_flex_attention_is_not_seen_and_withholds(monkeypatch):
    from torch._inductor.codecache import PyCodeCache

    linear = nn.Linear(4, 4)
    step = lambda: linear(torch.ones(2, 4))  # noqa: E731
    monkeypatch.setattr(PyCodeCache, "modules", [SimpleNamespace(cpp_fused_add_0=None)])
    assert watched(step, linear).complete
    monkeypatch.setattr(PyCodeCache, "modules", [SimpleNamespace(triton_tem_fused_flex_attention_0=None)])
    assert [each.operator for each in watched(step, linear).missing] == ["higher_order.flex_attention"]


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (1, 3), (2, 3)])
def test_block_masks_of_each_sequence_or_head(shape):
    mask = create_block_mask(lambda b, h, q, k: q >= k + 64 * (b + h), *shape, 256, 256, device="cpu", BLOCK_SIZE=64)
    q = torch.empty(2, 3, 256, 16)
    blocks = mask.to_dense().expand(2, 3, -1, -1).sum().item()
    assert flex.kept_pairs(flex_operator, (q, q, q, None, mask.as_tuple())) == blocks * 64 * 64


def test_of_all_operators_that_are_given_functions_only_these_are_flex_attention():
    assert [flex.is_flex(each) for each in (flex_operator, flex_attention_backward)] == [True, True]
    others = torch.ops.higher_order.cond, torch.ops.aten.mm.default, "flex_attention"
    assert not any(flex.is_flex(each) for each in others)


def test_a_block_that_holds_both_sequences_is_no_mask():
    q, k = torch.empty(1, 2, 5, 16), torch.empty(1, 2, 7, 16)
    mask = create_block_mask(lambda b, h, q, k: q < 0, None, None, 5, 7, device="cpu", BLOCK_SIZE=128)
    # 2 heads x 5 x 7 pairs, though the function that masks keeps none.
    assert flex.kept_pairs(flex_operator, (q, k, k, None, mask.as_tuple())) == 70


def test_pairs_of_different_widths_are_two_products_and_in_the_backward_four():
    q, k, v = torch.empty(1, 2, 5, 16), torch.empty(1, 2, 7, 16), torch.empty(1, 2, 7, 4)
    # 70 pairs, each 2 FLOPs for each of 16 and of 4.
    assert flex.formula_of(flex_operator)(q, k, v) == 70 * 2 * 20
    assert flex.formula_of(flex_attention_backward)(q, k, v) == 70 * 4 * 20


def test_a_mode_that_operators_have_a_rule_for_counts_the_same():
    """As before torch 2.9, where an operator that is given functions raises under a mode that it has no rule for."""

    class Registered(StepCounter):
        supports_higher_order_operators = False

    Registered._register_with_higher_order_operators()
    Registered._register_with_higher_order_operators()
    counter = Registered(nn.Linear(1, 1))
    counter.start()
    flex_attention(*heads(), block_mask=BLOCKS)
    counter.stop()
    assert counter.result("causal").forward_flops == KEPT * PAIR
