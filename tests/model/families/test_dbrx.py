"""DBRX: its class asks which experts were hit, which the meta device cannot say, so it runs with values here."""

import pytest
import torch
import transformers

from flopwatch.errors import ConfigError
from flopwatch.measure import measure
from flopwatch.model.backward import recomputation, training_flops
from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of

SMALL = {
    "vocab_size": 320,
    "d_model": 64,
    "n_heads": 4,
    "n_layers": 3,
    "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 500_000.0},
    "ffn_config": {"ffn_hidden_size": 40, "moe_num_experts": 8, "moe_top_k": 3},
}
DBRX = {
    "model_type": "dbrx",
    "vocab_size": 100352,
    "d_model": 6144,
    "n_heads": 48,
    "n_layers": 40,
    "attn_config": {"kv_n_heads": 8},
    "ffn_config": {"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4},
}


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model("dbrx", **SMALL)
    return transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")


def run(model, sequences, seq_len):
    ids = torch.randint(0, 320, (sequences, seq_len))
    return measure(model, real_data=True, input_ids=ids, use_cache=False)


@pytest.mark.parametrize("seq_len", [64, 100])
def test_forward_and_backward_equal_the_counter_to_the_integer(model, seq_len):
    architecture = architecture_of(model.config).with_full_attention()
    measured, batch = run(model, 2, seq_len), Batch(2, seq_len)
    assert measured.complete, measured.uncounted
    expected = architecture.forward_flops(batch), training_flops(architecture, batch)
    assert (measured.forward_flops, measured.training_flops) == expected


def test_parameters_equal_the_models_one_by_one(model):
    architecture = architecture_of(model.config)
    named = {key.removesuffix(".weight"): each.numel() for key, each in model.named_parameters()}
    assert {path: leaf.parameters() for path, leaf in architecture.named_leaves() if leaf.parameters()} == named


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_recomputes_what_pytorch_recomputes(model, reentrant):
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    architecture, batch = architecture_of(model.config).with_full_attention(), Batch(2, 64)
    kind = "reentrant" if reentrant else "non-reentrant"
    assert run(model, 2, 64).recomputed_flops == recomputation(architecture, batch, kind).flops


def test_the_published_model_has_132_billion_parameters_and_36_are_active():
    architecture = architecture_of(DBRX)
    # A layer: 6144 x 8192 for q, k and v, 6144 x 6144; 16 experts of 3 x 6144 x 10752 = 198,180,864; a router of
    # 6144 x 16 and two norms: 3,259,084,800. 40 of them, two tables of 100,352 x 6144, one norm.
    assert architecture.parameters() == 40 * 3_259_084_800 + 2 * 100_352 * 6144 + 6144 == 131_596_523_520
    # 12 experts rest in each layer.
    assert architecture.active_parameters() == 131_596_523_520 - 40 * 12 * 198_180_864 == 36_469_708_800


def test_a_config_object_and_its_dict_and_its_file_say_the_same(model, tmp_path):
    model.config.save_pretrained(tmp_path)
    assert architecture_of(model.config) == architecture_of(model.config.to_dict()) == architecture_of(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"attn_config": {"kv_n_heads": 5}},
            "attn_config config needs a divisor of the 48 heads for 'kv_n_heads', got 5",
        ),
        ({"ffn_config": {}}, "ffn_config config lacks 'ffn_hidden_size'"),
        (
            {"ffn_config": {**DBRX["ffn_config"], "moe_top_k": 17}},
            "no more than the 16 experts for 'moe_top_k', got 17",
        ),
        ({"tie_word_embeddings": True}, "needs false for 'tie_word_embeddings', got True"),
    ],
)
def test_a_config_that_cannot_be_counted_names_the_field(changes, said):
    with pytest.raises(ConfigError, match=said):
        architecture_of({**DBRX, **changes})
