"""Blocks that decoder architectures share."""

from __future__ import annotations

from collections import Counter

from flopwatch.architectures.config import Fields
from flopwatch.components import AttentionCore, Component, Embedding, Group, Linear, Norm
from flopwatch.errors import ConfigError


def head_dim(fields: Fields, hidden_size: int, heads: int) -> int:
    """The `head_dim` field, or hidden_size / heads where it is absent or null.

    Raises:
        ConfigError: If it is absent and the heads do not divide the hidden size.
    """
    stated = fields.optional_size("head_dim")
    if stated is not None:
        return stated
    if hidden_size % heads:
        raise ConfigError(
            f"the {fields.model_type} config has no 'head_dim' and its hidden size {hidden_size} is not a multiple of"
            f" its {heads} attention heads"
        )
    return hidden_size // heads


def key_value_heads(fields: Fields, heads: int, default: int | None = None) -> int:
    """The `num_key_value_heads` field; null means as many as query heads.

    Raises:
        ConfigError: If the query heads are not a multiple of it.
    """
    groups = fields.size("num_key_value_heads", heads if default is None else default)
    if heads % groups:
        raise ConfigError(
            f"the {fields.model_type} config has num_attention_heads={heads}, which is not a multiple of"
            f" num_key_value_heads={groups}"
        )
    return groups


def attention(
    hidden_size: int,
    heads: int,
    key_value_heads: int,
    head_dim: int,
    *,
    qkv_bias: bool = False,
    output_bias: bool = False,
    head_norm: bool = False,
    window: int | None = None,
) -> Group:
    """Causal self-attention with grouped keys and values: q, k, v, the two products, o."""
    query_size, key_size = heads * head_dim, key_value_heads * head_dim
    norms: tuple[Component, ...] = (Norm("q_norm", head_dim), Norm("k_norm", head_dim)) if head_norm else ()
    return Group(
        "self_attn",
        (
            Linear("q_proj", hidden_size, query_size, bias=qkv_bias),
            Linear("k_proj", hidden_size, key_size, bias=qkv_bias),
            Linear("v_proj", hidden_size, key_size, bias=qkv_bias),
            *norms,
            AttentionCore("core", heads, head_dim, head_dim, window=window),
            Linear("o_proj", query_size, hidden_size, bias=output_bias),
        ),
    )


def gated_mlp(hidden_size: int, intermediate_size: int, bias: bool = False) -> Group:
    """A gated MLP: gate, up and down."""
    return Group(
        "mlp",
        (
            Linear("gate_proj", hidden_size, intermediate_size, bias=bias),
            Linear("up_proj", hidden_size, intermediate_size, bias=bias),
            Linear("down_proj", intermediate_size, hidden_size, bias=bias),
        ),
    )


def plain_mlp(hidden_size: int, intermediate_size: int, bias: bool = True) -> Group:
    """A two-matrix MLP: up and down."""
    return Group(
        "mlp",
        (
            Linear("up_proj", hidden_size, intermediate_size, bias=bias),
            Linear("down_proj", intermediate_size, hidden_size, bias=bias),
        ),
    )


def norms(count: int, features: int, *, bias: bool = False, affine: bool = True) -> Group:
    """The norms of one layer."""
    return Group("norms", (Norm("norm", features, bias=bias, affine=affine),), times=count)


def embedding_and_head(fields: Fields, hidden_size: int, *, tied_default: bool) -> tuple[Embedding, Linear]:
    """Token embedding and LM head, the head's weight tied to the embedding where the config says so."""
    vocab_size = fields.size("vocab_size")
    tied = fields.flag("tie_word_embeddings", tied_default)
    return Embedding("embed_tokens", vocab_size, hidden_size), Linear("lm_head", hidden_size, vocab_size, tied=tied)


def layers_by_type(fields: Fields, layers: int, default: list[str]) -> Counter[str]:
    """How many layers attend globally ("full_attention") and how many in a window ("sliding_attention").

    Args:
        fields: The config; its `layer_types` decides where it is given.
        layers: The number of layers.
        default: The pattern that the family takes where `layer_types` is absent.

    Raises:
        ConfigError: If the list has another length or another kind of layer.
    """
    types = fields.values.get("layer_types")
    if types is None:
        types = default
    if not isinstance(types, (list, tuple)) or len(types) != layers:
        raise fields.unusable("layer_types", f"a list of {layers} entries, one per layer,")
    unknown = {str(kind) for kind in types} - {"full_attention", "sliding_attention"}
    if unknown:
        raise fields.unusable("layer_types", "'full_attention' or 'sliding_attention' for every layer")
    return Counter(types)
