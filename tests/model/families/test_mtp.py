import pytest

from flopwatch.errors import ArgumentError, ConfigError, UnknownModelError
from flopwatch.model.backward import Trainable, training_flops
from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of
from flopwatch.report.estimating import estimate
from tests.model.test_megatron_bridge import DEEPSEEK

SMALL = {
    "model_type": "deepseek_v3",
    "hidden_size": 8,
    "intermediate_size": 12,
    "moe_intermediate_size": 5,
    "num_hidden_layers": 2,
    "first_k_dense_replace": 1,
    "num_attention_heads": 2,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "q_lora_rank": 3,
    "kv_lora_rank": 4,
    "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 2,
    "v_head_dim": 7,
    "vocab_size": 11,
    "num_nextn_predict_layers": 2,
}
# A layer's products per token, by hand. Attention: 8 x 3 + 3 x 2(6 + 2) + 8 x (4 + 2) + 4 x 2(6 + 7) + 2 x 7 x 8 = 336.
# Mixture: router 8 x 4, three matrices of 8 x 5 for 2 + 1 experts: 32 + 360 = 392. eh_proj 16 x 8 = 128, head 8 x 11.
PREDICTION = 336 + 392 + 128 + 88
# Both products of attention, per pair: 2 heads x ((6 + 2) + 7) = 30.
CORE = 30


def test_deepseek_v3_and_its_prediction_layer_have_the_parameters_that_its_authors_tell():
    """Its README: 671 billion, and on the hub 685 with the prediction layer, which there owns embedding and head.

    Scales of 128 x 128 blocks in FP8 are in the hub's count, 0.04 billion of them.
    """
    main, whole = architecture_of(DEEPSEEK).parameters(), architecture_of(DEEPSEEK, mtp=True).parameters()
    both_tables = 2 * 129280 * 7168
    assert round(main / 1e9) == 671
    assert round((whole + both_tables + whole / 128**2) / 1e9) == 685


def test_prediction_layers_add_a_layer_a_product_of_both_states_and_the_head():
    batch, pairs = Batch(3, 5), 3 * 15
    without, both = architecture_of(SMALL), architecture_of(SMALL, mtp=True)
    added = 2 * 2 * (15 * PREDICTION + pairs * CORE)
    assert both.forward_flops(batch) - without.forward_flops(batch) == added
    assert training_flops(both, batch) - training_flops(without, batch) == 3 * added


def test_they_are_named_as_in_checkpoints_and_own_no_head_and_no_embedding():
    named = dict(architecture_of(SMALL, mtp=True).named_leaves())
    for layer in (2, 3):
        path = f"model.layers.{layer}"
        assert named[f"{path}.eh_proj"].parameters() == 128
        assert named[f"{path}.shared_head.head"].parameters() == named[f"{path}.embed_tokens"].parameters() == 0
        assert named[f"{path}.self_attn.kv_b_proj"].parameters() == 4 * 2 * 13


def test_with_the_main_head_alone_training_nothing_flows_into_the_prediction_layers_but_their_shared_head():
    model, batch = architecture_of(SMALL, mtp=True), Batch(1, 5)
    frozen = {f"{path}{'' if leaf.bare else '.weight'}" for path, leaf in model.named_leaves()} - {"lm_head.weight"}
    forward = model.forward_flops(batch)
    assert training_flops(model, batch, Trainable(frozen=frozenset(frozen))) == forward + 3 * 2 * 5 * 88


def test_a_config_without_them_or_of_another_family_says_so():
    with pytest.raises(ConfigError, match="no multi-token prediction layers"):
        architecture_of({**SMALL, "num_nextn_predict_layers": 0}, mtp=True)
    with pytest.raises(ConfigError, match="multi-token prediction of a gpt2 has no closed form"):
        architecture_of(
            {"model_type": "gpt2", "n_embd": 8, "n_head": 2, "n_layer": 1, "n_positions": 9, "vocab_size": 9}, mtp=True
        )
    with pytest.raises(ArgumentError, match="prediction layers are counted in models with one only"):
        estimate({"model_type": "vilt"}, seq_len=8, mtp=True)
    with pytest.raises(UnknownModelError, match="has no closed form"):
        architecture_of({**SMALL, "architectures": ["DeepseekV3ForSequenceClassification"]}, mtp=True)


def test_estimate_counts_them_on_request_alone():
    both, without = (estimate(SMALL, seq_len=5, mtp=mtp) for mtp in (True, False))
    assert both.training_flops - without.training_flops == 3 * 2 * 2 * (5 * PREDICTION + 15 * CORE)
    assert both.parameters > without.parameters
