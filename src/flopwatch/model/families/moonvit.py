"""Moonshot's models that see: MoonViT on images in their own sizes, a two-layer projector, and DeepSeek-V3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flopwatch.model.architecture import Architecture, Component
from flopwatch.model.components import Linear, Vector
from flopwatch.model.families import blocks
from flopwatch.model.families.composite import joined, language_of, text_fields
from flopwatch.model.families.config import Fields
from flopwatch.model.families.encoders import attention, needs_mapping
from flopwatch.model.families.grid_towers import fused_attention, linear, norm
from flopwatch.model.media import Grids, TellsGrids

_TEXT = ("deepseek_v3", "kimi_k2")
_CLIP = 4  # frames of a video that K2.5's processor puts together


def kimi_vl(fields: Fields) -> Architecture:
    """Kimi-VL (Moonshot 2025, arXiv 2504.07491), in the names of its authors' code."""
    vision, text = needs_mapping(fields, "vision_config"), text_fields(fields)
    rows, tower = Grids(vision.size("patch_size", 14), _merge(vision), up=True), "vision_tower"
    hidden, heads, inner, layers = _sizes(vision)
    head_dim = blocks.split_heads(vision, hidden, heads)
    layer = (
        norm("norm0", hidden),
        fused_attention("", hidden, heads, rows, head_dim=head_dim, names=("wqkv", "wo")),
        norm("norm1", hidden),
        blocks.plain_mlp(hidden, inner, names=("fc0", "fc1"), rows=rows, stream="image"),
    )
    sides = vision.size("init_pos_emb_height", 64) * vision.size("init_pos_emb_width", 64)
    parts = (
        _patches(f"{tower}.patch_embed.proj", hidden, rows),
        Vector(f"{tower}.patch_embed.pos_emb", sides * hidden, reads=(), writes="image"),
        blocks.stack(f"{tower}.encoder.blocks", [("", layer)] * layers),
        norm(f"{tower}.encoder.final_layernorm", hidden),
    )
    projector = _projector("multi_modal_projector", ("linear_1", "linear_2"), hidden, text.size("hidden_size"), rows)
    tied = {"tie_word_embeddings": text.flag("tie_word_embeddings", False)}
    language = language_of(replace(fields, values={**fields.values, **tied}), "deepseek_v3", only=_TEXT)
    return joined(
        fields,
        language,
        parts,
        projector,
        inputs="grids and tokens",
        told=TellsGrids(("image_grid_hws",)),
        body="language_model.model.",
        prefix="language_model.",
    )


def kimi_k25(fields: Fields) -> Architecture:
    """Kimi K2.5 (Moonshot 2026): four frames of a video see each other, and their average is handed on."""
    vision, text = needs_mapping(fields, "vision_config"), text_fields(fields)
    rows, tower = Grids(vision.size("patch_size", 14), _merge(vision), up=True, clip=_CLIP), "model.vision_tower"
    hidden, heads, inner, layers = _sizes(vision)
    if fields.size("projection_hidden_size", 1152) != hidden:
        raise fields.unusable("projection_hidden_size", f"{hidden}, the encoder's hidden size,")
    names = ("q_proj", "k_proj", "v_proj", "proj")
    head_dim = blocks.split_heads(vision, hidden, heads)
    layer = (
        norm("norm1", hidden),
        attention("attn", hidden, heads, head_dim, names, rows=rows, stream="image"),
        norm("norm2", hidden),
        blocks.plain_mlp(hidden, inner, names=("fc1", "fc2"), rows=rows, stream="image"),
    )
    height, width = (
        vision.size_of(f"pos_emb_{side}", f"init_pos_emb_{side}", default=64) for side in ("height", "width")
    )
    table = f"{tower}.patch_embed.pos_emb.position_embeddings"
    parts = (
        _patches(f"{tower}.patch_embed.proj", hidden, rows),
        Vector(table, height * width * hidden, bare=True, reads=(), writes="image"),
        blocks.stack(f"{tower}.layers", [("", layer)] * layers),
        norm(f"{tower}.final_layernorm", hidden),
    )
    projector = _projector("model.mm_projector", ("in_proj", "out_proj"), hidden, text.size("hidden_size"), rows)
    language = language_of(fields, "deepseek_v3", only=_TEXT)
    return joined(fields, language, parts, projector, inputs="grids and tokens", told=TellsGrids())


def _patches(name: str, hidden: int, rows: Grids) -> Linear:
    """The matrix that turns patches into vectors, whose output no checkpoint makes require a gradient."""
    return Linear(name, 3 * rows.patch**2, hidden, True, None, rows, "patches", reads=("pixels",), writes="image")


def _sizes(vision: Fields) -> tuple[int, int, int, int]:
    """Width, heads, width of the MLP and layers; some files have them behind `vt_`."""
    defaults = {"hidden_size": 1152, "num_attention_heads": 16, "intermediate_size": 4304, "num_hidden_layers": 27}
    hidden, heads, inner, layers = (vision.size_of(name, f"vt_{name}", default=each) for name, each in defaults.items())
    return hidden, heads, inner, layers


def _merge(vision: Fields) -> int:
    """Patches a side that become one token."""
    sides = vision.sizes("merge_kernel_size") if vision.values.get("merge_kernel_size") is not None else [2]
    if len(set(sides)) > 1:
        raise vision.unusable("merge_kernel_size", "one side for both directions")
    return sides[0]


def _projector(path: str, names: Sequence[str], hidden: int, out: int, rows: Grids) -> tuple[Component, ...]:
    wide, tokens = hidden * rows.merge**2, rows.tokens()
    return (
        norm(f"{path}.pre_norm", hidden),
        linear(f"{path}.{names[0]}", wide, wide, tokens),
        linear(f"{path}.{names[1]}", wide, out, tokens, writes="x"),
    )
