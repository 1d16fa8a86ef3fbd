"""Gemma 1 to 3: wide heads, gated MLP, tied head, and from Gemma 2 on local layers between global ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from flopwatch.model.architecture import Architecture
from flopwatch.model.components import Leaf
from flopwatch.model.families import blocks
from flopwatch.model.families.config import Fields
from flopwatch.model.families.llama import Decoder, decoder, every

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


def _form(fields: Fields, kinds: Sequence[str] | None, window: int | None, head_norms: tuple[Leaf, ...]) -> Decoder:
    fields.refuse("use_bidirectional_attention", "it attends in both directions")
    bias = fields.flag("attention_bias", False)
    return Decoder(
        fields.size("head_dim", _HEAD_DIM),
        blocks.key_value_heads(fields, fields.size("num_attention_heads")),
        kinds=kinds,
        window=window,
        qkv_bias=bias,
        output_bias=bias,
        head_norms=head_norms,
        tied_default=True,
    )


def gemma(fields: Fields) -> Architecture:
    """Gemma 1 (arXiv 2403.08295)."""
    return decoder(fields, _form(fields, None, None, ()))


def gemma2(fields: Fields) -> Architecture:
    """Gemma 2 (arXiv 2408.00118): every other layer local, the first one included."""
    return _alternating(fields, period=2, head_norms=())


def gemma3_text(fields: Fields) -> Architecture:
    """Gemma 3's text model (arXiv 2503.19786): every sixth layer global, a norm on query and key heads."""
    full = replace(fields, values={**_GEMMA3_DEFAULTS, **fields.values})
    period = full.size_of("sliding_window_pattern", "_sliding_window_pattern", default=6)
    return _alternating(full, period=period, head_norms=blocks.head_norms(full.size("head_dim")))


def _alternating(fields: Fields, *, period: int, head_norms: tuple[Leaf, ...]) -> Architecture:
    layers = fields.size("num_hidden_layers")
    kinds = blocks.layer_types(fields, layers, every(layers, period))
    form = _form(fields, kinds, fields.optional_size("sliding_window", _DEFAULT_WINDOW), head_norms)
    return decoder(
        fields,
        replace(
            form,
            after_attention="post_attention_layernorm",
            before_mlp="pre_feedforward_layernorm",
            after_mlp="post_feedforward_layernorm",
        ),
    )
