"""Vision encoders that take images, or tiles of them, in one size: LLaVA and its kin, Gemma 3, PaliGemma, ..."""

from __future__ import annotations

from typing import Any

from flopwatch.model.architecture import Architecture, Component
from flopwatch.model.batch import PerImage, Rows
from flopwatch.model.components import Linear, Norm
from flopwatch.model.families.composite import both_ways, features_of, joined, language_of, unread
from flopwatch.model.families.config import Fields
from flopwatch.model.families.contrastive import clip_vision, siglip_vision
from flopwatch.model.families.encoders import needs_mapping
from flopwatch.model.families.vision import positions, with_patch

_PROJECTOR = "model.multi_modal_projector"
_TOWER = "model.vision_tower"


def _projected(name: str, width: int, out: int, rows: Rows, *, bias: bool = True, writes: str = "x") -> Linear:
    return Linear(f"{_PROJECTOR}.{name}", width, out, bias, None, rows, reads=("image",), writes=writes)


def gemma3(fields: Fields) -> Architecture:
    """Gemma 3 with images (arXiv 2503.19786): SigLIP, its tokens averaged, one matrix, then the text model.

    The tokens of one image see each other also forwards. The pooling head of SigLIP runs, but nothing reads it.
    """
    vision = needs_mapping(fields, "vision_config")
    tokens, seen = fields.size("mm_tokens_per_image", 256), vision.size("hidden_size", 768)
    language = both_ways(language_of(fields, "gemma3_text", tied=True, only=("gemma3_text",)), tokens)
    hidden, path = needs_mapping(fields, "text_config").size("hidden_size"), f"{_PROJECTOR}.mm_input_projection_weight"
    projector = (
        Norm(f"{_PROJECTOR}.mm_soft_emb_norm", seen, reads=("image",), writes="image"),
        Linear(path, seen, hidden, rows=PerImage(tokens), reads=("image",), bare=True),
    )
    encoder = tuple(unread(part, (".head",)) for part in siglip_vision(vision, _TOWER))
    return joined(fields, language, encoder, projector)


def llava(fields: Fields) -> Architecture:
    """LLaVA 1.5 (Liu et al., arXiv 2310.03744): CLIP without its last layer, a two-layer projector, a language model.

    The layers after the one whose features are taken run all the same, without a gradient.
    """
    vision = with_patch(needs_mapping(fields, "vision_config"), 32)
    if vision.values.get("model_type", "clip_vision_model") != "clip_vision_model":
        raise vision.unusable("model_type", "'clip_vision_model'")
    language = language_of(fields, "llama")
    strategy = fields.values.get("vision_feature_select_strategy", "default")
    if strategy not in ("default", "full"):
        raise fields.unusable("vision_feature_select_strategy", "'default' or 'full'")
    rows = PerImage(positions(vision, 0 if strategy == "default" else 1))
    seen, hidden = vision.size("hidden_size", 768), needs_mapping(fields, "text_config").size("hidden_size")
    bias = fields.flag("multimodal_projector_bias", True)
    projector = (
        _projected("linear_1", seen, hidden, rows, bias=bias, writes="image"),
        _projected("linear_2", hidden, hidden, rows, bias=bias),
    )
    return joined(fields, language, features_of(clip_vision(vision, _TOWER), _feature_layer(fields, vision)), projector)


def _feature_layer(fields: Fields, vision: Fields) -> int:
    """Return how many of the encoder's layers the features depend on."""
    layers = vision.size("num_hidden_layers")
    layer: Any = fields.values.get("vision_feature_layer", -2)
    if isinstance(layer, bool) or not isinstance(layer, int) or not -layers - 1 <= layer <= layers:
        raise fields.unusable("vision_feature_layer", "the number of one layer")
    return layer if layer >= 0 else layers + 1 + layer
