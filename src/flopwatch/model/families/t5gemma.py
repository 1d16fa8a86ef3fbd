"""T5Gemma: two stacks of Gemma 2's layers, the second with cross-attention over the first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flopwatch.model.architecture import Architecture, Component, Group
from flopwatch.model.batch import SOURCE, TOKENS
from flopwatch.model.components import AttentionCore, Embedding, Linear, Norm
from flopwatch.model.families import blocks
from flopwatch.model.families.blocks import SLIDING
from flopwatch.model.families.config import Fields
from flopwatch.model.families.llama import every

# Hugging Face's T5GemmaModuleConfig.
_DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 256_000,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "sliding_window": 4096,
}


def t5gemma(fields: Fields) -> Architecture:
    """T5Gemma (Zhang et al., arXiv 2504.06225); the sizes of both stacks may differ."""
    encoder, decoder = (_side(fields, name) for name in ("encoder", "decoder"))
    wide, hidden, vocab_size = (encoder.size("hidden_size"), decoder.size("hidden_size"), decoder.size("vocab_size"))
    table = "model.decoder.embed_tokens"
    return Architecture(
        fields.model_type,
        (
            Embedding("model.encoder.embed_tokens", encoder.size("vocab_size"), wide, words=True, reads=(), writes="e"),
            _stack(encoder, "model.encoder.layers", None),
            Norm("model.encoder.norm", wide, reads=("e",), writes="e"),
            Embedding(table, vocab_size, hidden, words=True, reads=()),
            _stack(decoder, "model.decoder.layers", wide),
            Norm("model.decoder.norm", hidden),
            Linear(
                "lm_head.out_proj",
                hidden,
                vocab_size,
                tied=table if fields.flag("tie_word_embeddings", True) else None,
                role="head",
            ),
        ),
        inputs="source and tokens",
        causal=False,
    )


def _side(fields: Fields, name: str) -> Fields:
    return Fields(f"{fields.model_type} {name}", {**_DEFAULTS, **fields.mapping(name)})


def _stack(fields: Fields, name: str, source: int | None) -> Component:
    """Layers of one side; those of the decoder also attend to the `source`, which is so wide."""
    layers = fields.size("num_hidden_layers")
    kinds = blocks.layer_types(fields, layers, every(layers, 2))
    return blocks.stack_of(name, kinds, lambda kind: _layer(fields, kind, source))


def _layer(fields: Fields, kind: str, source: int | None) -> tuple[Component, ...]:
    hidden, stream, rows = (
        fields.size("hidden_size"),
        "e" if source is None else "x",
        SOURCE if source is None else TOKENS,
    )

    def normed(name: str, *parts: Component) -> tuple[Component, ...]:
        around = (Norm(f"{side}_{name}_layernorm", hidden, reads=(stream,), writes=stream) for side in ("pre", "post"))
        return (next(around), *parts, next(around))

    mlp = blocks.gated_mlp(hidden, fields.size("intermediate_size"), rows=rows, stream=stream)
    crossed = () if source is None else normed("cross_attn", _cross_attention(fields, source))
    attention = _self_attention(fields, kind, causal=source is not None)
    return (*normed("self_attn", attention), *crossed, *normed("feedforward", mlp))


def _self_attention(fields: Fields, kind: str, *, causal: bool) -> Group:
    """Causal in the decoder; in the encoder a window is as wide to each side, as Hugging Face masks it."""
    window = fields.size("sliding_window") if kind == SLIDING else None
    heads, bias = fields.size("num_attention_heads"), fields.flag("attention_bias", False)
    groups = blocks.key_value_heads(fields, heads)
    made = blocks.attention(
        fields.size("hidden_size"),
        heads,
        groups,
        fields.size("head_dim"),
        qkv_bias=bias,
        output_bias=bias,
        window=window,
    )
    if causal:
        return made
    return replace(made, children=tuple(_of_source(each, window) for each in made.children))


def _of_source(part: Component, window: int | None) -> Component:
    """The same part on what the encoder reads."""
    if isinstance(part, AttentionCore):
        return replace(part, causal=False, window=None, radius=window, rows=SOURCE)
    assert isinstance(part, Linear)
    reads = ("e",) if part.reads == ("x",) else part.reads
    return replace(part, rows=SOURCE, reads=reads, writes="e" if part.writes == "x" else part.writes)


def _cross_attention(fields: Fields, source: int) -> Group:
    hidden, heads, head_dim = (fields.size(each) for each in ("hidden_size", "num_attention_heads", "head_dim"))
    bias = fields.flag("attention_bias", False)
    narrow = blocks.key_value_heads(fields, heads) * head_dim
    core = AttentionCore(
        "core", heads, head_dim, head_dim, causal=False, keys=SOURCE, reads=("cq", "ck", "cv"), writes="co"
    )
    return Group(
        "cross_attn",
        (
            Linear("q_proj", hidden, heads * head_dim, bias, writes="cq"),
            Linear("k_proj", source, narrow, bias, None, SOURCE, reads=("e",), writes="ck"),
            Linear("v_proj", source, narrow, bias, None, SOURCE, reads=("e",), writes="cv"),
            core,
            Linear("o_proj", heads * head_dim, hidden, bias, reads=("co",)),
        ),
    )
