"""Small models that join a text model with encoders, and batches of several sizes for each of them."""

import torch
import transformers

from flopwatch.measure.inputs import inputs_of
from flopwatch.model.batch import Batch
from tests.model.families.families import GATED, GDN, MOE, VISION
from tests.model.families.joined_gemma import GEMMAS
from tests.model.families.joined_kimi import KIMIS
from tests.model.families.joined_phi4 import PHI4

_SMALL_VISION = {**VISION, "hidden_size": 80}
_CLIP = {"model_type": "clip_vision_model", **_SMALL_VISION, "projection_dim": 48}
_GRID = {"depth": 3, "num_heads": 4, "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2}
_DEEP = {**_GRID, "depth": 4, "hidden_size": 80, "intermediate_size": 120, "out_hidden_size": 64}
_DEEP |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 2]}
_QWEN3 = {key: value for key, value in _DEEP.items() if key != "deepstack_visual_indexes"}
_GDN_MOE = {**GDN, "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 40}
_GLM = {**_GRID, "hidden_size": 80, "out_hidden_size": 64, "intermediate_size": 120, "image_size": 32}
_IDS = {"image_token_id": 300, "video_token_id": 301, "vision_start_token_id": 302, "vision_end_token_id": 303}
_MROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}}

IMAGES = [Batch(2, 40, image_size=(32, 32), images=2), Batch(2, 64, image_size=(32, 32), images=4)]
GRIDS = [Batch(2, 40, grids=((1, 4, 8), (1, 8, 4))), Batch(2, 64, grids=((1, 6, 10), (2, 4, 4), (1, 12, 10)))]

# GLM's class does not take several frames as an image.
FLAT = [GRIDS[0], Batch(2, 64, grids=((1, 6, 10), (1, 12, 10)))]

# name: (model_type, fields, batches)
COMPOSITES = {
    "gemma3": (
        "gemma3",
        {
            "text_config": {**GATED, "head_dim": 32, "sliding_window": 16},
            "vision_config": _SMALL_VISION,
            "mm_tokens_per_image": 4,
            "image_token_index": 300,
        },
        IMAGES,
    ),
    "llava": (
        "llava",
        {"text_config": {"model_type": "llama", **GATED}, "vision_config": _CLIP, "image_token_index": 300},
        IMAGES,
    ),
    "qwen2_vl": (
        "qwen2_vl",
        {"text_config": {**GATED, **_MROPE}, "vision_config": {**_GRID, "embed_dim": 80, "hidden_size": 64}, **_IDS},
        GRIDS,
    ),
    "qwen2_5_vl": (
        "qwen2_5_vl",
        {
            "text_config": {**GATED, **_MROPE},
            "vision_config": {**_GRID, "hidden_size": 80, "intermediate_size": 120, "out_hidden_size": 64}
            | {"window_size": 16, "fullatt_block_indexes": [1]},
            **_IDS,
        },
        GRIDS,
    ),
    "qwen3_vl": (
        "qwen3_vl",
        {"text_config": {**GATED, "head_dim": 16, **_MROPE}, "vision_config": _DEEP, **_IDS},
        GRIDS,
    ),
    "qwen3_vl_moe": (
        "qwen3_vl_moe",
        {
            "text_config": {**MOE, "moe_intermediate_size": 40, "head_dim": 16, "tie_word_embeddings": False, **_MROPE},
            "vision_config": _DEEP,
            **_IDS,
        },
        GRIDS,
    ),
    "qwen3_5": (
        "qwen3_5",
        {"text_config": GDN, "vision_config": _QWEN3, **_IDS},
        GRIDS,
    ),
    "qwen3_5_moe": (
        "qwen3_5_moe",
        {"text_config": {**_GDN_MOE, "shared_expert_intermediate_size": 72}, "vision_config": _QWEN3, **_IDS},
        GRIDS,
    ),
    "glm4v": ("glm4v", {"text_config": {**GATED, "pad_token_id": 0, **_MROPE}, "vision_config": _GLM, **_IDS}, FLAT),
    "glm4v_moe": (
        "glm4v_moe",
        {
            "text_config": {**GATED, "moe_intermediate_size": 40, "n_routed_experts": 8, "num_experts_per_tok": 2}
            | {"first_k_dense_replace": 1, "pad_token_id": 0}
            | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}},
            "vision_config": _GLM,
            **_IDS,
        },
        FLAT,
    ),
}


_SIGLIP = {"model_type": "siglip_vision_model", **_SMALL_VISION}
_PLAIN_SIGLIP = {**_SIGLIP, "vision_use_head": False}
_INTERN = {"model_type": "internvl_vision", **_SMALL_VISION, "image_size": [32, 32], "patch_size": [8, 8]}
_LLAMA, _QWEN2 = {"model_type": "llama", **GATED}, {"model_type": "qwen2", **GATED}
_COHERE = {"model_type": "cohere2", **GATED, "head_dim": 16, "sliding_window": 16}
_TILES = {"image_token_index": 300, "image_grid_pinpoints": [[64, 32], [32, 64], [64, 64]]}
_PIXTRAL = {"model_type": "pixtral", **_SMALL_VISION, "patch_size": 8}
_LLAMA4 = {**GATED, "num_hidden_layers": 4, "head_dim": 24, "intermediate_size_mlp": 208, "num_local_experts": 4}
_LLAMA4 |= {"num_experts_per_tok": 1, "interleave_moe_layer_step": 2, "attention_chunk_size": 32}

# An image is cut into two tiles, and the whole is one more.
CUT = [Batch(2, 96, image_size=(32, 32), images=6), Batch(2, 160, image_size=(32, 32), images=12)]
UNEVEN = [
    Batch(2, 40, image_size=(48, 64), grids=((1, 6, 8), (1, 4, 4))),
    Batch(2, 64, image_size=(64, 64), grids=((1, 8, 8), (1, 2, 4), (1, 4, 8))),
]
PADDED = [
    Batch(2, 40, patches=40, grids=((1, 4, 8), (1, 8, 4))),
    Batch(2, 64, patches=60, grids=((1, 6, 10), (1, 4, 4), (1, 2, 10))),
]

COMPOSITES |= {
    "llava-several-layers": (
        "llava",
        {"text_config": _LLAMA, "vision_config": _CLIP, "image_token_index": 300, "vision_feature_layer": [-3, -2]}
        | {"vision_feature_select_strategy": "full", "multimodal_projector_bias": False},
        IMAGES,
    ),
    "llava-siglip": (
        "llava",
        {"text_config": _QWEN2, "vision_config": _PLAIN_SIGLIP, "image_token_index": 300, "vision_feature_layer": -1}
        | {"vision_feature_select_strategy": "full"},
        IMAGES,
    ),
    "llava_next": ("llava_next", {"text_config": _LLAMA, "vision_config": _CLIP, **_TILES}, CUT),
    "llava_onevision": ("llava_onevision", {"text_config": _QWEN2, "vision_config": _PLAIN_SIGLIP, **_TILES}, CUT),
    "paligemma": (
        "paligemma",
        {"text_config": {"model_type": "gemma", **GATED, "head_dim": 32}, "image_token_index": 300}
        | {"vision_config": {**_PLAIN_SIGLIP, "projection_dim": 64}, "projection_dim": 64},
        IMAGES,
    ),
    "internvl": (
        "internvl",
        {"text_config": _QWEN2, "vision_config": _INTERN, "image_token_id": 300, "tie_word_embeddings": True},
        IMAGES,
    ),
    "internvl-large": (
        "internvl",
        {"text_config": {"model_type": "qwen3", **GATED, "head_dim": 16}, "image_token_id": 300}
        | {"tie_word_embeddings": False}
        | {"vision_config": {**_INTERN, "use_qk_norm": True, "attention_bias": True, "norm_type": "rms_norm"}},
        IMAGES,
    ),
    "idefics3": (
        "idefics3",
        {"text_config": _LLAMA, "vision_config": {**_SMALL_VISION, "patch_size": 8}, "image_token_id": 300},
        IMAGES,
    ),
    "smolvlm": (
        "smolvlm",
        {"text_config": _LLAMA, "vision_config": {**_SMALL_VISION, "patch_size": 8}, "image_token_id": 300}
        | {"scale_factor": 4},
        IMAGES,
    ),
    "aya_vision": (
        "aya_vision",
        {"text_config": _COHERE, "vision_config": _PLAIN_SIGLIP, "image_token_index": 300},
        IMAGES,
    ),
    "cohere2_vision": (
        "cohere2_vision",
        {"text_config": _COHERE, "vision_config": _PLAIN_SIGLIP, "image_token_id": 300}
        | {"alignment_intermediate_size": 96},
        IMAGES,
    ),
    "deepseek_vl": (
        "deepseek_vl",
        {"text_config": _LLAMA, "vision_config": _SIGLIP, "image_token_id": 300, "tie_word_embeddings": True},
        IMAGES,
    ),
    "llama4": (
        "llama4",
        {"text_config": _LLAMA4, "image_token_index": 300, "boi_token_index": 301, "eoi_token_index": 302}
        | {"vision_config": {**_SMALL_VISION, "intermediate_size": 320, "vision_output_dim": 96}}
        | {},
        IMAGES,
    ),
    "mistral3": (
        "mistral3",
        {"text_config": {"model_type": "mistral", **GATED, "sliding_window": None}, "vision_config": _PIXTRAL}
        | {"image_token_index": 300, "tie_word_embeddings": True},
        UNEVEN,
    ),
    "lfm2_vl": (
        "lfm2_vl",
        {"text_config": {"model_type": "lfm2", **GATED, "layer_types": ["conv", "full_attention", "conv"]}}
        | {"vision_config": {**_PLAIN_SIGLIP, "model_type": "siglip2_vision_model", "num_patches": 64}}
        | {"image_token_id": 300, "projector_hidden_size": 96},
        PADDED,
    ),
}
COMPOSITES["lfm2_vl-pooled"] = (
    "lfm2_vl",
    {**COMPOSITES["lfm2_vl"][1], "projector_use_layernorm": False, "projector_bias": False}
    | {"vision_config": {**_SIGLIP, "model_type": "siglip2_vision_model", "num_patches": 64}},
    PADDED,
)
_AUDIO = {"d_model": 80, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 200, "num_mel_bins": 20}
_HEARS = {"hidden_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 320}
SOUNDS = [Batch(2, 40, 100, clips=2), Batch(2, 72, 100, clips=4)]
COMPOSITES |= {
    "qwen2_audio": (
        "qwen2_audio",
        {
            "text_config": _QWEN2,
            "audio_config": {**_AUDIO, "max_source_positions": 50, "model_type": "qwen2_audio_encoder"},
        }
        | {"audio_token_index": 300},
        SOUNDS,
    ),
    "voxtral": (
        "voxtral",
        {"text_config": {**_LLAMA, "tie_word_embeddings": False}, "audio_token_id": 300}
        | {"audio_config": {**_HEARS, "num_mel_bins": 20, "max_source_positions": 48, "model_type": "voxtral_encoder"}},
        [Batch(2, 40, 96, clips=2), Batch(2, 64, 96, clips=4)],
    ),
}
# Pieces of 24 frames: 60 are two whole ones and one of 12, 20 are less than one.
SEEN_AND_HEARD = [
    Batch(2, 64, 60, grids=((1, 4, 8), (1, 8, 4)), sounds=(60, 41)),
    Batch(3, 96, 20, grids=((1, 6, 10), (2, 4, 4)), sounds=(9, 20, 17)),
]
# Pieces of 100 frames, of which two attend together: 330 are three whole ones and one of 30.
HEARD_IN_PIECES = [
    Batch(2, 96, 330, grids=((1, 4, 8), (1, 8, 4)), sounds=(330, 120)),
    Batch(3, 64, 70, grids=((1, 6, 10), (2, 4, 4)), sounds=(70, 5, 64)),
]
_BEGINS = {"vision_start_token_id": 303, "vision_end_token_id": 304}
_BEGINS |= {"audio_start_token_id": 305, "audio_end_token_id": 306}
COMPOSITES |= {
    "qwen2_5_omni_thinker": (
        "qwen2_5_omni_thinker",
        {
            "text_config": {**GATED, **_MROPE, "tie_word_embeddings": False},
            "vision_config": COMPOSITES["qwen2_5_vl"][1]["vision_config"],
            "audio_config": {**_AUDIO, "n_window": 12, "output_dim": 64},
        }
        | {"image_token_index": 300, "video_token_index": 301, "audio_token_index": 302, **_BEGINS},
        SEEN_AND_HEARD,
    ),
    "qwen3_omni_moe_thinker": (
        "qwen3_omni_moe_thinker",
        {
            "text_config": {**MOE, "moe_intermediate_size": 40, "head_dim": 16, **_MROPE},
            "vision_config": _DEEP,
            "audio_config": {**_AUDIO, "output_dim": 64, "downsample_hidden_size": 24, "n_window_infer": 200},
        }
        | {"image_token_id": 300, "video_token_id": 301, "audio_token_id": 302, **_BEGINS},
        HEARD_IN_PIECES,
    ),
}
_SPEECH = {"input_dim": 20, "num_layers": 4, "hidden_dim": 48, "num_heads": 4, "dim_head": 20, "output_dim": 14}
_SPEECH |= {"context_size": 16, "max_pos_emb": 24, "conv_kernel_size": 5, "feedforward_mult": 3}
_FORMER = {"model_type": "blip_2_qformer", "hidden_size": 60, "num_hidden_layers": 3, "num_attention_heads": 4}
_FORMER |= {"intermediate_size": 104, "encoder_hidden_size": 48}
# Blocks of 16 frames and windows of 15, both filled up: 40 are three and three, 64 four and five.
COMPOSITES["granite_speech"] = (
    "granite_speech",
    {"text_config": {"model_type": "granite", **GATED}, "encoder_config": _SPEECH, "projector_config": _FORMER}
    | {"audio_token_index": 300, "tie_word_embeddings": False},
    [Batch(2, 40, 40, clips=2), Batch(2, 64, 64, clips=4)],
)
COMPOSITES["granite_speech-asking-always"] = (
    "granite_speech",
    {**COMPOSITES["granite_speech"][1], "projector_config": {**_FORMER, "cross_attention_frequency": 1}}
    | {"encoder_config": {**_SPEECH, "num_layers": 1, "conv_kernel_size": 6}, "tie_word_embeddings": True},
    COMPOSITES["granite_speech"][2],
)
COMPOSITES |= GEMMAS | KIMIS | PHI4
COMPOSITES["llama4"][1]["vision_config"] |= {"projector_input_dim": 96, "projector_output_dim": 96}


def config_of(name):
    model_type, fields, _ = COMPOSITES[name]
    return transformers.AutoConfig.for_model(model_type, **fields)


def build(name, attention="eager", device="cpu", config=None):
    """The class that is trained."""
    config = config or config_of(name)
    kinds = (transformers.AutoModelForImageTextToText, transformers.AutoModelForMultimodalLM)
    kinds += (transformers.AutoModelForCausalLM,)
    automatic = next(each for each in kinds if type(config) in each._model_mapping)
    with torch.device(device):
        return automatic.from_config(config, attn_implementation=attention)


def cases(name, model, device="cpu"):
    """Batches with the inputs for each, images all of ones."""
    for batch in COMPOSITES[name][2]:
        inputs = inputs_of(model, batch, torch.device(device))
        yield batch, {**inputs, "use_cache": False}
