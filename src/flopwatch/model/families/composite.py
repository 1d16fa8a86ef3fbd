"""Models that join a language model with an image encoder: the sum of their parts, with the tokens of each.

A sequence's length counts the tokens that stand for its images. The image encoder runs once for every image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from flopwatch.model.architecture import Architecture, Component, Group, Stack
from flopwatch.model.batch import PerImage
from flopwatch.model.components import AttentionCore, Leaf, Linear, Norm
from flopwatch.model.families import gemma, llama
from flopwatch.model.families.config import Fields
from flopwatch.model.families.contrastive import clip_vision, siglip_vision
from flopwatch.model.families.encoders import needs_mapping
from flopwatch.model.families.vision import positions, with_patch

_LANGUAGE_MODELS: dict[str, Callable[[Fields], Architecture]] = {
    "llama": llama.llama,
    "mistral": llama.mistral,
    "qwen2": llama.qwen2,
    "gemma": gemma.gemma,
}


def gemma3(fields: Fields) -> Architecture:
    """Gemma 3 with images (arXiv 2503.19786): SigLIP, its tokens averaged, one matrix, then the text model.

    The tokens of one image see each other also forwards. The pooling head of SigLIP runs, but nothing reads it.
    """
    text, vision = needs_mapping(fields, "text_config"), needs_mapping(fields, "vision_config")
    tokens, seen = fields.size("mm_tokens_per_image", 256), vision.size("hidden_size", 768)
    language = gemma.gemma3_text(Fields("gemma3_text", {"tie_word_embeddings": _tied(fields, True), **text.values}))
    language = language.with_leaves(lambda leaf: _both_ways(leaf, tokens))
    path = "model.multi_modal_projector"
    hidden = text.size("hidden_size")
    projector = (
        Norm(f"{path}.mm_soft_emb_norm", seen, reads=("image",), writes="image"),
        Linear(f"{path}.mm_input_projection_weight", seen, hidden, rows=PerImage(tokens), reads=("image",), bare=True),
    )
    encoder = tuple(_unread(part, (".head",)) for part in siglip_vision(vision, "model.vision_tower"))
    return _joined(fields, language, (*encoder, *projector))


def llava(fields: Fields) -> Architecture:
    """LLaVA 1.5 (Liu et al., arXiv 2310.03744): CLIP without its last layer, a two-layer projector, a language model.

    The layers after the one whose features are taken run all the same, without a gradient.
    """
    text, vision = needs_mapping(fields, "text_config"), with_patch(needs_mapping(fields, "vision_config"), 32)
    kind = text.values.get("model_type", "llama")
    if kind not in _LANGUAGE_MODELS:
        raise text.unusable("model_type", " or ".join(map(repr, _LANGUAGE_MODELS)))
    if vision.values.get("model_type", "clip_vision_model") != "clip_vision_model":
        raise vision.unusable("model_type", "'clip_vision_model'")
    language = _LANGUAGE_MODELS[kind](Fields(kind, {"tie_word_embeddings": _tied(fields, False), **text.values}))
    strategy = fields.values.get("vision_feature_select_strategy", "default")
    if strategy not in ("default", "full"):
        raise fields.unusable("vision_feature_select_strategy", "'default' or 'full'")
    rows = PerImage(positions(vision, 0 if strategy == "default" else 1))
    seen, hidden = vision.size("hidden_size", 768), text.size("hidden_size")
    bias = fields.flag("multimodal_projector_bias", True)
    path = "model.multi_modal_projector"
    projector = (
        Linear(f"{path}.linear_1", seen, hidden, bias, None, rows, reads=("image",), writes="image"),
        Linear(f"{path}.linear_2", hidden, hidden, bias, None, rows, reads=("image",)),
    )
    encoder = _features(clip_vision(vision, "model.vision_tower"), _feature_layer(fields, vision))
    return _joined(fields, language, (*encoder, *projector))


def _tied(fields: Fields, default: bool) -> bool:
    return fields.flag("tie_word_embeddings", default)


def _both_ways(leaf: Leaf, tokens: int) -> Leaf:
    return replace(leaf, image_tokens=tokens) if isinstance(leaf, AttentionCore) else leaf


def _feature_layer(fields: Fields, vision: Fields) -> int:
    """Return how many of the encoder's layers the features depend on."""
    layers = vision.size("num_hidden_layers")
    layer: Any = fields.values.get("vision_feature_layer", -2)
    if isinstance(layer, bool) or not isinstance(layer, int) or not -layers - 1 <= layer <= layers:
        raise fields.unusable("vision_feature_layer", "the number of one layer")
    return layer if layer >= 0 else layers + 1 + layer


def _features(encoder: Iterable[Component], layers: int) -> tuple[Component, ...]:
    """Return the encoder, with everything after the given layer running without a gradient."""
    parts: list[Component] = []
    after = False
    for part in encoder:
        if isinstance(part, Stack):
            (kind,) = part.kinds
            rest = Group("unread", tuple(_unread(child, ("",)) for child in kind.children))
            used = len(part.pattern)
            pattern = tuple(int(index >= layers) for index in range(used))
            parts.append(replace(part, kinds=(Group("read", kind.children), rest), pattern=pattern))
            after = True
        else:
            parts.append(_unread(part, ("",)) if after else part)
    return tuple(parts)


def _unread(part: Component, endings: tuple[str, ...]) -> Component:
    """The part without a gradient, if its name ends so: nothing reads what it writes."""
    if not part.name.endswith(endings):
        return part
    if isinstance(part, Leaf):
        return replace(part, no_grad=True)
    assert isinstance(part, Group)
    return replace(part, children=tuple(_unread(child, ("",)) for child in part.children))


def _joined(fields: Fields, language: Architecture, images: tuple[Component, ...]) -> Architecture:
    """Word embeddings, the images' part, and the rest of the language model, under the names of the joined model."""
    words, *rest = (_moved(component) for component in language.components)
    return Architecture(
        fields.model_type,
        (words, *images, *rest),
        max_seq_len=language.max_seq_len,
        inputs="images and tokens",
    )


def _moved(component: Component) -> Component:
    name = component.name.replace("model.", "model.language_model.", 1)
    if isinstance(component, Linear) and component.tied:
        tied = component.tied.replace("model.", "model.language_model.", 1)
        return replace(component, name=name, tied=tied)
    return replace(component, name=name)
