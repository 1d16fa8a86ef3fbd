import pytest

from flopwatch.model import conventions
from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of

GPT3 = {
    "model_type": "gpt2",
    "n_embd": 12288,
    "n_layer": 96,
    "n_head": 96,
    "n_positions": 2048,
    "vocab_size": 50257,
}


def test_rule_of_thumb_is_two_forward_and_four_backward():
    # 10 parameters, 7 tokens: 2 * 70 and 4 * 70.
    assert conventions.rule_of_thumb_forward_flops(10, 7) == 140
    assert conventions.rule_of_thumb_backward_flops(10, 7) == 280
    assert conventions.rule_of_thumb_training_flops(10, 7) == 420


def test_gpt3_by_the_rule_of_thumb_is_the_published_figure():
    # Brown et al., arXiv 2005.14165, table D.1: 3.14e23 FLOPs for 300B tokens.
    architecture = architecture_of(GPT3)
    total = conventions.training_flops(architecture, Batch(1, 2048), "6nd") * 300 * 10**9 // 2048
    assert total == pytest.approx(3.14e23, rel=0.01)


def test_gpt3_exactly_by_hand():
    # Per layer and token: q, k, v, o 4 * 12288^2, MLP 8 * 12288^2, so 12 * 150_994_944 = 1_811_939_328 multiply-adds;
    # 96 layers: 173_946_175_488; head 12288 * 50257 = 617_558_016. x 2 FLOPs x 2048 tokens = 715_013_052_432_384 + ...
    matrices = 2 * 2048 * (96 * 12 * 12288**2 + 12288 * 50257)
    # Core: 96 layers x 96 heads x 2 products x 128 x 2 FLOPs, over 2048 * 2049 / 2 = 2_098_176 pairs.
    core = 96 * 96 * 2 * 128 * 2 * 2_098_176
    architecture, batch = architecture_of(GPT3), Batch(1, 2048)
    assert conventions.forward_flops(architecture, batch, "model") == matrices + core
    assert conventions.training_flops(architecture, batch, "model") == 3 * (matrices + core)


@pytest.mark.parametrize("convention", conventions.CONVENTIONS)
def test_the_table_adds_up_under_every_convention(convention):
    architecture, batch = architecture_of(GPT3), Batch(3, 100)
    rows = conventions.rows(architecture, batch, convention)
    assert sum(row.forward_flops for row in rows) == conventions.forward_flops(architecture, batch, convention)


def test_frames_of_sound_look_up_no_words():
    fields = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
    fields |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "vocab_size": 100}
    whisper = architecture_of({"model_type": "whisper", "num_mel_bins": 8, "max_source_positions": 50, **fields})
    rows = conventions.rows(whisper, Batch(2, 10, 100), "chinchilla")
    # 2 x 10 words of the decoder, 100 in the vocabulary, 16 wide; 100 frames of each sound are none.
    assert sum(row.forward_flops for row in rows if row.name.endswith("embed_tokens")) == 2 * 20 * 100 * 16


def test_every_convention_says_what_it_counts():
    assert set(conventions.DESCRIPTIONS) == set(conventions.CONVENTIONS)
