"""Gemma 3n's text model: several hidden states side by side, of which one runs through each layer (AltUp)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from flopwatch.model.architecture import Architecture, Component, Group
from flopwatch.model.components import Leaf, Linear, Norm, Product, Vector
from flopwatch.model.families import blocks
from flopwatch.model.families.config import Fields
from flopwatch.model.families.gemma4 import Kind, attention_of, first_that_reuses, kept, layer_input, layer_inputs
from flopwatch.model.families.llama import every

# Hugging Face's Gemma3nTextConfig.
_DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 262_400,
    "hidden_size": 2048,
    "intermediate_size": 16_384,
    "num_hidden_layers": 35,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "sliding_window": 512,
    "num_kv_shared_layers": 15,
    "vocab_size_per_layer_input": 262_144,
    "hidden_size_per_layer_input": 256,
    "altup_num_inputs": 4,
    "laurel_rank": 64,
}
WHOLE = 2**40


@dataclass(frozen=True)
class Blend(Product):
    """A product of two values for every token, each of which may need a gradient."""

    def backward_flops(self, forward: int, flowing: frozenset[str], trains: bool) -> int:
        """Count one product for each side that a gradient flows to."""
        return forward * sum(name in flowing for name in self.reads)


def gemma3n_text(fields: Fields) -> Architecture:
    """Gemma 3n's text model (2025): AltUp (Baykal et al., arXiv 2301.13310), LAuReL (arXiv 2411.07501)."""
    fields = replace(fields, values={**_DEFAULTS, **fields.values})
    hidden, layers, states = (fields.size(name) for name in ("hidden_size", "num_hidden_layers", "altup_num_inputs"))
    inputs = layer_inputs(fields, hidden, layers, fields.size("hidden_size_per_layer_input"))
    wide = fields.sizes("intermediate_size")
    wide = wide * layers if len(wide) == 1 else wide
    if len(wide) != layers:
        raise fields.unusable("intermediate_size", f"one number or {layers}, one per layer,")
    kinds = list(zip(_kinds(fields, layers), wide, strict=True))
    built = {each: _layer(fields, hidden, *each) for each in dict.fromkeys(kinds)}
    stack = blocks.stack("model.layers", [(f"{kind.label}, {inner} wide", built[kind, inner]) for kind, inner in kinds])
    return blocks.language_model(
        fields,
        hidden,
        [stack, *_projections("altup_unembed_projections", hidden, states)],
        final_norm=Norm("norm", hidden),
        tied_default=True,
        before=(*inputs, *_projections("altup_projections", hidden, states)),
    )


def _kinds(fields: Fields, layers: int) -> list[Kind]:
    where = blocks.layer_types(fields, layers, every(layers, 5))
    first, heads = first_that_reuses(fields, where), fields.size("num_attention_heads")
    groups = blocks.key_value_heads(fields, heads)
    return [Kind(kind, fields.size("head_dim"), groups, number >= first) for number, kind in enumerate(where)]


def _projections(name: str, hidden: int, states: int) -> tuple[Component, ...]:
    """A matrix for each hidden state but the first one."""
    matrices = (Linear(f"model.{name}.{number}", hidden, hidden, writes="s") for number in range(states - 1))
    return (*matrices, Leaf("", reads=("s",), writes="x"))


def _layer(fields: Fields, hidden: int, kind: Kind, inner: int) -> tuple[Component, ...]:
    return (
        *(() if kind.reuses else kept(kind)),
        _predict(fields, hidden),
        *blocks.norms("input_layernorm", features=hidden),
        _laurel(hidden, fields.size("laurel_rank")),
        attention_of(fields, hidden, kind),
        *blocks.norms("post_attention_layernorm", features=hidden),
        Leaf("", reads=("l",), writes="x"),
        *blocks.norms("pre_feedforward_layernorm", features=hidden),
        blocks.gated_mlp(hidden, inner),
        *blocks.norms("post_feedforward_layernorm", features=hidden),
        _correct(fields, hidden),
        *layer_input(hidden, fields.size("hidden_size_per_layer_input")),
    )


def _laurel(hidden: int, rank: int) -> Group:
    """A narrow path beside attention."""
    return Group(
        "laurel",
        (
            Linear("linear_left", hidden, rank, writes="l"),
            Linear("linear_right", rank, hidden, reads=("l",), writes="l"),
            Norm("post_laurel_norm", hidden, reads=("l",), writes="l"),
        ),
    )


def _predict(fields: Fields, hidden: int) -> Group:
    """Every hidden state before the layer as a blend of all, by coefficients of the token."""
    states = fields.size("altup_num_inputs")
    blend = Blend("blend", 2 * hidden * states**2, chunk=WHOLE, padded=False, reads=("x", "c"), writes="x")
    return Group(
        "altup",
        (
            Norm("router_norm", hidden, writes="m"),
            Linear("modality_router", hidden, states, reads=("m",), writes="m"),
            Linear("prediction_coefs", states, states**2, reads=("m",), writes="c"),
            blend,
        ),
    )


def _correct(fields: Fields, hidden: int) -> Group:
    """What the layer has changed goes into every hidden state, by coefficients; these are limited in training."""
    states, called = fields.size("altup_num_inputs"), fields.values.get("altup_coef_clip", 120.0) is None
    return Group(
        "altup",
        (
            Linear("modality_router", hidden, states, writes="n", again=True),
            Linear("correction_coefs", states, states, reads=("n",), called=called),
            Vector("correct_output_scale", hidden, bare=True),
        ),
    )
