"""GPT-style decoders with LayerNorm and a two-matrix MLP: GPT-2 and 3, NeoX, J, Neo, OPT, BLOOM, MPT, Falcon, ..."""

from __future__ import annotations

from flopwatch.architectures import blocks
from flopwatch.architectures.config import Fields
from flopwatch.components import Architecture, Component, Embedding, Group, Leaf, Linear, Norm
from flopwatch.errors import ConfigError

_OPT_POSITION_OFFSET = 2
_DROPOUT = Leaf("dropout")


def _dropout(fields: Fields, name: str, default: float) -> tuple[Leaf, ...]:
    """What drops out at a layer's end, and so keeps a mask of its last product."""
    value = fields.values.get(name)
    return (_DROPOUT,) if (default if value is None else value) else ()


def gpt2(fields: Fields) -> Architecture:
    """GPT-2 (Radford et al. 2019) and, with its sizes, GPT-3: learned positions, LayerNorm, biases, tied head."""
    return _gpt2(fields, fields.size("n_head"))


def gpt_bigcode(fields: Fields) -> Architecture:
    """GPT-BigCode (SantaCoder and StarCoder, arXiv 2305.06161): GPT-2 with one head for keys and values."""
    return _gpt2(fields, 1 if fields.flag("multi_query", True) else fields.size("n_head"))


def _gpt2(fields: Fields, key_value_heads: int) -> Architecture:
    fields.refuse("add_cross_attention", "it adds cross-attention over an encoder")
    hidden, heads = fields.size("n_embd"), fields.size("n_head")
    inner = fields.optional_size("n_inner") or 4 * hidden
    positions = fields.size("n_positions")
    layer: tuple[Component, ...] = (
        *blocks.norms("ln_1", features=hidden, bias=True),
        blocks.attention(
            hidden,
            heads,
            key_value_heads,
            blocks.split_heads(fields, hidden, heads),
            name="attn",
            names=("", "", "", "c_proj"),
            fused="c_attn",
            qkv_bias=True,
            output_bias=True,
        ),
        *blocks.norms("ln_2", features=hidden, bias=True),
        blocks.plain_mlp(hidden, inner, names=("c_fc", "c_proj")),
        *_dropout(fields, "resid_pdrop", 0.1),
    )
    return blocks.language_model(
        fields,
        hidden,
        [blocks.stack("transformer.h", [("", layer)] * fields.size("n_layer"))],
        final_norm=Norm("ln_f", hidden, bias=True),
        embedding="transformer.wte",
        body="transformer",
        tied_default=True,
        max_seq_len=positions,
        before=[Embedding("transformer.wpe", positions, hidden, reads=())],
    )


def gpt_neox(fields: Fields) -> Architecture:
    """GPT-NeoX and Pythia (Black et al., arXiv 2204.06745): rotary positions, untied head."""
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    bias = fields.flag("attention_bias", True)
    layer: tuple[Component, ...] = (
        *blocks.norms("input_layernorm", "post_attention_layernorm", features=hidden, bias=True),
        blocks.attention(
            hidden,
            heads,
            heads,
            blocks.split_heads(fields, hidden, heads),
            name="attention",
            names=("", "", "", "dense"),
            fused="query_key_value",
            qkv_bias=bias,
            output_bias=bias,
        ),
        blocks.plain_mlp(hidden, fields.size("intermediate_size"), names=("dense_h_to_4h", "dense_4h_to_h")),
        *_dropout(fields, "hidden_dropout", 0.0),
    )
    return blocks.language_model(
        fields,
        hidden,
        [blocks.stack("gpt_neox.layers", [("", layer)] * fields.size("num_hidden_layers"))],
        final_norm=Norm("final_layer_norm", hidden, bias=True),
        embedding="gpt_neox.embed_in",
        body="gpt_neox",
    )


def gptj(fields: Fields) -> Architecture:
    """GPT-J (Wang and Komatsuzaki 2021): rotary positions, attention and MLP side by side, head with a bias."""
    return _gptj(fields, fused=None)


def codegen(fields: Fields) -> Architecture:
    """CodeGen (Nijkamp et al., arXiv 2203.13474): GPT-J with q, k and v in one matrix."""
    return _gptj(fields, fused="qkv_proj")


def _gptj(fields: Fields, fused: str | None) -> Architecture:
    hidden, heads = fields.size("n_embd"), fields.size("n_head")
    layer: tuple[Component, ...] = (
        *blocks.norms("ln_1", features=hidden, bias=True),
        blocks.attention(
            hidden,
            heads,
            heads,
            blocks.split_heads(fields, hidden, heads),
            name="attn",
            names=("q_proj", "k_proj", "v_proj", "out_proj"),
            fused=fused,
        ),
        blocks.plain_mlp(hidden, fields.optional_size("n_inner") or 4 * hidden, names=("fc_in", "fc_out")),
        *_dropout(fields, "resid_pdrop", 0.0),
    )
    if fields.flag("tie_word_embeddings", False):
        raise fields.unusable("tie_word_embeddings", "false")
    return blocks.language_model(
        fields,
        hidden,
        [blocks.stack("transformer.h", [("", layer)] * fields.size("n_layer"))],
        final_norm=Norm("ln_f", hidden, bias=True),
        embedding="transformer.wte",
        body="transformer",
        head_bias=True,
    )


def gpt_neo(fields: Fields) -> Architecture:
    """GPT-Neo (Black et al. 2021): global and local attention in turn, no biases on q, k and v."""
    hidden, heads, layers = fields.size("hidden_size"), fields.size("num_heads"), fields.size("num_layers")
    positions = fields.size("max_position_embeddings")
    inner = fields.optional_size("intermediate_size") or 4 * hidden
    window = fields.size("window_size", 256)

    def layer(kind: str) -> tuple[str, tuple[Component, ...]]:
        inside = blocks.attention(
            hidden,
            heads,
            heads,
            blocks.split_heads(fields, hidden, heads),
            name="attention",
            names=("q_proj", "k_proj", "v_proj", "out_proj"),
            output_bias=True,
            window=window if kind == "local" else None,
        )
        return kind, (
            *blocks.norms("ln_1", features=hidden, bias=True),
            Group("attn", (inside,)),
            *blocks.norms("ln_2", features=hidden, bias=True),
            blocks.plain_mlp(hidden, inner, names=("c_fc", "c_proj")),
            *_dropout(fields, "resid_dropout", 0.0),
        )

    return blocks.language_model(
        fields,
        hidden,
        [blocks.stack("transformer.h", [layer(kind) for kind in _neo_layers(fields, layers)])],
        final_norm=Norm("ln_f", hidden, bias=True),
        embedding="transformer.wte",
        body="transformer",
        tied_default=True,
        max_seq_len=positions,
        before=[Embedding("transformer.wpe", positions, hidden, reads=())],
    )


def _neo_layers(fields: Fields, layers: int) -> list[str]:
    """`attention_types` is a list of [kinds, times], each kinds a list repeated so many times."""
    expected = f"pairs of kinds ('global' or 'local') and times that give {layers} layers"
    kinds: list[str] = []
    try:
        for names, times in fields.values["attention_types"]:
            kinds += list(names) * int(times)
    except KeyError:
        raise ConfigError("the gpt_neo config lacks 'attention_types', which its FLOPs depend on") from None
    except (TypeError, ValueError):
        raise fields.unusable("attention_types", expected) from None
    if len(kinds) != layers or set(kinds) - {"global", "local"}:
        raise fields.unusable("attention_types", expected)
    return kinds


def opt(fields: Fields) -> Architecture:
    """OPT (Zhang et al., arXiv 2205.01068): learned positions offset by two, optional narrower embedding (350m)."""
    fields.refuse("layerdrop", "layers are left out at random")
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    bias, affine = fields.flag("enable_bias", True), fields.flag("layer_norm_elementwise_affine", True)
    width = fields.optional_size("word_embed_proj_dim") or hidden
    positions = fields.size("max_position_embeddings")
    before_norm = fields.flag("do_layer_norm_before", True)
    self_attn = blocks.attention(
        hidden,
        heads,
        heads,
        blocks.split_heads(fields, hidden, heads),
        names=("q_proj", "k_proj", "v_proj", "out_proj"),
        qkv_bias=bias,
        output_bias=bias,
    )
    mlp = blocks.plain_mlp(hidden, fields.size("ffn_dim"), name="", names=("fc1", "fc2"), bias=bias)
    first = Norm("self_attn_layer_norm", hidden, bias=True, affine=affine)
    second = Norm("final_layer_norm", hidden, bias=True, affine=affine)
    dropout = _dropout(fields, "dropout", 0.1)
    layer: tuple[Component, ...] = (
        (first, self_attn, second, mlp, *dropout) if before_norm else (self_attn, first, mlp, *dropout, second)
    )
    narrow = width != hidden
    last: list[Component] = []
    if before_norm and not fields.flag("_remove_final_layer_norm", False):
        last.append(Norm("model.decoder.final_layer_norm", hidden, bias=True, affine=affine))
    if narrow:
        last.append(Linear("model.decoder.project_out", hidden, width))
    return blocks.language_model(
        fields,
        width,
        [
            *([Linear("model.decoder.project_in", width, hidden)] if narrow else []),
            blocks.stack("model.decoder.layers", [("", layer)] * fields.size("num_hidden_layers")),
            *last,
        ],
        final_norm=None,
        embedding="model.decoder.embed_tokens",
        tied_default=True,
        max_seq_len=positions,
        before=[Embedding("model.decoder.embed_positions", positions + _OPT_POSITION_OFFSET, hidden, reads=())],
    )


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
        *_dropout(fields, "hidden_dropout", 0.0),
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
            raise ConfigError(f"the mpt config sets attn_config.{name}={options[name]!r}, which is not counted here")
    ratio = fields.size("expansion_ratio", 4)
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
        Leaf("dropout"),
    )
    return blocks.language_model(
        fields,
        hidden,
        [blocks.stack("transformer.blocks", [("", layer)] * fields.size("n_layers"))],
        final_norm=Norm("norm_f", hidden),
        embedding="transformer.wte",
        body="transformer",
        tied_default=True,
    )


def falcon(fields: Fields) -> Architecture:
    """Falcon (Almazrouei et al., arXiv 2311.16867): one key head (7B), grouped (40B) or all (RW), MLP side by side."""
    hidden = fields.size("hidden_size")
    heads, layers = fields.size_of("num_attention_heads", "n_head"), fields.size_of("num_hidden_layers", "n_layer")
    new, parallel = fields.flag("new_decoder_architecture", False), fields.flag("parallel_attn", True)
    bias = fields.flag("bias", False)
    groups = fields.size_of("num_kv_heads", "n_head_kv", default=heads) if new else heads
    if not new and fields.flag("multi_query", True):
        groups = 1
    if heads % groups:
        raise fields.unusable("num_kv_heads", f"a divisor of the {heads} attention heads")
    two_norms = new and fields.size("num_ln_in_parallel_attn", 2) == 2
    names = ("ln_attn", "ln_mlp") if two_norms else ("input_layernorm",)
    between = () if parallel or two_norms else blocks.norms("post_attention_layernorm", features=hidden, bias=True)
    layer = (
        *blocks.norms(*names, features=hidden, bias=True),
        blocks.attention(
            hidden,
            heads,
            groups,
            blocks.split_heads(fields, hidden, heads),
            name="self_attention",
            names=("", "", "", "dense"),
            fused="query_key_value",
            qkv_bias=bias,
            output_bias=bias,
        ),
        *between,
        blocks.plain_mlp(
            hidden,
            fields.size("ffn_hidden_size", 4 * hidden),
            names=("dense_h_to_4h", "dense_4h_to_h"),
            bias=bias,
        ),
        *_dropout(fields, "hidden_dropout", 0.0),
    )
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
    fields.refuse("qk_layernorm", "queries and keys have norms")
    layer: tuple[Component, ...] = (
        *blocks.norms("input_layernorm", features=hidden, bias=True),
        blocks.attention(
            hidden,
            heads,
            blocks.key_value_heads(fields, heads),
            blocks.head_dim(fields, hidden, heads),
            names=("q_proj", "k_proj", "v_proj", "dense"),
            qkv_bias=True,
            output_bias=True,
        ),
        blocks.plain_mlp(hidden, fields.size("intermediate_size"), names=("fc1", "fc2")),
        *_dropout(fields, "resid_pdrop", 0.0),
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
        *_dropout(fields, "hidden_dropout", 0.0),
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
        *_dropout(fields, "residual_dropout", 0.0),
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
