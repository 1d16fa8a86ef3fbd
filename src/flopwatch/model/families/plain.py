"""More decoders with a two-matrix MLP: BLOOM, MPT, Falcon, Phi, Persimmon, StarCoder 2, Nemotron, nanochat."""

from __future__ import annotations

from flopwatch.errors import ConfigError
from flopwatch.model.architecture import Architecture, Component
from flopwatch.model.components import Leaf, Norm
from flopwatch.model.families import blocks
from flopwatch.model.families.config import Fields
from flopwatch.model.families.gpt import dropout
from flopwatch.units import quoted


def bloom(fields: Fields) -> Architecture:
    """BLOOM (arXiv 2211.05100): ALiBi positions, a norm after the embedding."""
    hidden, heads = fields.size_of("hidden_size", "n_embed"), fields.size_of("n_head", "num_attention_heads")
    layer: tuple[Component, ...] = (
        *blocks.norms("input_layernorm", features=hidden, bias=True),
        blocks.attention(
            hidden,
            heads,
            heads,
            blocks.split_heads(fields, hidden, heads),
            name="self_attention",
            names=("", "", "", "dense"),
            fused="query_key_value",
            qkv_bias=True,
            output_bias=True,
        ),
        *blocks.norms("post_attention_layernorm", features=hidden, bias=True),
        blocks.plain_mlp(hidden, 4 * hidden, names=("dense_h_to_4h", "dense_4h_to_h")),
        *dropout(fields, "hidden_dropout", 0.0),
    )
    return blocks.language_model(
        fields,
        hidden,
        [
            Norm("transformer.word_embeddings_layernorm", hidden, bias=True),
            blocks.stack("transformer.h", [("", layer)] * fields.size_of("n_layer", "num_hidden_layers")),
        ],
        final_norm=Norm("ln_f", hidden, bias=True),
        embedding="transformer.word_embeddings",
        body="transformer",
        tied_default=True,
    )


def mpt(fields: Fields) -> Architecture:
    """MPT (MosaicML 2023): ALiBi positions, LayerNorm without bias, q, k and v in one matrix.

    Like Hugging Face's class, it knows neither the grouped keys nor the norms of queries and keys that llm-foundry has.
    """
    hidden, heads = fields.size("d_model"), fields.size("n_heads")
    if not fields.flag("no_bias", True):
        raise fields.unusable("no_bias", "true")
    options = fields.mapping("attn_config")
    for name, plain in (
        ("qk_ln", (None, False)),
        ("attn_type", (None, "multihead_attention")),
        ("prefix_lm", (None, False)),
    ):
        if options.get(name) not in plain:
            raise ConfigError(
                f"the mpt config sets attn_config.{name}={quoted(options[name])}, which is not counted here"
            )
    ratio = fields.size("expansion_ratio", 4)
    if ratio != 4:
        raise fields.unusable("expansion_ratio", "4, the only one that Hugging Face's class knows,")
    layer = (
        *blocks.norms("norm_1", features=hidden),
        blocks.attention(
            hidden,
            heads,
            heads,
            blocks.split_heads(fields, hidden, heads),
            name="attn",
            names=("", "", "", "out_proj"),
            fused="Wqkv",
        ),
        *blocks.norms("norm_2", features=hidden),
        blocks.plain_mlp(hidden, ratio * hidden, name="ffn", bias=False),
        *([Leaf("dropout")] if options.get("attn_pdrop") else []),
    )
    return blocks.mpt_model(fields, hidden, layer, tied=True)


def falcon(fields: Fields) -> Architecture:
    """Falcon (Almazrouei et al., arXiv 2311.16867): one key head (7B), grouped (40B) or all (RW), MLP side by side."""
    hidden = fields.size("hidden_size")
    heads, layers = fields.size("num_attention_heads"), fields.size("num_hidden_layers")
    new, parallel = fields.flag("new_decoder_architecture", False), fields.flag("parallel_attn", True)
    bias = fields.flag("bias", False)
    groups = fields.size("num_kv_heads", heads) if new else heads
    if not new and fields.flag("multi_query", True):
        groups = 1
    if heads % groups:
        raise fields.unusable("num_kv_heads", f"a divisor of the {heads} attention heads")
    attention = blocks.attention(
        hidden,
        heads,
        groups,
        blocks.split_heads(fields, hidden, heads),
        name="self_attention",
        names=("", "", "", "dense"),
        fused="query_key_value",
        qkv_bias=bias,
        output_bias=bias,
    )
    inner = fields.size("ffn_hidden_size", 4 * hidden)
    mlp: tuple[Component, ...] = (
        blocks.plain_mlp(hidden, inner, names=("dense_h_to_4h", "dense_4h_to_h"), bias=bias),
        *dropout(fields, "hidden_dropout", 0.0),
    )

    def norm(name: str) -> tuple[Component, ...]:
        return blocks.norms(name, features=hidden, bias=True)

    layer: tuple[Component, ...]
    if new and fields.size("num_ln_in_parallel_attn", 2) == 2:
        layer = (blocks.side_by_side((*norm("ln_attn"), attention), (*norm("ln_mlp"), *mlp)),)
    elif parallel:
        layer = (*norm("input_layernorm"), blocks.side_by_side((attention,), mlp))
    else:
        layer = (*norm("input_layernorm"), attention, *norm("post_attention_layernorm"), *mlp)
    return blocks.language_model(
        fields,
        hidden,
        [blocks.stack("transformer.h", [("", layer)] * layers)],
        final_norm=Norm("ln_f", hidden, bias=True),
        embedding="transformer.word_embeddings",
        body="transformer",
        tied_default=True,
    )


def phi(fields: Fields) -> Architecture:
    """Phi-1 to 2 (Gunasekar et al., arXiv 2306.11644): attention and MLP side by side, biases, also on the head."""
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    head_dim = blocks.head_dim(fields, hidden, heads)
    normed = fields.flag("qk_layernorm", False)
    head_norms = blocks.head_norms(blocks.split_heads(fields, hidden, heads), ("q_layernorm", "k_layernorm"), bias=True)
    attention = blocks.attention(
        hidden,
        heads,
        blocks.key_value_heads(fields, heads),
        head_dim,
        names=("q_proj", "k_proj", "v_proj", "dense"),
        qkv_bias=True,
        output_bias=True,
        norms=head_norms if normed else (),
    )
    mlp = blocks.plain_mlp(hidden, fields.size("intermediate_size"), names=("fc1", "fc2"))
    layer: tuple[Component, ...] = (
        *blocks.norms("input_layernorm", features=hidden, bias=True),
        blocks.side_by_side((attention,), (mlp, *dropout(fields, "resid_pdrop", 0.0))),
    )
    return blocks.language_model(
        fields,
        hidden,
        [blocks.stack("model.layers", [("", layer)] * fields.size("num_hidden_layers"))],
        final_norm=Norm("final_layernorm", hidden, bias=True),
        head_bias=True,
    )


def persimmon(fields: Fields) -> Architecture:
    """Persimmon (Adept 2023): squared ReLU, norms on query and key heads."""
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    head_dim = blocks.split_heads(fields, hidden, heads)
    normed = fields.flag("qk_layernorm", True)
    norms = tuple(
        Norm(name, head_dim, bias=True, reads=("qkv",), writes="qkv") for name in ("q_layernorm", "k_layernorm")
    )
    layer: tuple[Component, ...] = (
        *blocks.norms("input_layernorm", features=hidden, bias=True),
        blocks.attention(
            hidden,
            heads,
            heads,
            head_dim,
            names=("", "", "", "dense"),
            fused="query_key_value",
            qkv_bias=True,
            output_bias=True,
            norms=norms if normed else (),
        ),
        *blocks.norms("post_attention_layernorm", features=hidden, bias=True),
        blocks.plain_mlp(hidden, fields.size("intermediate_size"), names=("dense_h_to_4h", "dense_4h_to_h")),
        *dropout(fields, "hidden_dropout", 0.0),
    )
    return blocks.language_model(
        fields,
        hidden,
        [blocks.stack("model.layers", [("", layer)] * fields.size("num_hidden_layers"))],
        final_norm=Norm("final_layernorm", hidden, bias=True),
    )


def starcoder2(fields: Fields) -> Architecture:
    """StarCoder 2 (Lozhkov et al., arXiv 2402.19173): grouped keys, one sliding window for all layers, biases."""
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    bias = fields.flag("use_bias", True)
    layer: tuple[Component, ...] = (
        *blocks.norms("input_layernorm", features=hidden, bias=True),
        blocks.attention(
            hidden,
            heads,
            blocks.key_value_heads(fields, heads),
            blocks.head_dim(fields, hidden, heads),
            qkv_bias=bias,
            output_bias=bias,
            window=fields.optional_size("sliding_window"),
        ),
        *blocks.norms("post_attention_layernorm", features=hidden, bias=True),
        blocks.plain_mlp(hidden, fields.size("intermediate_size"), names=("c_fc", "c_proj"), bias=bias),
        *dropout(fields, "residual_dropout", 0.0),
    )
    return blocks.language_model(
        fields,
        hidden,
        [blocks.stack("model.layers", [("", layer)] * fields.size("num_hidden_layers"))],
        final_norm=Norm("norm", hidden, bias=True),
        tied_default=True,
    )


def nemotron(fields: Fields) -> Architecture:
    """Nemotron-4 (Parmar et al., arXiv 2402.16819): squared ReLU, grouped keys, heads of their own width."""
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    bias = fields.flag("attention_bias", False)
    layer = (
        *blocks.norms("input_layernorm", features=hidden, bias=True),
        blocks.attention(
            hidden,
            heads,
            blocks.key_value_heads(fields, heads),
            blocks.head_dim(fields, hidden, heads),
            qkv_bias=bias,
            output_bias=bias,
        ),
        *blocks.norms("post_attention_layernorm", features=hidden, bias=True),
        blocks.plain_mlp(hidden, fields.size("intermediate_size"), bias=fields.flag("mlp_bias", False)),
    )
    return blocks.language_model(
        fields,
        hidden,
        [blocks.stack("model.layers", [("", layer)] * fields.size("num_hidden_layers"))],
        final_norm=Norm("norm", hidden, bias=True),
    )


def nanochat(fields: Fields) -> Architecture:
    """Nanochat (Karpathy 2025): norms without parameters, squared ReLU, a final tanh cap."""
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    bias = fields.flag("attention_bias", False)
    layer = (
        *blocks.norms("input_layernorm", features=hidden, affine=False),
        blocks.attention(
            hidden,
            heads,
            blocks.key_value_heads(fields, heads),
            blocks.head_dim(fields, hidden, heads),
            qkv_bias=bias,
            output_bias=bias,
        ),
        *blocks.norms("post_attention_layernorm", features=hidden, affine=False),
        blocks.plain_mlp(hidden, fields.size("intermediate_size"), names=("fc1", "fc2"), bias=False),
    )
    return blocks.language_model(
        fields,
        hidden,
        [blocks.stack("model.layers", [("", layer)] * fields.size("num_hidden_layers"))],
        final_norm=Norm("norm", hidden, affine=False),
    )
