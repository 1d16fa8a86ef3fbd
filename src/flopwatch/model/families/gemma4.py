"""Gemma 4's text model: wider heads in global layers, shared keys and values, an input of each layer, experts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from flopwatch.model.architecture import Architecture, Component, Group
from flopwatch.model.components import AttentionCore, Embedding, Experts, Leaf, Linear, Norm, Vector
from flopwatch.model.families import blocks
from flopwatch.model.families.blocks import FULL, SLIDING
from flopwatch.model.families.config import Fields
from flopwatch.model.families.llama import every

# Hugging Face's Gemma4TextConfig.
_DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 262_144,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "sliding_window": 512,
    "vocab_size_per_layer_input": 262_144,
    "hidden_size_per_layer_input": 256,
}
_GLOBAL_HEAD_DIM = 512
_DIGITS = 9


@dataclass(frozen=True)
class Kind:
    """What a layer's attention is like: where it looks, its heads, and whether it uses another layer's keys."""

    where: str
    head_dim: int
    key_value_heads: int
    reuses: bool

    @property
    def label(self) -> str:
        """Return the words that tell it from the others."""
        return f"{self.where}, keys of another layer" if self.reuses else self.where


def gemma4_text(fields: Fields) -> Architecture:
    """Gemma 4's text model (2026): local and global layers, the last of which may reuse keys and values."""
    fields = replace(fields, values={**_DEFAULTS, **fields.values})
    if fields.values.get("use_bidirectional_attention") == "all":
        fields.refuse("use_bidirectional_attention", "it attends in both directions")
    hidden, layers = fields.size("hidden_size"), fields.size("num_hidden_layers")
    kinds = _kinds(fields, layers)
    built = {kind: _layer(fields, hidden, kind) for kind in dict.fromkeys(kinds)}
    each = fields.values.get("hidden_size_per_layer_input")
    return blocks.language_model(
        fields,
        hidden,
        [blocks.stack("model.layers", [(f"{kind.label}", built[kind]) for kind in kinds])],
        final_norm=Norm("norm", hidden),
        tied_default=True,
        before=layer_inputs(fields, hidden, layers, fields.size("hidden_size_per_layer_input")) if each else (),
    )


def _kinds(fields: Fields, layers: int) -> list[Kind]:
    where = blocks.layer_types(fields, layers, every(layers, 6))
    where[-1] = FULL
    first = first_that_reuses(fields, where)
    return [_kind(fields, number, kind, number >= first) for number, kind in enumerate(where)]


def first_that_reuses(fields: Fields, where: list[str]) -> int:
    """The first of the layers at the end that use keys and values of another one.

    Raises:
        ConfigError: If there is no layer of their kind before them.
    """
    first = len(where) - (fields.size("num_kv_shared_layers") if fields.values.get("num_kv_shared_layers") else 0)
    if first < 0 or set(where[first:]) - set(where[:first]):
        raise fields.unusable("num_kv_shared_layers", "fewer layers, so that each kind has one with keys of its own,")
    return first


def _kind(fields: Fields, number: int, where: str, reuses: bool) -> Kind:
    """A layer by the fields for all of them and by those for it alone."""
    own = {"head_dim": fields.values.get("global_head_dim") or _GLOBAL_HEAD_DIM} if where == FULL else {}
    if where == FULL and fields.flag("attention_k_eq_v", False):
        groups = fields.values.get("num_global_key_value_heads")
        own |= {"num_key_value_heads": groups} if groups is not None else {}
    if fields.values.get("per_layer_config") is not None:
        # Saved configs fill numbers up with zeros: "05" beside "11".
        stated = {str(key).zfill(_DIGITS): value for key, value in fields.mapping("per_layer_config").items()}
        own = dict(stated.get(str(number).zfill(_DIGITS), {}))
    of_layer = replace(fields, values={**fields.values, **own})
    heads = of_layer.size("num_attention_heads")
    return Kind(where, of_layer.size("head_dim"), blocks.key_value_heads(of_layer, heads), reuses)


def layer_inputs(fields: Fields, hidden: int, layers: int, each: int) -> tuple[Component, ...]:
    """An embedding of every token for every layer, added to a projection of the first hidden state."""
    table = fields.size("vocab_size_per_layer_input")
    return (
        Embedding("model.embed_tokens_per_layer", table, layers * each, reads=(), writes="p"),
        Linear("model.per_layer_model_projection", hidden, layers * each, writes="p"),
        Norm("model.per_layer_projection_norm", each, reads=("p",), writes="p"),
    )


def _layer(fields: Fields, hidden: int, kind: Kind) -> tuple[Component, ...]:
    each = fields.values.get("hidden_size_per_layer_input")
    return (
        *(() if kind.reuses else kept(kind)),
        *blocks.norms("input_layernorm", features=hidden),
        attention_of(fields, hidden, kind),
        *blocks.norms("post_attention_layernorm", features=hidden),
        *_feed_forward(fields, hidden, kind),
        *blocks.norms("post_feedforward_layernorm", features=hidden),
        *(layer_input(hidden, fields.size("hidden_size_per_layer_input")) if each else ()),
    )


def _keys_and_values(kind: Kind) -> tuple[str, str]:
    return f"k of {kind.where}", f"v of {kind.where}"


def kept(kind: Kind) -> tuple[Leaf, ...]:
    """Keys and values outlive their layer, for those that reuse them."""
    return tuple(Leaf("", reads=(name,), writes=name) for name in _keys_and_values(kind))


def attention_of(fields: Fields, hidden: int, kind: Kind) -> Group:
    """Attention of one kind of layer, its keys and values under names that last."""
    heads, bias = fields.size("num_attention_heads"), fields.flag("attention_bias", False)
    width, narrow = heads * kind.head_dim, kind.key_value_heads * kind.head_dim
    key, value = _keys_and_values(kind)
    own: tuple[Leaf, ...] = ()
    if not kind.reuses:
        equal = kind.where == FULL and fields.flag("attention_k_eq_v", False)
        own = (
            Linear("k_proj", hidden, narrow, bias, writes=key),
            Leaf("", reads=(key,), writes=value) if equal else Linear("v_proj", hidden, narrow, bias, writes=value),
            Norm("k_norm", kind.head_dim, reads=(key,), writes=key),
        )
    window = fields.size("sliding_window") if kind.where == SLIDING else None
    return Group(
        "self_attn",
        (
            Linear("q_proj", hidden, width, bias, writes="q"),
            Norm("q_norm", kind.head_dim, reads=("q",), writes="q"),
            *own,
            AttentionCore("core", heads, kind.head_dim, kind.head_dim, window=window, reads=("q", key, value)),
            Linear("o_proj", width, hidden, bias, reads=("o",)),
        ),
    )


def _feed_forward(fields: Fields, hidden: int, kind: Kind) -> tuple[Component, ...]:
    """The MLP, twice as wide where keys are reused if the config says so, and experts beside it."""
    wide = 2 if kind.reuses and fields.flag("use_double_wide_mlp", False) else 1
    dense = (
        *blocks.norms("pre_feedforward_layernorm", features=hidden),
        blocks.gated_mlp(hidden, wide * fields.size("intermediate_size")),
    )
    if not fields.flag("enable_moe_block", False):
        return dense
    return (
        blocks.side_by_side(
            (*dense, *blocks.norms("post_feedforward_layernorm_1", features=hidden)), _experts(fields, hidden)
        ),
    )


def _experts(fields: Fields, hidden: int) -> tuple[Component, ...]:
    """Experts that read the residual, as their router does."""
    count, inner = fields.size("num_experts"), fields.size("moe_intermediate_size")
    active = blocks.active_experts(fields, count, "top_k_experts")
    return (
        Group(
            "router",
            (
                Vector("scale", hidden, bare=True, writes="route"),
                Linear("proj", hidden, count, role="router", reads=("x", "route"), writes="route"),
                Vector("per_expert_scale", count, bare=True, reads=("route",), writes="route"),
            ),
        ),
        Norm("pre_feedforward_layernorm_2", hidden, writes="m"),
        Group(
            "experts",
            (
                Experts("gate_up_proj", hidden, 2 * inner, count, active, reads=("m",), writes="h", bare=True),
                Experts("down_proj", inner, hidden, count, active, reads=("h",), bare=True),
                Leaf("weighted_sum", reads=("route", "x")),
            ),
        ),
        Norm("post_feedforward_layernorm_2", hidden),
    )


def layer_input(hidden: int, each: int) -> tuple[Component, ...]:
    """The layer's own input, gated by the hidden state and added to it."""
    return (
        Linear("per_layer_input_gate", hidden, each, writes="g"),
        Leaf("", reads=("g", "p"), writes="g"),
        Linear("per_layer_projection", each, hidden, reads=("g",)),
        Norm("post_per_layer_input_norm", hidden),
    )
