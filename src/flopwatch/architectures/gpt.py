"""GPT-style decoders with LayerNorm, biases and a two-matrix MLP: GPT-2 and 3, GPT-NeoX, OPT."""

from __future__ import annotations

from flopwatch.architectures import blocks
from flopwatch.architectures.config import Fields
from flopwatch.components import Architecture, Component, Embedding, Group, Linear, Norm

_OPT_POSITION_OFFSET = 2


def gpt2(fields: Fields) -> Architecture:
    """GPT-2 (Radford et al. 2019) and, with its sizes, GPT-3: learned positions, LayerNorm, biases, tied head."""
    fields.refuse("add_cross_attention", "it adds cross-attention over an encoder")
    hidden, heads = fields.size("n_embd"), fields.size("n_head")
    inner = fields.optional_size("n_inner") or 4 * hidden
    embedding, head = blocks.embedding_and_head(fields, hidden, tied_default=True)
    positions = fields.size("n_positions")
    layer = (
        blocks.attention(hidden, heads, heads, blocks.head_dim(fields, hidden, heads), qkv_bias=True, output_bias=True),
        blocks.plain_mlp(hidden, inner),
        blocks.norms(2, hidden, bias=True),
    )
    return Architecture(
        "gpt2",
        (
            embedding,
            Embedding("embed_positions", positions, hidden),
            Group("layers", layer, times=fields.size("n_layer")),
            Norm("final_norm", hidden, bias=True),
            head,
        ),
        max_seq_len=positions,
    )


def gpt_neox(fields: Fields) -> Architecture:
    """GPT-NeoX and Pythia (Black et al., arXiv 2204.06745): rotary positions, untied head."""
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    bias = fields.flag("attention_bias", True)
    embedding, head = blocks.embedding_and_head(fields, hidden, tied_default=False)
    layer = (
        blocks.attention(hidden, heads, heads, blocks.head_dim(fields, hidden, heads), qkv_bias=bias, output_bias=bias),
        blocks.plain_mlp(hidden, fields.size("intermediate_size")),
        blocks.norms(2, hidden, bias=True),
    )
    return Architecture(
        "gpt_neox",
        (
            embedding,
            Group("layers", layer, times=fields.size("num_hidden_layers")),
            Norm("final_norm", hidden, bias=True),
            head,
        ),
    )


def opt(fields: Fields) -> Architecture:
    """OPT (Zhang et al., arXiv 2205.01068): learned positions offset by two, optional narrower embedding (350m)."""
    fields.refuse("layerdrop", "layers are left out at random")
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    bias, affine = fields.flag("enable_bias", True), fields.flag("layer_norm_elementwise_affine", True)
    width = fields.optional_size("word_embed_proj_dim") or hidden
    embedding, head = blocks.embedding_and_head(fields, width, tied_default=True)
    positions = fields.size("max_position_embeddings")
    layer = (
        blocks.attention(hidden, heads, heads, blocks.head_dim(fields, hidden, heads), qkv_bias=bias, output_bias=bias),
        blocks.plain_mlp(hidden, fields.size("ffn_dim"), bias=bias),
        blocks.norms(2, hidden, bias=True, affine=affine),
    )
    parts: list[Component] = [embedding, Embedding("embed_positions", positions + _OPT_POSITION_OFFSET, hidden)]
    if width != hidden:
        parts.append(Linear("project_in", width, hidden))
    parts.append(Group("layers", layer, times=fields.size("num_hidden_layers")))
    if fields.flag("do_layer_norm_before", True) and not fields.flag("_remove_final_layer_norm", False):
        parts.append(Norm("final_norm", hidden, bias=True, affine=affine))
    if width != hidden:
        parts.append(Linear("project_out", hidden, width))
    return Architecture("opt", (*parts, head), max_seq_len=positions)
