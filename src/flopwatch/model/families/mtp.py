"""Multi-token prediction: layers behind the last one that predict further tokens, which not every code trains."""

from __future__ import annotations

from dataclasses import replace

from flopwatch.errors import ConfigError
from flopwatch.model.architecture import Architecture, Component, Group, Stack
from flopwatch.model.components import Embedding, Linear, Norm
from flopwatch.model.families.config import Fields

_FAMILIES = ("deepseek_v3", "deepseek_v32", "kimi_k2", "glm4_moe")
_DEPTH = "num_nextn_predict_layers"


def with_predictions(fields: Fields, model: Architecture) -> Architecture:
    """Add the prediction layers that a config has, as checkpoints name them (DeepSeek-V3, arXiv 2412.19437, 2.2).

    Each joins the state of the layer before it with the next token's embedding, runs one more layer like the last and
    multiplies by the head, whose weight and the embedding's it shares. All tokens count, as in Megatron; a layer that
    predicts the k-th next token has no use for the last k of a sequence.

    Raises:
        ConfigError: If the config has none, or the family's are not known.
    """
    if fields.model_type not in _FAMILIES:
        raise ConfigError(
            f"multi-token prediction of a {fields.model_type} has no closed form; it is counted for"
            f" {', '.join(_FAMILIES)}"
        )
    if not fields.values.get(_DEPTH):
        raise ConfigError(f"the {fields.model_type} config has no multi-token prediction layers ({_DEPTH})")
    *before, layers, norm, head = model.components
    assert isinstance(layers, Stack)
    assert isinstance(head, Linear)
    predicted = Stack(
        layers.name,
        (Group("next token", _layer(fields.size("hidden_size"), layers, head)),),
        (0,) * fields.size(_DEPTH),
        start=len(layers.pattern),
    )
    sides = Group("", (Group("", (norm, head)), Group("", (predicted,))), side_by_side=True)
    return replace(model, components=(*before, layers, sides))


def _layer(hidden: int, layers: Stack, head: Linear) -> tuple[Component, ...]:
    last = layers.kinds[layers.pattern[-1]]
    words = "model.embed_tokens"
    shared = replace(head, name="shared_head.head", bias=False, tied=head.tied or head.name)
    return (
        Embedding("embed_tokens", 0, hidden, tied=words, reads=(), writes="next"),
        Norm("enorm", hidden, reads=("next",), writes="next"),
        Norm("hnorm", hidden),
        Linear("eh_proj", 2 * hidden, hidden, reads=("next", "x")),
        *last.children,
        Norm("shared_head.norm", hidden, writes="next"),
        replace(shared, reads=("next",), writes="logits"),
    )
