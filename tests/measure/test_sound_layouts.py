"""Classes that hear or speak: what is measured without data is what torch's counter sees of a real pass."""

import pytest
import torch

from flopwatch.measure.huggingface import build
from flopwatch.measure.inputs import inputs_of
from flopwatch.model.batch import Batch
from tests.measure.real_passes import CPU, T5, TEXT, both_counts

CASES = {
    "pop2piano": (T5, Batch(2, 12, 16)),
    "dia": (
        {
            "encoder_config": {**TEXT, "num_key_value_heads": 2, "head_dim": 16},
            "delay_pattern": [0, 1, 2],
            "decoder_config": {
                **{**TEXT, "num_key_value_heads": 2, "head_dim": 16, "cross_num_attention_heads": 2},
                **{"cross_head_dim": 16, "cross_num_key_value_heads": 2, "cross_hidden_size": 32, "num_channels": 3},
            },
        },
        Batch(2, 12, 16),
    ),
    "fastspeech2_conformer": (
        {
            **{"hidden_size": 32, "vocab_size": 40, "num_mel_bins": 10, "encoder_layers": 1, "decoder_layers": 1},
            **{"encoder_linear_units": 48, "decoder_linear_units": 48, "speech_decoder_postnet_units": 16},
            **{f"{name}_predictor_channels": 12 for name in ("duration", "energy", "pitch")},
        },
        Batch(2, 12, 36),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_without_data_it_costs_what_a_real_pass_does(name):
    ours, theirs = both_counts(name, *CASES[name])
    assert ours[0] == theirs[0]
    if name != "fastspeech2_conformer":  # torch's counter takes grouped convolutions' backward for that of whole ones
        assert ours[1] == theirs[1]


def test_frames_are_filled_up_to_whole_windows():
    sizes = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 8, "n_window": 10}
    model = build({"model_type": "qwen3_asr_encoder", **sizes, "num_mel_bins": 8, "downsample_hidden_size": 4})
    given = inputs_of(model, Batch(2, source_len=50), CPU)
    assert given["input_features"].shape == (2, 8, 60)
    assert given["input_features_mask"].sum(1).tolist() == [50, 50]


def test_nothing_is_padding_where_a_mask_says_what_is():
    model = build(
        {"model_type": "gemma3n_audio", "hidden_size": 32, "conf_num_hidden_layers": 1, "conf_num_attention_heads": 2}
    )
    given = inputs_of(model, Batch(3, source_len=64), CPU)
    assert given["audio_mel"].shape == (3, 64, 128)
    assert not torch.any(given["audio_mel_mask"])
