"""Vision encoders that take images and videos in their own sizes, as patches in grids: Qwen's and GLM's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from flopwatch.model.architecture import Architecture, Component, Group
from flopwatch.model.batch import Rows
from flopwatch.model.components import AttentionCore, Embedding, Leaf, Linear, Norm
from flopwatch.model.families import blocks
from flopwatch.model.families.composite import completed, interleaved, joined, language_of, text_fields, unread
from flopwatch.model.families.config import Fields
from flopwatch.model.families.contrastive import pooling, transformer
from flopwatch.model.families.encoders import attention, needs_mapping
from flopwatch.model.media import FilledImages, Grids, OnePerGrid, PaddedPatches, TellsGrids, TellsPixels

_TOWER = "model.visual"
_IMAGE = ("image",)


def norm(name: str, features: int, *, bias: bool = True) -> Norm:
    """Build a norm of the image stream."""
    return Norm(name, features, bias=bias, reads=_IMAGE, writes="image")


def linear(name: str, width: int, out: int, rows: Rows, *, bias: bool = True, writes: str = "image") -> Linear:
    """Build a layer of the image stream."""
    return Linear(name, width, out, bias, None, rows, reads=_IMAGE, writes=writes)


def fused_attention(
    name: str,
    hidden: int,
    heads: int,
    rows: Rows,
    *,
    head_dim: int | None = None,
    bias: tuple[bool, bool] = (True, True),
    names: tuple[str, str] = ("qkv", "proj"),
    norms: Sequence[Leaf] = (),
) -> Group:
    """Attention of patches to patches in both directions, with q, k and v in one matrix."""
    width = head_dim or hidden // heads
    core = AttentionCore("core", heads, width, width, causal=False, rows=rows, reads=("qkv", "qkv", "qkv"))
    return Group(
        name,
        (
            linear(names[0], hidden, 3 * heads * width, rows, bias=bias[0], writes="qkv"),
            *norms,
            core,
            Linear(names[1], heads * width, hidden, bias[1], None, rows, reads=("o",), writes="image"),
        ),
    )


def _grids(fields: Fields) -> Grids:
    frames = _side(fields, "temporal_patch_size", 2)
    return Grids(_side(fields, "patch_size", 14), fields.size("spatial_merge_size", 2), frames=frames)


def _side(fields: Fields, name: str, default: int) -> int:
    """A side that may be given once for all directions.

    Raises:
        ConfigError: If the directions differ.
    """
    sides = set(fields.sizes(name)) if fields.values.get(name) is not None else {default}
    if len(sides) > 1:
        raise fields.unusable(name, "one side for all directions")
    return sides.pop()


def _patches(fields: Fields, hidden: int, rows: Rows, *, patch: int = 14, bias: bool, opened: bool = False) -> Linear:
    side, frames = _side(fields, "patch_size", patch), _side(fields, "temporal_patch_size", 2)
    values = fields.size("in_channels", 3) * frames * side * side
    return replace(_embedded(f"{_TOWER}.patch_embed.proj", values, hidden, rows, bias=bias), opened=opened)


def _embedded(name: str, values: int, hidden: int, rows: Rows, *, bias: bool = True) -> Linear:
    """Build the matrix that turns patches into vectors; images have no gradient."""
    return Linear(name, values, hidden, bias, None, rows, "patches", reads=("pixels",), writes="image", opened=True)


def _merger(name: str, hidden: int, out: int, rows: Grids, *, norm_bias: bool) -> tuple[Component, ...]:
    """Qwen 2's projector: neighbouring patches side by side, two layers."""
    wide, tokens = hidden * rows.merge**2, rows.tokens()
    return (
        norm(f"{name}.ln_q", hidden, bias=norm_bias),
        linear(f"{name}.mlp.0", wide, wide, tokens),
        linear(f"{name}.mlp.2", wide, out, tokens, writes="x"),
    )


def qwen2_vl(fields: Fields) -> Architecture:
    """Qwen2-VL (Wang et al., arXiv 2409.12191): images and frames in their own sizes, four patches to a token."""
    vision = needs_mapping(fields, "vision_config")
    hidden, heads, rows = vision.size("embed_dim", 1280), vision.size("num_heads", 16), _grids(vision)
    inner = hidden * vision.size("mlp_ratio", 4)
    layer = (
        norm("norm1", hidden),
        fused_attention("attn", hidden, heads, rows),
        norm("norm2", hidden),
        blocks.plain_mlp(hidden, inner, names=("fc1", "fc2"), rows=rows, stream="image"),
    )
    tower = (
        _patches(vision, hidden, rows, bias=False, opened=True),
        blocks.stack(f"{_TOWER}.blocks", [("", layer)] * vision.size("depth", 32)),
        *_merger(f"{_TOWER}.merger", hidden, vision.size("hidden_size"), rows, norm_bias=True),
    )
    return joined(fields, language_of(fields, "qwen2_vl_text"), tower, inputs="grids and tokens", told=TellsGrids())


def qwen2_5_vl(fields: Fields) -> Architecture:
    """Qwen2.5-VL (Bai et al., arXiv 2502.13923): most layers of the encoder attend within windows."""
    vision = needs_mapping(fields, "vision_config")
    tower = qwen2_5_vision(vision)
    return joined(fields, language_of(fields, "qwen2_5_vl_text"), tower, inputs="grids and tokens", told=TellsGrids())


def qwen2_5_vision(vision: Fields, *, fused: bool = True) -> tuple[Component, ...]:
    """Qwen2.5-VL's encoder and projector; q, k and v have a matrix each where they are not `fused`."""
    hidden, heads, inner = vision.size("hidden_size"), vision.size("num_heads", 16), vision.size("intermediate_size")
    rows = _grids(vision)
    side = vision.size("window_size", 112) // rows.merge // rows.patch * rows.merge
    if not side:
        raise vision.unusable("window_size", f"at least {rows.merge * rows.patch} pixels, one token's side,")
    windows = replace(rows, window=side)
    everywhere = vision.values.get("fullatt_block_indexes", (7, 15, 23, 31))
    if not isinstance(everywhere, (list, tuple)):
        raise vision.unusable("fullatt_block_indexes", "a list of layer numbers")

    def layer(label: str) -> tuple[Component, ...]:
        seen = windows if label == "window" else rows
        apart = attention("attn", hidden, heads, hidden // heads, ("q", "k", "v", "proj"), rows=seen, stream="image")
        return (
            norm("norm1", hidden, bias=False),
            fused_attention("attn", hidden, heads, seen) if fused else apart,
            norm("norm2", hidden, bias=False),
            blocks.gated_mlp(hidden, inner, bias=True, rows=rows, stream="image"),
        )

    labels = ["full" if index in everywhere else "window" for index in range(vision.size("depth", 32))]
    return (
        _patches(vision, hidden, rows, bias=False, opened=True),
        blocks.stack_of(f"{_TOWER}.blocks", labels, layer),
        *_merger(f"{_TOWER}.merger", hidden, vision.size("out_hidden_size"), rows, norm_bias=False),
    )


class Merger(NamedTuple):
    """What Qwen 3's projectors and their parts are called."""

    deep: str = "deepstack_merger_list"
    norm: str = "norm"
    first: str = "linear_fc1"
    last: str = "linear_fc2"


QWEN3_VL = Merger()


def _qwen3_merger(
    name: str, hidden: int, out: int, rows: Grids, names: Merger, *, inside: bool, reads: str, writes: str
) -> tuple[Component, ...]:
    """Qwen 3's projector; the norm stands before the patches are put side by side, or after it where `inside`."""
    wide, tokens, inner = hidden * rows.merge**2, rows.tokens(), f"{writes}_inner"
    normed = f"{writes}_merged"
    return (
        Norm(f"{name}.{names.norm}", wide if inside else hidden, bias=True, reads=(reads,), writes=normed),
        Linear(f"{name}.{names.first}", wide, wide, True, None, tokens, reads=(reads, normed), writes=inner),
        Linear(f"{name}.{names.last}", wide, out, True, None, tokens, reads=(inner,), writes=writes),
    )


def _qwen3_tower(vision: Fields, taken: Sequence[int], read: int, names: Merger) -> tuple[Component, ...]:
    """Qwen 3's encoder; what some layers give goes through projectors of their own, to layers of the text model.

    The text model may have fewer layers than there are such features; then only the first ones are `read`.
    """
    hidden, heads, inner = (vision.size(each) for each in ("hidden_size", "num_heads", "intermediate_size"))
    frames = _side(vision, "temporal_patch_size", 2)
    rows = Grids(_side(vision, "patch_size", 16), vision.size("spatial_merge_size", 2), frames=frames)
    layer = (
        norm("norm1", hidden),
        fused_attention("attn", hidden, heads, rows),
        norm("norm2", hidden),
        blocks.plain_mlp(hidden, inner, names=("linear_fc1", "linear_fc2"), rows=rows, stream="image"),
    )
    layers, out = blocks.stack(f"{_TOWER}.blocks", [("", layer)] * vision.size("depth")), vision.size("out_hidden_size")

    def merger(number: int) -> tuple[Component, ...]:
        path, deep = f"{_TOWER}.{names.deep}.{number}", f"deep{number}"
        parts = _qwen3_merger(path, hidden, out, rows, names, inside=True, reads="image", writes=deep)
        return parts if number < read else tuple(map(unread, parts))

    after = {index: merger(number) for number, index in enumerate(taken)}
    return (
        _patches(vision, hidden, rows, patch=16, bias=True),
        Embedding(f"{_TOWER}.pos_embed", vision.size("num_position_embeddings"), hidden, reads=(), writes="image"),
        *interleaved(layers, after),
        *_qwen3_merger(f"{_TOWER}.merger", hidden, out, rows, names, inside=False, reads="image", writes="x"),
    )


Within = Mapping[int, Sequence[Component]]


def qwen3_vision(fields: Fields, names: Merger = QWEN3_VL, *, deep: bool) -> tuple[tuple[Component, ...], Within]:
    """Qwen 3's encoder and projectors, and what they add behind layers of the text model where they are `deep`."""
    vision = needs_mapping(fields, "vision_config")
    taken = (vision.values.get("deepstack_visual_indexes", (8, 16, 24)) or ()) if deep else ()
    depth = vision.size("depth")
    if not isinstance(taken, (list, tuple)) or any(not isinstance(each, int) or each >= depth for each in taken):
        raise vision.unusable("deepstack_visual_indexes", f"numbers of its {depth} layers")
    read = range(min(len(taken), text_fields(fields).size("num_hidden_layers")))
    within = {number: (Leaf("deepstack", reads=(f"deep{number}",)),) for number in read}
    return _qwen3_tower(vision, taken, len(read), names), within


def _qwen3(fields: Fields, text: str, *, deep: bool) -> Architecture:
    tower, within = qwen3_vision(fields, deep=deep)
    language = language_of(fields, text)
    return joined(fields, language, tower, inputs="grids and tokens", told=TellsGrids(), within=within)


def qwen3_vl(fields: Fields) -> Architecture:
    """Qwen3-VL (Qwen 2025, arXiv 2511.21631): features of several layers of the encoder go to the first text layers."""
    return _qwen3(fields, "qwen3_vl_text", deep=True)


def qwen3_vl_moe(fields: Fields) -> Architecture:
    """Qwen3-VL with a mixture of experts as its text model."""
    return _qwen3(fields, "qwen3_vl_moe_text", deep=True)


def qwen3_5(fields: Fields) -> Architecture:
    """Qwen 3.5 (Qwen 2026): Qwen3-VL's encoder, without the features of several layers, and a hybrid text model."""
    return _qwen3(fields, "qwen3_5_text", deep=False)


def qwen3_5_moe(fields: Fields) -> Architecture:
    """Qwen 3.5 with a mixture of experts as its text model."""
    return _qwen3(fields, "qwen3_5_moe_text", deep=False)


def glm4v(fields: Fields) -> Architecture:
    """GLM-4.1V (arXiv 2507.01006): a gated MLP in the encoder, a convolution that merges patches, a gated projector."""
    return joined(
        fields, language_of(fields, "glm4v_text"), _glm_tower(fields), inputs="grids and tokens", told=TellsGrids()
    )


def glm4v_moe(fields: Fields) -> Architecture:
    """GLM-4.5V: GLM-4.1V's encoder and a mixture of experts as its text model."""
    return joined(
        fields, language_of(fields, "glm4v_moe_text"), _glm_tower(fields), inputs="grids and tokens", told=TellsGrids()
    )


def _glm_tower(fields: Fields) -> tuple[Component, ...]:
    vision = needs_mapping(fields, "vision_config")
    hidden, heads, out = vision.size("hidden_size"), vision.size("num_heads", 12), vision.size("out_hidden_size", 4096)
    rows, inner = _grids(vision), vision.size("intermediate_size", 13696)
    side = _side(vision, "image_size", 336)
    tokens = rows.tokens()
    layer = (
        norm("norm1", hidden, bias=False),
        fused_attention("attn", hidden, heads, rows, bias=(vision.flag("attention_bias", False), False)),
        norm("norm2", hidden, bias=False),
        blocks.gated_mlp(hidden, out, rows=rows, stream="image"),
    )
    positions = f"{_TOWER}.embeddings.position_embedding"
    return (
        _patches(vision, hidden, rows, bias=True),
        norm(f"{_TOWER}.post_conv_layernorm", hidden, bias=False),
        Embedding(positions, (side // rows.patch) ** 2, hidden, reads=(), writes="image"),
        blocks.stack(f"{_TOWER}.blocks", [("", layer)] * vision.size("depth", 24)),
        norm(f"{_TOWER}.post_layernorm", hidden, bias=False),
        linear(f"{_TOWER}.downsample", hidden * rows.merge**2, out, tokens),
        linear(f"{_TOWER}.merger.proj", out, out, tokens, bias=False),
        norm(f"{_TOWER}.merger.post_projection_norm", out),
        blocks.gated_mlp(out, inner, name=f"{_TOWER}.merger", rows=tokens, stream="image", writes="x"),
    )


def _pixtral(vision: Fields, path: str, merge: int) -> tuple[tuple[Component, ...], Grids]:
    """Pixtral's encoder: images filled up to the largest one for the patches, then all in one row behind a mask."""
    hidden, heads, side = vision.size("hidden_size"), vision.size("num_attention_heads"), vision.size("patch_size", 16)
    rows = Grids(side, merge, up=True)
    one_row = replace(rows, together=True)
    inside = attention(
        "attention",
        hidden,
        heads,
        blocks.split_heads(vision, hidden, heads),
        blocks.QKVO,
        bias=(False, False, False, False),
        rows=rows,
        stream="image",
    )
    inner = vision.size("intermediate_size")
    layer = (
        norm("attention_norm", hidden, bias=False),
        replace(inside, children=tuple(_behind_a_mask(child, one_row) for child in inside.children)),
        norm("ffn_norm", hidden, bias=False),
        blocks.gated_mlp(hidden, inner, name="feed_forward", rows=rows, stream="image"),
    )
    values = vision.size("num_channels", 3) * side * side
    parts = (
        _embedded(f"{path}.patch_conv", values, hidden, FilledImages(rows), bias=False),
        norm(f"{path}.ln_pre", hidden, bias=False),
        blocks.stack(f"{path}.transformer.layers", [("", layer)] * vision.size("num_hidden_layers")),
    )
    return parts, rows


def _behind_a_mask(part: Component, rows: Rows) -> Component:
    """Hugging Face's code computes the pairs between images, too, and masks them."""
    return replace(part, reference=replace(part, rows=rows)) if isinstance(part, AttentionCore) else part


def mistral3(fields: Fields) -> Architecture:
    """Mistral Small 3.1 (Mistral 2025): Pixtral (arXiv 2410.07073), four patches to a token, a two-layer projector."""
    vision, text = completed(needs_mapping(fields, "vision_config"), "pixtral"), text_fields(fields)
    if vision.values.get("model_type", "pixtral") != "pixtral":
        raise vision.unusable("model_type", "'pixtral'")
    if fields.values.get("vision_feature_layer", -1) != -1:
        raise fields.unusable("vision_feature_layer", "-1")
    merge, hidden, seen = fields.size("spatial_merge_size", 2), text.size("hidden_size"), vision.size("hidden_size")
    tower, rows = _pixtral(vision, "model.vision_tower", merge)
    path, tokens, bias = "model.multi_modal_projector", rows.tokens(), fields.flag("multimodal_projector_bias", False)
    projector = (
        norm(f"{path}.norm", seen, bias=False),
        linear(f"{path}.patch_merger.merging_layer", seen * merge**2, seen, tokens, bias=False),
        linear(f"{path}.linear_1", seen, hidden, tokens, bias=bias),
        linear(f"{path}.linear_2", hidden, hidden, tokens, bias=bias, writes="x"),
    )
    language = language_of(fields, "mistral")
    return joined(fields, language, tower, projector, told=TellsPixels(rows.patch))


def lfm2_vl(fields: Fields) -> Architecture:
    """LFM2-VL (Liquid 2025): SigLIP 2 in images' own sizes, filled up to the same number of patches, and LFM2."""
    vision, text = completed(needs_mapping(fields, "vision_config"), "siglip2_vision_model"), text_fields(fields)
    hidden, side, channels = (
        vision.size("hidden_size", 768),
        vision.size("patch_size", 16),
        vision.size("num_channels", 3),
    )
    factor, path = fields.size("downsample_factor", 2), "model.vision_tower"
    rows = Grids(side, factor)
    padded, tokens = PaddedPatches(rows), rows.tokens()
    head = pooling(vision, f"{path}.head", hidden, padded, OnePerGrid(rows))
    table = Embedding(
        f"{path}.embeddings.position_embedding", vision.size("num_patches", 256), hidden, reads=(), writes="image"
    )
    tower = (
        _embedded(f"{path}.embeddings.patch_embedding", channels * side * side, hidden, padded),
        table,
        transformer(vision, path, hidden, padded, "image"),
        norm(f"{path}.post_layernorm", hidden),
        *([unread(head)] if vision.flag("vision_use_head", True) else []),
    )
    wide, inner = hidden * factor**2, fields.size("projector_hidden_size", 2560)
    bias = fields.flag("projector_bias", True)
    normed = (
        [norm("model.multi_modal_projector.layer_norm", wide)] if fields.flag("projector_use_layernorm", True) else []
    )
    projector = (
        *normed,
        linear("model.multi_modal_projector.linear_1", wide, inner, tokens, bias=bias),
        linear("model.multi_modal_projector.linear_2", inner, text.size("hidden_size"), tokens, bias=bias, writes="x"),
    )
    language = language_of(fields, "lfm2")
    return joined(fields, language, tower, projector, inputs="grids and tokens", told=TellsGrids(("spatial_shapes",)))
