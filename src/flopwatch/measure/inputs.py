"""What a Hugging Face model is called with for a batch, by the names of its arguments: text, images, videos, sound."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from flopwatch.errors import ArgumentError, MeasurementError
from flopwatch.measure import layouts
from flopwatch.measure.layouts import VISION, Inputs
from flopwatch.measure.maker import Places
from flopwatch.measure.own_layouts import own_layout
from flopwatch.model.batch import Batch

_WORD = 2  # an id that is hardly ever padding or stands for an image
_FROM_SOURCE = {"input_values": "samples", "input_features": "frames"}


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
    signature = inspect.signature(model.forward).parameters
    names = tuple(signature)
    own = own_layout(model, batch, device)
    quiet = {"use_cache": False} if "use_cache" in names else {}
    return {**(_inputs(model, batch, device, names) if own is None else own), **quiet}


def _inputs(model: Any, batch: Batch, device: torch.device, names: tuple[str, ...]) -> Inputs:
    if "past_values" in names:
        return layouts.series(model, batch, device, names)
    if "grid_thw" in names:
        return layouts.images(model, batch, device, names)
    sees = _images(model, batch, device, names)
    hears = layouts.sounds(model, batch, device, names) if not sees or batch.clips or batch.sounds else {}
    if not _reads_text(model, names) or (not batch.seq_len and (sees or hears)):
        return _alone(model, batch, names, {**sees, **hears})
    if not batch.seq_len:
        raise ArgumentError("expected --seq-len, the tokens per sequence, got none")
    if getattr(model.config, "is_encoder_decoder", False) and "decoder_input_ids" in names:
        read = sees and model.main_input_name == "input_ids"
        seen = {**_text(model, batch, names, sees, hears), **sees} if read else sees
        return _both_sides(model, batch, names, {**seen, **hears})
    return {**_text(model, batch, names, sees, hears), **sees, **hears}


def _reads_text(model: Any, names: tuple[str, ...]) -> bool:
    if "input_ids" not in names:
        return False
    needed = inspect.signature(model.forward).parameters["input_ids"].default is inspect.Parameter.empty
    main = model.main_input_name
    return needed or main == "input_ids" or main not in names or hasattr(model.config, "text_config")


def _sees_images(model: Any, names: tuple[str, ...]) -> bool:
    parts = [getattr(model.config, name) for name in VISION if hasattr(model.config, name)]
    joined = any(each is not None for each in parts) if parts else _encodes(model, "image") is not None
    alone = model.main_input_name.startswith("pixel_values") or "input_ids" not in names
    return any(name.startswith("pixel_values") for name in names) and (alone or joined)


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
    source = _words(batch.sequences, batch.source_len)
    return {"input_ids": source, "decoder_input_ids": tokens, **_boxes(source, names)}


def _words(sequences: int, length: int) -> torch.Tensor:
    return torch.full((sequences, length), _WORD, dtype=torch.long)


def _images(model: Any, batch: Batch, device: torch.device, names: tuple[str, ...]) -> Inputs:
    """Images in the layout that the model's arguments tell of."""
    seen = _sees_images(model, names) and batch.images != 0 and not _is_text_alone(model, batch, names)
    return layouts.images(model, batch, device, names) if seen else {}


def _is_text_alone(model: Any, batch: Batch, names: tuple[str, ...]) -> bool:
    """Whether a batch says nothing of images that would have sizes of their own beside the text."""
    says_nothing = batch.images is None and batch.image_size is None and not batch.grids
    return says_nothing and "input_ids" in names and layouts.are_of_any_size(model, names)


def leaves_images_out(model: Any, batch: Batch) -> bool:
    """Whether a model that sees images beside its text is given none."""
    names = tuple(inspect.signature(model.forward).parameters)
    alone = batch.images == 0 or _is_text_alone(model, batch, names)
    return alone and "input_ids" in names and _sees_images(model, names)


def _text(model: Any, batch: Batch, names: tuple[str, ...], sees: Inputs, hears: Inputs) -> Inputs:
    """Token ids, with as many places for images and sounds as the model's encoders give features."""
    places = Places(_words(batch.sequences, batch.seq_len))
    for inputs, kind in ((sees, "image"), (hears, "audio")):
        blocks = _features(model, inputs, kind) if inputs else []
        token = _token_id(model.config, kind)
        if blocks and token is not None:
            places.put(token, blocks)
    kinds = (places.ids != _WORD).long()
    told = ("mm_token_type_ids", *(["token_type_ids"] if places.taken else []))
    return {"input_ids": places.ids, **{name: kinds for name in told if name in names}, **_boxes(places.ids, names)}


def _boxes(ids: torch.Tensor, names: tuple[str, ...]) -> Inputs:
    """Where every word stands on a page."""
    return {"bbox": torch.zeros(*ids.shape, 4, dtype=torch.long)} if "bbox" in names else {}


def _features(model: Any, inputs: Inputs, kind: str) -> list[int]:
    """How many tokens stand for each image: as many as the model's own encoder gives."""
    encode = _encodes(model, kind)
    tower = getattr(getattr(model, "model", None), f"{kind}_tower", None)
    if (encode is None and tower is None) or _token_id(model.config, kind) is None:
        return []
    with torch.no_grad():
        found = encode(**inputs) if encode is not None else tower(next(iter(inputs.values())))  # type: ignore[misc]
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
