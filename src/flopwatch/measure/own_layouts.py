"""What classes read whose layout their arguments do not tell: by `model_type`, in the sizes of the config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch

from flopwatch.measure.joined_layouts import JOINED_LAYOUTS
from flopwatch.measure.layouts import Inputs
from flopwatch.measure.maker import Maker, Places
from flopwatch.measure.sound_layouts import SOUND_LAYOUTS
from flopwatch.model.batch import Batch
from flopwatch.model.families.mobilenet import SIDE
from flopwatch.model.resized import TellsPlaces, TellsUseful

_BOXES = 36  # regions of an image that LXMERT sees (Tan and Bansal, arXiv 1908.07490)
_PIECES = 2048  # patches that Pix2Struct cuts an image into (Lee et al., arXiv 2210.03347)
_SQUARE = (768, 768)  # of which 48 x 48 patches in squares of 3 x 3 are 256 tokens of Gemma
_FUYU = 300


def own_layout(model: Any, batch: Batch, device: torch.device) -> Inputs | None:
    """The inputs of a class that has a layout of its own; `None` for all others.

    Raises:
        ArgumentError: If the batch lacks what the model reads.
    """
    make = OWN_LAYOUTS.get(getattr(model.config, "model_type", ""))
    return None if make is None else make(Maker(model, batch, device))


def _vilt(make: Maker) -> Inputs:
    return {"input_ids": make.words, "pixel_values": make.pixels()}


def _video_and_text(make: Maker) -> Inputs:
    frames = make.config.vision_config.num_frames
    return {"input_ids": make.words, "pixel_values": make.pixels(None, frames)}


def _tvp(make: Maker) -> Inputs:
    side = make.config.max_img_size
    return {"input_ids": make.words, "pixel_values": make.pixels((side, side), make.config.num_frames)}


def _lxmert(make: Maker) -> Inputs:
    boxes = (make.sequences, _BOXES)
    return {
        "input_ids": make.words,
        "visual_feats": make.ones(*boxes, make.config.visual_feat_dim),
        "visual_pos": make.ones(*boxes, make.config.visual_pos_dim),
    }


def _decision_transformer(make: Maker) -> Inputs:
    steps = (make.sequences, make.length)
    return {
        "states": make.ones(*steps, make.config.state_dim),
        "actions": make.ones(*steps, make.config.act_dim),
        "rewards": make.ones(*steps, 1),
        "returns_to_go": make.ones(*steps, 1),
        "timesteps": make.ids(*steps),
        "attention_mask": make.ids(*steps, value=1),
    }


def _gemma4_vision(make: Maker) -> Inputs:
    pixels, places = _pooled_patches(make, make.config)
    return {"pixel_values": pixels, "pixel_position_ids": places}


def _gemma4(make: Maker) -> Inputs:
    """Images and sounds where the model has encoders of them, its text alone otherwise."""
    config, given, words = make.config, {}, Places(make.words)
    if config.vision_config and make.batch.images != 0 and (make.batch.image_size or make.batch.grids):
        given["pixel_values"], given["image_position_ids"] = _pooled_patches(make, config.vision_config)
        patches = (given["image_position_ids"] >= 0).all(-1).sum(-1)
        words.put(config.image_token_id, (patches // config.vision_config.pooling_kernel_size**2).tolist())
    if config.audio_config and make.batch.source_len and make.clips:
        frames = make.batch.source_len
        given["input_features"] = make.ones(make.clips, frames, config.audio_config.subsampling_conv_channels[0])
        given["input_features_mask"] = torch.ones(make.clips, frames, dtype=torch.bool)
        words.put(config.audio_token_id, [-(-frames // 4)] * make.clips)
    return {"input_ids": words.ids, **given, "mm_token_type_ids": (words.ids == config.image_token_id).long()}


def _gemma3n(make: Maker) -> Inputs:
    """Images in the one size that its encoder is for, and sounds, each of which stands for as many tokens."""
    config, given, words = make.config, {}, Places(make.words)
    if make.batch.images != 0:
        given["pixel_values"] = make.pixels((SIDE, SIDE))
        words.put(config.image_token_id, [config.vision_soft_tokens_per_image] * make.images)
    if make.batch.source_len and make.clips:
        frames = (make.clips, make.batch.source_len)
        given["input_features"] = make.ones(*frames, config.audio_config.input_feat_size)
        given["input_features_mask"] = torch.ones(*frames, dtype=torch.bool)
        words.put(config.audio_token_id, [config.audio_soft_tokens_per_image] * make.clips)
    return {"input_ids": words.ids, **given}


def _phi4_multimodal(make: Maker) -> Inputs:
    """Images cut into tiles, with a mask of the patches that hold them, and sounds."""
    config, given, words = make.config, {}, Places(make.words)
    vision = config.vision_config
    tells = TellsUseful(vision.image_size, vision.patch_size)
    batch = tells.planned(make.batch)
    if batch.grids:
        given = _tiles_with_masks(make, batch, vision)
        whole = -(-(vision.image_size // vision.patch_size) // 2)
        tokens = [height * (width + 1) + 1 + whole * (whole + 1) for _, height, width in batch.grids]
        words.put(vision.image_token_id, tokens)
    if batch.source_len and make.clips:
        audio = config.audio_config
        length = -(-batch.source_len // audio.time_reduction)
        given["audio_input_features"] = make.ones(make.clips, batch.source_len, audio.input_size)
        given["audio_embed_sizes"] = torch.tensor([length] * make.clips)
        words.put(audio.audio_token_id, [length] * make.clips)
    return {"input_ids": words.ids, **given}


def _tiles_with_masks(make: Maker, batch: Batch, vision: Any) -> Inputs:
    """Each image in as many tiles as hold its tokens, all in as many as the batch has for each of them."""
    each, side = vision.image_size // vision.patch_size, vision.image_size
    across = each // 2
    images = len(batch.grids)
    tiles = (batch.images or 0) // images
    masks = torch.ones(images, tiles, each, each, dtype=torch.long)
    sizes = []
    for mask, (_, height, width) in zip(masks, batch.grids, strict=True):
        down, right = -(-height // across), -(-width // across)
        sizes.append((down * side, right * side))
        useful = torch.zeros(down * each, right * each, dtype=torch.long)
        useful[: 2 * height, : 2 * width] = 1
        mask[1 : 1 + down * right] = useful.view(down, each, right, each).transpose(1, 2).reshape(-1, each, each)
    return {
        "image_pixel_values": make.ones(images, tiles, 3, side, side),
        "image_sizes": torch.tensor(sizes),
        "image_attention_mask": masks,
    }


def _pooled_patches(make: Maker, config: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Patches of images, all filled up to the same number, and the place of each, -1 of those that fill up."""
    tells = TellsPlaces(config.patch_size, config.pooling_kernel_size)
    batch = tells.planned(replace(make.batch, image_size=make.batch.image_size or _SQUARE))
    rows = batch.patches or max(height * width for _, height, width in batch.grids)
    places = torch.full((len(batch.grids), rows, 2), -1)
    for place, (_, height, width) in zip(places, batch.grids, strict=True):
        down, across = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        place[: height * width] = torch.stack((across, down), -1).reshape(-1, 2)
    return make.ones(len(batch.grids), rows, 3 * config.patch_size**2), places


def _pi0(make: Maker) -> Inputs:
    """Images of as many cameras as there are for each sequence, text, a state and noisy actions."""
    config = make.config
    cameras = -(-make.images // make.sequences)
    vision = config.vlm_config.vision_config
    size = (vision.image_size, vision.image_size)
    pixels = make.ones(make.sequences, cameras, 3, *(make.batch.image_size or size))
    each = (pixels.shape[-2] // vision.patch_size) * (pixels.shape[-1] // vision.patch_size)
    return {
        "input_ids": make.words_with(config.vlm_config.image_token_id, each),
        "attention_mask": make.ids(make.sequences, make.length, value=1),
        "pixel_values": pixels,
        "pixel_attention_mask": torch.ones(make.sequences, cameras, dtype=torch.bool),
        "state": make.ones(make.sequences, config.max_state_dim),
        "noise": make.ones(make.sequences, config.chunk_size, config.max_action_dim),
        "timestep": make.ones(make.sequences),
        "actions": make.ones(make.sequences, config.chunk_size, config.max_action_dim),
    }


def _mllama(make: Maker) -> Inputs:
    """Images of one tile each; every word sees all of a sequence's."""
    config = make.config
    if make.batch.images == 0:
        return {"input_ids": make.words}
    side, tiles = config.vision_config.image_size, config.vision_config.max_num_tiles
    each = -(-make.images // make.sequences)
    words = make.words
    words[:, 1 : 1 + each] = config.image_token_index
    return {
        "input_ids": words,
        "pixel_values": make.ones(make.sequences, each, tiles, 3, side, side),
        "aspect_ratio_ids": make.ids(make.sequences, each, value=1),
        "aspect_ratio_mask": make.ids(make.sequences, each, tiles, value=1),
        "cross_attention_mask": make.ids(make.sequences, make.length, each, tiles, value=1),
    }


def _instructblip(make: Maker) -> Inputs:
    words = make.words_with(make.config.image_token_index, make.config.num_query_tokens)
    return {"pixel_values": make.pixels(), "qformer_input_ids": _prompt(make), "input_ids": words}


def _instructblip_video(make: Maker) -> Inputs:
    """Videos of four frames, as its processor cuts them."""
    words = make.words_with(make.config.video_token_index, 4 * make.config.num_query_tokens)
    return {"pixel_values": make.pixels(None, 4), "qformer_input_ids": _prompt(make), "input_ids": words}


def _prompt(make: Maker) -> torch.Tensor:
    """The words of a sequence, as many as its Q-Former reads."""
    return make.words[:, : make.config.qformer_config.max_position_embeddings]


def _fuyu(make: Maker) -> Inputs:
    side = make.config.patch_size
    height, width = (max(each // side, 1) for each in make.batch.image_size or (_FUYU, _FUYU))
    words = make.words_with(make.config.image_token_id, height * width)
    return {"input_ids": words, "pixel_values": make.ones(make.images, height * width, 3 * side**2)}


def _inkling2_vision(make: Maker) -> Inputs:
    """Squares of patches that become one, channels last, and the grid of squares of every image."""
    merge = make.config.spatial_merge_size
    grids = [(frames, height // merge, width // merge) for frames, height, width in make.grids(make.config)]
    rows, side = sum(height * width for _, height, width in grids), make.config.patch_size * merge
    return {
        "pixel_values": make.ones(rows, side, side, 3),
        "image_grid_thw": torch.tensor(grids, dtype=torch.long),
    }


def _neomme(make: Maker) -> Inputs:
    """Patches of all images in a row, each of which is a token."""
    if make.batch.images is None and make.batch.image_size is None:
        return {"input_ids": make.words}
    height, width = (max(each // make.config.patch_size, 1) for each in make.batch.image_size or _SQUARE)
    words = make.words_with(make.config.image_token_id, height * width)
    return {"input_ids": words, "pixel_values": make.ones(make.images * height * width, 3 * make.config.patch_size**2)}


def _deepseek_vl_hybrid(make: Maker) -> Inputs:
    """Every image twice: small for SigLIP, large for SAM."""
    config = make.config
    if make.batch.images == 0:
        return {"input_ids": make.words}
    sides = (config.vision_config.image_size, config.high_res_vision_config.image_size)
    each = (sides[0] // config.vision_config.patch_size) ** 2
    small, large = (make.ones(make.images, 3, side, side) for side in sides)
    words = make.words_with(config.image_token_id, each)
    return {"input_ids": words, "pixel_values": small, "high_res_pixel_values": large}


def _patches_on_their_own(make: Maker) -> Inputs:
    pixels, grids = make.patches()
    return {"pixel_values": pixels, "grid_thw": grids}


def _video_llama(make: Maker) -> Inputs:
    return {**_patches_on_their_own(make), "merge_sizes": make.ids(make.images)}


def _perceiver(make: Maker) -> Inputs:
    return {"inputs": make.ids(make.sequences, make.config.max_position_embeddings)}


def _pix2struct(make: Maker) -> Inputs:
    values = 2 + make.config.vision_config.patch_embed_hidden_size
    return {
        "flattened_patches": make.ones(make.images, _PIECES, values),
        "decoder_input_ids": make.words,
    }


def _seggpt(make: Maker) -> Inputs:
    side = make.config.image_size
    height, width = side if isinstance(side, (list, tuple)) else (side, side)
    return {name: make.pixels((height // 2, width)) for name in ("pixel_values", "prompt_pixel_values", "prompt_masks")}


def _splinter(make: Maker) -> Inputs:
    words = make.words
    words[:, 1] = make.config.question_token_id
    return {"input_ids": words}


def _timesfm(make: Maker) -> Inputs:
    return {"past_values": make.ones(make.sequences, make.config.context_length)}


def _udop(make: Maker) -> Inputs:
    return {
        "input_ids": make.ids(make.sequences, make.source),
        "bbox": make.ones(make.sequences, make.source, 4),
        "pixel_values": make.pixels(),
        "decoder_input_ids": make.words,
    }


def _qformer(make: Maker) -> Inputs:
    """Thirty-two queries, as in BLIP-2, over features of an image."""
    features = make.ones(make.images, make.source, make.config.encoder_hidden_size)
    return {"query_embeds": make.ones(make.images, 32, make.config.hidden_size), "encoder_hidden_states": features}


def _idefics(make: Maker) -> Inputs:
    each = make.images // make.sequences
    size = make.config.vision_config.image_size
    pixels = make.pixels((size, size))
    return {
        "input_ids": make.words,
        "pixel_values": pixels.reshape(make.sequences, each, *pixels.shape[1:]),
        "image_attention_mask": make.ids(make.sequences, make.length, each, value=1),
    }


def _kosmos2(make: Maker) -> Inputs:
    """An image at the beginning of every sequence."""
    places = torch.zeros(make.sequences, make.length, dtype=torch.bool)
    places[:, 1 : 1 + make.config.latent_query_num] = True
    return {"pixel_values": make.pixels(), "input_ids": make.words, "image_embeds_position_mask": places}


def _minicpm_vision(make: Maker) -> Inputs:
    """Patches of all images in one row, as one image of its patches' height, and the grid of each."""
    side = make.config.patch_size
    grids = make.grids(make.config)
    rows = sum(height * width for _, height, width in grids)
    sizes = torch.tensor([grid[1:] for grid in grids], dtype=torch.long)
    return {"pixel_values": make.ones(1, 3, side, rows * side), "target_sizes": sizes}


OWN_LAYOUTS: Mapping[str, Callable[[Maker], Inputs]] = MappingProxyType(
    {
        **SOUND_LAYOUTS,
        **JOINED_LAYOUTS,
        "blip_2_qformer": _qformer,
        "decision_transformer": _decision_transformer,
        "deepseek_vl_hybrid": _deepseek_vl_hybrid,
        "fuyu": _fuyu,
        "gemma3n": _gemma3n,
        "gemma4": _gemma4,
        "gemma4_vision": _gemma4_vision,
        "hunyuan_vl_vision": _patches_on_their_own,
        "idefics": _idefics,
        "inkling2_vision": _inkling2_vision,
        "instructblip": _instructblip,
        "instructblipvideo": _instructblip_video,
        "kosmos-2": _kosmos2,
        "lxmert": _lxmert,
        "minicpm_ocr_vision": _minicpm_vision,
        "minicpmv4_7_vision": _minicpm_vision,
        "mllama": _mllama,
        "neomme": _neomme,
        "perceiver": _perceiver,
        "phi4_multimodal": _phi4_multimodal,
        "pi0": _pi0,
        "pix2struct": _pix2struct,
        "seggpt": _seggpt,
        "splinter": _splinter,
        "timesfm": _timesfm,
        "timesfm2_5": _timesfm,
        "tvp": _tvp,
        "udop": _udop,
        "video_llama_3_vision": _video_llama,
        "vilt": _vilt,
        "xclip": _video_and_text,
    }
)
