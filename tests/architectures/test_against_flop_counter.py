"""The closed forms against an independent count: torch's FlopCounterMode over the real Hugging Face classes.

The counter runs on the meta device with eager attention, where it sees every product and neither masks nor windows, so
it is compared with the `full` attention convention. What masks keep is proved in `tests/test_components.py`.
"""

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from flopwatch.architectures import ARCHITECTURES, architecture_of
from flopwatch.batch import Batch

TINY = {"vocab_size": 320, "num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 64}
GATED = {**TINY, "intermediate_size": 176, "num_key_value_heads": 2}

SMALL_CONFIGS = {
    "gpt2": ("gpt2", {"vocab_size": 320, "n_layer": 3, "n_head": 4, "n_embd": 64, "n_positions": 128}),
    "gpt2-inner-untied": (
        "gpt2",
        {"vocab_size": 320, "n_layer": 2, "n_head": 2, "n_embd": 64, "n_positions": 128, "n_inner": 100}
        | {"tie_word_embeddings": False},
    ),
    "gpt_neox": ("gpt_neox", {**TINY, "intermediate_size": 200}),
    "gpt_neox-no-bias": ("gpt_neox", {**TINY, "intermediate_size": 200, "attention_bias": False}),
    "opt": ("opt", {**TINY, "ffn_dim": 200, "max_position_embeddings": 128}),
    "opt-350m-style": (
        "opt",
        {**TINY, "ffn_dim": 200, "max_position_embeddings": 128, "word_embed_proj_dim": 32}
        | {"do_layer_norm_before": False},
    ),
    "opt-no-bias": (
        "opt",
        {**TINY, "ffn_dim": 200, "max_position_embeddings": 128, "enable_bias": False}
        | {"layer_norm_elementwise_affine": False},
    ),
    "llama": ("llama", GATED),
    "llama-biases-tied": (
        "llama",
        {**GATED, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "head_dim": 24},
    ),
    "llama-multi-head": ("llama", {**TINY, "intermediate_size": 176}),
    "mistral": ("mistral", {**GATED, "sliding_window": 16}),
    "mistral-global": ("mistral", {**GATED, "sliding_window": None}),
    "qwen2": ("qwen2", GATED),
    "qwen2-window": (
        "qwen2",
        {**GATED, "use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1},
    ),
    "qwen3": ("qwen3", {**GATED, "head_dim": 32}),
    "qwen3-biases": ("qwen3", {**GATED, "head_dim": 32, "attention_bias": True, "tie_word_embeddings": True}),
    "phi3": ("phi3", {**GATED, "pad_token_id": 0}),
    "gemma": ("gemma", {**GATED, "head_dim": 32}),
    "gemma2": ("gemma2", {**GATED, "head_dim": 32, "sliding_window": 16}),
    "gemma3_text": ("gemma3_text", {**GATED, "num_hidden_layers": 7, "head_dim": 32, "sliding_window": 16}),
    "gemma3_text-untied": ("gemma3_text", {**GATED, "head_dim": 32, "tie_word_embeddings": False}),
}

REAL_CONFIGS = {
    "GPT-2": (
        "gpt2",
        {"vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12},
        124_439_808,
    ),
    "Llama-3-8B": (
        "llama",
        {"vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32}
        | {"num_attention_heads": 32, "num_key_value_heads": 8},
        8_030_261_248,
    ),
    "Gemma-3-27B": (
        "gemma3_text",
        {"vocab_size": 262208, "hidden_size": 5376, "intermediate_size": 21504, "num_hidden_layers": 62}
        | {"num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 128, "sliding_window": 1024},
        27_009_346_304,
    ),
}


def build(model_type: str, fields: dict) -> transformers.PreTrainedModel:
    config = transformers.AutoConfig.for_model(model_type, **fields)
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")


def count(model: torch.nn.Module, batch: Batch) -> tuple[int, int]:
    """(forward, forward + backward) FLOPs by torch's counter; a 4-D mask keeps transformers off data-dependent code."""
    tokens = torch.zeros(batch.sequences, batch.seq_len, dtype=torch.long, device="meta")
    mask = torch.zeros(batch.sequences, 1, batch.seq_len, batch.seq_len, device="meta")
    masks = {"full_attention": mask, "sliding_attention": mask}
    kinds = getattr(model.config, "layer_types", None)
    inputs = {
        "input_ids": tokens,
        "position_ids": torch.arange(batch.seq_len, device="meta")[None],
        "attention_mask": masks if kinds else mask,
    }
    with FlopCounterMode(display=False) as forward:
        logits = model(**inputs, use_cache=False).logits
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    return forward.get_total_flops(), forward.get_total_flops() + backward.get_total_flops()


@pytest.mark.parametrize("seq_len", [64, 100])
@pytest.mark.parametrize("name", SMALL_CONFIGS)
def test_small_models_equal_the_counter_to_the_integer(name, seq_len):
    model_type, fields = SMALL_CONFIGS[name]
    model = build(model_type, fields)
    batch = Batch(2, seq_len)
    architecture = architecture_of(model.config)
    assert architecture.parameters() == model.num_parameters()
    full = architecture.with_full_attention()
    assert (full.forward_flops(batch), full.training_flops(batch)) == count(model, batch)


@pytest.mark.parametrize("name", REAL_CONFIGS)
def test_published_models_equal_the_counter_to_the_integer(name):
    model_type, fields, parameters = REAL_CONFIGS[name]
    model = build(model_type, fields)
    batch = Batch(1, 1024)
    architecture = architecture_of({"model_type": model_type, **fields})
    assert architecture.parameters() == model.num_parameters() == parameters
    full = architecture.with_full_attention()
    assert (full.forward_flops(batch), full.training_flops(batch)) == count(model, batch)


def test_every_architecture_is_judged():
    assert {model_type for model_type, _ in SMALL_CONFIGS.values()} == set(ARCHITECTURES)


@pytest.mark.parametrize("name", SMALL_CONFIGS)
def test_a_config_object_and_its_dict_and_its_file_say_the_same(name, tmp_path):
    model_type, fields = SMALL_CONFIGS[name]
    config = transformers.AutoConfig.for_model(model_type, **fields)
    config.save_pretrained(tmp_path)
    assert architecture_of(config) == architecture_of(config.to_dict()) == architecture_of(tmp_path)


@pytest.mark.parametrize(
    ("name", "global_layers"), [("gemma2", 1), ("gemma3_text", 1), ("qwen2-window", 1), ("mistral", 0)]
)
def test_windows_sit_on_the_layers_that_transformers_gives_them(name, global_layers):
    model_type, fields = SMALL_CONFIGS[name]
    config = transformers.AutoConfig.for_model(model_type, **fields)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
    assert kinds.count("full_attention") == global_layers
    # One layer's two products at T = 40: 2 * heads * (e + v) * pairs. With window 16: 16 * 17 / 2 + 24 * 16 = 520
    # pairs, globally 40 * 41 / 2 = 820 pairs.
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_pair = 2 * config.num_attention_heads * 2 * head_dim
    expected = per_pair * (520 * kinds.count("sliding_attention") + 820 * global_layers)
    rows = architecture_of(config).rows(Batch(1, 40))
    assert sum(row.forward_flops for row in rows if row.name.endswith(".core")) == expected
