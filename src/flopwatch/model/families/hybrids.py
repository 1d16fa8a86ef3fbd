"""Decoders that mix state space layers with attention and experts: Jamba, Bamba, Falcon-H1, Granite 4, Nemotron-H."""

from __future__ import annotations

from dataclasses import replace

from flopwatch.model.architecture import Architecture, Component, Group
from flopwatch.model.components import Experts, Leaf, Linear, Norm
from flopwatch.model.families import blocks
from flopwatch.model.families.blocks import FULL
from flopwatch.model.families.config import Fields
from flopwatch.model.families.llama import Decoder, attention_of, standard_heads
from flopwatch.model.families.ssm import ATTENTION, LINEAR, MAMBA, mamba2_mixer, mamba_mixer


def jamba(fields: Fields) -> Architecture:
    """Jamba (Lieber et al., arXiv 2403.19887): Mamba with an attention layer and a mixture every few layers."""
    hidden, layers = fields.size("hidden_size"), fields.size("num_hidden_layers")
    rank = fields.values.get("mamba_dt_rank", "auto")
    mixer = mamba_mixer(
        hidden,
        fields.size("mamba_expand", 2) * hidden,
        fields.size("mamba_d_state", 16),
        fields.size("mamba_d_conv", 4),
        -(-hidden // 16) if rank in ("auto", None) else fields.size("mamba_dt_rank"),
        name="mamba",
        bias=fields.flag("mamba_proj_bias", False),
        conv_bias=fields.flag("mamba_conv_bias", True),
        norms=True,
    )
    attention = attention_of(fields, Decoder(*standard_heads(fields)), FULL)
    experts, inner = fields.size("num_experts", 16), fields.size("intermediate_size")
    mixture = Group(
        "feed_forward",
        blocks.routed(hidden, inner, experts, blocks.active_experts(fields, experts), router="router"),
    )
    dense = blocks.gated_mlp(hidden, inner, name="feed_forward")
    attends = _every(fields, layers, "attn_layer_period", "attn_layer_offset", (8, 4))
    routes = _every(fields, layers, "expert_layer_period", "expert_layer_offset", (2, 1))

    def layer(number: int) -> tuple[str, tuple[Component, ...]]:
        sparse = number in routes and experts > 1
        label = f"{'attention' if number in attends else 'mamba'} {'sparse' if sparse else 'dense'}"
        return label, (
            *blocks.norms("input_layernorm", features=hidden),
            attention if number in attends else mixer,
            *blocks.norms("pre_ff_layernorm", features=hidden),
            mixture if sparse else dense,
        )

    return _hybrid(fields, hidden, [layer(number) for number in range(layers)], "final_layernorm")


def _every(fields: Fields, layers: int, period: str, offset: str, default: tuple[int, int]) -> set[int]:
    start = fields.values.get(offset, default[1])
    if isinstance(start, bool) or not isinstance(start, int) or start < 0:
        raise fields.unusable(offset, "a layer's number")
    step = fields.size(period, default[0])
    return {layer for layer in range(layers) if layer % step == start}


def _hybrid(
    fields: Fields, hidden: int, layers: list[tuple[str, tuple[Component, ...]]], norm: str, tied: bool = False
) -> Architecture:
    return blocks.language_model(
        fields, hidden, [blocks.stack("model.layers", layers)], final_norm=Norm(norm, hidden), tied_default=tied
    )


def _mamba2_of(fields: Fields, hidden: int) -> Group:
    """The Mamba-2 mixer of Bamba, Falcon-H1 and Granite 4, whose fields begin with `mamba_`."""
    heads = fields.size("mamba_n_heads", 128)
    inner = fields.size("mamba_d_ssm", fields.size("mamba_expand", 2) * hidden)
    head_dim = fields.values.get("mamba_d_head", "auto")
    width = blocks.split_heads(fields, inner, heads) if head_dim in ("auto", None) else fields.size("mamba_d_head")
    if heads * width != inner:
        raise fields.unusable("mamba_n_heads", f"heads of {width} that make up {inner}")
    bias = fields.flag("mamba_proj_bias", False)
    is_h1 = fields.model_type == "falcon_h1"
    return mamba2_mixer(
        hidden,
        heads,
        width,
        fields.size("mamba_d_state", 256),
        fields.size("mamba_n_groups", 1),
        fields.size("mamba_d_conv", 4),
        fields.size("mamba_chunk_size", 256),
        name="mamba",
        bias=bias,
        conv_bias=fields.flag("mamba_conv_bias", True),
        output_bias=fields.flag("projectors_bias", False) if is_h1 else None,
        normed=fields.flag("mamba_rms_norm", False) if is_h1 else True,
    )


def bamba(fields: Fields) -> Architecture:
    """Bamba (IBM 2024): Mamba-2 with attention in the layers that `attn_layer_indices` names."""
    hidden, bias = fields.size("hidden_size"), fields.flag("attention_bias", False)
    attends = fields.values.get("attn_layer_indices") or ()
    if not isinstance(attends, (list, tuple)):
        raise fields.unusable("attn_layer_indices", "a list of layer numbers")
    attention = attention_of(fields, Decoder(*standard_heads(fields), qkv_bias=bias, output_bias=bias), FULL)
    mixer = _mamba2_of(fields, hidden)
    mlp = blocks.gated_mlp(
        hidden, fields.size("intermediate_size"), name="feed_forward", bias=fields.flag("mlp_bias", False)
    )
    layers = [
        (
            ATTENTION if number in attends else MAMBA,
            (
                *blocks.norms("input_layernorm", features=hidden),
                attention if number in attends else mixer,
                *blocks.norms("pre_ff_layernorm", features=hidden),
                mlp,
            ),
        )
        for number in range(fields.size("num_hidden_layers"))
    ]
    return _hybrid(fields, hidden, layers, "final_layernorm")


def falcon_h1(fields: Fields) -> Architecture:
    """Falcon-H1 (Zuo et al., arXiv 2507.22448): attention and Mamba-2 side by side in every layer."""
    hidden, bias = fields.size("hidden_size"), fields.flag("attention_bias", False)
    form = Decoder(*standard_heads(fields), qkv_bias=bias, output_bias=bias)
    layer = (
        *blocks.norms("input_layernorm", features=hidden),
        blocks.side_by_side((_mamba2_of(fields, hidden),), (attention_of(fields, form, FULL),)),
        *blocks.norms("pre_ff_layernorm", features=hidden),
        blocks.gated_mlp(
            hidden, fields.size("intermediate_size"), name="feed_forward", bias=fields.flag("mlp_bias", False)
        ),
    )
    return _hybrid(fields, hidden, [("", layer)] * fields.size("num_hidden_layers"), "final_layernorm")


def granitemoehybrid(fields: Fields) -> Architecture:
    """Granite 4 (IBM 2025): Mamba-2 or attention, then a mixture (where there are experts) beside a shared MLP."""
    hidden, bias = fields.size("hidden_size"), fields.flag("attention_bias", False)
    layers = fields.size("num_hidden_layers")
    names = {MAMBA: MAMBA, ATTENTION: ATTENTION, LINEAR: MAMBA, FULL: ATTENTION}
    kinds = [names[kind] for kind in blocks.layer_types(fields, layers, [LINEAR] * layers, tuple(names))]
    attention = attention_of(fields, Decoder(*standard_heads(fields), qkv_bias=bias, output_bias=bias), FULL)
    mixer = _mamba2_of(fields, hidden) if MAMBA in kinds else attention
    shared = fields.size("shared_intermediate_size", 1024)
    experts = fields.values.get("num_local_experts", 8)
    mixture: tuple[Component, ...] = ()
    if experts:
        count = fields.size("num_local_experts", 8)
        active = blocks.active_experts(fields, count)
        inner = fields.size("intermediate_size")
        mixture = (Group("block_sparse_moe", blocks.routed(hidden, inner, count, active, router="router")),)
    mlp = blocks.gated_mlp(hidden, shared, name="shared_mlp", names=("", "", "output_linear"), fused="input_linear")
    stack = [
        (
            kind,
            (
                *blocks.norms("input_layernorm", features=hidden),
                attention if kind == ATTENTION else mixer,
                *blocks.norms("post_attention_layernorm", features=hidden),
                blocks.side_by_side(mixture, (mlp,)),
            ),
        )
        for kind in kinds
    ]
    return _hybrid(fields, hidden, stack, "norm")


_NEMOTRON_LETTERS = {"M": MAMBA, "*": ATTENTION, "-": "mlp", "E": "moe"}


def nemotron_h(fields: Fields) -> Architecture:
    """Nemotron-H and Nemotron 3 (arXiv 2504.03624): every layer is one of Mamba-2, attention, MLP or mixture."""
    hidden = fields.size("hidden_size")
    kinds = _nemotron_layers(fields)
    builders = {MAMBA: _nemotron_mamba, ATTENTION: _nemotron_attention, "mlp": _nemotron_mlp, "moe": _nemotron_moe}
    mixers = {kind: builders[kind](fields, hidden) for kind in dict.fromkeys(kinds)}
    layers = [(kind, (*blocks.norms("norm", features=hidden), mixers[kind])) for kind in kinds]
    return blocks.language_model(
        fields,
        hidden,
        [blocks.stack("model.layers", layers)],
        final_norm=Norm("norm_f", hidden),
        embedding="model.embeddings",
        ties=False,
    )


def _nemotron_layers(fields: Fields) -> list[str]:
    stated = fields.values.get("layers_block_type") or fields.values.get("layer_types")
    if stated is None and isinstance(fields.values.get("hybrid_override_pattern"), str):
        stated = [_NEMOTRON_LETTERS.get(letter, letter) for letter in fields.values["hybrid_override_pattern"]]
    names = {MAMBA: MAMBA, ATTENTION: ATTENTION, LINEAR: MAMBA, FULL: ATTENTION, "mlp": "mlp", "moe": "moe"}
    if not isinstance(stated, (list, tuple)) or not stated or set(map(str, stated)) - set(names):
        raise fields.needed("layers_block_type", f"a list of {', '.join(names)}")
    return [names[kind] for kind in stated]


def _nemotron_mamba(fields: Fields, hidden: int) -> Group:
    bias = fields.flag("use_bias", False)
    return mamba2_mixer(
        hidden,
        fields.size("mamba_num_heads", 128),
        fields.size("mamba_head_dim", 64),
        fields.size("ssm_state_size", 128),
        fields.size("n_groups", 8),
        fields.size("conv_kernel", 4),
        fields.size("chunk_size", 128),
        name="mixer",
        bias=bias,
        conv_bias=fields.flag("use_conv_bias", True),
    )


def _nemotron_attention(fields: Fields, hidden: int) -> Group:
    heads = fields.size("num_attention_heads")
    groups = blocks.key_value_heads(fields, heads)
    window = fields.optional_size("sliding_window")
    return blocks.attention(hidden, heads, groups, fields.size("head_dim", 128), name="mixer", window=window)


def _nemotron_mlp(fields: Fields, hidden: int) -> Group:
    bias = fields.flag("mlp_bias", False)
    return blocks.plain_mlp(hidden, fields.size("intermediate_size"), name="mixer", bias=bias)


def _nemotron_moe(fields: Fields, hidden: int) -> Group:
    """Experts on the hidden state or, with `moe_latent_size`, on a narrower latent; two matrices each, squared ReLU."""
    experts, latent, bias = fields.size("n_routed_experts"), fields.optional_size("moe_latent_size"), False
    active = blocks.active_experts(fields, experts)
    inner, shared = fields.size("moe_intermediate_size"), fields.size("moe_shared_expert_intermediate_size")
    router, routed = blocks.routed(hidden, inner, experts, active, gated=False)
    parts: tuple[Component, ...] = (router, routed)
    bias = fields.flag("mlp_bias", False)
    if latent is not None:
        assert isinstance(routed, Group)
        first, last, weighted = routed.children
        assert isinstance(first, Experts)
        assert isinstance(last, Experts)
        assert isinstance(weighted, Leaf)
        narrow = Group(
            "experts",
            (
                replace(first, in_features=latent, reads=("l",)),
                replace(last, out_features=latent, writes="l"),
                replace(weighted, reads=("route", "l"), writes="l"),
            ),
        )
        parts = (
            router,
            Linear("fc1_latent_proj", hidden, latent, bias=bias, writes="l"),
            narrow,
            Linear("fc2_latent_proj", latent, hidden, bias=bias, reads=("l",)),
        )
    mlp = blocks.plain_mlp(hidden, shared, name="shared_experts", bias=bias)
    return Group("mixer", (blocks.side_by_side(parts, (mlp,)),))
