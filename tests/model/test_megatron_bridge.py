"""Megatron-Bridge's published TFLOP/s, recomputed from its tokens per second under its own convention.

`data/megatron_bridge.csv` holds every row of its pages docs/performance-summary.md and -archive.md (commit 067f987d):
of two values in one cell the first. Both numbers are printed rounded, tokens of some releases to a power of two.
"""

import csv
from collections import Counter
from pathlib import Path

import pytest

from flopwatch.model import conventions
from flopwatch.model.batch import Batch
from flopwatch.model.components import Experts
from flopwatch.model.families import architecture_of

ROWS = list(csv.DictReader((Path(__file__).parent / "data" / "megatron_bridge.csv").open()))
TOLERANCE = 0.001
ROUNDED_TOKENS = ("26.04.01", "26.06.01", "26.08")

LLAMA = {"model_type": "llama", "num_key_value_heads": 8, "vocab_size": 128256}
QWEN = {
    "model_type": "qwen3_moe",
    "num_key_value_heads": 4,
    "head_dim": 128,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "vocab_size": 151936,
}
LATENT = {
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
}
DEEPSEEK = {
    "model_type": "deepseek_v3",
    **LATENT,
    "num_attention_heads": 128,
    "n_routed_experts": 256,
    "first_k_dense_replace": 3,
    "vocab_size": 129280,
    "num_nextn_predict_layers": 1,
}


def sized(config, hidden, inner, layers, heads, **more):
    sizes = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers}
    return {**config, **sizes, "num_attention_heads": heads, **more}


CONFIGS = {
    "LLAMA3_8B": sized(LLAMA, 4096, 14336, 32, 32),
    "LLAMA3_70B": sized(LLAMA, 8192, 28672, 80, 64),
    "LLAMA3.1_405B": sized(LLAMA, 16384, 53248, 126, 128),
    "Qwen3_30B_a3B": sized(QWEN, 2048, 6144, 48, 32, moe_intermediate_size=768),
    "Qwen3_235B_a22B": sized(QWEN, 4096, 12288, 94, 64, moe_intermediate_size=1536),
    "GPT OSS 120B": {
        "model_type": "gpt_oss",
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "num_hidden_layers": 36,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "num_local_experts": 128,
        "num_experts_per_tok": 4,
        "sliding_window": 128,
        "vocab_size": 201088,
    },
    "DeepSeekV3": DEEPSEEK,
    "Kimi_K2": {
        "model_type": "kimi_k2",
        **LATENT,
        "num_attention_heads": 64,
        "n_routed_experts": 384,
        "first_k_dense_replace": 1,
        "vocab_size": 163840,
    },
}


NEMOTRON = {
    "model_type": "nemotron_h",
    "num_attention_heads": 32,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "intermediate_size": 1856,
    "vocab_size": 131072,
}
NANO = {
    **NEMOTRON,
    "hidden_size": 2688,
    "mamba_num_heads": 64,
    "n_routed_experts": 128,
    "num_experts_per_tok": 6,
    "moe_intermediate_size": 1856,
    "moe_shared_expert_intermediate_size": 3712,
    "hybrid_override_pattern": "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
}
SUPER = {
    **NEMOTRON,
    "hidden_size": 4096,
    "mamba_num_heads": 128,
    "n_routed_experts": 512,
    "num_experts_per_tok": 22,
    "moe_latent_size": 1024,
    "moe_intermediate_size": 2688,
    "moe_shared_expert_intermediate_size": 5376,
    "hybrid_override_pattern": "MEMEMEM*EMEMEMEM*EMEMEMEM*" + 4 * "EMEMEMEMEM*" + "EMEMEMEM*EMEMEMEME",
}
# With how many predictions of further tokens, each an attention layer, a mixture and the head once more:
# `mtp_num_layers` and `mtp_hybrid_override_pattern` of Megatron-Bridge's recipes, perf_recipes/nemotronh.
HYBRIDS = {"Nemotron_3_Nano": (NANO, 0), "Nemotron_3_5_Lightning": (NANO, 2), "Nemotron_3_Super": (SUPER, 2)}


def hybrid_flops_per_token(row):
    """Their count of a hybrid: ours of all layers but Mamba-2's, for which they take a rule (`flop_utils.py`).

    The rule has an inner width of twice the hidden size, whatever the heads make up (Nano: 5376 for 64 heads of 64),
    a scan of 7 FLOPs for each of its values and states, and no convolution. What joins a prediction is not counted.
    """
    config, predictions = HYBRIDS[row["model"]]
    pattern, hidden, length = config["hybrid_override_pattern"], config["hidden_size"], int(row["seq_len"])
    rest = pattern.replace("M", "") + "*E" * predictions
    model = architecture_of({**config, "hybrid_override_pattern": rest})
    others = conventions.training_flops(model, Batch(1, length), "megatron") / length
    inner, groups, state = 2 * hidden, 8, 128
    projections = 2 * hidden * (2 * inner + 2 * groups * state + config["mamba_num_heads"]) + 2 * inner * hidden
    mamba = pattern.count("M") * (projections + 7 * inner * state)
    return others + 3 * (mamba + predictions * 2 * hidden * config["vocab_size"])


def model_of(row):
    """The row's model, DeepSeek-V3 with its prediction layer unless the row says without."""
    name, _, said = row["model"].partition(" (")
    config = CONFIGS.get(name)
    return config and architecture_of(config, mtp=name == "DeepSeekV3" and said != "w/o MTP)")


def is_of_the_old_formula(row):
    """Until 26.04.01 GPT-OSS counted without windows, and its gated experts as two matrices of three."""
    return row["model"].startswith("GPT OSS") and not row["release"].startswith(("26.06", "26.08"))


def flops_per_token(row):
    if row["model"] in HYBRIDS:
        return hybrid_flops_per_token(row)
    model, length = model_of(row), int(row["seq_len"])
    batch = Batch(1, length)
    if not is_of_the_old_formula(row):
        return conventions.training_flops(model, batch, "megatron-bridge") / length
    experts = sum(leaf.forward_flops(batch) * runs for leaf, runs, _ in model.leaves() if isinstance(leaf, Experts))
    return (conventions.training_flops(model, batch, "megatron") - experts) / length  # three times a third of them


def rounding(row):
    """How far half of the last place of both numbers can be, relatively."""
    tokens, tflops = int(row["tokens_per_second"]), float(row["tflops_per_second"])
    place = tokens & -tokens if row["release"] in ROUNDED_TOKENS else 1
    return place / 2 / tokens + 0.5 / tflops


# Two numbers of one row that do not belong together, by 0.2 to 0.9%: neither page says which is off.
APART = {
    ("26.06", "LLAMA3.1_405B", "DGX-GB300", "NVFP4"),
    ("26.06", "GPT OSS 120B", "DGX-GB200", "MXFP8"),
    ("26.02.01", "GPT OSS 120B", "DGX-B300", "BF16"),
    ("26.02", "GPT OSS 120B", "DGX-B300", "BF16"),
    ("25.11", "DeepSeekV3 (w/o MTP)", "DGX-GB200", "BF16"),
}


def identity(row):
    return row["release"], row["model"], row["system"], row["precision"]


REASONS = {
    "its tokens and its TFLOP/s differ from those of the rows beside it": lambda row: identity(row) in APART,
    "no config with its sizes was found": lambda row: row["model"] == "Nemotron_3_Ultra",
    "no closed form": lambda row: row["model"] == "DeepSeekV4 Flash",
    "the lengths of packed documents were not published": lambda row: row["work"] != "pre-training",
}
COUNTED = [row for row in ROWS if not any(holds(row) for holds in REASONS.values())]


@pytest.mark.parametrize("row", COUNTED, ids=lambda row: "{release} {model} {system} {precision}".format(**row))
def test_megatron_bridges_row_is_reproduced(row):
    ours = int(row["tokens_per_second"]) * flops_per_token(row) / 1e12
    assert ours == pytest.approx(float(row["tflops_per_second"]), rel=rounding(row) + TOLERANCE)


def test_every_other_row_has_a_reason():
    rest = [row for row in ROWS if row not in COUNTED]
    reasons = Counter(next(why for why, holds in REASONS.items() if holds(row)) for row in rest)
    old = sum(map(is_of_the_old_formula, COUNTED))
    hybrid = sum(row["model"] in HYBRIDS for row in COUNTED)
    assert (len(ROWS), len(COUNTED), old, hybrid) == (278, 259, 22, 51)
    assert reasons == {
        "its tokens and its TFLOP/s differ from those of the rows beside it": 5,
        "no config with its sizes was found": 2,
        "no closed form": 2,
        "the lengths of packed documents were not published": 10,
    }


def test_a_window_counts_one_key_more_than_hugging_faces_and_full_layers_half_of_the_square():
    """gpt-oss with one sliding and one full layer of 2 heads of 4, 10 tokens, window 3.

    A pair costs 2 * 2 * (4 + 4) = 32 FLOPs. Of 4 keys the first 4 queries see 1 + 2 + 3 + 4 = 10, the other 6 see 4
    each: 34 pairs. The full layer has 100 / 2 = 50. Megatron takes both for 50.
    """
    fields = {
        "hidden_size": 8,
        "intermediate_size": 6,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 4,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 3,
        "vocab_size": 11,
    }
    model, batch = architecture_of({"model_type": "gpt_oss", **fields}), Batch(1, 10)
    megatron, bridge = (conventions.forward_flops(model, batch, each) for each in ("megatron", "megatron-bridge"))
    assert megatron - bridge == 32 * (50 - 34)
