"""A model of GPT-2's shape and its FLOPs, by hand and by torch."""

import pytest
import torch

from flopwatch.check.gpt import GPT2, SMALL, Net, Shape, by_products, counted_by_torch, fused, shape_for, tokens_of
from flopwatch.model.backward import training_flops
from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of

TINY = Shape(layers=2, width=8, heads=2, vocabulary=32, tokens=16, sequences=2)


def test_training_flops_of_a_tiny_one():
    # A 16-token sequence, as tests/lightning/models.py has it: forward 57,344 of products and 8,704 of attention.
    assert TINY.training_flops == 2 * 3 * (57_344 + 8_704)
    # The other 120 of 256 pairs: 2 layers x 2 products x 8 x 2 FLOPs x 120 = 7,680, in forward and backward 3 times.
    assert TINY.masked_flops == 2 * 3 * 7_680


@pytest.mark.parametrize("shape", [TINY, SMALL, GPT2], ids=["tiny", "small", "GPT-2"])
def test_torch_counts_the_same(shape):
    assert counted_by_torch(shape) == shape.training_flops


def test_its_config_is_that_of_gpt2():
    assert training_flops(architecture_of(GPT2.config), Batch(4, 1024)) == GPT2.training_flops
    # GPT-2's smallest size has 124 M parameters with a vocabulary of 50,257; 47 more rows of 768 are padding.
    with torch.device("meta"):
        assert sum(each.numel() for each in Net(GPT2).parameters()) == 124_439_808 + 47 * 768


def test_both_kinds_of_attention_are_the_same():
    torch.manual_seed(0)
    heads = [torch.randn(2, 2, 16, 4) for _ in range(3)]
    assert torch.allclose(fused(*heads), by_products(*heads), atol=1e-5)


def test_tokens_are_the_same_every_time_and_in_the_vocabulary():
    tokens = tokens_of(TINY, 3)
    assert tokens.shape == (6, 16)
    assert torch.equal(tokens, tokens_of(TINY, 3))
    assert 0 <= tokens.min() <= tokens.max() < 32


def test_a_cpu_and_a_full_gpu_train_the_small_one(monkeypatch):
    assert shape_for(torch.device("cpu")) == SMALL
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: int(7e9))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(4e9), int(24e9)))
    assert shape_for(torch.device("cuda")) == SMALL
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(5e9), int(24e9)))
    assert shape_for(torch.device("cuda")) == GPT2
