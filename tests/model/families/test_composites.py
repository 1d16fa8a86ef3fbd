"""Every joined model against two counters on real tensors, since its code looks for images' tokens among the ids."""

import random
import re

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from flopwatch.errors import ConfigError
from flopwatch.lightning.counting.discovery import FoundModel, trainable_of
from flopwatch.measure import measure
from flopwatch.measure.inputs import inputs_of
from flopwatch.model.backward import recomputation, training_flops
from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of
from flopwatch.model.lora import fine_tuning
from tests.model.families.composites import COMPOSITES, build, cases, config_of

pytestmark = pytest.mark.slow
# Grouped products, which torch's own counter does not know, and depthwise convolutions, which it counts wrongly.
UNKNOWN_TO_TORCH = {
    "qwen3_vl_moe",
    "qwen3_omni_moe_thinker",
    "qwen3_5",
    "qwen3_5_moe",
    "glm4v_moe",
    "lfm2_vl",
    "lfm2_vl-pooled",
    "granite_speech",
    "granite_speech-asking-always",
}
UNKNOWN_TO_TORCH |= {"gemma4-hears", "gemma3n", "kimi_k25", "phi4_multimodal"}


def counted_as_it_runs(config):
    return architecture_of(config).as_reference().with_full_attention()


@pytest.mark.parametrize("name", COMPOSITES)
def test_forward_and_backward_equal_both_counters_at_all_sizes(name):
    model = build(name)
    architecture = counted_as_it_runs(model.config)
    for batch, inputs in cases(name, model):
        expected = architecture.forward_flops(batch), training_flops(architecture, batch)
        measured = measure(model, real_data=True, **inputs)
        assert measured.complete
        assert (measured.forward_flops, measured.training_flops) == expected
        if name not in UNKNOWN_TO_TORCH:
            assert by_torch(model, inputs) == expected


def by_torch(model, inputs):
    """A judge that is not ours."""
    with FlopCounterMode(display=False) as counter:
        logits = model(**inputs).logits
        forward = counter.get_total_flops()
        logits.float().mean().backward()
    return forward, counter.get_total_flops()


@pytest.mark.parametrize("name", COMPOSITES)
def test_text_alone_runs_no_encoder(name):
    model = build(name)
    _, inputs = next(cases(name, model))
    ids = {"input_ids": inputs["input_ids"].fill_(2), "use_cache": False}
    batch = Batch(*ids["input_ids"].shape, images=0, clips=0)
    measured = measure(model, real_data=True, **ids)
    architecture = counted_as_it_runs(model.config)
    assert (measured.forward_flops, measured.training_flops) == (
        architecture.forward_flops(batch),
        training_flops(architecture, batch),
    )


TEXT = r"language_model|text_model|lm_head|(?<![._])model\.(layers|norm|embed_tokens)\."
FROZEN = {
    "words": r"embed_tokens(?!_extend)",
    "words and encoder": r"embed_tokens|vision_tower|visual|vision_model|audio_tower",
    "text": TEXT,
    "text but queries and values": rf"^(?!.*(q_proj|v_proj|q_b_proj|qkv_proj)).*({TEXT})",
}


@pytest.mark.parametrize("frozen", FROZEN)
@pytest.mark.parametrize("name", COMPOSITES)
def test_partly_frozen_models_have_the_gradients_that_run_with_images_and_without(name, frozen):
    model = build(name)
    for path, each in model.named_parameters():
        # What lies between encoder and text trains; without an image nothing of it may let a gradient in.
        each.requires_grad_(bool(BETWEEN.search(path)) or not re.search(FROZEN[frozen], path))
    trainable = trainable_of(FoundModel(architecture_of(model.config), "", model)).as_reference()
    architecture = counted_as_it_runs(model.config)
    batch, inputs = next(cases(name, model))
    words = {"input_ids": inputs["input_ids"].clone().fill_(2), "use_cache": False}
    for shape, given in ((batch, inputs), (Batch(*words["input_ids"].shape, images=0, clips=0), words)):
        if frozen == "text" and given is words and name != "gemma3n":  # whose projectors run on every token
            assert training_flops(architecture, shape, trainable) == architecture.forward_flops(shape)
            continue  # no gradient at all, which autograd refuses
        assert measure(model, real_data=True, **given).training_flops == training_flops(architecture, shape, trainable)


BETWEEN = re.compile(
    "projector|merger|connector|aligner|newline|embed_vision|embed_audio|img_projection|proj_for|extensor"
)


def test_the_tokens_of_an_image_see_each_other_forwards_also_beyond_a_window():
    model_type, fields, _ = COMPOSITES["gemma3"]
    text = {**fields["text_config"], "sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"] * 2}
    fields = {**fields, "mm_tokens_per_image": 16, "text_config": {**text, "num_hidden_layers": 4}}
    config = transformers.AutoConfig.for_model(model_type, **fields)
    model, batch = build("gemma3", config=config), Batch(2, 60, image_size=(32, 32), images=3)
    seen = model(**inputs_of(model, batch, torch.device("cpu")), output_attentions=True).attentions
    named = architecture_of(config).named_leaves()
    cores = [leaf for path, leaf in named if path.startswith("model.language_model") and path.endswith("core")]
    # Forwards 3 x 16 x 15 / 2 = 360; backwards 2 x 60 x 61 / 2 = 3660, in windows 2 x (1 + 2 + 3 + 4 + 56 x 5) = 580.
    assert [core.pairs(batch) for core in cores] == [940, 4020, 940, 4020]
    assert [int((each[:, 0] > 0).sum()) for each in seen] == [940, 4020, 940, 4020]


def test_in_gemma_4_the_tokens_of_an_image_see_each_other_forwards_in_windows_alone():
    batch = COMPOSITES["gemma4"][2][0]
    model_type, fields, _ = COMPOSITES["gemma4"]
    text = {**fields["text_config"], "sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"] * 2}
    config = transformers.AutoConfig.for_model(
        model_type, **{**fields, "text_config": {**text, "num_hidden_layers": 4, "num_kv_shared_layers": 0}}
    )
    model = build("gemma4", config=config)
    seen = model(**inputs_of(model, batch, torch.device("cpu")), output_attentions=True).attentions
    named = architecture_of(config).named_leaves()
    cores = [leaf for path, leaf in named if path.startswith("model.language_model") and path.endswith("core")]
    # Backwards 2 x 40 x 41 / 2 = 1640, in windows 2 x (1 + 2 + 3 + 4 + 36 x 5) = 380. Images of 8 and 6 tokens:
    # forwards 28 + 15 = 43.
    assert [core.pairs(batch) for core in cores] == [423, 1640, 423, 1640]
    assert [int((each[:, 0] > 0).sum()) for each in seen] == [423, 1640, 423, 1640]


def test_reentrant_checkpoints_keep_the_gradient_from_llama_4s_image_layers():
    """What docs/conventions.md says of Hugging Face's class; where it has ended, the line there has to go."""
    model = build("llama4")
    model.gradient_checkpointing_enable({"use_reentrant": True})
    _, inputs = next(cases("llama4", model))
    model(**inputs).logits.float().mean().backward()
    assert model.multi_modal_projector.linear_1.weight.grad is not None
    assert all(each.grad is None for each in model.vision_model.model.layers.parameters())


@pytest.mark.parametrize("name", ["gemma3", "deepseek_vl", "llava", "qwen2_vl", "idefics3", "gemma4"])
def test_lora_has_the_parameters_that_peft_adds_also_where_a_layer_is_never_called(name):
    peft = pytest.importorskip("peft")
    model = build(name)
    ours = fine_tuning(architecture_of(model.config), lora_rank=4)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules="all-linear"))
    assert ours.adapter_parameters == sum(each.numel() for each in adapted.parameters() if each.requires_grad)


@pytest.mark.parametrize("name", COMPOSITES)
def test_adapters_under_checkpoints_have_the_gradients_that_transformers_opens(name):
    """What a class names as its embeddings of words, images and sounds is made to require a gradient."""
    peft = pytest.importorskip("peft")
    model = build(name)
    if not model.supports_gradient_checkpointing:
        pytest.skip("the class has none")
    architecture = counted_as_it_runs(model.config)
    ours = fine_tuning(architecture, lora_rank=4, lora_targets="attention", checkpointing="non-reentrant").trainable
    model.gradient_checkpointing_enable({"use_reentrant": False})
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=sorted(ours.adapters)))
    for batch, inputs in cases(name, model):
        measured = measure(adapted, real_data=True, **inputs)
        again = recomputation(architecture, batch, "non-reentrant", ours).flops
        assert measured.training_flops == training_flops(architecture, batch, ours)
        assert measured.hardware_flops == measured.training_flops + again


@pytest.mark.parametrize("name", COMPOSITES)
def test_parameters_equal_the_models_one_by_one(name):
    model = build(name, device="meta")
    architecture = architecture_of(model.config)
    assert architecture.parameters() == model.num_parameters()
    named = dict(model.named_parameters(remove_duplicate=False))
    for path, leaf in architecture.named_leaves():
        if leaf.parameters():
            assert parameters_of(named, path, leaf) == leaf.parameters(), path


def parameters_of(named, path, leaf):
    """A tied weight belongs to the part that it is tied to."""
    weight = named[path if leaf.bare else f"{path}.weight"].numel()
    bias = named.get(f"{path}_bias" if leaf.bare else f"{path}.bias")
    return (0 if getattr(leaf, "tied", None) else weight) + (0 if bias is None else bias.numel())


@pytest.mark.parametrize("name", COMPOSITES)
def test_a_config_object_and_its_dict_and_its_file_say_the_same(name, tmp_path):
    config = config_of(name)
    config.save_pretrained(tmp_path)
    assert architecture_of(config) == architecture_of(config.to_dict()) == architecture_of(tmp_path)


def test_images_of_many_sizes_that_are_planned_are_those_that_the_class_runs():
    model = build("mistral3")
    architecture = counted_as_it_runs(model.config)
    # Patches of 8 pixels, two by two a token, rounded up: 64 x 64, 112 x 48, 16 x 16 pixels.
    for size, height, width in (((60, 60), 64, 64), ((100, 35), 112, 48), ((16, 16), 16, 16)):
        batch = Batch(2, 200, image_size=size, images=3)
        inputs = inputs_of(model, batch, torch.device("cpu"))
        assert inputs["pixel_values"].shape == (3, 3, height, width)
        assert measure(model, real_data=True, **inputs).training_flops == training_flops(architecture, batch)


SIZES = {
    "vocab_size": (310, 400),
    "intermediate_size": (8, 300),
    "num_hidden_layers": (1, 5),
    "depth": (1, 5),
    "moe_intermediate_size": (8, 80),
    "shared_expert_intermediate_size": (8, 80),
    "sliding_window": (1, 90),
    "projector_hidden_size": (8, 80),
}
LISTED = ("layer_types", "deepstack_visual_indexes", "fullatt_block_indexes")


def drawn(fields, draw):
    """The same fields with sizes drawn anew; lists with an entry per layer keep their number of layers."""
    changed = {}
    for key, value in fields.items():
        if isinstance(value, dict):
            changed[key] = drawn(value, draw)
        elif key in SIZES and isinstance(value, int) and not (key in ("depth", "num_hidden_layers") and bound(fields)):
            changed[key] = draw.randint(*SIZES[key])
            changed[key] += -changed[key] % 8 if "expert" in key or "moe" in key else 0  # as the grouped kernel wants
        else:
            changed[key] = value
    return changed


def bound(fields):
    return bool(set(LISTED) & set(fields))


def depending(model_type, fields):
    """The same fields with those sizes set right that the class ties to others."""
    if model_type == "llama4":  # four patches side by side
        vision = fields["vision_config"]
        return {**fields, "vision_config": {**vision, "intermediate_size": 4 * vision["hidden_size"]}}
    if model_type == "voxtral":  # four positions side by side
        audio = fields["audio_config"]
        return {**fields, "audio_config": {**audio, "intermediate_size": 4 * audio["hidden_size"]}}
    features = fields.get("vision_feature_layer")
    if isinstance(features, list):
        vision = fields["vision_config"]
        layers = max(vision["num_hidden_layers"], -min(features))
        return {**fields, "vision_config": {**vision, "num_hidden_layers": layers}}
    return fields


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", COMPOSITES)
def test_random_configs_are_exact(name, seed):
    model_type, fields, _ = COMPOSITES[name]
    changed = depending(model_type, drawn(fields, random.Random(f"{name} {seed}")))
    config = transformers.AutoConfig.for_model(model_type, **changed)
    model = build(name, config=config)
    architecture = counted_as_it_runs(config)
    assert architecture.parameters() == model.num_parameters()
    for batch, inputs in cases(name, model):
        measured = measure(model, real_data=True, **inputs)
        assert measured.training_flops == training_flops(architecture, batch)


QWEN = {"hidden_size": 2048, "intermediate_size": 11008, "num_attention_heads": 16, "num_hidden_layers": 36}
CLIP_L = {"model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
SIGLIP_SO = {"model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304}
# Parameters as the published files of weights have them, from configs as they were published with them.
PUBLISHED = {
    "Qwen2.5-VL-3B, text fields at the top": (
        {"model_type": "qwen2_5_vl", **QWEN, "num_key_value_heads": 2, "tie_word_embeddings": True}
        | {"vocab_size": 151936, "architectures": ["Qwen2_5_VLForConditionalGeneration"], "use_sliding_window": False}
        | {
            "vision_config": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16}
            | {"out_hidden_size": 2048, "patch_size": 14, "spatial_merge_size": 2, "window_size": 112}
            | {"fullatt_block_indexes": [7, 15, 23, 31]}
        },
        3_754_622_976,
    ),
    "LLaVA-1.5-7B": (
        {"model_type": "llava", "vision_feature_layer": -2, "vision_feature_select_strategy": "default"}
        | {
            "text_config": {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "vocab_size": 32064}
            | {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32}
        }
        | {"vision_config": {**CLIP_L, "num_attention_heads": 16, "image_size": 336, "patch_size": 14}},
        7_063_427_072,
    ),
    "PaliGemma-3B-224": (
        {"model_type": "paligemma", "projection_dim": 2048}
        | {
            "text_config": {
                "model_type": "gemma",
                "hidden_size": 2048,
                "intermediate_size": 16384,
                "vocab_size": 257216,
            }
            | {"num_hidden_layers": 18, "num_attention_heads": 8, "num_key_value_heads": 1}
        }
        | {
            "vision_config": {**SIGLIP_SO, "num_hidden_layers": 27, "num_attention_heads": 16, "image_size": 224}
            | {"patch_size": 14, "projection_dim": 2048, "vision_use_head": False}
        },
        2_923_466_480,
    ),
}


LLAMA_4_SCOUT = {"model_type": "llama4", "architectures": ["Llama4ForConditionalGeneration"], "vocab_size": 202048}
LLAMA_4_SCOUT |= {"hidden_size": 5120, "intermediate_size": 8192, "intermediate_size_mlp": 16384, "head_dim": 128}
LLAMA_4_SCOUT |= {"num_hidden_layers": 48, "num_attention_heads": 40, "num_key_value_heads": 8, "no_rope_layers": []}
LLAMA_4_SCOUT |= {"num_local_experts": 16, "num_experts_per_tok": 1, "interleave_moe_layer_step": 1}


def test_a_llama_4_with_its_text_models_fields_at_the_top_is_counted_as_that():
    scout = architecture_of(LLAMA_4_SCOUT)
    assert (scout.model_type, scout.inputs) == ("llama4_text", "tokens")
    # A layer: q and o 5120 x 5120, k and v 5120 x 1024; 16 experts and a shared one of 3 x 5120 x 8192 = 125,829,120; a
    # router of 5120 x 16 and two norms: 2,202,101,760. 48 of them, two tables of 202,048 x 5120, one norm. Published
    # are 109B with the encoder of images, and 17B active: 15 experts rest in each layer.
    assert scout.parameters() == 48 * 2_202_101_760 + 2 * 202_048 * 5120 + 5120 == 107_769_861_120
    assert scout.active_parameters() == 107_769_861_120 - 48 * 15 * 125_829_120 == 17_172_894_720


@pytest.mark.parametrize("missing", ["vision_config", "num_hidden_layers"])
def test_a_llama_4_that_is_neither_whole_nor_text_alone_says_what_it_lacks(missing):
    changes = {"text_config": {}} if missing == "vision_config" else {"num_hidden_layers": None}
    with pytest.raises(ConfigError, match=f"lacks '{missing}'"):
        architecture_of({**LLAMA_4_SCOUT, **changes})


def test_qwen3_omnis_encoders_are_as_large_as_its_report_says():
    """650 million for sounds, 540 million for images, 30 billion with 3 billion active (arXiv 2509.17765, table 1)."""
    audio = {"d_model": 1280, "encoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120}
    vision = {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16, "out_hidden_size": 2048}
    text = {"hidden_size": 2048, "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4}
    text |= {"head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768}
    config = {"text_config": {**text, "vocab_size": 152064, "intermediate_size": 768}, "audio_config": audio}
    config["vision_config"] = {**vision, "num_position_embeddings": 2304, "deepstack_visual_indexes": [8, 16, 24]}
    config["audio_config"]["output_dim"] = 2048
    thinker = architecture_of({"model_type": "qwen3_omni_moe", "thinker_config": config})
    assert thinker.model_type == "qwen3_omni_moe_thinker"
    named = {path: leaf.parameters() for path, leaf in thinker.named_leaves()}

    def parameters(prefix):
        return sum(each for path, each in named.items() if path.startswith(prefix))

    assert round(parameters("model.audio_tower"), -7) == 650_000_000
    assert round(parameters("model.visual"), -7) == 540_000_000
    encoders = parameters("model.audio_tower") + parameters("model.visual")
    assert round(thinker.parameters() - encoders, -8) == 30_500_000_000
    assert round(thinker.active_parameters() - encoders, -8) == 3_400_000_000


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_have_their_parameters(name):
    config, parameters = PUBLISHED[name]
    assert architecture_of(config).parameters() == parameters
