"""What a Hugging Face model is called with for a batch, by the names of its arguments: text, images, videos, sound."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from flopwatch.errors import ArgumentError, MeasurementError
from flopwatch.model.batch import Batch

_DEFAULT_IMAGE = 224
_WORD = 2  # an id that is hardly ever padding or stands for an image
_FROM_SOURCE = {"input_values": "samples", "input_features": "frames"}
Inputs = dict[str, Any]


def inputs_of(model: Any, batch: Batch, device: torch.device) -> Inputs:
    """The inputs of a model for a batch; whole numbers have values and are on the CPU.

    Args:
        model: A Hugging Face model.
        batch: What goes in.
        device: Where everything else is.

    Raises:
        MeasurementError: If it is unknown what the model reads.
        ArgumentError: If the batch lacks what the model reads.
    """
    names = tuple(inspect.signature(model.forward).parameters)
    sees = _images(model, batch, device, names)
    hears = _sounds(model, batch, device, names) if not sees or batch.clips else {}
    if not _reads_text(model, names) or (not batch.seq_len and (sees or hears)):
        return _alone(model, batch, names, {**sees, **hears})
    if not batch.seq_len:
        raise ArgumentError("expected --seq-len, the tokens per sequence, got none")
    if getattr(model.config, "is_encoder_decoder", False):
        return _both_sides(model, batch, names, {**sees, **hears})
    return {**_text(model, batch, names, sees, hears), **sees, **hears}


def _reads_text(model: Any, names: tuple[str, ...]) -> bool:
    return "input_ids" in names and (model.main_input_name == "input_ids" or hasattr(model.config, "text_config"))


def _sees_images(model: Any, names: tuple[str, ...]) -> bool:
    joined = _encodes(model, "image") is not None or any(hasattr(model.config, name) for name in _VISION)
    return "pixel_values" in names and (joined or model.main_input_name == "pixel_values")


def _encodes(model: Any, kind: str) -> Any:
    """What of a model gives the features that stand in the text for an image or a sound, if anything does."""
    owners = (model, getattr(model, "model", None))
    return next((found for each in owners if (found := getattr(each, f"get_{kind}_features", None))), None)


def _alone(model: Any, batch: Batch, names: tuple[str, ...], inputs: Inputs) -> Inputs:
    if not inputs and model.main_input_name in names and model.main_input_name in _FROM_SOURCE:
        raise ArgumentError(f"expected {_FROM_SOURCE[model.main_input_name]} of each sound (--source-len), got none")
    if not inputs:
        raise MeasurementError(f"{type(model).__name__} reads {model.main_input_name!r}, whose shape is unknown")
    if getattr(model.config, "is_encoder_decoder", False) and "decoder_input_ids" in names:
        return _both_sides(model, batch, names, inputs)
    return inputs


def _both_sides(model: Any, batch: Batch, names: tuple[str, ...], inputs: Inputs) -> Inputs:
    if not batch.seq_len:
        raise ArgumentError("expected --seq-len, the tokens that the decoder reads, got none")
    tokens = _words(batch.sequences, batch.seq_len)
    if inputs:
        return {**inputs, "decoder_input_ids": tokens}
    if not batch.source_len:
        raise ArgumentError("expected --source-len, the tokens that the encoder reads, got none")
    return {"input_ids": _words(batch.sequences, batch.source_len), "decoder_input_ids": tokens}


def _words(sequences: int, length: int) -> torch.Tensor:
    return torch.full((sequences, length), _WORD, dtype=torch.long)


def _images(model: Any, batch: Batch, device: torch.device, names: tuple[str, ...]) -> Inputs:
    """Images in the layout that the model's arguments tell of."""
    if not _sees_images(model, names) or batch.images == 0:
        return {}
    reads_text = "input_ids" in names and batch.images is None and batch.image_size is None and not batch.grids
    if reads_text and "image_grid_thw" in names:
        return {}
    layout = next((make for name, make in _LAYOUTS.items() if name in names), _plain)
    return layout(model, batch, device)


def _vision(model: Any) -> Any:
    """The config of the part that sees."""
    config = model.config
    return next((found for name in _VISION if (found := getattr(config, name, None)) is not None), config)


_VISION = ("vision_config", "visual_config", "vision_encoder_config", "backbone_config", "thinker_config")


def _plain(model: Any, batch: Batch, device: torch.device) -> Inputs:
    config = _vision(model)
    size = batch.image_size or _image_size(config)
    channels = getattr(config, "num_channels", None) or getattr(config, "in_channels", None) or 3
    return {"pixel_values": torch.ones(batch.image_count, channels, *size, device=device)}


def _image_size(config: Any) -> tuple[int, int]:
    size = getattr(config, "image_size", None) or _DEFAULT_IMAGE
    if isinstance(size, Mapping):
        size = (size.get("height", _DEFAULT_IMAGE), size.get("width", _DEFAULT_IMAGE))
    return (size, size) if isinstance(size, int) else (size[0], size[-1])


def _one(value: Any) -> int:
    return int(value[0] if isinstance(value, (list, tuple)) else value)


def _in_grids(model: Any, batch: Batch, device: torch.device) -> Inputs:
    """Patches of all images one after the other, with the grid of each."""
    config = _vision(model)
    patch, frames = _one(config.patch_size), _one(getattr(config, "temporal_patch_size", 1))
    merge = getattr(config, "spatial_merge_size", None) or 1
    channels = getattr(config, "in_channels", None) or getattr(config, "num_channels", None) or 3
    grids = batch.grids
    if not grids:
        sides = [max(round(side / (patch * merge)), 1) * merge for side in batch.image_size or _image_size(config)]
        grids = ((1, *sides),) * batch.image_count  # type: ignore[assignment]
    rows = sum(count * height * width for count, height, width in grids)
    pixels = torch.ones(rows, channels * frames * patch * patch, device=device)
    return {"pixel_values": pixels, "image_grid_thw": torch.tensor(grids, dtype=torch.long)}


def _padded(model: Any, batch: Batch, device: torch.device) -> Inputs:
    """Patches of each image, filled up to the same number, with the height and width of each in patches."""
    config = _vision(model)
    patch, factor = _one(config.patch_size), getattr(model.config, "downsample_factor", 1)
    sides = [max(round(side / (patch * factor)), 1) * factor for side in batch.image_size or _image_size(config)]
    grids = [grid[1:] for grid in batch.grids] or [(sides[0], sides[1])] * batch.image_count
    rows = batch.source_len or max(height * width for height, width in grids)
    mask = torch.zeros(len(grids), rows, dtype=torch.long)
    for row, (height, width) in enumerate(grids):
        mask[row, : height * width] = 1
    pixels = torch.ones(len(grids), rows, config.num_channels * patch * patch, device=device)
    shapes = torch.tensor(grids, dtype=torch.long)
    return {"pixel_values": pixels, "spatial_shapes": shapes, "pixel_attention_mask": mask}


def _with_sizes(model: Any, batch: Batch, device: torch.device) -> Inputs:
    """Images with the size of each; where they are cut into tiles, the tiles of each."""
    config = _vision(model)
    size = batch.image_size or _image_size(config)
    if getattr(model.config, "image_grid_pinpoints", None):
        return _cut(model, batch, device)
    if getattr(config, "model_type", "") in _OF_ONE_SIZE:
        return _plain(model, batch, device)
    patch = _one(config.patch_size)
    sizes = [(height * patch, width * patch) for _, height, width in batch.grids] or [size] * batch.image_count
    given = _plain(model, batch, device)
    return {**given, "image_sizes": torch.tensor(sizes, dtype=torch.long)}


_OF_ONE_SIZE = ("clip_vision_model", "siglip_vision_model")


def _cut(model: Any, batch: Batch, device: torch.device) -> Inputs:
    """Tiles of images as large as the first resolution that the config names, and the whole image in one more."""
    height, width = model.config.image_grid_pinpoints[0]
    side = _one(_vision(model).image_size)
    tiles = -(-height // side) * -(-width // side) + 1
    images = batch.image_count if batch.images is None else batch.image_count // tiles
    pixels = torch.ones(images, tiles, 3, side, side, device=device)
    return {"pixel_values": pixels, "image_sizes": torch.tensor([(height, width)] * images, dtype=torch.long)}


def _in_rows(model: Any, batch: Batch, device: torch.device) -> Inputs:
    """Images of each sequence in a row."""
    pixels = _plain(model, batch, device)["pixel_values"]
    return {"pixel_values": pixels.reshape(batch.sequences, -1, *pixels.shape[1:])}


_LAYOUTS: Mapping[str, Callable[[Any, Batch, torch.device], Inputs]] = {
    "image_grid_thw": _in_grids,
    "spatial_shapes": _padded,
    "image_sizes": _with_sizes,
    "pixel_attention_mask": _in_rows,
}


def _sounds(model: Any, batch: Batch, device: torch.device, names: tuple[str, ...]) -> Inputs:
    """Samples of sound, or frames of a spectrogram, whichever the model's arguments tell of."""
    if "input_values" in names and batch.source_len:
        return {"input_values": torch.ones(batch.clip_count, batch.source_len, device=device)}
    if "input_features" in names and batch.source_len:
        bins = _bins(model.config)
        return {"input_features": torch.ones(batch.clip_count, bins, batch.source_len, device=device)}
    return {}


def _bins(config: Any) -> int:
    for owner in (getattr(config, "audio_config", None), getattr(config, "encoder_config", None), config):
        for name in ("num_mel_bins", "feature_size", "input_dim"):
            if isinstance(getattr(owner, name, None), int):
                return int(getattr(owner, name))
    raise MeasurementError("it is unknown how many values a frame of sound has")


def _text(model: Any, batch: Batch, names: tuple[str, ...], sees: Inputs, hears: Inputs) -> Inputs:
    """Token ids, with as many places for images and sounds as the model's encoders give features."""
    places = _Places(_words(batch.sequences, batch.seq_len))
    for inputs, kind in ((sees, "image"), (hears, "audio")):
        blocks = _features(model, inputs, kind) if inputs else []
        token = _token_id(model.config, kind)
        if blocks and token is not None:
            places.put(token, blocks)
    given: Inputs = {"input_ids": places.ids}
    if places.taken:
        kinds = (places.ids != _WORD).long()
        given |= {name: kinds for name in ("token_type_ids", "mm_token_type_ids") if name in names}
    return given


def _features(model: Any, inputs: Inputs, kind: str) -> list[int]:
    """How many tokens stand for each image: as many as the model's own encoder gives."""
    encode = _encodes(model, kind)
    if encode is None:
        return []
    with torch.no_grad():
        found = encode(**inputs)
    if hasattr(found, "last_hidden_state"):
        found = found.last_hidden_state if found.get("pooler_output") is None else found.pooler_output
    parts = found if isinstance(found, (list, tuple)) else [] if found is None else [found]
    return [block for each in parts for block in _blocks(each)]


def _blocks(features: torch.Tensor) -> list[int]:
    rows = [features.shape[-2]] if features.dim() > 1 else [1]
    return rows * (features.numel() // (rows[0] * features.shape[-1]))


def _token_id(config: Any, kind: str) -> int | None:
    """The token that stands for an image; there is none where image and text are only compared."""
    names = (f"{kind}_token_id", f"{kind}_token_index", f"{kind}_soft_token_id")
    return next((found for name in names if isinstance(found := getattr(config, name, None), int)), None)


class _Places:
    """Places for images and sounds in sequences of words; a word stands between any two of them."""

    def __init__(self, ids: torch.Tensor) -> None:
        self.ids = ids
        self.taken = 0

    def put(self, token: int, blocks: list[int]) -> None:
        """Spread blocks of a token over the sequences, in order.

        Raises:
            ArgumentError: If they do not fit.
        """
        sequences, length = self.ids.shape
        each = -(-len(blocks) // sequences)
        shares = [blocks[row * each : (row + 1) * each] for row in range(sequences)]
        end = self.taken + max(sum(share) + len(share) for share in shares)
        if end > length:
            raise ArgumentError(
                f"its images or sounds stand for up to {end} tokens of a sequence; expected a longer --seq-len,"
                f" got {length}"
            )
        for row, share in enumerate(shares):
            at = self.taken
            for block in share:
                self.ids[row, at + 1 : at + 1 + block] = token
                at += 1 + block
        self.taken = end
