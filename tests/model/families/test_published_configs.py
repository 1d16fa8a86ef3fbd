"""Parameters, and active ones, of joined models and of mixtures, from configs in the form that is published.

Configs (but Nemotron's) and totals were written from memory of the published files and not read again. The totals stood
here before anything was counted, so that both agree to the integer is the evidence; but those of Falcon, BLOOM, MPT and
Kimi K2 were put beside a count that had been made, and hold it where it is. Fields that no count depends on are left
out, and keys that a published file leaves to its class are absent. Where only the rounded number of a model's page was
known, that is held. A total of tensors counts what is no parameter, found where the two differed.
"""

import json
from pathlib import Path

import pytest

from flopwatch.model.components import Embedding, Linear
from flopwatch.model.families import architecture_of

MODELS = json.loads((Path(__file__).parents[1] / "data" / "published_configs.json").read_text())
EXACT = {name: model for name, model in MODELS.items() if "parameters" in model}
ROUNDED = {name: model for name, model in MODELS.items() if "billions" in model}
# One scale for 128 x 128 weights of MiniMax-M2: in 62 layers of 256 experts with three matrices of 3072 x 1536, and
# queries and outputs of 3072 x 6144, keys and values of 3072 x 1024.
MINIMAX_SCALES = 62 * (256 * 3 * 24 * 12 + 2 * 24 * 48 + 2 * 24 * 8)
# Tensors of the files that are no parameters of the model: biases of routers, the copies of word embeddings and head
# that GLM's layer for a second token brings, keys and values of Gemma 3n's layers that read those of earlier ones: two
# matrices of 2048 x 512 and the keys' norm of 256 in 15 layers of 35, and in 10 of 30.
BESIDE = {
    "DeepSeek-V3": 58 * 256,
    "Kimi-K2": 60 * 384,
    "Nemotron-3-Nano": 23 * 128,
    "MiniMax-M2": 62 * 256 + MINIMAX_SCALES,
    "GLM-4.5": 90 * 160 + 2 * 151552 * 5120,
    "GLM-4.5-Air": 46 * 128 + 2 * 151552 * 4096,
    "gemma-3n-E4B": 15 * (2 * 2048 * 512 + 256),
    "gemma-3n-E2B": 10 * (2 * 2048 * 512 + 256),
}
ACTIVE = {
    "Mixtral-8x7B": "12.9",
    "Mixtral-8x22B": "39",
    "Qwen3-235B-A22B": "22",
    "Qwen1.5-MoE-A2.7B": "2.7",
    "dbrx": "36",
    "OLMoE-1B-7B": "1.3",
    "Phi-3.5-MoE": "6.6",
    "Jamba-v0.1": "12",
    "DeepSeek-V2": "21",
    "ERNIE-4.5-21B-A3B": "3",
    "Nemotron-3-Nano": "3.6",
}
# Their pages leave out the table of word embeddings, of which a token meets one row.
ACTIVE_WITHOUT_WORDS = {
    "gpt-oss-20b": "3.6",
    "gpt-oss-120b": "5.1",
    "DeepSeek-V3": "37",
    "Kimi-K2": "32",
    "Llama-4-Scout": "17",
    "Llama-4-Maverick": "17",
    "MiniMax-M2": "10",
    "Nemotron-3-Nano": "3.2",
}
# These leave out the head, too.
ACTIVE_IN_LAYERS = {"GLM-4.5": "32", "GLM-4.5-Air": "12", "MiniMax-Text-01": "45.9", "Qwen3-Next-80B-A3B": "3"}


def config_of(name):
    return MODELS[name]["config"]


def rounded(count, published):
    """The count in billions, to as many places as are published."""
    return f"{count / 1e9:.{len(published.partition('.')[2])}f}"


def active(name, *, words=True, head=True):
    """The active parameters, with or without those of word embeddings and head."""
    architecture = architecture_of(config_of(name))
    left_out = sum(
        leaf.active_parameters()
        for leaf, _, _ in architecture.leaves()
        if (isinstance(leaf, Embedding) and leaf.words and not words)
        or (isinstance(leaf, Linear) and leaf.role == "head" and not head)
    )
    return architecture.active_parameters() - left_out


@pytest.mark.parametrize("name", EXACT)
def test_parameters_are_those_of_the_published_file(name):
    config = EXACT[name]["config"]
    counted = architecture_of(config, mtp="num_nextn_predict_layers" in config).parameters()
    assert counted == EXACT[name]["parameters"] - BESIDE.get(name, 0)


def test_there_are_more_than_ninety_models_of_many_families():
    assert len(EXACT) > 90
    assert len({model["config"]["model_type"] for model in EXACT.values()}) >= 35


def test_fields_without_a_value_are_absent_and_another_head_is_another_count():
    llama, published = config_of("Llama-3.1-8B"), EXACT["Llama-3.1-8B"]["parameters"]
    null = {**llama, "rope_scaling": None, "quantization_config": None, "head_dim": None}
    assert architecture_of(null).parameters() == published
    reward = {**llama, "architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
    # One row of 4096 in place of the head's 128256.
    assert architecture_of(reward).parameters() == published - 128255 * 4096


@pytest.mark.parametrize("name", ROUNDED)
def test_parameters_round_to_what_the_models_page_says(name):
    published = ROUNDED[name]["billions"]
    assert rounded(architecture_of(config_of(name)).parameters(), published) == published


@pytest.mark.parametrize("name", ACTIVE)
def test_active_parameters_are_the_published_ones(name):
    assert rounded(active(name), ACTIVE[name]) == ACTIVE[name]


@pytest.mark.parametrize("name", ACTIVE_WITHOUT_WORDS)
def test_active_parameters_without_word_embeddings_are_the_published_ones(name):
    published = ACTIVE_WITHOUT_WORDS[name]
    assert rounded(active(name, words=False), published) == published


@pytest.mark.parametrize("name", ACTIVE_IN_LAYERS)
def test_active_parameters_of_the_layers_are_the_published_ones(name):
    published = ACTIVE_IN_LAYERS[name]
    assert rounded(active(name, words=False, head=False), published) == published


def test_two_published_numbers_are_cut_off_instead_of_rounded():
    # Qwen3 30B-A3B's 3.3 are 3.353 with word embeddings, DeepSeek V2 Lite's 2.4 are 2.451 without.
    assert rounded(active("Qwen3-30B-A3B"), "3.353") == "3.353"
    assert rounded(active("DeepSeek-V2-Lite", words=False), "2.451") == "2.451"


@pytest.mark.parametrize(
    ("whole", "text", "billions"), [(None, None, 24.01), (None, True, 23.34), (False, True, 24.01)]
)
def test_a_joined_models_head_is_its_own_unless_a_config_ties_it(whole, text, billions):
    # Word embeddings of Mistral Small: 131,072 x 5,120 are 0.67 billion.
    config = config_of("Mistral-Small-3.1-24B")
    config = {**config, "text_config": {**config["text_config"], "tie_word_embeddings": text}}
    if text is None:
        del config["text_config"]["tie_word_embeddings"]
    if whole is not None:
        config["tie_word_embeddings"] = whole
    assert round(architecture_of(config).parameters() / 1e9, 2) == billions
