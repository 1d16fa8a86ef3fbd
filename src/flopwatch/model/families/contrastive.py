"""Text and images compared over the whole batch: CLIP and SigLIP; and their image encoders, which others build on."""

from __future__ import annotations

from flopwatch.model.architecture import Architecture, Component, Group
from flopwatch.model.batch import PER_SEQUENCE, TOKENS, PerImage, Rows
from flopwatch.model.components import AttentionCore, Contrast, Embedding, Linear, Norm, Vector
from flopwatch.model.families import blocks
from flopwatch.model.families.composite import completed
from flopwatch.model.families.config import Fields
from flopwatch.model.families.encoders import attention, needs_mapping
from flopwatch.model.families.vision import encoder, patches, positions, projection, with_patch

PER_IMAGE = PerImage()
_CLIP_QKVO = ("q_proj", "k_proj", "v_proj", "out_proj")


def clip(fields: Fields) -> Architecture:
    """CLIP (Radford et al., arXiv 2103.00020): a causal text and an image encoder, compared over the whole batch."""
    text, vision = _parts(fields)
    width = fields.size("projection_dim", 512)
    hidden, seen = text.size("hidden_size", 512), vision.size("hidden_size", 768)
    return Architecture(
        fields.model_type,
        (
            Vector("logit_scale", 1, bare=True, reads=(), writes="logits"),
            *_text_tower(text, hidden, causal=True, positions=77),
            Norm("text_model.final_layer_norm", hidden, bias=True),
            *clip_vision(vision, "vision_model"),
            Linear("visual_projection", seen, width, False, None, PerImage(), "head", reads=("image",), writes="image"),
            Linear("text_projection", hidden, width, False, None, PER_SEQUENCE, "head"),
            Contrast("logits", width, reads=("x", "image"), writes="logits"),
        ),
        max_seq_len=text.size("max_position_embeddings", 77),
        inputs="images and tokens",
        causal=False,
    )


def _parts(fields: Fields) -> tuple[Fields, Fields]:
    """The fields of both encoders."""
    names = (f"{fields.model_type}_text_model", f"{fields.model_type}_vision_model")
    text, vision = needs_mapping(fields, "text_config"), needs_mapping(fields, "vision_config")
    return completed(text, names[0]), completed(vision, names[1])


def clip_vision(fields: Fields, path: str) -> tuple[Component, ...]:
    """CLIP's image encoder up to its pooled class token; it reads pixels and writes the stream "image"."""
    hidden, fields = fields.size("hidden_size", 768), with_patch(fields, 32)
    grid = patches(fields, 1)
    return (
        Vector(f"{path}.embeddings.class_embedding", hidden, bare=True, reads=(), writes="image"),
        projection(fields, f"{path}.embeddings.patch_embedding", hidden, grid, bias=False, stream="image"),
        _position_table(fields, f"{path}.embeddings", hidden, 1),
        _stream_norm(f"{path}.pre_layrnorm", hidden),
        transformer(fields, path, hidden, grid, "image"),
        _stream_norm(f"{path}.post_layernorm", hidden),
    )


def siglip_vision(fields: Fields, path: str) -> tuple[Component, ...]:
    """SigLIP's image encoder, with its pooling head where it has one; it reads pixels and writes the stream "image"."""
    hidden = fields.size("hidden_size", 768)
    grid = patches(fields)
    pooled = fields.flag("vision_use_head", True)
    return (
        projection(fields, f"{path}.embeddings.patch_embedding", hidden, grid, stream="image"),
        _position_table(fields, f"{path}.embeddings", hidden, 0),
        transformer(fields, path, hidden, grid, "image"),
        _stream_norm(f"{path}.post_layernorm", hidden),
        *([pooling(fields, f"{path}.head", hidden, grid)] if pooled else []),
    )


def _position_table(fields: Fields, path: str, hidden: int, extra: int) -> Embedding:
    return Embedding(f"{path}.position_embedding", positions(fields, extra), hidden, reads=(), writes="image")


def _stream_norm(name: str, features: int) -> Norm:
    return Norm(name, features, bias=True, reads=("image",), writes="image")


def _text_tower(fields: Fields, hidden: int, *, causal: bool, positions: int) -> tuple[Component, ...]:
    path = "text_model.embeddings"
    rows = fields.size("max_position_embeddings", positions)
    return (
        Embedding(f"{path}.token_embedding", fields.size("vocab_size"), hidden, words=True, reads=()),
        Embedding(f"{path}.position_embedding", rows, hidden, reads=()),
        transformer(fields, "text_model", hidden, TOKENS, "x", causal=causal),
    )


def transformer(fields: Fields, name: str, hidden: int, rows: Rows, stream: str, *, causal: bool = False) -> Component:
    """Layers as CLIP's and SigLIP's are."""
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
    text, vision = _parts(fields)
    hidden = text.size("hidden_size", 768)
    width = text.size("projection_size", hidden)
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
            *siglip_vision(vision, "vision_model"),
            Contrast("logits", width, reads=("x", "image"), writes="logits"),
        ),
        max_seq_len=text.size("max_position_embeddings", 64),
        inputs="images and tokens",
        causal=False,
    )


def pooling(fields: Fields, path: str, hidden: int, grid: Rows, one: Rows = PER_IMAGE) -> Group:
    """Build the head that pools an image's tokens to `one` row."""
    return Group(path, _pooling(fields, path, hidden, grid, one))


def _pooling(fields: Fields, path: str, hidden: int, grid: Rows, one: Rows) -> tuple[Component, ...]:
    """One learned query per image attends to its tokens; then an MLP on the result."""
    heads = fields.size("num_attention_heads")
    head_dim = blocks.split_heads(fields, hidden, heads)
    query = Linear(
        "in_proj_weight",
        hidden,
        hidden,
        False,
        f"{path}.attention.in_proj_weight",
        one,
        reads=("probe",),
        writes="q",
        bare=True,
    )
    keys = Linear(
        "in_proj_weight",
        hidden,
        2 * hidden,
        False,
        f"{path}.attention.in_proj_weight",
        grid,
        reads=("image",),
        writes="kv",
        bare=True,
    )
    core = AttentionCore("core", heads, head_dim, head_dim, causal=False, rows=one, keys=grid, reads=("q", "kv", "kv"))
    inside = (
        Vector("in_proj_weight", 3 * hidden * hidden, bare=True, reads=(), writes="in_proj"),
        Vector("in_proj_bias", 3 * hidden, bare=True, reads=(), writes="in_proj"),
        query,
        keys,
        core,
        Linear("out_proj", hidden, hidden, True, None, one, reads=("o",), writes="image", called=False),
    )
    return (
        Vector("probe", hidden, bare=True, reads=(), writes="probe"),
        Group("attention", inside),
        Norm("layernorm", hidden, bias=True, reads=("image",), writes="image"),
        blocks.plain_mlp(hidden, fields.size("intermediate_size"), names=("fc1", "fc2"), rows=one, stream="image"),
    )
