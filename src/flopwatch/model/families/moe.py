"""Mixtures of experts: a router sends every token to a few of many MLPs; some stand beside a shared one."""

from __future__ import annotations

from dataclasses import replace

from flopwatch.model.architecture import Architecture, Component, Group
from flopwatch.model.components import Experts, Leaf, Linear, Norm, Vector
from flopwatch.model.families import blocks
from flopwatch.model.families.blocks import CHUNKED, FULL, SLIDING
from flopwatch.model.families.config import Fields
from flopwatch.model.families.llama import Decoder, around_attention, one_window, qwen_windows, standard_heads

_LLAMA4_DEFAULT_CHUNK = 8192


def _decoder(
    fields: Fields, form: Decoder, mlps: list[tuple[str, tuple[Component, ...]]], *, head_bias: bool = False
) -> Architecture:
    """A decoder whose layers have the (label, MLP) given for each."""
    kinds = form.kinds or [FULL] * len(mlps)
    several = len({label for label, _ in mlps}) > 1
    around = {kind: around_attention(fields, form, kind) for kind in dict.fromkeys(kinds)}
    layers = [
        (f"{kind} {label}".strip() if several else kind, (*around[kind], *mlp))
        for kind, (label, mlp) in zip(kinds, mlps, strict=True)
    ]
    hidden = fields.size("hidden_size")
    return blocks.language_model(
        fields,
        hidden,
        [blocks.stack("model.layers", layers)],
        final_norm=Norm("norm", hidden, bias=form.norm_bias),
        head_bias=head_bias,
        tied_default=form.tied_default,
    )


def _all(fields: Fields, mlp: Group) -> list[tuple[str, tuple[Component, ...]]]:
    return [("", (mlp,))] * fields.size("num_hidden_layers")


def mixtral(fields: Fields) -> Architecture:
    """Mixtral (Jiang et al., arXiv 2401.04088): every MLP a mixture, by default no window."""
    window = fields.optional_size("sliding_window")
    form = Decoder(*standard_heads(fields), kinds=one_window(fields, window), window=window)
    return _decoder(fields, form, _all(fields, _local_experts(fields, "mlp", "gate")))


def _local_experts(fields: Fields, name: str, router: str) -> Group:
    experts = fields.size_of("num_local_experts", "num_experts")
    return Group(
        name,
        blocks.routed(
            fields.size("hidden_size"),
            fields.size("intermediate_size"),
            experts,
            blocks.active_experts(fields, experts),
            router=router,
        ),
    )


def olmoe(fields: Fields) -> Architecture:
    """OLMoE (Muennighoff et al., arXiv 2409.02060): norms on all of q and k."""
    heads, (head_dim, groups) = fields.size("num_attention_heads"), standard_heads(fields)
    bias = fields.flag("attention_bias", False)
    form = Decoder(
        head_dim,
        groups,
        qkv_bias=bias,
        output_bias=bias,
        head_norms=blocks.head_norms(head_dim, times=(heads, groups)),
    )
    return _decoder(fields, form, _all(fields, _local_experts(fields, "mlp", "gate")))


def minimax_m2(fields: Fields) -> Architecture:
    """MiniMax-M2 (MiniMax 2025): norms on all of q and k, every MLP a mixture."""
    heads, head_dim = fields.size("num_attention_heads"), fields.size("head_dim", 128)
    groups = blocks.key_value_heads(fields, heads)
    form = Decoder(head_dim, groups, head_norms=blocks.head_norms(head_dim, times=(heads, groups)))
    return _decoder(fields, form, _all(fields, _local_experts(fields, "mlp", "gate")))


def granitemoe(fields: Fields) -> Architecture:
    """Granite 3 MoE (IBM 2024)."""
    bias = fields.flag("attention_bias", False)
    form = Decoder(*standard_heads(fields), qkv_bias=bias, output_bias=bias)
    return _decoder(fields, form, _all(fields, _local_experts(fields, "block_sparse_moe", "router")))


def phimoe(fields: Fields) -> Architecture:
    """Phi-3.5-MoE (arXiv 2404.14219): LayerNorm, biases where the config says so."""
    bias, window = fields.flag("attention_bias", False), fields.optional_size("sliding_window")
    if fields.size("num_experts_per_tok", 2) != 2:
        raise fields.unusable("num_experts_per_tok", "2, the only number that its router knows,")
    form = Decoder(
        *standard_heads(fields),
        kinds=one_window(fields, window),
        window=window,
        qkv_bias=bias,
        output_bias=bias,
        norm_bias=True,
    )
    mlps = _all(fields, _local_experts(fields, "mlp", "router"))
    return _decoder(fields, form, mlps, head_bias=fields.flag("lm_head_bias", False))


def qwen2_moe(fields: Fields) -> Architecture:
    """Qwen 2 MoE (arXiv 2407.10671): small experts beside a shared one that has a gate."""
    kinds, window = qwen_windows(fields)
    form = Decoder(*standard_heads(fields), kinds=kinds, window=window, qkv_bias=fields.flag("qkv_bias", True))
    return _decoder(fields, form, _sparse_steps(fields, qwen_mixture(fields)))


def qwen_mixture(fields: Fields) -> Group:
    """Qwen's mixture with a gated shared expert."""
    hidden = fields.size("hidden_size")
    experts = fields.size_of("num_experts", "num_local_experts")
    shared = blocks.gated_mlp(hidden, fields.size("shared_expert_intermediate_size"), name="shared_expert")
    routed = blocks.routed(
        hidden, fields.size("moe_intermediate_size"), experts, blocks.active_experts(fields, experts)
    )
    gate = (
        Linear("shared_expert_gate", hidden, 1, role="router", writes="gate"),
        Leaf("weighted_sum", reads=("gate",)),
    )
    return Group("mlp", (blocks.side_by_side((shared,), routed, gate),))


def qwen3_moe(fields: Fields) -> Architecture:
    """Qwen 3 MoE (arXiv 2505.09388): a norm on every query and key head, no shared expert."""
    hidden, bias = fields.size("hidden_size"), fields.flag("attention_bias", False)
    head_dim, groups = standard_heads(fields)
    sliding = fields.flag("use_sliding_window", False)
    window = fields.optional_size("sliding_window") if sliding else None
    form = Decoder(
        head_dim,
        groups,
        kinds=one_window(fields, window),
        window=window,
        qkv_bias=bias,
        output_bias=bias,
        head_norms=blocks.head_norms(head_dim),
    )
    experts = fields.size_of("num_experts", "num_local_experts")
    active = blocks.active_experts(fields, experts)
    mixture = Group("mlp", blocks.routed(hidden, fields.size("moe_intermediate_size"), experts, active))
    return _decoder(fields, form, _sparse_steps(fields, mixture))


def _sparse_steps(fields: Fields, mixture: Group) -> list[tuple[str, tuple[Component, ...]]]:
    """A mixture in every `decoder_sparse_step`-th layer that `mlp_only_layers` does not name, else a dense MLP."""
    step, dense_only = fields.size("decoder_sparse_step", 1), fields.values.get("mlp_only_layers") or ()
    if not isinstance(dense_only, (list, tuple)):
        raise fields.unusable("mlp_only_layers", "a list of layer numbers")
    sparse = [layer not in dense_only and (layer + 1) % step == 0 for layer in range(fields.size("num_hidden_layers"))]
    return dense_or_sparse(fields, sparse, mixture)


def dense_or_sparse(
    fields: Fields, sparse: list[bool], mixture: Group, bias: bool = False
) -> list[tuple[str, tuple[Component, ...]]]:
    """The mixture for sparse layers, a dense gated MLP for the others."""
    if all(sparse):
        return [("sparse", (mixture,))] * len(sparse)
    dense = blocks.gated_mlp(fields.size("hidden_size"), fields.size("intermediate_size"), bias=bias)
    return [("sparse", (mixture,)) if each else ("dense", (dense,)) for each in sparse]


def glm4_moe(fields: Fields) -> Architecture:
    """GLM-4.5 (arXiv 2508.06471): first layers dense, shared experts; its extra prediction layer is not counted.

    Hugging Face's class leaves out the `num_nextn_predict_layers`, so training with it does not run them.
    """
    head_dim, groups = _rounded_heads(fields)
    form = Decoder(
        head_dim,
        groups,
        qkv_bias=fields.flag("attention_bias", False),
        head_norms=blocks.head_norms(head_dim) if fields.flag("use_qk_norm", False) else (),
    )
    return _glm4_moe(fields, form)


def glm4v_moe_text(fields: Fields) -> Architecture:
    """GLM-4.5V's text model: GLM-4.5 without norms on heads, with biases where the config says so."""
    form = Decoder(*_rounded_heads(fields), qkv_bias=fields.flag("attention_bias", True))
    return _glm4_moe(fields, form)


def _rounded_heads(fields: Fields) -> tuple[int, int]:
    """Return head_dim, rounded down where the heads do not divide the hidden size, and the key and value heads."""
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    return fields.optional_size("head_dim") or hidden // heads, blocks.key_value_heads(fields, heads)


def _glm4_moe(fields: Fields, form: Decoder) -> Architecture:
    first, mixture = first_dense(fields, 1), shared_mixture(fields, fields.size("hidden_size"), 1)
    sparse = [layer >= first for layer in range(fields.size("num_hidden_layers"))]
    return _decoder(fields, form, dense_or_sparse(fields, sparse, mixture))


def first_dense(fields: Fields, default: int) -> int:
    """Return how many of the first layers are dense."""
    first = fields.values.get("first_k_dense_replace", default)
    if isinstance(first, bool) or not isinstance(first, int) or first < 0:
        raise fields.unusable("first_k_dense_replace", "a whole number of layers")
    return first


def shared_mixture(fields: Fields, hidden: int, shared_by_default: int, bias: bool = False) -> Group:
    """DeepSeek's mixture: routed experts, and shared ones fused into one MLP."""
    experts, inner = fields.size("n_routed_experts"), fields.size("moe_intermediate_size")
    shared = fields.size("n_shared_experts", shared_by_default) * inner
    routed = blocks.routed(hidden, inner, experts, blocks.active_experts(fields, experts))
    mlp = blocks.gated_mlp(hidden, shared, name="shared_experts", bias=bias)
    return Group("mlp", (blocks.side_by_side(routed, (mlp,)),))


def ernie4_5_moe(fields: Fields) -> Architecture:
    """ERNIE 4.5 (Baidu 2025): a mixture in a range of layers, shared experts, a correction bias beside the router."""
    hidden, bias = fields.size("hidden_size"), fields.flag("use_bias", False)
    form = Decoder(*standard_heads(fields), qkv_bias=bias, output_bias=bias, tied_default=True)
    layers, inner = fields.size("num_hidden_layers"), fields.size("moe_intermediate_size")
    experts, interval = fields.size("moe_num_experts"), fields.size("moe_layer_interval", 1)
    first, last = fields.values.get("moe_layer_start_index", 1), fields.values.get("moe_layer_end_index", -1)
    if not isinstance(first, int) or first < 0:
        raise fields.needed("moe_layer_start_index", "a layer's number")
    if not isinstance(last, int):
        raise fields.needed("moe_layer_end_index", "a layer's number, -1 for the last")
    end = layers - 1 if last == -1 else last
    routed = (
        Vector("gate.moe_statics.e_score_correction_bias", experts, bare=True, reads=(), writes="route", trains=False),
        *blocks.routed(hidden, inner, experts, blocks.active_experts(fields, experts, "moe_k")),
    )
    shared: tuple[Component, ...] = ()
    if fields.values.get("moe_num_shared_experts", 2):
        width = fields.size("moe_num_shared_experts", 2) * inner
        shared = (blocks.gated_mlp(hidden, width, name="shared_experts", bias=bias),)
    sparse = [(layer + 1) % interval == 0 and first <= layer <= end for layer in range(layers)]
    mlps = dense_or_sparse(fields, sparse, Group("mlp", (blocks.side_by_side(shared, routed),)), bias=bias)
    return _decoder(fields, form, mlps, head_bias=bias)


def gpt_oss(fields: Fields) -> Architecture:
    """gpt-oss (OpenAI 2025, arXiv 2508.10925): every other layer slides, a sink per head, biases everywhere."""
    hidden, heads, layers = (fields.size(each) for each in ("hidden_size", "num_attention_heads", "num_hidden_layers"))
    bias, window = fields.flag("attention_bias", True), fields.optional_size("sliding_window", 128)
    head_dim = fields.size("head_dim", 64)
    default = [SLIDING if layer % 2 == 0 else FULL for layer in range(layers)]
    form = Decoder(
        head_dim,
        blocks.key_value_heads(fields, heads),
        kinds=blocks.layer_types(fields, layers, default),
        window=window,
        qkv_bias=bias,
        output_bias=bias,
        head_norms=(Vector("sinks", heads, bare=True, reads=("q",), writes="q"),),
    )
    experts = fields.size_of("num_local_experts", "num_experts")
    active = blocks.active_experts(fields, experts)
    inner = fields.size("intermediate_size")
    mixture = blocks.routed(hidden, inner, experts, active, router="router", router_bias=True, bias=True)
    return _decoder(fields, form, _all(fields, Group("mlp", mixture)))


def llama4_text(fields: Fields) -> Architecture:
    """Llama 4's text model (Meta 2025): attention in chunks on three of four layers, one shared expert.

    A token meets `num_experts_per_tok` experts; Hugging Face's code sends every token through all of them and
    multiplies the others by zero, which is no work of the model's.
    """
    hidden, heads, layers = (fields.size(each) for each in ("hidden_size", "num_attention_heads", "num_hidden_layers"))
    bias, head_dim = fields.flag("attention_bias", False), fields.size("head_dim", 128)
    groups = blocks.key_value_heads(fields, heads)
    chunk = fields.optional_size("attention_chunk_size", _LLAMA4_DEFAULT_CHUNK)
    interval = fields.size("no_rope_layer_interval", 4)
    rotary = fields.values.get("no_rope_layers") or [int((layer + 1) % interval != 0) for layer in range(layers)]
    default = [CHUNKED if has_rope else FULL for has_rope in rotary]
    kinds = blocks.layer_types(fields, layers, default, (FULL, CHUNKED))
    sparse = _llama4_sparse_layers(fields, layers)
    dense = blocks.gated_mlp(hidden, fields.size("intermediate_size_mlp"), name="feed_forward")
    mixture = _llama4_mixture(fields, hidden)

    def layer(number: int) -> tuple[str, tuple[Component, ...]]:
        attention = blocks.attention(
            hidden,
            heads,
            groups,
            head_dim,
            qkv_bias=bias,
            output_bias=bias,
            chunk=chunk if kinds[number] == CHUNKED else None,
        )
        return f"{kinds[number]} {'sparse' if number in sparse else 'dense'}", (
            *blocks.norms("input_layernorm", features=hidden),
            attention,
            *blocks.norms("post_attention_layernorm", features=hidden),
            mixture if number in sparse else dense,
        )

    return blocks.language_model(
        fields,
        hidden,
        [blocks.stack("model.layers", [layer(number) for number in range(layers)])],
        final_norm=Norm("norm", hidden),
    )


def _llama4_sparse_layers(fields: Fields, layers: int) -> set[int]:
    stated = fields.values.get("moe_layers")
    if stated is None:
        step = fields.size("interleave_moe_layer_step", 1)
        return set(range(step - 1, layers, step))
    if not isinstance(stated, (list, tuple)):
        raise fields.unusable("moe_layers", "a list of layer numbers")
    return set(stated)


def _llama4_mixture(fields: Fields, hidden: int) -> Group:
    experts, inner = fields.size("num_local_experts"), fields.size("intermediate_size")
    active = blocks.active_experts(fields, experts)
    router, routed = blocks.routed(hidden, inner, experts, active, router="router")
    assert isinstance(routed, Group)
    first, last, weighted = routed.children
    assert isinstance(first, Experts)
    assert isinstance(last, Experts)
    parts = (
        replace(first, reference=replace(first, active=experts)),
        replace(last, reference=replace(last, active=experts)),
        weighted,
    )
    shared = blocks.gated_mlp(hidden, inner, name="shared_expert")
    return Group("feed_forward", (blocks.side_by_side((router, Group("experts", parts)), (shared,)),))


def dbrx(fields: Fields) -> Architecture:
    """DBRX (Databricks 2024): LayerNorm without bias; q, k and v in one matrix, as the experts' rows are."""
    hidden, heads = fields.size("d_model"), fields.size("n_heads")
    attention = Fields("dbrx attn_config", fields.mapping("attn_config"))
    groups = attention.size("kv_n_heads", 1)
    if heads % groups:
        raise attention.unusable("kv_n_heads", f"a divisor of the {heads} heads")
    if fields.flag("tie_word_embeddings", False):
        raise fields.unusable("tie_word_embeddings", "false")
    head_dim = blocks.split_heads(fields, hidden, heads)
    attn = blocks.attention(hidden, heads, groups, head_dim, name="attn", names=("", "", "", "out_proj"), fused="Wqkv")
    first, second = blocks.norms("norm_1", "norm_2", features=hidden)
    layer = (Group("norm_attn_norm", (first, attn, second)), _dbrx_mixture(fields, hidden))
    return blocks.mpt_model(fields, hidden, layer, tied=False)


def _dbrx_mixture(fields: Fields, hidden: int) -> Group:
    options = Fields("dbrx ffn_config", fields.mapping("ffn_config"))
    inner, experts = options.size("ffn_hidden_size"), options.size("moe_num_experts")
    active = blocks.active_experts(options, experts, "moe_top_k")
    w1, v1 = (Experts(name, hidden, inner, experts, active, writes="h", bare=True) for name in ("w1", "v1"))
    w2 = Experts("w2", inner, hidden, experts, active, reads=("h",), bare=True)
    router = Linear("router.layer", hidden, experts, role="router", writes="route")
    weighted = Leaf("weighted_sum", reads=("route", "x"))
    return Group("ffn", (router, Group("experts", (Group("mlp", (w1, v1, w2)), weighted))))
