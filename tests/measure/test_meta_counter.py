"""What counting without data takes for granted, refuses, and keeps from other threads."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from flopwatch.errors import MeasurementError
from flopwatch.measure import measure
from flopwatch.measure.meta_counter import DataDependentError, MadeOnMeta, MetaCounter, causal_attention_whole
from tests.measure.test_measure import Runs, X, meanwhile
from tests.versions import torch_2_5


def test_checks_of_all_and_any_are_taken_for_granted_and_said():
    def function(m, x):
        if torch.isnan(x).any():
            raise ValueError
        return x @ m.a if (x == 0).all() else x @ m.a @ m.b

    measured = measure(Runs(function), X)
    assert measured.forward_flops == 512
    assert len(measured.assumptions) == 2


@torch_2_5
@pytest.mark.parametrize("reentrant", [False, True])
def test_causal_attention_is_masked_in_checkpointed_layers_too(reentrant):
    def attend(x):
        return functional.scaled_dot_product_attention(x, x, x, is_causal=True)

    module = Runs(lambda m, x: checkpoint(attend, (x @ m.a)[None], use_reentrant=reentrant))
    # The layer: 6 x 8 x 8 x 2 = 768, twice. 21 pairs of 36, each 2 FLOPs x 8 wide: two products forward, four backward.
    causal = measure(module, torch.zeros(6, 8), attention="causal")
    assert (causal.forward_flops, causal.backward_flops) == (768 + 2 * 16 * 21, 768 + 4 * 16 * 21)
    assert causal.recomputed_flops == 2 * 16 * 21
    full = measure(module, torch.zeros(6, 8))
    assert (full.training_flops, full.recomputed_flops) == (2 * 768 + 6 * 16 * 36, 2 * 16 * 36)


@torch_2_5
@pytest.mark.parametrize(
    ("query", "key", "value"),
    [((4, 6, 8), (4, 6, 8), (4, 6, 2)), ((2, 2, 6, 8), (2, 1, 6, 8), (2, 1, 6, 2)), ((2, 2, 1, 6, 8),) * 3],
)
def test_causal_attention_of_any_dimensions_gives_what_it_gives_without(query, key, value):
    class Holds(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Parameter(torch.zeros(each)) for each in (query, key, value))

        def forward(self):
            out = functional.scaled_dot_product_attention(self.a, self.b, self.c, is_causal=True, enable_gqa=True)
            assert out.shape == (*self.a.shape[:-1], self.c.shape[-1])
            return out

    # 4 heads, 21 pairs, both products, 2 FLOPs each.
    forward = 4 * 21 * 2 * (query[-1] + value[-1])
    measured = measure(Holds(), attention="causal")
    assert (measured.forward_flops, measured.backward_flops) == (forward, 2 * forward)


def test_code_that_waits_for_other_ranks_is_not_measured_and_goes_on_outside_as_ever(python):
    result = python(Path(__file__).parent / "scripts" / "wait_for_ranks.py")
    assert result.returncode == 0, result.stderr[-2000:]
    lines = result.stdout.splitlines()
    assert len(lines) == 4
    assert all("waits for other ranks" in line and line.endswith(" None") for line in lines)


def test_a_loop_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr("flopwatch.measure.meta_counter._MOST_SECONDS", 0.02)

    def function(m, x):
        while not (x > 1e9).any():
            x = x @ m.a

    with pytest.raises(MeasurementError, match="took longer"):
        measure(Runs(function), X)


def test_other_threads_make_tensors_and_attend_as_ever():
    def function():
        made.append(torch.zeros(1, 1, 4, 4).device.type)
        query = torch.zeros(1, 1, 4, 4, device="meta", requires_grad=True)
        with Products() as products:
            functional.scaled_dot_product_attention(query, query, query, is_causal=True)
        made.append(products.count)

    class Products(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
            self.count += operator is torch.ops.aten.bmm.default
            return operator(*args, **(kwargs or {}))

    made = []
    measure(meanwhile(function), X)
    assert made == ["cpu", 2]


def test_a_check_that_a_mask_keeps_everything_is_taken_for_granted():
    def function(m, x):
        mask = torch.ones(4, dtype=torch.bool)
        return x @ m.a if mask.sum() == 4 else x @ m.a @ m.b

    measured = measure(Runs(function), X)
    assert measured.forward_flops == 512
    assert measured.assumptions == ("a check of all or any values was assumed true",)


def test_a_value_that_nobody_can_know_is_not_made_up():
    with MetaCounter(nn.Module()), pytest.raises(DataDependentError, match=r"reads a tensor's value"):
        torch.zeros(1, device="meta").item()
    assert torch.zeros(1).item() == 0.0


def test_work_is_booked_to_the_innermost_module_that_runs_also_after_an_error():
    class Fails(nn.Module):
        def forward(self, x):
            raise ValueError

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.broken, self.inner = Fails(), nn.Sequential(nn.Linear(8, 8))

        def forward(self, x):
            try:
                self.broken(x)
            except ValueError:
                return self.inner(x) @ x.T

    # 4 rows: the layer 2 x 4 x 8 x 8 = 512, and 4 x 8 by 8 x 4 outside of it.
    assert measure(Model(), X).by_module == {"inner.0": 512, "": 256}


def test_tensors_are_made_on_meta_unless_the_code_says_where():
    with MadeOnMeta():
        made = torch.zeros(2), torch.arange(3), torch.zeros(2, device="cpu"), torch.zeros_like(X)
    assert [each.device.type for each in made] == ["meta", "meta", "cpu", "cpu"]
    assert torch.zeros(2).device.type == "cpu"


@torch_2_5
def test_attention_is_taken_apart_again_once_it_is_over():
    query = torch.zeros(1, 2, 6, 8, device="meta", requires_grad=True)

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
            seen.append(operator.name())
            return operator(*args, **(kwargs or {}))

    def attend():
        seen.clear()
        with Names():
            functional.scaled_dot_product_attention(query, query, query, is_causal=True)
        return any("efficient_attention" in name for name in seen)

    seen = []
    with causal_attention_whole():
        assert attend()
    assert not attend()
