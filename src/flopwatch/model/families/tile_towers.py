"""Vision encoders that take images, or tiles of them, in one size: LLaVA and its kin, Gemma 3, PaliGemma, ..."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from flopwatch.model.architecture import Architecture, Component
from flopwatch.model.batch import PerImage, Pixels, Rows
from flopwatch.model.components import Linear, Norm, Vector
from flopwatch.model.families import blocks
from flopwatch.model.families.composite import (
    all_pairs,
    both_ways,
    completed,
    features_of,
    joined,
    language_of,
    text_fields,
    unread,
)
from flopwatch.model.families.config import Fields
from flopwatch.model.families.contrastive import clip_vision, siglip_vision
from flopwatch.model.families.encoders import attention, needs_mapping
from flopwatch.model.families.text_models import text_model
from flopwatch.model.families.vision import encoder, image_size, patches, positions, projection, with_patch
from flopwatch.model.media import TellsPadding, TellsTiles

_PROJECTOR = "model.multi_modal_projector"
_TOWER = "model.vision_tower"
_CLIP, _SIGLIP, _INTERNVL = "clip_vision_model", "siglip_vision_model", "internvl_vision"
_ENCODERS: Mapping[str, Callable[[Fields, str], tuple[Component, ...]]] = MappingProxyType(
    {_CLIP: clip_vision, _SIGLIP: siglip_vision}
)
_PATCH = MappingProxyType({_CLIP: 32, _SIGLIP: 16, _INTERNVL: 14})


def image_layer(name: str, width: int, out: int, rows: Rows, *, bias: bool = True, writes: str = "image") -> Linear:
    """Build a layer of the image stream, or from it to the text's."""
    return Linear(name, width, out, bias, None, rows, reads=("image",), writes=writes)


def image_norm(name: str, features: int, *, bias: bool = True) -> Norm:
    """Build a norm of the image stream."""
    return Norm(name, features, bias=bias, reads=("image",), writes="image")


def _two_layers(
    path: str,
    widths: tuple[int, int, int],
    rows: Rows,
    *,
    bias: bool = True,
    gated: bool = False,
    names: tuple[str, str] = ("linear_1", "linear_2"),
) -> tuple[Linear, Linear]:
    """A projector of two layers; where it is `gated`, half of the first one's outputs gate the other half."""
    seen, inner, out = widths
    return (
        image_layer(f"{path}.{names[0]}", seen, inner, rows, bias=bias),
        image_layer(f"{path}.{names[1]}", inner // (1 + gated), out, rows, bias=bias, writes="x"),
    )


def _vision(fields: Fields, *kinds: str) -> tuple[Fields, str]:
    """The encoder's fields and its kind, one of those that are known; the first where the config does not say."""
    vision = completed(needs_mapping(fields, "vision_config"))
    kind = vision.values.get("model_type", kinds[0])
    if kind not in kinds:
        raise vision.unusable("model_type", " or ".join(map(repr, kinds)))
    return _with_one_side(with_patch(vision, _PATCH.get(kind, 16))), str(kind)


def _with_one_side(vision: Fields) -> Fields:
    """The same fields with the patches' side as a number where it is given for height and width."""
    sides = set(vision.sizes("patch_size"))
    if len(sides) > 1:
        raise vision.unusable("patch_size", "patches as high as wide")
    return replace(vision, values={**vision.values, "patch_size": sides.pop()})


def _feature_layers(fields: Fields, vision: Fields, default: int) -> list[int]:
    """How many of the encoder's layers each of the features depends on."""
    layers = vision.size("num_hidden_layers")
    stated: Any = fields.values.get("vision_feature_layer")
    stated = default if stated is None else stated
    found = list(stated) if isinstance(stated, (list, tuple)) else [stated]
    if not found or any(isinstance(each, bool) or not isinstance(each, int) for each in found):
        raise fields.unusable("vision_feature_layer", "the number of a layer, or a list of them")
    if any(not -layers - 1 <= each <= layers for each in found):
        raise fields.unusable("vision_feature_layer", f"numbers of its {layers} layers")
    return [each if each >= 0 else layers + 1 + each for each in found]


def _class_tokens(fields: Fields, kind: str, default: str) -> int:
    """How many rows beside the patches the projector gets."""
    strategy = fields.values.get("vision_feature_select_strategy") or default
    if strategy not in ("default", "full"):
        raise fields.unusable("vision_feature_select_strategy", "'default' or 'full'")
    if strategy == "default" and kind == _SIGLIP:
        raise fields.unusable("vision_feature_select_strategy", "'full', since this encoder has no class token,")
    return int(kind == _CLIP and strategy == "full")


def gemma3(fields: Fields) -> Architecture:
    """Gemma 3 with images (arXiv 2503.19786): SigLIP, its tokens averaged, one matrix, then the text model.

    The tokens of one image see each other also forwards. The pooling head of SigLIP runs, but nothing reads it.
    """
    vision = completed(needs_mapping(fields, "vision_config"))
    tokens, seen = fields.size("mm_tokens_per_image", 256), vision.size("hidden_size", 768)
    language = both_ways(language_of(fields, "gemma3_text", only=("gemma3_text",)), PerImage(tokens))
    hidden, path = needs_mapping(fields, "text_config").size("hidden_size"), f"{_PROJECTOR}.mm_input_projection_weight"
    projector = (
        image_norm(f"{_PROJECTOR}.mm_soft_emb_norm", seen, bias=False),
        Linear(path, seen, hidden, rows=PerImage(tokens), reads=("image",), bare=True),
    )
    return joined(fields, language, _pooled_for_nothing(siglip_vision(vision, _TOWER)), projector)


def _pooled_for_nothing(encoder: Sequence[Component]) -> tuple[Component, ...]:
    return tuple(unread(part, (".head",)) for part in encoder)


def llava(fields: Fields) -> Architecture:
    """LLaVA 1.5 (Liu et al., arXiv 2310.03744): CLIP without its last layer, a two-layer projector, a text model.

    The layers after the one whose features are taken run all the same, without a gradient.
    """
    return joined(fields, language_of(fields, "llama"), _llava(fields, _CLIP, -2, "default"))


def _llava(fields: Fields, kind: str, layer: int, strategy: str) -> tuple[Component, ...]:
    vision, kind = _vision(fields, kind, *_ENCODERS)
    layers = _feature_layers(fields, vision, layer)
    rows = patches(vision, _class_tokens(fields, kind, strategy))
    seen, hidden = vision.size("hidden_size", 768) * len(layers), text_fields(fields).size("hidden_size")
    bias = fields.flag("multimodal_projector_bias", True)
    return (
        *features_of(_ENCODERS[kind](vision, _TOWER), max(layers)),
        *_two_layers(_PROJECTOR, (seen, hidden, hidden), rows, bias=bias),
    )


def llava_next(fields: Fields) -> Architecture:
    """LLaVA-NeXT (Liu et al. 2024): LLaVA on tiles of an image and on the whole of it."""
    return _tiled(fields, language_of(fields, "llama"), _llava(fields, _CLIP, -2, "default"), _LLAVA_NEXT_SIZES)


def llava_onevision(fields: Fields) -> Architecture:
    """LLaVA-OneVision (Li et al., arXiv 2408.03326): LLaVA-NeXT with SigLIP and Qwen 2."""
    return _tiled(fields, language_of(fields, "qwen2"), _llava(fields, _SIGLIP, -1, "full"), None)


_LLAVA_NEXT_SIZES = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))


def _tiled(
    fields: Fields, language: Architecture, encoder: tuple[Component, ...], default: tuple[tuple[int, int], ...] | None
) -> Architecture:
    vision = completed(needs_mapping(fields, "vision_config"))
    stated = fields.values.get("image_grid_pinpoints") or default
    if not isinstance(stated, (list, tuple)) or any(len(each) != 2 for each in stated):
        raise fields.needed("image_grid_pinpoints", "a list of heights and widths")
    side, _ = image_size(vision)
    hidden = text_fields(fields).size("hidden_size")
    newline = Vector("model.image_newline", hidden, bare=True, reads=(), rows=PerImage())
    told = TellsTiles(tuple((int(height), int(width)) for height, width in stated), side)
    return joined(fields, language, (*encoder, newline), told=told)


def paligemma(fields: Fields) -> Architecture:
    """PaliGemma (Beyer et al., arXiv 2407.07726): SigLIP, one matrix, and Gemma.

    Images and prompt see each other in both directions. Where the prompt ends only a batch's values tell, so that all
    pairs count.
    """
    vision, _ = _vision(fields, _SIGLIP)
    language = language_of(fields, "gemma", only=("gemma", "gemma2"), without=("use_bidirectional_attention",))
    path, out = f"{_PROJECTOR}.linear", fields.size("projection_dim", 2048)
    last = image_layer(path, vision.size("hidden_size", 768), out, patches(vision), writes="x")
    return joined(fields, all_pairs(language), _pooled_for_nothing(siglip_vision(vision, _TOWER)), (last,))


def internvl(fields: Fields) -> Architecture:
    """InternVL (Zhu et al., arXiv 2504.10479): InternViT on tiles, four patches to a token, a two-layer projector."""
    vision, _ = _vision(fields, _INTERNVL)
    seen, hidden = vision.size("hidden_size"), text_fields(fields).size("hidden_size")
    (layer,) = _feature_layers(fields, vision, -1)
    tower = internvl_vision(vision, _TOWER)
    if layer != vision.size("num_hidden_layers"):
        tower = features_of(tower, layer)
    if (fields.values.get("vision_feature_select_strategy") or "default") != "default":
        raise fields.unusable("vision_feature_select_strategy", "'default'")
    factor = _shuffled(fields, "downsample_ratio", 0.5)
    wide = seen * factor**2
    projector = _two_layers(_PROJECTOR, (wide, hidden, hidden), _merged(vision, factor))
    norm = image_norm(f"{_PROJECTOR}.layer_norm", wide)
    return joined(fields, language_of(fields, "qwen2"), tower, (norm, *projector))


def _shuffled(fields: Fields, name: str, default: float) -> int:
    """How many patches a side become one token, from the ratio of the sides.

    Raises:
        ConfigError: If it is not one over a whole number.
    """
    ratio = fields.values.get(name, default)
    if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or ratio <= 0 or 1 / ratio != int(1 / ratio):
        raise fields.unusable(name, "one over a whole number, such as 0.5,")
    return int(1 / ratio)


def _merged(vision: Fields, factor: int) -> Pixels:
    return patches(vision).after((factor, factor, 0))


def internvl_vision(fields: Fields, path: str) -> tuple[Component, ...]:
    """InternVL's image encoder: a ViT with scales after each part, and norms on queries and keys in the large one."""
    hidden, heads, bias = (
        fields.size("hidden_size"),
        fields.size("num_attention_heads"),
        fields.flag("attention_bias", False),
    )
    grid = patches(fields, 1)
    names = ("q_proj", "k_proj", "v_proj", "projection_layer")
    inside = attention(
        "attention",
        hidden,
        heads,
        blocks.split_heads(fields, hidden, heads),
        names,
        bias=(bias, bias, bias, True),
        rows=grid,
        stream="image",
    )
    if fields.flag("use_qk_norm", False):
        head_norms = blocks.head_norms(hidden)
        inside = replace(inside, children=(*inside.children[:3], *head_norms, *inside.children[3:]))
    normed = (fields.values.get("norm_type") or "layer_norm") == "layer_norm"
    layer = (
        image_norm("layernorm_before", hidden, bias=normed),
        inside,
        Vector("lambda_1", hidden, reads=("image",), writes="image", bare=True),
        image_norm("layernorm_after", hidden, bias=normed),
        blocks.plain_mlp(hidden, fields.size("intermediate_size"), names=("fc1", "fc2"), rows=grid, stream="image"),
        Vector("lambda_2", hidden, reads=("image",), writes="image", bare=True),
    )
    first = [Vector(f"{path}.embeddings.cls_token", hidden, reads=(), writes="image", bare=True)]
    if fields.flag("use_mask_token", False):
        first.append(Vector(f"{path}.embeddings.mask_token", hidden, reads=(), writes="masked", bare=True))
    if fields.flag("use_absolute_position_embeddings", True):
        size = hidden * positions(fields, 1)
        first.append(Vector(f"{path}.embeddings.position_embeddings", size, reads=(), writes="image", bare=True))
    last = [] if fields.flag("use_mean_pooling", True) else [image_norm(f"{path}.layernorm", hidden)]
    return (
        *first,
        projection(fields, f"{path}.embeddings.patch_embeddings.projection", hidden, grid, stream="image"),
        encoder(f"{path}.encoder.layer", fields.size("num_hidden_layers"), layer),
        *last,
    )


def idefics3(fields: Fields) -> Architecture:
    """Idefics 3 (Laurençon et al., arXiv 2408.12637): SigLIP on tiles, several patches to a token, one matrix."""
    vision = with_patch(completed(needs_mapping(fields, "vision_config"), f"{fields.model_type}_vision"), 32)
    vision = replace(vision, values={**vision.values, "vision_use_head": False})
    factor, text = fields.size("scale_factor", 2), text_fields(fields)
    wide, path = vision.size("hidden_size") * factor**2, "model.connector.modality_projection.proj"
    last = image_layer(path, wide, text.size("hidden_size"), _merged(vision, factor), bias=False, writes="x")
    language = language_of(fields, "llama")
    encoder = siglip_vision(vision, "model.vision_model")
    return joined(fields, language, encoder, (last,), body="model.text_model.", told=TellsPadding())


def smolvlm(fields: Fields) -> Architecture:
    """SmolVLM (Marafioti et al., arXiv 2504.05299): Idefics 3 in small."""
    return idefics3(fields)


def aya_vision(fields: Fields) -> Architecture:
    """Aya Vision (Cohere 2025, arXiv 2505.08751): SigLIP on tiles, a gated projector, Command R7B."""
    vision, _ = _vision(fields, _SIGLIP)
    layers, factor = _feature_layers(fields, vision, -1), fields.size("downsample_factor", 2)
    wide, hidden = vision.size("hidden_size") * factor**2, text_fields(fields).size("hidden_size")
    inner = fields.size("alignment_intermediate_size", hidden)
    if len(layers) != 1 or (fields.values.get("vision_feature_select_strategy") or "full") != "full":
        raise fields.unusable("vision_feature_layer", "one layer, of which all patches are taken,")
    projector = _two_layers(_PROJECTOR, (wide, inner, hidden), _merged(vision, factor), gated=True)
    norm = image_norm(f"{_PROJECTOR}.layernorm", wide)
    encoder = features_of(siglip_vision(vision, _TOWER), layers[0])
    return joined(fields, language_of(fields, "cohere2"), encoder, (norm, *projector))


def cohere2_vision(fields: Fields) -> Architecture:
    """Command A Vision (Cohere 2025): SigLIP on tiles, a gated projector."""
    vision, _ = _vision(fields, _SIGLIP)
    factor, hidden = fields.size("downsample_factor", 2), text_fields(fields).size("hidden_size")
    widths = vision.size("hidden_size") * factor**2, fields.size("alignment_intermediate_size", 36864), hidden
    projector = _two_layers(_PROJECTOR, widths, _merged(vision, factor), gated=True)
    encoder = _pooled_for_nothing(siglip_vision(vision, _TOWER))
    return joined(fields, language_of(fields, "cohere2"), encoder, projector)


def deepseek_vl(fields: Fields) -> Architecture:
    """DeepSeek-VL (Lu et al., arXiv 2403.05525), the one with a single encoder: SigLIP and a two-layer projector."""
    vision, _ = _vision(fields, _SIGLIP)
    hidden = text_fields(fields).size("hidden_size")
    widths, names = (vision.size("hidden_size"), hidden, hidden), ("linear1", "linear2")
    projector = _two_layers("model.aligner", widths, patches(vision), names=names)
    encoder = _pooled_for_nothing(siglip_vision(vision, "model.vision_model"))
    return joined(fields, language_of(fields, "llama"), encoder, projector)


def llama4(fields: Fields) -> Architecture:
    """Llama 4 with images (Meta 2025): a ViT on tiles, patches merged before two layers, one matrix to the text.

    Some configs of it have the text model's fields alone, and at the top: they are counted as that.
    """
    if "num_hidden_layers" in fields.values and not {"vision_config", "text_config"} & fields.values.keys():
        return text_model(fields, "llama4_text")
    vision = with_patch(needs_mapping(fields, "vision_config"), 14)
    path, hidden, heads = "vision_model", vision.size("hidden_size", 768), vision.size("num_attention_heads", 16)
    side, channels, inner = vision.size("patch_size"), vision.size("num_channels", 3), vision.size("intermediate_size")
    grid, factor = patches(vision, 1), _shuffled(vision, "pixel_shuffle_ratio", 0.5)
    rows, head_dim = _merged(vision, factor), blocks.split_heads(vision, hidden, heads)
    layer = (
        image_norm("input_layernorm", hidden),
        attention("self_attn", hidden, heads, head_dim, blocks.QKVO, rows=grid, stream="image"),
        image_norm("post_attention_layernorm", hidden),
        blocks.plain_mlp(hidden, inner, names=("fc1", "fc2"), rows=grid, stream="image"),
    )
    widths = vision.size("projector_input_dim", 4096), vision.size("projector_output_dim", 4096)
    if inner != hidden * factor**2 or widths[0] != widths[1]:
        raise vision.unusable("intermediate_size", "what the merged patches are wide")
    tower = (
        Vector(f"{path}.class_embedding", hidden, bare=True, reads=(), writes="image"),
        Vector(f"{path}.positional_embedding_vlm", hidden * positions(vision, 1), bare=True, reads=(), writes="image"),
        Linear(
            f"{path}.patch_embedding.linear",
            channels * side * side,
            hidden,
            rows=patches(vision),
            role="patches",
            opened=True,
            reads=("pixels",),
            writes="image",
        ),
        image_norm(f"{path}.layernorm_pre", hidden),
        encoder(f"{path}.model.layers", vision.size("num_hidden_layers"), layer),
        image_norm(f"{path}.layernorm_post", hidden),
        image_layer(f"{path}.vision_adapter.mlp.fc1", inner, widths[0], rows, bias=False),
        image_layer(f"{path}.vision_adapter.mlp.fc2", widths[1], widths[1], rows, bias=False),
        image_layer(
            "multi_modal_projector.linear_1",
            vision.size("vision_output_dim", 7680),
            text_fields(fields).size("hidden_size"),
            rows,
            bias=False,
            writes="x",
        ),
    )
    language = language_of(fields, "llama4_text", only=("llama4_text",))
    return joined(fields, language, tower, body="language_model.model.", prefix="language_model.")
