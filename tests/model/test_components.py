import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopwatch.model.architecture import Architecture, Group, Stack
from flopwatch.model.backward import training_flops
from flopwatch.model.batch import Batch, attended_pairs
from flopwatch.model.components import AttentionCore, Embedding, Linear, Norm, matmul_flops
from flopwatch.model.families import architecture_of

LLAMA = {
    "model_type": "llama",
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def test_a_matmul_is_two_flops_for_every_multiply_add():
    # (8, 4) x (4, 6): 8 * 6 outputs of 4 multiply-adds each, 8 * 6 * 4 * 2 = 384.
    assert matmul_flops(8, 4, 6) == 384


@given(st.integers(1, 40), st.booleans(), st.one_of(st.none(), st.integers(1, 50)))
def test_attended_pairs_are_those_of_the_mask_written_out(seq_len, causal, window):
    window = window if causal else None
    kept = [
        (query, key)
        for query in range(seq_len)
        for key in range(seq_len)
        if not causal or (key <= query and (window is None or query - key < window))
    ]
    assert attended_pairs(seq_len, causal=causal, window=window) == len(kept)


def test_each_component_against_hand_arithmetic():
    batch = Batch(2, 3)
    # 6 tokens x 5 x 7 multiply-adds = 210, x 2 = 420. Weight 35 + bias 7 = 42; tied: the bias alone.
    assert Linear("l", 5, 7, bias=True).forward_flops(batch) == 420
    assert Linear("l", 5, 7, bias=True).parameters() == 42
    assert Linear("l", 5, 7, tied="embedding").parameters() == 0
    assert Linear("l", 5, 7, tied="embedding").forward_flops(batch) == 420
    # 2 sequences x (1 + 2 + 3) pairs x 4 heads x (8 + 16) multiply-adds x 2 = 2304.
    assert AttentionCore("a", 4, 8, 16).forward_flops(batch) == 2304
    assert Embedding("e", 10, 4).parameters() == 40
    assert Embedding("e", 10, 4).forward_flops(batch) == 0
    assert [Norm("n", 6).parameters(), Norm("n", 6, bias=True).parameters()] == [6, 12]
    assert Norm("n", 6, affine=False).parameters() == 0
    layers = Stack("g", (Group("", (Linear("l", 5, 7), Norm("n", 6))),), (0, 0, 0))
    assert Architecture("a", (layers,)).parameters() == 3 * 41
    assert Architecture("a", (dataclasses.replace(layers, shared=True),)).parameters() == 41


@given(st.integers(1, 9), st.integers(1, 200), st.integers(2, 5))
def test_more_sequences_cost_proportionally_more(sequences, seq_len, factor):
    architecture = architecture_of(LLAMA)
    one = training_flops(architecture, Batch(sequences, seq_len))
    assert training_flops(architecture, Batch(factor * sequences, seq_len)) == factor * one


@given(st.integers(1, 9), st.integers(1, 300))
def test_books_balance(sequences, seq_len):
    architecture, batch = architecture_of(LLAMA), Batch(sequences, seq_len)
    rows = architecture.rows(batch)
    assert sum(row.forward_flops for row in rows) == architecture.forward_flops(batch)
    assert sum(row.parameters for row in rows) == architecture.parameters()
    assert training_flops(architecture, batch) == 3 * architecture.forward_flops(batch)
    assert architecture.forward_flops(batch) <= architecture.with_full_attention().forward_flops(batch)


def test_full_attention_changes_the_core_alone():
    batch = Batch(1, 10)
    causal, full = architecture_of(LLAMA), architecture_of(LLAMA).counted_with("full")
    # 3 layers x 4 heads x (16 + 16) x 2 FLOPs a pair = 768; 100 - 55 = 45 more pairs.
    assert full.forward_flops(batch) - causal.forward_flops(batch) == 768 * 45
    assert full.parameters() == causal.parameters()
    assert causal.counted_with("causal") is causal


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
def test_a_batch_without_tokens_is_no_work(shape):
    assert training_flops(architecture_of(LLAMA), Batch(*shape)) == 0


def test_a_negative_batch_is_refused():
    with pytest.raises(ValueError, match="got -1 x 5"):
        Batch(-1, 5)


def test_architectures_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        architecture_of(LLAMA).model_type = "other"
