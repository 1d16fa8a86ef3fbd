"""Classes with a layout of their own: what is measured without data is what torch's counter sees of a real pass."""

import pytest
import transformers

from flopwatch.errors import ArgumentError
from flopwatch.measure.huggingface import build, measured
from flopwatch.measure.inputs import inputs_of
from flopwatch.measure.own_layouts import OWN_LAYOUTS
from flopwatch.model.batch import Batch
from tests.measure.real_passes import BERT, CPU, T5, TEXT, both_counts

VISION = {**BERT, "image_size": 32, "patch_size": 8}
GEMMA = {**TEXT, "num_key_value_heads": 2, "head_dim": 16, "vocab_size_per_layer_input": 120}
LLAMA = {**TEXT, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
POOLED = {**BERT, "head_dim": 16, "num_key_value_heads": 2, "patch_size": 4, "pooling_kernel_size": 3}

# name: (config, batch)
CASES = {
    "vilt": ({**TEXT, "image_size": 32, "patch_size": 8}, Batch(2, 12)),
    "splinter": ({**TEXT, "question_token_id": 104}, Batch(2, 12)),
    "lxmert": (
        {**TEXT, "l_layers": 1, "r_layers": 1, "x_layers": 1, "visual_feat_dim": 24, "num_qa_labels": 7},
        Batch(2, 12),
    ),
    "decision_transformer": ({"hidden_size": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}, Batch(2, 12)),
    "xclip": (
        {
            "text_config": {**TEXT, "max_position_embeddings": 20, "eos_token_id": 2},
            "vision_config": {**VISION, "num_frames": 3, "mit_hidden_size": 32, "mit_intermediate_size": 48},
            "projection_dim": 32,
        },
        Batch(2, 12),
    ),
    "perceiver": (
        {
            **{"vocab_size": 120, "d_model": 32, "d_latents": 48, "num_latents": 6, "max_position_embeddings": 20},
            **{"num_blocks": 1, "num_self_attends_per_block": 2, "num_self_attention_heads": 2},
            **{"num_cross_attention_heads": 2, "qk_channels": 16, "v_channels": 48},
        },
        Batch(2, 12),
    ),
    "timesfm": (
        {**BERT, "head_dim": 16, "patch_length": 8, "context_length": 32, "horizon_length": 16},
        Batch(2),
    ),
    "switch_transformers": (
        {**T5, "num_experts": 4, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1},
        Batch(2, 12, 16),
    ),
    "idefics": (
        {
            **{**LLAMA, "additional_vocab_size": 0, "cross_layer_interval": 2},
            "vision_config": {"embed_dim": 32, "image_size": 32, **BERT, "patch_size": 8},
        },
        Batch(2, 12),
    ),
    "gemma4_vision": (POOLED, Batch(2, image_size=(24, 36))),
    "seggpt": (
        {**BERT, "image_size": [32, 16], "patch_size": 8, "mlp_dim": 48, "decoder_hidden_size": 8, "merge_index": 0}
        | {"intermediate_hidden_state_indices": [0, 1], "drop_path_rate": 0.0, "pretrain_image_size": 16},
        Batch(2),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_without_data_it_costs_what_a_real_pass_does(name):
    ours, theirs = both_counts(name, *CASES[name])
    assert ours == theirs


def test_every_layout_is_for_a_class_that_transformers_has():
    assert sorted(set(OWN_LAYOUTS) - set(transformers.CONFIG_MAPPING)) == []


def test_what_a_batch_lacks_is_named():
    model = build({"model_type": "vilt", **CASES["vilt"][0]})
    with pytest.raises(ArgumentError, match="tokens per sequence"):
        inputs_of(model, Batch(2), CPU)
    fuyu = {"text_config": {**LLAMA, "model_type": "persimmon"}, "patch_size": 8, "image_token_id": 7}
    model = build({"model_type": "fuyu", **fuyu})
    with pytest.raises(ArgumentError, match="its images stand for 24 tokens of a sequence"):
        inputs_of(model, Batch(2, 20, image_size=(32, 48)), CPU)


def test_what_is_chosen_is_said_to_be_taken_as_even():
    fields, batch = CASES["switch_transformers"]
    seen = measured(build({"model_type": "switch_transformers", **fields}), batch, "full")
    assert "what is chosen by largest values, as experts are, was taken as chosen equally often" in seen.assumptions
