"""Configs drawn at random within every family: the closed form equals the counter, or it is refused with the field."""

import random

import pytest
import transformers
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flopwatch.errors import ConfigError, MeasurementError
from flopwatch.measure import measure
from flopwatch.model.backward import training_flops
from flopwatch.model.families import architecture_of
from tests.model.families.families import FAMILIES
from tests.model.families.models import batch_of, build, inputs_of

pytestmark = pytest.mark.slow

SHAPES = {
    "vocab_size": (50, 400),
    "intermediate_size": (8, 300),
    "num_hidden_layers": (1, 6),
    "num_layers": (1, 4),
    "n_layer": (1, 5),
    "n_layers": (1, 5),
    "n_inner": (8, 300),
    "ffn_dim": (8, 300),
    "ffn_hidden_size": (8, 300),
    "d_ff": (8, 300),
    "d_kv": (4, 40),
    "encoder_layers": (1, 4),
    "decoder_layers": (1, 4),
    "encoder_ffn_dim": (8, 300),
    "decoder_ffn_dim": (8, 300),
    "moe_intermediate_size": (8, 80),
    "shared_expert_intermediate_size": (8, 80),
    "shared_intermediate_size": (8, 80),
    "kv_lora_rank": (4, 40),
    "q_lora_rank": (4, 60),
    "v_head_dim": (4, 40),
    "qk_nope_head_dim": (4, 40),
    "sliding_window": (1, 90),
    "state_size": (2, 30),
    "mamba_d_state": (2, 30),
    "ssm_state_size": (2, 30),
    "linear_key_head_dim": (2, 30),
    "linear_value_head_dim": (2, 30),
    "chunk_size": (8, 128),
    "mamba_chunk_size": (8, 128),
    "block_size": (8, 128),
    "hidden_dim": (8, 300),
    "embedding_size": (8, 80),
    "num_labels": (1, 20),
}
# DeepSeek's code views these as complex numbers.
EVEN = ("kv_lora_rank", "v_head_dim", "qk_nope_head_dim")
FLAGS = ("attention_bias", "mlp_bias", "tie_word_embeddings", "use_bias", "bias", "use_qk_norm", "qk_layernorm")
NOT_TIED = {"gptj", "codegen"}
# Lists with an entry per layer stand beside these, so that the number of layers stays.
LISTED = ("layer_types", "layers_block_type", "attention_types", "mlp_only_layers", "attn_layer_indices")


def drawn(name, seed):
    """The family's small config with its sizes and flags drawn anew."""
    draw = random.Random(f"{name} {seed}")
    model_type, _, fields = FAMILIES[name]
    changed = dict(fields)
    for key, value in fields.items():
        if key in SHAPES and isinstance(value, int) and not (key.endswith("layers") and set(LISTED) & set(fields)):
            changed[key] = draw.randint(*SHAPES[key])
            changed[key] += changed[key] % 2 if key in EVEN else 0
    for flag in FLAGS:
        known = flag in transformers.AutoConfig.for_model(model_type, **fields).to_dict()
        if known and draw.random() < 0.5 and not (flag == "tie_word_embeddings" and model_type in NOT_TIED):
            changed[flag] = draw.random() < 0.5
    if "intermediate_size" in changed and model_type == "recurrent_gemma":
        changed["intermediate_size"] *= 2
    return changed


def refusal_of(config):
    try:
        architecture_of(config)
    except ConfigError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", sorted(FAMILIES))
@settings(max_examples=3, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), seq_len=st.integers(30, 140))
def test_random_configs_are_exact_or_refused(name, seed, seq_len):
    fields = drawn(name, seed)
    try:
        config = transformers.AutoConfig.for_model(FAMILIES[name][0], **fields)
        model = build(name, config)
    except Exception:
        return  # transformers itself refuses this combination
    refusal = refusal_of(config)
    if refusal is not None:
        assert any(f"'{field}'" in refusal or f"{field}=" in refusal for field in config.to_dict())
        return
    architecture = architecture_of(config)
    assert architecture.parameters() == model.num_parameters()
    batch = batch_of(name, seq_len)
    try:
        measured = measure(model, **inputs_of(name, batch))
    except MeasurementError:
        assume(False)  # the class itself cannot run these sizes (views as complex numbers want even ones)
    reference = architecture.as_reference().with_full_attention()
    assert (measured.forward_flops, measured.training_flops) == (
        reference.forward_flops(batch),
        training_flops(reference, batch),
    )
