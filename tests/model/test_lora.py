"""What LoRA and freezing train, held against PEFT's own modules and against arithmetic by hand."""

import pytest

from flopwatch.errors import ArgumentError
from flopwatch.lightning.counting.discovery import FoundModel, trainable_of
from flopwatch.measure import measure
from flopwatch.model.backward import added_forward_flops, recomputation, training_flops
from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of
from flopwatch.model.lora import fine_tuning
from tests.model.families.families import FAMILIES
from tests.model.families.models import batch_of, build, config_of, inputs_of

NAMES = ["gpt2", "llama", "bert", "vit", "t5"]
# PEFT takes these heads for linear layers like all others.
HEADS = r".*(classifier|text_projection|visual_projection|text_model\.head)"
# Where "all-linear" means other layers in other versions of PEFT: experts, convolutions, state spaces.
UNSURE = ("mixtral", "moe", "deepseek", "minimax", "mamba", "bamba", "h1", "nemotron_h", "qwen3_next", "qwen3_5")
UNSURE += ("recurrent_gemma", "lfm2", "whisper", "convnext", "resnet", "jamba", "gpt_oss", "llama4", "rwkv")
UNSURE += ("gemma4_text-experts", "deberta-v2-convolution", "parakeet")
SURE = [name for name in FAMILIES if not any(each in name for each in UNSURE)]


def adapted(name, checkpointing="none", **settings):
    peft = pytest.importorskip("peft")
    model = build(name)
    if checkpointing != "none":
        if not model.supports_gradient_checkpointing:
            pytest.skip("this class has no checkpointing")
        model.gradient_checkpointing_enable({"use_reentrant": checkpointing == "reentrant"})
    return peft.get_peft_model(model, peft.LoraConfig(r=4, **settings))


def against_peft(name, targets, checkpointing="none", **settings):
    architecture, batch = architecture_of(config_of(name)), batch_of(name, 40)
    model = adapted(name, checkpointing, **settings)
    found = trainable_of(FoundModel(architecture, "", model))
    ours = fine_tuning(architecture, lora_rank=4, lora_targets=targets, checkpointing=checkpointing)
    again = [recomputation(architecture, batch, checkpointing, each) for each in (ours.trainable, found)]
    assert again[0] == again[1]
    assert set(ours.trainable.adapters) == set(found.adapters)
    assert training_flops(architecture, batch, ours.trainable) == training_flops(architecture, batch, found)
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    assert ours.trained_parameters == ours.adapter_parameters == trained


@pytest.mark.parametrize("name", NAMES)
def test_all_linear_layers_are_those_that_peft_adapts(name):
    against_peft(name, "all-linear", target_modules="all-linear", exclude_modules=HEADS)


@pytest.mark.parametrize("checkpointing", ["reentrant", "non-reentrant"])
@pytest.mark.parametrize("name", NAMES)
def test_checkpointed_layers_have_the_gradients_that_peft_asks_for(name, checkpointing):
    against_peft(name, "all-linear", checkpointing, target_modules="all-linear", exclude_modules=HEADS)


@pytest.mark.slow
@pytest.mark.parametrize("name", SURE)
def test_checkpointed_layers_of_every_family_have_the_gradients_that_peft_asks_for(name):
    against_peft(name, "all-linear", "non-reentrant", target_modules="all-linear", exclude_modules=HEADS)


@pytest.mark.slow
@pytest.mark.parametrize("name", SURE)
def test_all_linear_layers_of_every_family_are_those_that_peft_adapts(name):
    against_peft(name, "all-linear", target_modules="all-linear", exclude_modules=HEADS)


def test_under_checkpoints_whispers_first_convolution_opens_the_encoder():
    against_peft("whisper", ["q_proj", "v_proj"], "non-reentrant", target_modules=["q_proj", "v_proj"])


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["down_proj"]])
def test_layers_by_name_are_those_that_peft_adapts(targets):
    against_peft("llama", targets, target_modules=targets)


def test_attention_is_the_four_projections_of_a_llama():
    against_peft("llama", "attention", target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
    against_peft("bert", "attention", target_modules=["query", "key", "value", "attention.output.dense"])


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert"])
@pytest.mark.parametrize("targets", ["all-linear", "attention"])
def test_the_flops_are_those_that_peft_runs(name, targets):
    """Independent of the count: the adapted model's own forward and backward, operator by operator."""
    architecture, batch = architecture_of(config_of(name)).as_reference().with_full_attention(), batch_of(name, 40)
    ours = fine_tuning(architecture, lora_rank=4, lora_targets=targets)
    paths = sorted(ours.trainable.adapters)
    measured = measure(adapted(name, target_modules=paths), **inputs_of(name, batch))
    assert measured.complete
    assert measured.training_flops == training_flops(architecture, batch, ours.trainable)


MLP = {
    "model_type": "llama",
    "vocab_size": 10,
    "hidden_size": 4,
    "intermediate_size": 6,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
}


def test_an_adapter_costs_its_two_narrow_layers():
    # down_proj is 6 -> 4; rank 2 adds 2 * (6 + 4) = 20 parameters and, on 5 tokens, 2 * 5 * 20 = 200 forward FLOPs.
    architecture = architecture_of(MLP)
    tuned = fine_tuning(architecture, lora_rank=2, lora_targets=["down_proj"])
    assert (tuned.adapter_parameters, tuned.trained_parameters) == (20, 20)
    assert added_forward_flops(architecture, Batch(1, 5), tuned.trainable) == 200


def test_a_frozen_part_does_not_count_as_trained():
    # The embedding of 10 words and 4 features holds 40 parameters.
    architecture = architecture_of(MLP)
    tuned = fine_tuning(architecture, freeze=["model.embed_tokens"])
    assert tuned.trained_parameters == architecture.parameters() - 40
    everything = fine_tuning(architecture, freeze=["model", "lm_head"])
    assert everything.trained_parameters == 0
    assert training_flops(architecture, Batch(1, 5), everything.trainable) == architecture.forward_flops(Batch(1, 5))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lora_rank": 0}, "expected a LoRA rank between 1 and"),
        ({"lora_rank": 4, "lora_targets": ["q_prj"]}, "got 'q_prj'; this model has q_proj"),
        ({"freeze": ["vision"]}, "expected a part of the model to freeze, got 'vision'; it has model.embed_tokens"),
    ],
)
def test_what_is_not_in_the_model_is_told(changes, said):
    with pytest.raises(ArgumentError, match=said):
        fine_tuning(architecture_of(MLP), **changes)


def test_nothing_said_is_everything_trained():
    tuned = fine_tuning(architecture_of(MLP))
    assert tuned.trainable.everything
    assert tuned.trained_parameters == architecture_of(MLP).parameters()


@pytest.mark.parametrize("name", ["mixtral", "mamba", "whisper"])
def test_all_linear_is_refused_where_it_means_different_layers(name):
    with pytest.raises(ArgumentError, match="a model with experts or convolutions"):
        fine_tuning(architecture_of(config_of(name)), lora_rank=4)


def test_of_a_model_with_experts_attention_is_adapted_as_peft_does():
    against_peft("qwen3_moe", ["q_proj", "v_proj"], target_modules=["q_proj", "v_proj"])
    with pytest.raises(ArgumentError, match="got 'down_proj'; this model has"):
        fine_tuning(architecture_of(config_of("qwen3_moe")), lora_rank=4, lora_targets=["down_proj"])


def test_a_model_without_attention_cannot_have_it_adapted():
    with pytest.raises(ArgumentError, match="no layer is in one"):
        fine_tuning(architecture_of(config_of("resnet")), lora_rank=4, lora_targets="attention")
