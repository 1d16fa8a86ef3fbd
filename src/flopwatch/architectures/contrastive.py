"""Text and images compared over the whole batch: CLIP and SigLIP."""

from __future__ import annotations

from flopwatch.architectures import blocks
from flopwatch.architectures.config import Fields
from flopwatch.architectures.encoders import attention, needs_mapping
from flopwatch.architectures.vision import encoder, patches, positions, projection
from flopwatch.batch import PER_SEQUENCE, TOKENS, Rows
from flopwatch.components import AttentionCore, Contrast, Embedding, Linear, Norm, Vector
from flopwatch.tree import Architecture, Component, Group

_CLIP_QKVO = ("q_proj", "k_proj", "v_proj", "out_proj")


def clip(fields: Fields) -> Architecture:
    """CLIP (Radford et al., arXiv 2103.00020): a causal text and an image encoder, compared over the whole batch."""
    text, vision = needs_mapping(fields, "text_config"), needs_mapping(fields, "vision_config")
    width = fields.size("projection_dim", 512)
    hidden, seen = text.size("hidden_size", 512), vision.size("hidden_size", 768)
    grid = patches(_with_patch(vision, 32), 1)
    path = "vision_model.embeddings"
    return Architecture(
        fields.model_type,
        (
            Vector("logit_scale", 1, bare=True, reads=(), writes="logits"),
            *_text_tower(text, hidden, causal=True, positions=77),
            Norm("text_model.final_layer_norm", hidden, bias=True),
            Vector(f"{path}.class_embedding", seen, bare=True, reads=(), writes="v"),
            projection(_with_patch(vision, 32), f"{path}.patch_embedding", seen, grid, bias=False, stream="v"),
            _position_table(_with_patch(vision, 32), path, seen, 1),
            _stream_norm("vision_model.pre_layrnorm", seen),
            _tower(vision, "vision_model", seen, grid, "v"),
            _stream_norm("vision_model.post_layernorm", seen),
            Linear("visual_projection", seen, width, False, None, PER_SEQUENCE, "head", reads=("v",), writes="v"),
            Linear("text_projection", hidden, width, False, None, PER_SEQUENCE, "head"),
            Contrast("logits", width, reads=("x", "v"), writes="logits"),
        ),
        max_seq_len=text.size("max_position_embeddings", 77),
        inputs="images and tokens",
        causal=False,
        sequences_interact=True,
    )


def _with_patch(fields: Fields, default: int) -> Fields:
    if fields.values.get("patch_size") is not None:
        return fields
    return Fields(fields.model_type, {**fields.values, "patch_size": default})


def _position_table(fields: Fields, path: str, hidden: int, extra: int) -> Embedding:
    return Embedding(f"{path}.position_embedding", positions(fields, extra), hidden, reads=(), writes="v")


def _stream_norm(name: str, features: int) -> Norm:
    return Norm(name, features, bias=True, reads=("v",), writes="v")


def _text_tower(fields: Fields, hidden: int, *, causal: bool, positions: int) -> tuple[Component, ...]:
    path = "text_model.embeddings"
    rows = fields.size("max_position_embeddings", positions)
    return (
        Embedding(f"{path}.token_embedding", fields.size("vocab_size"), hidden, words=True, reads=()),
        Embedding(f"{path}.position_embedding", rows, hidden, reads=()),
        _tower(fields, "text_model", hidden, TOKENS, "x", causal=causal),
    )


def _tower(fields: Fields, name: str, hidden: int, rows: Rows, stream: str, *, causal: bool = False) -> Component:
    heads, inner = fields.size("num_attention_heads"), fields.size("intermediate_size")
    layer = (
        Norm("layer_norm1", hidden, bias=True, reads=(stream,), writes=stream),
        attention(
            "self_attn",
            hidden,
            heads,
            blocks.split_heads(fields, hidden, heads),
            _CLIP_QKVO,
            rows=rows,
            stream=stream,
            causal=causal,
        ),
        Norm("layer_norm2", hidden, bias=True, reads=(stream,), writes=stream),
        blocks.plain_mlp(hidden, inner, names=("fc1", "fc2"), rows=rows, stream=stream),
    )
    return encoder(f"{name}.encoder.layers", fields.size("num_hidden_layers"), layer)


def siglip(fields: Fields) -> Architecture:
    """SigLIP (Zhai et al., arXiv 2303.15343): text in both directions, image tokens pooled by attention."""
    text, vision = needs_mapping(fields, "text_config"), needs_mapping(fields, "vision_config")
    hidden, seen = text.size("hidden_size", 768), vision.size("hidden_size", 768)
    width = text.size("projection_size", hidden)
    grid = patches(vision)
    path = "vision_model.embeddings"
    if not vision.flag("vision_use_head", True):
        raise vision.unusable("vision_use_head", "true")
    return Architecture(
        fields.model_type,
        (
            Vector("logit_scale", 1, bare=True, reads=(), writes="logits"),
            Vector("logit_bias", 1, bare=True, reads=(), writes="logits"),
            *_text_tower(text, hidden, causal=False, positions=64),
            Norm("text_model.final_layer_norm", hidden, bias=True),
            Linear("text_model.head", hidden, width, True, None, PER_SEQUENCE, "head"),
            projection(vision, f"{path}.patch_embedding", seen, grid, stream="v"),
            _position_table(vision, path, seen, 0),
            _tower(vision, "vision_model", seen, grid, "v"),
            _stream_norm("vision_model.post_layernorm", seen),
            Group("vision_model.head", _pooling(vision, seen, grid)),
            Contrast("logits", width, reads=("x", "v"), writes="logits"),
        ),
        max_seq_len=text.size("max_position_embeddings", 64),
        inputs="images and tokens",
        causal=False,
        sequences_interact=True,
    )


def _pooling(fields: Fields, hidden: int, grid: Rows) -> tuple[Component, ...]:
    """One learned query per image attends to its tokens; then an MLP on the result."""
    heads = fields.size("num_attention_heads")
    head_dim = blocks.split_heads(fields, hidden, heads)
    query = Linear(
        "in_proj_weight", hidden, hidden, False, "in_proj", PER_SEQUENCE, reads=("probe",), writes="q", bare=True
    )
    keys = Linear("in_proj_weight", hidden, 2 * hidden, False, "in_proj", grid, reads=("v",), writes="kv", bare=True)
    core = AttentionCore(
        "core", heads, head_dim, head_dim, causal=False, rows=PER_SEQUENCE, keys=grid, reads=("q", "kv", "kv")
    )
    inside = (
        Vector("in_proj_weight", 3 * hidden * hidden, bare=True, reads=(), writes="in_proj"),
        Vector("in_proj_bias", 3 * hidden, bare=True, reads=(), writes="in_proj"),
        query,
        keys,
        core,
        Linear("out_proj", hidden, hidden, True, None, PER_SEQUENCE, reads=("o",), writes="v"),
    )
    return (
        Vector("probe", hidden, bare=True, reads=(), writes="probe"),
        Group("attention", inside),
        Norm("layernorm", hidden, bias=True, reads=("v",), writes="v"),
        blocks.plain_mlp(hidden, fields.size("intermediate_size"), names=("fc1", "fc2"), rows=PER_SEQUENCE, stream="v"),
    )
