"""Gemma 1 to 3: wide heads, gated MLP, tied head, and from Gemma 2 on local layers between global ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flopwatch.architectures import blocks
from flopwatch.architectures.config import Fields
from flopwatch.components import Architecture, Component, Group, Norm

_HEAD_DIM = 256
_DEFAULT_WINDOW = 4096
# Hub files of Gemma 3 list only what differs from these defaults of Hugging Face's Gemma3TextConfig.
_GEMMA3_DEFAULTS: Mapping[str, object] = {
    "vocab_size": 262_208,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": _HEAD_DIM,
    "sliding_window": _DEFAULT_WINDOW,
}


def _decoder(
    fields: Fields, local_layers: int, *, norms_per_layer: int, head_norm: bool = False, window: int | None = None
) -> Architecture:
    fields.refuse("use_bidirectional_attention", "it attends in both directions")
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    layers = fields.size("num_hidden_layers")
    bias = fields.flag("attention_bias", False)
    embedding, head = blocks.embedding_and_head(fields, hidden, tied_default=True)
    groups: list[Component] = []
    for name, times, reach in (
        ("local_layers", local_layers, window),
        ("global_layers" if local_layers else "layers", layers - local_layers, None),
    ):
        self_attn = blocks.attention(
            hidden,
            heads,
            blocks.key_value_heads(fields, heads),
            fields.size("head_dim", _HEAD_DIM),
            qkv_bias=bias,
            output_bias=bias,
            head_norm=head_norm,
            window=reach,
        )
        mlp = blocks.gated_mlp(hidden, fields.size("intermediate_size"))
        if times:
            groups.append(Group(name, (self_attn, mlp, blocks.norms(norms_per_layer, hidden)), times=times))
    return Architecture(fields.model_type, (embedding, *groups, Norm("final_norm", hidden), head))


def gemma(fields: Fields) -> Architecture:
    """Gemma 1 (arXiv 2403.08295)."""
    return _decoder(fields, 0, norms_per_layer=2)


def gemma2(fields: Fields) -> Architecture:
    """Gemma 2 (arXiv 2408.00118): every other layer local, the first one included."""
    return _alternating(fields, every=2, head_norm=False)


def gemma3_text(fields: Fields) -> Architecture:
    """Gemma 3's text model (arXiv 2503.19786): every sixth layer global, a norm on query and key heads."""
    full = replace(fields, values={**_GEMMA3_DEFAULTS, **fields.values})
    return _alternating(full, every=full.size("sliding_window_pattern", 6), head_norm=True)


def _alternating(fields: Fields, *, every: int, head_norm: bool) -> Architecture:
    layers = fields.size("num_hidden_layers")
    default = ["sliding_attention" if (layer + 1) % every else "full_attention" for layer in range(layers)]
    kinds = blocks.layers_by_type(fields, layers, default)
    window = fields.optional_size("sliding_window", _DEFAULT_WINDOW)
    local = kinds["sliding_attention"] if window is not None else 0
    return _decoder(fields, local, norms_per_layer=4, head_norm=head_norm, window=window)
