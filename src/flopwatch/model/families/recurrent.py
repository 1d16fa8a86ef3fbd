"""Linear attention, gated delta rule, recurrences and short convolutions: Qwen 3 Next and 3.5, MiniMax, Griffin, ..."""

from __future__ import annotations

from dataclasses import replace

from flopwatch.model.architecture import Architecture, Component, Group
from flopwatch.model.components import Experts, Linear, Norm, Product, Vector
from flopwatch.model.families import blocks, moe
from flopwatch.model.families.blocks import FULL
from flopwatch.model.families.config import Fields
from flopwatch.model.families.llama import standard_heads
from flopwatch.model.families.ssm import LINEAR, causal_convolution

_DELTA_RULE_CHUNK = 64


def qwen3_next(fields: Fields) -> Architecture:
    """Qwen 3 Next (Qwen 2025): gated delta rule on three of four layers, gated attention on the fourth, a mixture."""
    hidden, key, value, heads = _delta_sizes(fields)
    projections = (
        Linear("in_proj_qkvz", hidden, 2 * key + 2 * value, writes="s"),
        Linear("in_proj_ba", hidden, 2 * heads, writes="s"),
    )
    return _delta_hybrid(fields, projections, moe.qwen_mixture(fields))


def qwen3_5_text(fields: Fields) -> Architecture:
    """Qwen 3.5's text model (Qwen 2026): Qwen 3 Next's attention with a dense MLP."""
    mlp = blocks.gated_mlp(fields.size("hidden_size"), fields.size("intermediate_size"))
    return _delta_hybrid(fields, _qwen3_5_projections(fields), mlp)


def qwen3_5_moe_text(fields: Fields) -> Architecture:
    """Qwen 3.5's text model with Qwen 3 Next's mixture."""
    return _delta_hybrid(fields, _qwen3_5_projections(fields), moe.qwen_mixture(fields))


def _qwen3_5_projections(fields: Fields) -> tuple[Linear, ...]:
    hidden, key, value, heads = _delta_sizes(fields)
    return (
        Linear("in_proj_qkv", hidden, 2 * key + value, writes="s"),
        Linear("in_proj_z", hidden, value, writes="s"),
        Linear("in_proj_b", hidden, heads, writes="s"),
        Linear("in_proj_a", hidden, heads, writes="s"),
    )


def _delta_sizes(fields: Fields) -> tuple[int, int, int, int]:
    """(hidden size, width of all key heads, of all value heads, number of value heads)."""
    heads = fields.size("linear_num_value_heads")
    key = fields.size("linear_num_key_heads") * fields.size("linear_key_head_dim")
    return fields.size("hidden_size"), key, heads * fields.size("linear_value_head_dim"), heads


def _delta_hybrid(fields: Fields, projections: tuple[Linear, ...], mlp: Group) -> Architecture:
    fields.refuse("mlp_only_layers", "some layers are dense")
    if fields.size("decoder_sparse_step", 1) != 1:
        raise fields.unusable("decoder_sparse_step", "1")
    hidden, layers = fields.size("hidden_size"), fields.size("num_hidden_layers")
    heads, head_dim = fields.size("num_attention_heads"), fields.size("head_dim", 256)
    bias = fields.flag("attention_bias", False)
    period = fields.size("full_attention_interval", 4)
    default = [LINEAR if (layer + 1) % period else FULL for layer in range(layers)]
    kinds = blocks.layer_types(fields, layers, default, (FULL, LINEAR))
    attention = blocks.attention(
        hidden,
        heads,
        blocks.key_value_heads(fields, heads),
        head_dim,
        qkv_bias=bias,
        output_bias=bias,
        norms=blocks.head_norms(head_dim),
        gated=True,
    )
    delta = _delta_rule(fields, projections)
    stack = [
        (
            kind,
            (
                *blocks.norms("input_layernorm", features=hidden),
                attention if kind == FULL else delta,
                *blocks.norms("post_attention_layernorm", features=hidden),
                mlp,
            ),
        )
        for kind in kinds
    ]
    return blocks.language_model(fields, hidden, [blocks.stack("model.layers", stack)], final_norm=Norm("norm", hidden))


def _delta_rule(fields: Fields, projections: tuple[Linear, ...]) -> Group:
    """The gated delta rule in chunks of 64 (Yang et al., arXiv 2412.06464, section 3.2).

    Within a chunk: two score matrices, the triangular system of the UT transform solved for values and keys (half of
    the products of its size), and the output; across chunks the state is read twice and written once.
    """
    hidden, key, value, heads = _delta_sizes(fields)
    key_dim, value_dim = fields.size("linear_key_head_dim"), fields.size("linear_value_head_dim")
    channels = 2 * key + value

    def product(name: str, *, per_row: int = 0, per_pair: int = 0, **options: object) -> Product:
        return Product(
            name,
            per_row=heads * per_row,
            per_pair=heads * per_pair,
            chunk=_DELTA_RULE_CHUNK,
            reads=("s",),
            writes="y",
            **options,  # type: ignore[arg-type]
        )

    return Group(
        "linear_attn",
        (
            Vector("dt_bias", heads, bare=True, writes="s"),
            Vector("A_log", heads, bare=True, writes="s"),
            *projections,
            causal_convolution("conv1d", channels, fields.size("linear_conv_kernel_dim"), bias=False),
            product("scores", per_pair=4 * key_dim + 2 * value_dim),
            product("solve", per_pair=key_dim + value_dim, backward=3),
            product("state_read", per_row=4 * key_dim * value_dim, lacks="first"),
            product("state_write", per_row=2 * key_dim * value_dim, lacks="last"),
            Norm("norm", value_dim, reads=("y",), writes="y"),
            Linear("out_proj", value, hidden, reads=("y",)),
        ),
    )


def minimax(fields: Fields) -> Architecture:
    """MiniMax-01 (arXiv 2501.08313): lightning attention on most layers, softmax attention on some, a mixture."""
    hidden, layers, heads = (fields.size(each) for each in ("hidden_size", "num_hidden_layers", "num_attention_heads"))
    head_dim, groups = standard_heads(fields)
    default = [FULL if (layer + 1) % 2 else LINEAR for layer in range(layers)]
    kinds = blocks.layer_types(fields, layers, default, (FULL, LINEAR))
    window = fields.optional_size("sliding_window")
    attention = blocks.attention(hidden, heads, groups, head_dim, window=window)
    experts = fields.size_of("num_local_experts", "num_experts")
    inner, active = fields.size("intermediate_size"), blocks.active_experts(fields, experts)
    lightning = _lightning(hidden, heads, head_dim, fields.size("block_size", 256))
    stack = [
        (
            kind,
            (
                *blocks.norms("input_layernorm", features=hidden),
                attention if kind == FULL else lightning,
                *blocks.norms("post_attention_layernorm", features=hidden),
                Group("mlp", blocks.routed(hidden, inner, experts, active)),
            ),
        )
        for kind in kinds
    ]
    return blocks.language_model(fields, hidden, [blocks.stack("model.layers", stack)], final_norm=Norm("norm", hidden))


def _lightning(hidden: int, heads: int, head_dim: int, block: int) -> Group:
    """Lightning attention (Qin et al., arXiv 2401.04658): scores within blocks, a state between them."""
    width, state = heads * head_dim, 2 * heads * head_dim * head_dim

    def product(name: str, **sizes: int) -> Product:
        lacks = {"state_read": "first", "state_write": "last"}.get(name)
        return Product(name, chunk=block, padded=False, lacks=lacks, reads=("s",), writes="y", **sizes)  # type: ignore[arg-type]

    return Group(
        "self_attn",
        (
            Linear("qkv_proj", hidden, 3 * width, writes="s"),
            product("scores", per_pair=4 * width),
            product("state_read", per_row=state),
            product("state_write", per_row=state),
            Norm("norm", width, reads=("y",), writes="y"),
            Linear("output_gate", hidden, width, writes="y"),
            Linear("out_proj", width, hidden, reads=("y",)),
        ),
    )


def recurrent_gemma(fields: Fields) -> Architecture:
    """RecurrentGemma, that is Griffin (De et al., arXiv 2402.19427): gated recurrences, local attention in between."""
    hidden, layers, heads = (fields.size(each) for each in ("hidden_size", "num_hidden_layers", "num_attention_heads"))
    width = fields.size("lru_width", hidden)
    inner = fields.size("intermediate_size")
    if inner % 2:
        raise fields.unusable("intermediate_size", "an even number")
    pattern = (
        fields.values.get("block_types") or fields.values.get("_block_types") or ["recurrent", "recurrent", "attention"]
    )
    if not isinstance(pattern, (list, tuple)) or set(pattern) - {"recurrent", "attention"}:
        raise fields.unusable("block_types", "a list of 'recurrent' and 'attention'")
    kinds = [pattern[layer % len(pattern)] for layer in range(layers)]
    bias = fields.flag("attention_bias", False)
    window = fields.size("attention_window_size", 2048)
    attention = blocks.attention(
        hidden,
        heads,
        blocks.key_value_heads(fields, heads),
        blocks.head_dim(fields, hidden, heads),
        name="temporal_block",
        qkv_bias=bias,
        output_bias=True,
        window=window,
    )
    recurrence = _recurrence(
        hidden, width, heads, fields.size("conv1d_width", 4), blocks.split_heads(fields, width, heads)
    )
    stack = [
        (
            kind,
            (
                *blocks.norms("temporal_pre_norm", features=hidden),
                attention if kind == "attention" else recurrence,
                *blocks.norms("channel_pre_norm", features=hidden),
                blocks.gated_mlp(hidden, inner // 2, name="mlp_block", bias=True),
            ),
        )
        for kind in kinds
    ]
    return blocks.language_model(
        fields,
        hidden,
        [blocks.stack("model.layers", stack)],
        final_norm=Norm("final_norm", hidden),
        tied_default=True,
    )


def _recurrence(hidden: int, width: int, heads: int, kernel: int, head_width: int) -> Group:
    """The RG-LRU: two gates that are block-diagonal over heads; its recurrence itself is elementwise."""
    gates: list[Component] = [Vector("recurrent_param", width, bare=True, reads=("s",), writes="s")]
    for name in ("input_gate", "recurrent_gate"):
        gates += [
            Experts(f"{name}_weight", head_width, head_width, heads, heads, bare=True, reads=("s",), writes="g"),
            Vector(f"{name}_bias", width, bare=True, reads=("s",), writes="g"),
        ]
    return Group(
        "temporal_block",
        (
            Linear("linear_y", hidden, width, bias=True, writes="y"),
            Linear("linear_x", hidden, width, bias=True, writes="s"),
            causal_convolution("conv_1d", width, kernel, bias=True),
            Group("rg_lru", tuple(gates)),
            Linear("linear_out", width, hidden, bias=True, reads=("y", "s", "g")),
        ),
    )


def lfm2(fields: Fields) -> Architecture:
    """LFM2 (Liquid 2025, arXiv 2511.23404): gated short convolutions, attention in some layers."""
    if "tie_embedding" in fields.values:
        fields = replace(fields, values={**fields.values, "tie_word_embeddings": fields.values["tie_embedding"]})
    hidden, layers = fields.size("hidden_size"), fields.size("num_hidden_layers")
    attends = fields.values.get("full_attn_idxs")
    attends = range(layers) if attends is None else attends
    default = [FULL if layer in attends else "conv" for layer in range(layers)]
    kinds = blocks.layer_types(fields, layers, default, (FULL, "conv"))
    head_dim, groups = standard_heads(fields)
    attention = blocks.attention(
        hidden,
        fields.size("num_attention_heads"),
        groups,
        head_dim,
        names=("q_proj", "k_proj", "v_proj", "out_proj"),
        norms=blocks.head_norms(head_dim, ("q_layernorm", "k_layernorm")),
    )
    bias = fields.flag("conv_bias", False)
    convolution = Group(
        "conv",
        (
            Linear("in_proj", hidden, 3 * hidden, bias=bias, writes="s"),
            causal_convolution("conv", hidden, fields.size("conv_L_cache", 3), bias=bias),
            Linear("out_proj", hidden, hidden, bias=bias, reads=("s",)),
        ),
    )
    mlp = blocks.gated_mlp(hidden, _lfm2_width(fields), name="feed_forward", names=("w1", "w3", "w2"))
    stack = [
        (
            kind,
            (
                *blocks.norms("operator_norm", features=hidden),
                attention if kind == FULL else convolution,
                *blocks.norms("ffn_norm", features=hidden),
                mlp,
            ),
        )
        for kind in kinds
    ]
    return blocks.language_model(
        fields,
        hidden,
        [blocks.stack("model.layers", stack)],
        final_norm=Norm("embedding_norm", hidden),
        tied_default=True,
    )


def _lfm2_width(fields: Fields) -> int:
    """The MLP's width, which the config adjusts: two thirds, times a factor, rounded up."""
    width = fields.size_of("block_ff_dim", "intermediate_size")
    if not fields.flag("block_auto_adjust_ff_dim", True):
        return width
    width = int(2 * width / 3)
    factor = fields.values.get("block_ffn_dim_multiplier", 1.0)
    if factor is not None:
        if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 < factor < 1000:
            raise fields.unusable("block_ffn_dim_multiplier", "a positive number")
        width = int(factor * width)
        multiple = fields.size("block_multiple_of", 256)
        width = multiple * (-(-width // multiple))
    return width


def rwkv(fields: Fields) -> Architecture:
    """RWKV-4 (Peng et al., arXiv 2305.13048): the time mixing itself is elementwise and not counted."""
    hidden, layers = fields.size("hidden_size"), fields.size("num_hidden_layers")
    width, inner = fields.size("attention_hidden_size", hidden), fields.size("intermediate_size", 4 * hidden)

    def mixes(*names: str, size: int) -> tuple[Vector, ...]:
        return tuple(Vector(name, size, bare=True) for name in names)

    attention = Group(
        "attention",
        (
            *mixes("time_decay", "time_first", size=width),
            *mixes("time_mix_key", "time_mix_value", "time_mix_receptance", size=hidden),
            Linear("key", hidden, width, writes="k"),
            Linear("value", hidden, width, writes="v"),
            Linear("receptance", hidden, width, writes="q"),
            Linear("output", width, hidden, reads=("k", "v", "q")),
        ),
    )
    mlp = Group(
        "feed_forward",
        (
            *mixes("time_mix_key", "time_mix_receptance", size=hidden),
            Linear("key", hidden, inner, writes="h"),
            Linear("receptance", hidden, hidden, writes="r"),
            Linear("value", inner, hidden, reads=("h",), writes="r"),
            Vector("", 0, reads=("r",)),
        ),
    )
    body = (
        *blocks.norms("ln1", features=hidden, bias=True),
        attention,
        *blocks.norms("ln2", features=hidden, bias=True),
        mlp,
    )
    first = (*blocks.norms("pre_ln", features=hidden, bias=True), *body)
    stack = [("first", first), *[("", body)] * (layers - 1)] if layers > 1 else [("first", first)]
    return blocks.language_model(
        fields,
        hidden,
        [blocks.stack("rwkv.blocks", stack)],
        final_norm=Norm("ln_out", hidden, bias=True),
        embedding="rwkv.embeddings",
        head="head",
        body="rwkv",
    )
