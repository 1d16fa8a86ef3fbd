"""DeepSeek V2 and V3 (and Kimi K2, which is V3): latent attention, routed and shared experts, first layers dense."""

from __future__ import annotations

from flopwatch.model.architecture import Architecture, Component, Group
from flopwatch.model.components import AttentionCore, Leaf, Linear, Norm
from flopwatch.model.families import blocks, moe
from flopwatch.model.families.config import Fields

_QUERY_RANK = 1536


def deepseek_v2(fields: Fields) -> Architecture:
    """DeepSeek V2 (arXiv 2405.04434)."""
    return _decoder(fields, bias=fields.flag("attention_bias", False), mlp_bias=fields.flag("mlp_bias", False))


def deepseek_v3(fields: Fields) -> Architecture:
    """DeepSeek V3 (arXiv 2412.19437).

    Hugging Face's class leaves out the multi-token prediction layers (`num_nextn_predict_layers`), so training with it
    does not run them; nor does this count.
    """
    return _decoder(fields, bias=fields.flag("attention_bias", False))


def deepseek_v32(fields: Fields) -> Architecture:
    """DeepSeek V3.2 (2025): V3 whose queries see the `index_topk` keys that an indexer picks, outside of autograd."""
    return _decoder(fields, bias=fields.flag("attention_bias", False), indexed=True)


def _decoder(fields: Fields, *, bias: bool, mlp_bias: bool = False, indexed: bool = False) -> Architecture:
    hidden, layers = fields.size("hidden_size"), fields.size("num_hidden_layers")
    dense = blocks.gated_mlp(hidden, fields.size("intermediate_size"), bias=mlp_bias)
    attention = _latent_attention(fields, hidden, bias, indexed)
    mixture = moe.shared_mixture(fields, hidden, 2 if fields.model_type == "deepseek_v2" else 1, mlp_bias)

    def layer(sparse: bool) -> tuple[str, tuple[Component, ...]]:
        return "sparse" if sparse else "dense", (
            *blocks.norms("input_layernorm", features=hidden),
            attention,
            *blocks.norms("post_attention_layernorm", features=hidden),
            mixture if sparse else dense,
        )

    return blocks.language_model(
        fields,
        hidden,
        [blocks.stack("model.layers", [layer(sparse) for sparse in _sparse_layers(fields, layers)])],
        final_norm=Norm("norm", hidden),
    )


def _sparse_layers(fields: Fields, layers: int) -> list[bool]:
    if fields.values.get("mlp_layer_types") is not None:
        kinds = blocks.layer_types(fields, layers, (), ("dense", "sparse"), "mlp_layer_types")
        return [kind == "sparse" for kind in kinds]
    first = moe.first_dense(fields, 0 if fields.model_type == "deepseek_v2" else 3)
    if fields.size("moe_layer_freq", 1) != 1:
        raise fields.unusable("moe_layer_freq", "1")
    return [layer >= first for layer in range(layers)]


def _latent_attention(fields: Fields, hidden: int, bias: bool, indexed: bool) -> Group:
    """Queries through a low rank (or at once), keys and values from a shared latent; heads of nope + rope and v."""
    heads = fields.size("num_attention_heads")
    nope, rope, value = (fields.size(each) for each in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
    latent, rank = fields.size("kv_lora_rank"), fields.optional_size("q_lora_rank", _QUERY_RANK)
    queries: tuple[Leaf, ...]
    if rank is None:
        queries = (Linear("q_proj", hidden, heads * (nope + rope), writes="q"),)
    else:
        queries = (
            Linear("q_a_proj", hidden, rank, bias=bias, writes="q_a"),
            Norm("q_a_layernorm", rank, reads=("q_a",), writes="q_a"),
            Linear("q_b_proj", rank, heads * (nope + rope), reads=("q_a",), writes="q"),
        )
    window = fields.size("index_topk") if indexed else None
    return Group(
        "self_attn",
        (
            *queries,
            Linear("kv_a_proj_with_mqa", hidden, latent + rope, bias=bias, writes="kv_a"),
            Norm("kv_a_layernorm", latent, reads=("kv_a",), writes="kv_a"),
            Linear("kv_b_proj", latent, heads * (nope + value), reads=("kv_a",), writes="kv"),
            *(_indexer(fields, hidden, rank) if indexed else ()),
            AttentionCore("core", heads, nope + rope, value, window=window, reads=("q", "kv", "kv")),
            Linear("o_proj", heads * value, hidden, bias=bias, reads=("o",)),
        ),
    )


def _indexer(fields: Fields, hidden: int, rank: int | None) -> tuple[Group]:
    """Scores of all causal pairs, in heads of their own, of which the `index_topk` best are attended to."""
    heads, width = fields.size("index_n_heads"), fields.size("index_head_dim")
    if rank is None:
        raise fields.needed("q_lora_rank", "a positive whole number")
    parts: tuple[Component, ...] = (
        Linear("wq_b", rank, heads * width, no_grad=True),
        Linear("wk", hidden, width, no_grad=True),
        Norm("k_norm", width, bias=True, no_grad=True),
        Linear("weights_proj", hidden, heads, no_grad=True),
        AttentionCore("core", heads, width, 1, no_grad=True),
    )
    return (Group("indexer", parts),)
