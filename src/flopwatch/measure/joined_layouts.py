"""Tiles and windows of classes that join images or sounds with text, by `model_type`, as their processors do."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from flopwatch.measure.layouts import Inputs
from flopwatch.measure.maker import Maker, Places

_MARGIN, _MOST_TILES, _POOLED = 4, 8, 2  # of Molmo 2's processor: patches that tiles share at each side, and so on


def _granite_docling(make: Maker) -> Inputs:
    """Tiles in a row for each sequence, those that only fill it up behind a mask."""
    if make.batch.images == 0:
        return {"input_ids": make.words}
    each = -(-make.images // make.sequences)
    side, words = make.config.vision_config.image_size, Places(make.words)
    words.put(make.config.image_token_id, [make.model.model.image_seq_len] * make.images)
    real = torch.arange(make.sequences * each).view(make.sequences, each) < make.images
    return {
        "input_ids": words.ids,
        "pixel_values": make.ones(make.sequences, each, 3, side, side),
        "pixel_attention_mask": real,
    }


def _molmo2(make: Maker) -> Inputs:
    """The whole image and tiles of it that overlap, and which patches are pooled into each token."""
    config, words = make.config, Places(make.words)
    if make.batch.images == 0:
        return {"input_ids": words.ids, "mm_token_type_ids": torch.zeros_like(words.ids)}
    vision = config.vision_config
    across = vision.image_size[0] // vision.patch_size
    down, right = _tiling(make.batch.image_size or tuple(vision.image_size), across, vision.patch_size)
    whole = _pooled(torch.arange(across**2).view(across, across))
    tiles = _pooled(_without_margins(down, right, across) + across**2)
    pools = [torch.cat((whole.flatten(0, 1), tiles.flatten(0, 1)))] * make.images
    patches = (1 + down * right) * across**2
    pooling = torch.cat([torch.where(pool >= 0, pool + number * patches, -1) for number, pool in enumerate(pools)])
    words.put(config.image_token_id, [len(pool) for pool in pools])
    crops = make.images * (1 + down * right)
    return {
        "input_ids": words.ids,
        "pixel_values": make.ones(crops, across**2, vision.patch_size**2 * vision.num_channels),
        "image_token_pooling": pooling,
        "image_grids": torch.tensor([[*whole.shape[:2], *tiles.shape[:2]]] * make.images),
        "image_num_crops": torch.tensor([1 + down * right] * make.images),
        "mm_token_type_ids": (words.ids == config.image_token_id).long(),
    }


def _tiling(size: tuple[int, ...], across: int, patch: int) -> tuple[int, int]:
    """Tiles down and across: those that need the least enlargement, or, of too large an image, the least reduction."""
    window, margins = (across - 2 * _MARGIN) * patch, 2 * _MARGIN * patch
    height, width = (side - margins or 1e-9 for side in size)  # of an image as small as its margins
    numbers = range(1, _MOST_TILES + 1)
    pairs = [each for each in itertools.product(numbers, numbers) if each[0] * each[1] <= _MOST_TILES]
    pairs.sort(key=lambda each: (each[0] * each[1], each[0]))
    scales = [min(down * window / height, right * window / width) for down, right in pairs]
    large = [scale for scale in scales if scale >= 1]
    return pairs[scales.index(min(large) if large else max(scales))]


def _without_margins(down: int, right: int, across: int) -> torch.Tensor:
    """Numbers of the patches of all tiles, each patch of the image once, in its place."""
    numbers = torch.arange(down * right * across**2).view(down, right, across, across)
    kept = torch.ones_like(numbers, dtype=torch.bool)
    kept[1:, :, :_MARGIN] = kept[:-1, :, -_MARGIN:] = False
    kept[:, 1:, :, :_MARGIN] = kept[:, :-1, :, -_MARGIN:] = False
    inner = across - 2 * _MARGIN
    rows = (numbers.transpose(1, 2).reshape(-1), kept.transpose(1, 2).reshape(-1))
    return rows[0][rows[1]].view(down * inner + 2 * _MARGIN, right * inner + 2 * _MARGIN)


def _pooled(numbers: torch.Tensor) -> torch.Tensor:
    """Rows and columns of tokens, each with the numbers of its patches, -1 beyond the edge."""
    height, width = (-(-side // _POOLED) for side in numbers.shape)
    tall, wide = height * _POOLED - numbers.shape[0], width * _POOLED - numbers.shape[1]
    filled = torch.nn.functional.pad(numbers, (wide // 2, -(-wide // 2), tall // 2, -(-tall // 2)), value=-1)
    return filled.view(height, _POOLED, width, _POOLED).transpose(1, 2).reshape(height, width, _POOLED**2)


def _moss_transcribe_diarize(make: Maker) -> Inputs:
    """Windows of a sound, of which some positions side by side are a token."""
    merged = make.config.audio_merge_size
    given, lengths = _windows(make)
    words = _heard(make, [[-(-((length - 1) // 2 + 1) // merged) for length in each] for each in lengths])
    return {"input_ids": words, **given}


def _musicflamingo(make: Maker) -> Inputs:
    """Windows of a sound, of which every two positions are averaged."""
    given, lengths = _windows(make)
    words = _heard(make, [[_averaged(length) for length in each] for each in lengths])
    return {"input_ids": words, **given}


def _averaged(length: int) -> int:
    """Positions after a convolution that halves a window, and an average of every two."""
    return ((length - 1) // 2 + 1 - 2) // 2 + 1


def _windows(make: Maker) -> tuple[Inputs, list[list[int]]]:
    """Frames of every sound in windows of one length, the last one filled up, and the frames of each that are real."""
    audio = make.config.audio_config
    window = 2 * audio.max_source_positions
    frames = make.batch.source_len or window
    lengths = [[min(window, frames - start) for start in range(0, frames, window)]] * make.clips
    flat = [length for each in lengths for length in each]
    if not flat:
        return {}, []
    mask = torch.arange(window)[None] < torch.tensor(flat)[:, None]
    return {
        "input_features": make.ones(len(flat), audio.num_mel_bins, window),
        "input_features_mask": mask.long(),
    }, lengths


def _heard(make: Maker, tokens: list[list[int]]) -> torch.Tensor:
    """Words with a place for every token of every sound."""
    words = Places(make.words)
    if tokens:
        words.put(make.config.audio_token_id, [sum(each) for each in tokens])
    return words.ids


JOINED_LAYOUTS: Mapping[str, Callable[[Maker], Inputs]] = MappingProxyType(
    {
        "granite_docling": _granite_docling,
        "molmo2": _molmo2,
        "moss_transcribe_diarize": _moss_transcribe_diarize,
        "musicflamingo": _musicflamingo,
    }
)
