"""GPT-style decoders with LayerNorm and a two-matrix MLP: GPT-2 and 3, NeoX, J, Neo, OPT, BLOOM, MPT, Falcon, ..."""

from __future__ import annotations

from flopwatch.errors import ConfigError
from flopwatch.model.architecture import Architecture, Component, Group
from flopwatch.model.components import Embedding, Leaf, Linear, Norm
from flopwatch.model.families import blocks
from flopwatch.model.families.config import Fields

_OPT_POSITION_OFFSET = 2


def dropout(fields: Fields, name: str, default: float, stream: str = "x") -> tuple[Leaf, ...]:
    """What drops out at a layer's end, and so keeps a mask of its last product."""
    value = fields.values.get(name)
    return (Leaf("dropout", reads=(stream,), writes=stream),) if (default if value is None else value) else ()


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
        *dropout(fields, "resid_pdrop", 0.1),
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
    attends: tuple[Component, ...] = (
        *blocks.norms("input_layernorm", features=hidden, bias=True),
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
    )
    mlp: tuple[Component, ...] = (
        *blocks.norms("post_attention_layernorm", features=hidden, bias=True),
        blocks.plain_mlp(hidden, fields.size("intermediate_size"), names=("dense_h_to_4h", "dense_4h_to_h")),
        *dropout(fields, "hidden_dropout", 0.0),
    )
    parallel = fields.flag("use_parallel_residual", True)
    layer = (blocks.side_by_side(attends, mlp),) if parallel else (*attends, *mlp)
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
    attention = blocks.attention(
        hidden,
        heads,
        heads,
        blocks.split_heads(fields, hidden, heads),
        name="attn",
        names=("q_proj", "k_proj", "v_proj", "out_proj"),
        fused=fused,
    )
    mlp = blocks.plain_mlp(hidden, fields.optional_size("n_inner") or 4 * hidden, names=("fc_in", "fc_out"))
    layer: tuple[Component, ...] = (
        *blocks.norms("ln_1", features=hidden, bias=True),
        blocks.side_by_side((attention,), (mlp, *dropout(fields, "resid_pdrop", 0.0))),
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
            *dropout(fields, "resid_dropout", 0.0),
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
    fields.refuse_left_out("layerdrop")
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
    dropped = dropout(fields, "dropout", 0.1)
    layer: tuple[Component, ...] = (
        (first, self_attn, second, mlp, *dropped) if before_norm else (self_attn, first, mlp, *dropped, second)
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
