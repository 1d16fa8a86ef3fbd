"""Images, videos, sounds and time series in the layouts that Hugging Face's models read, by the names of arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from flopwatch.errors import ArgumentError, MeasurementError
from flopwatch.model.batch import Batch
from flopwatch.model.media import PIXEL_MASK, Grids, TellsTiles

_DEFAULT_IMAGE = 224
Inputs = dict[str, Any]


def images(model: Any, batch: Batch, device: torch.device, names: tuple[str, ...]) -> Inputs:
    """Images or videos in the layout that the model's arguments tell of."""
    layout = next((make for name, make in _LAYOUTS.items() if name in names), _plain)
    return layout(model, batch, device)


def vision_of(model: Any) -> Any:
    """The config of the part that sees."""
    config = model.config
    return next((found for name in VISION if (found := getattr(config, name, None)) is not None), config)


VISION = ("vision_config", "visual_config", "vision_encoder_config", "backbone_config", "thinker_config")


def _plain(model: Any, batch: Batch, device: torch.device) -> Inputs:
    config = vision_of(model)
    size = batch.image_size or image_size_of(config)
    frames = _IN_A_ROW.get(model.config.model_type)
    several = () if frames is None else (getattr(config, "num_frames", None) or frames,)
    return {"pixel_values": torch.ones(batch.image_count, *several, _channels(config), *size, device=device)}


# Frames of a video, or the two images that are compared, as one.
_IN_A_ROW = {"videomae": 16, "vivit": 32, "timesformer": 8, "lightglue": 2, "superglue": 2, "efficientloftr": 2}


def _channels(config: Any) -> int:
    return getattr(config, "num_channels", None) or getattr(config, "in_channels", None) or 3


def parts_of(config: Any) -> Iterator[Any]:
    """A config and those inside of it."""
    yield config
    for value in getattr(config, "__dict__", {}).values():
        if hasattr(value, "to_dict") and value is not config:
            yield from parts_of(value)


def image_size_of(config: Any) -> tuple[int, int]:
    """Height and width of the images that a config is for; 224 x 224 where it does not say."""
    parts = [part for part in parts_of(config) if hasattr(part, "__dict__")]
    sizes = (getattr(part, name, None) for name in ("image_size", "crop_size") for part in parts)
    size = next(filter(None, sizes), _DEFAULT_IMAGE)
    if isinstance(size, Mapping):
        size = (size.get("height", _DEFAULT_IMAGE), size.get("width", _DEFAULT_IMAGE))
    return (size, size) if isinstance(size, int) else (size[0], size[-1])


def _one(value: Any) -> int:
    return int(value[0] if isinstance(value, (list, tuple)) else value)


def _in_grids(model: Any, batch: Batch, device: torch.device) -> Inputs:
    """Patches of all images one after the other, with the grid of each."""
    config = vision_of(model)
    patch, frames = _one(config.patch_size), _one(getattr(config, "temporal_patch_size", 1))
    merge = getattr(config, "spatial_merge_size", None) or 1
    channels = _channels(config)
    grids = Grids(patch, merge, frames=frames).of(_sized(batch, config))
    rows = sum(count * height * width for count, height, width in grids)
    pixels = torch.ones(rows, *_patch_shape(model, (channels * frames * patch * patch, channels, patch)), device=device)
    given = {"pixel_values": pixels, "image_grid_thw": torch.tensor(grids, dtype=torch.long)}
    if "image_merge_sizes" in inspect.signature(model.forward).parameters:  # VideoLLaMA 3 is told for each image
        given["image_merge_sizes"] = torch.full((len(grids),), merge)
    return given


def _sized(batch: Batch, config: Any) -> Batch:
    """The batch with an image size: its own, else the config's."""
    return batch if batch.image_size else replace(batch, image_size=image_size_of(config))


def _patch_shape(model: Any, sizes: tuple[int, int, int]) -> tuple[int, ...]:
    """One patch as a row of values, or, where a flat convolution reads it, as an image."""
    values, channels, side = sizes
    layers = (each for name, each in model.named_modules() if "patch_embed" in name)
    first = next((each for each in layers if isinstance(each, nn.Linear | nn.Conv2d | nn.Conv3d)), None)
    if isinstance(first, nn.Linear):
        return (first.in_features,)
    return (channels, side, side) if isinstance(first, nn.Conv2d) else (values,)


def _as_patches(model: Any, batch: Batch, device: torch.device) -> Inputs:
    """What an encoder on its own takes: patches under the name of its first argument, and the grids."""
    given = _in_grids(model, batch, device)
    first = next(iter(inspect.signature(model.forward).parameters))
    return {first: given["pixel_values"], "grid_thw": given["image_grid_thw"]}


def _clip(model: Any, batch: Batch, device: torch.device) -> Inputs:
    """Frames of a video, as many as the config is for."""
    config = vision_of(model)
    frames = getattr(config, "frames_per_clip", None) or getattr(config, "num_frames", None) or 16
    shape = (batch.image_count, int(frames), _channels(config), *(batch.image_size or image_size_of(config)))
    return {"pixel_values_videos": torch.ones(*shape, device=device)}


def _padded(model: Any, batch: Batch, device: torch.device) -> Inputs:
    """Patches of each image, filled up to the same number, with the height and width of each in patches."""
    config = vision_of(model)
    patch, factor = _one(config.patch_size), getattr(model.config, "downsample_factor", 1)
    grids = [grid[1:] for grid in Grids(patch, factor).of(_sized(batch, config))]
    rows = batch.patches or max(height * width for height, width in grids)
    mask = torch.zeros(len(grids), rows, dtype=torch.long)
    for row, (height, width) in enumerate(grids):
        mask[row, : height * width] = 1
    pixels = torch.ones(len(grids), rows, config.num_channels * patch * patch, device=device)
    shapes = torch.tensor(grids, dtype=torch.long)
    return {"pixel_values": pixels, "spatial_shapes": shapes, PIXEL_MASK: mask}


def _with_sizes(model: Any, batch: Batch, device: torch.device) -> Inputs:
    """Images with the size of each; where they are cut into tiles, the tiles of each."""
    config = vision_of(model)
    if getattr(model.config, "image_grid_pinpoints", None):
        return _cut(model, batch, device)
    if getattr(config, "model_type", "") in _OF_ONE_SIZE:
        return _plain(model, batch, device)
    patch, merge = _one(config.patch_size), getattr(model.config, "spatial_merge_size", None) or 1
    grids = Grids(patch, merge, up=True).of(_sized(batch, config))
    sizes = torch.tensor([(height * patch, width * patch) for _, height, width in grids], dtype=torch.long)
    if not batch.grids or not batch.image_size:
        batch = replace(batch, image_size=tuple(sizes.amax(0).tolist()))
    return {**_plain(model, batch, device), "image_sizes": sizes}


_OF_ONE_SIZE = ("clip_vision_model", "siglip_vision_model")


def are_of_any_size(model: Any, names: tuple[str, ...]) -> bool:
    """Whether images are patches of sizes of their own, so that there is none that an image usually has."""
    if any(each in names for each in ("image_grid_thw", "spatial_shapes", "image_position_ids")):
        return True
    return "image_sizes" in names and getattr(vision_of(model), "model_type", "") == "pixtral"


def _cut(model: Any, batch: Batch, device: torch.device) -> Inputs:
    """Tiles of images, by default of the first resolution that the config names, and the whole image in one more."""
    side = _one(vision_of(model).image_size)
    tells = TellsTiles(tuple((height, width) for height, width in model.config.image_grid_pinpoints), side)
    size = batch.image_size if batch.image_size not in (None, (side, side)) else None
    height, width = size or tells.resolutions[0]
    tiles = tells.count(height, width)
    images = batch.image_count if size else batch.image_count // tiles
    if not images or (not size and batch.image_count % tiles):
        raise ArgumentError(
            f"expected a multiple of {tiles} tiles (--images), as an image is cut into, got {batch.image_count}"
        )
    pixels = torch.ones(images, tiles, 3, side, side, device=device)
    return {"pixel_values": pixels, "image_sizes": torch.tensor([(height, width)] * images, dtype=torch.long)}


def _in_rows(model: Any, batch: Batch, device: torch.device) -> Inputs:
    """Images of each sequence in a row, none of them padding."""
    pixels = _plain(model, batch, device)["pixel_values"]
    rows = pixels.reshape(batch.sequences, -1, *pixels.shape[1:])
    sequences, images, _, height, width = rows.shape
    return {"pixel_values": rows, PIXEL_MASK: torch.ones(sequences, images, height, width, dtype=torch.long)}


_LAYOUTS: Mapping[str, Callable[[Any, Batch, torch.device], Inputs]] = {
    "image_grid_thw": _in_grids,
    "grid_thw": _as_patches,
    "spatial_shapes": _padded,
    "image_sizes": _with_sizes,
    PIXEL_MASK: _in_rows,
    "pixel_values": _plain,
    "pixel_values_videos": _clip,
}


def sounds(model: Any, batch: Batch, device: torch.device, names: tuple[str, ...]) -> Inputs:
    """Samples of sound, or frames of a spectrogram, whichever the model's arguments tell of."""
    config = model.config
    if "input_values" in names and getattr(config, "max_length", None) and getattr(config, "num_mel_bins", None):
        return {"input_values": torch.ones(batch.clip_count, config.max_length, config.num_mel_bins, device=device)}
    longest = batch.source_len or max(batch.sounds, default=0) or _usual_frames(config, batch, names)
    batch = replace(batch, source_len=longest)
    if not batch.source_len:
        return {}
    if "input_values" in names:
        channels = getattr(config, "audio_channels", None) or (1 if hasattr(config, "codebook_size") else None)
        shape = (
            (batch.clip_count, batch.source_len) if channels is None else (batch.clip_count, channels, batch.source_len)
        )
        return {"input_values": torch.ones(*shape, device=device)}
    if "input_features" in names:
        return _spectrogram(model, batch, device, names)
    return {}


def _usual_frames(config: Any, batch: Batch, names: tuple[str, ...]) -> int:
    """As many frames as Whisper's encoder takes inside of a model that joins it with a text model."""
    audio = getattr(config, "audio_config", None)
    positions = getattr(audio, "max_source_positions", None)
    return 2 * positions if isinstance(positions, int) and batch.clip_count and "input_features" in names else 0


_MASKS = ("input_features_mask", "feature_attention_mask")


def _spectrogram(model: Any, batch: Batch, device: torch.device, names: tuple[str, ...]) -> Inputs:
    """Frames of every sound; convolutions over time have them last."""
    bins, frames = _bins(model.config), batch.source_len
    first = next((each for name, each in model.named_modules() if name.endswith("input_linear")), None)
    bins = first.in_features if isinstance(first, nn.Linear) and not _joins(model.config) else bins
    over_time = next((each for each in model.modules() if isinstance(each, nn.Conv1d | nn.Conv2d)), None)
    over = isinstance(over_time, nn.Conv1d) and over_time.in_channels == bins and not _turns(model)
    frames_last = over or "feature_attention_mask" in names
    shape = (batch.clip_count, bins, frames) if frames_last else (batch.clip_count, frames, bins)
    mask = torch.ones(batch.clip_count, frames, dtype=torch.long)
    for row, length in enumerate(batch.sounds):
        mask[row, length:] = 0
    # Granite Speech's mask is over the tokens that stand for frames, all of which it takes without one.
    masked = not str(model.config.model_type).startswith("granite_speech")
    masks = {name: mask for name in _MASKS if name in names and masked}
    return {"input_features": torch.ones(*shape, device=device), **masks}


def _turns(model: Any) -> bool:
    """Whether a model turns frames and values itself before its first convolution, as Speech2Text does."""
    return hasattr(model.config, "input_feat_per_channel")


def _joins(config: Any) -> bool:
    return hasattr(config, "text_config") or hasattr(config, "decoder_config")


def _bins(config: Any) -> int:
    for name in ("feature_projection_input_dim", "input_dim", "input_feat_per_channel", "num_mel_bins", "feature_size"):
        found = next((value for part in parts_of(config) if isinstance(value := getattr(part, name, None), int)), None)
        if found is not None:
            return found
    raise MeasurementError("it is unknown how many values a frame of sound has")


def series(model: Any, batch: Batch, device: torch.device, names: tuple[str, ...]) -> Inputs:
    """Time series with what belongs to them, in the lengths of the config."""
    config = model.config
    length = getattr(config, "context_length", None) or 64
    if hasattr(config, "num_input_channels"):
        return {"past_values": torch.ones(batch.sequences, length, config.num_input_channels, device=device)}
    past, future = length + max(getattr(config, "lags_sequence", None) or [0]), config.prediction_length or 24
    wide = () if config.input_size == 1 else (config.input_size,)

    def values(steps: int, *inner: int) -> torch.Tensor:
        return torch.ones(batch.sequences, steps, *inner, device=device)

    features = config.num_time_features
    given = {
        "past_values": values(past, *wide),
        "past_observed_mask": values(past, *wide),
        "past_time_features": values(past, features),
        "future_values": values(future, *wide),
        "future_time_features": values(future, features),
    }
    if config.num_static_categorical_features:
        kinds = (batch.sequences, config.num_static_categorical_features)
        given["static_categorical_features"] = torch.zeros(*kinds, dtype=torch.long)
    if config.num_static_real_features:
        given["static_real_features"] = values(config.num_static_real_features)
    return {name: each for name, each in given.items() if name in names}
