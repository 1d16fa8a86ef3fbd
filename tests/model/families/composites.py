"""Small models that join a text model with encoders, and batches of several sizes for each of them."""

import torch
import transformers

from flopwatch.measure.inputs import inputs_of
from flopwatch.model.batch import Batch
from tests.model.families.families import GATED, GDN, MOE, PLAIN, VISION

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
    "qwen3_vl": ("qwen3_vl", {"text_config": {**GATED, "head_dim": 16, **_MROPE}, "vision_config": _DEEP, **_IDS}, GRIDS),
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


def config_of(name):
    model_type, fields, _ = COMPOSITES[name]
    return transformers.AutoConfig.for_model(model_type, **fields)


def build(name, attention="eager", device="cpu"):
    """The class that is trained."""
    with torch.device(device):
        auto = transformers.AutoModelForImageTextToText
        return auto.from_config(config_of(name), attn_implementation=attention)


def cases(name, model, device="cpu"):
    """Batches with the inputs for each, all of zeros."""
    for batch in COMPOSITES[name][2]:
        inputs = inputs_of(model, batch, torch.device(device))
        zeros = {key: torch.zeros_like(each) if each.is_floating_point() else each for key, each in inputs.items()}
        yield batch, {**zeros, "use_cache": False}
