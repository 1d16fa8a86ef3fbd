import pytest

from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of
from flopwatch.model.shape_advice import FLASH, GUIDE, shape_advice
from tests.model.test_conventions import GPT3

GPT2 = {"model_type": "gpt2", "n_layer": 12, "n_head": 12, "n_embd": 768, "vocab_size": 50257, "n_positions": 1024}
LLAMA_7B = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
}
PHI2 = {
    "model_type": "phi",
    "vocab_size": 51200,
    "hidden_size": 2560,
    "intermediate_size": 10240,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
}
VIT = {
    "model_type": "vit",
    "image_size": 224,
    "patch_size": 14,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "num_labels": 1000,
}
BATCH = Batch(1, 1024)


def advice(config, batch=BATCH, dtype="bf16"):
    return shape_advice(architecture_of(config), batch, dtype)


def test_the_vocabulary_of_gpt2_is_padded_as_nanogpt_pads_it():
    (only,) = advice(GPT2)
    assert (only.what, only.size, only.better, only.source) == ("vocabulary", 50257, 50304, GUIDE)
    # Of a token's FLOPs: head 2 x 768 x 50257, layers 12 x 24 x 768^2, attention 12 x 4 x 768 x 1025 / 2.
    head, rest = 2 * 768 * 50257, 12 * 24 * 768**2 + 12 * 4 * 768 * 1025 / 2
    assert only.share == pytest.approx(head / (head + rest))
    assert "no multiple of 8: 50,304 is, and 29.0% of the forward FLOPs" in only.words


@pytest.mark.parametrize("config", [LLAMA_7B, {**GPT2, "vocab_size": 50304}])
def test_where_everything_is_a_multiple_nothing_is_said(config):
    assert advice(config) == ()


def test_the_thousand_labels_of_a_vit_and_its_patches_are_too_little_to_speak_of():
    assert shape_advice(architecture_of(VIT), Batch(8)) == ()


def test_a_head_size_of_80_is_run_in_a_kernel_for_96():
    (only,) = advice(PHI2)
    assert (only.what, only.size, only.better, only.source) == ("head size", 80, 96, FLASH)
    # 1 - 80 / 96 = 16.7%
    assert "16.7% of that kernel's products are padding" in only.words


def test_a_multiple_of_8_that_is_none_of_64_is_said_to_be_one():
    (only,) = advice({**LLAMA_7B, "intermediate_size": 11000})
    assert (only.size, only.better) == (11000, 11008)
    assert "a multiple of 8, but not of 64" in only.words
    assert only.what == "model.layers.mlp"


def test_a_token_that_is_cut_off_spoils_the_batch():
    (only,) = advice(LLAMA_7B, Batch(1, 1023))
    assert (only.what, only.size, only.better, only.share) == ("tokens in a batch", 1023, 1024, 1.0)
    assert advice(LLAMA_7B, Batch(8, 1023)) == ()


def test_the_multiples_are_those_of_the_precision():
    odd = {**LLAMA_7B, "intermediate_size": 11040}  # 11,040 = 345 x 32
    assert [each.better for each in advice(odd)] == [11072]
    assert [each.better for each in advice(odd, dtype="fp8")] == [11136]
    assert advice(odd, dtype="tf32") == advice(odd, dtype="fp32") == ()


def test_the_largest_share_comes_first():
    both = advice({**GPT3, "n_embd": 12000, "n_head": 96})  # heads of 125, so that nearly everything is uneven
    assert [each.share for each in both] == sorted((each.share for each in both), reverse=True)
    assert len(both) > 1
