"""Other heads on the families that are known: classes for a sequence or a token, spans of answers, rewards.

A class's name says which head it has; the body is that of the family, without its head for language modelling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from flopwatch.model.architecture import Architecture, Component
from flopwatch.model.batch import PER_SEQUENCE, TOKENS, Rows
from flopwatch.model.components import Linear
from flopwatch.model.families.config import Fields
from flopwatch.model.families.text_models import DECODERS
from flopwatch.model.families.vision import labels

_SEQUENCE, _TOKENS, _ANSWERS = "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering"
_PRETRAINING = "ForPreTraining"
# What the layers of a head are called where the decoder's class is older, and where its body is renamed.
_OLDER = ("gpt2", "gpt_neox", "gpt_neo", "gpt_bigcode", "bloom", "mpt", "falcon")
_RENAMED = ("llama", "qwen2", "qwen3", "smollm3", "nemotron", "exaone4", "seed_oss", "qwen3_moe", "qwen3_next")
_BODIES: Mapping[str, str] = MappingProxyType(
    {
        **{name: f"{name}." for name in ("bert", "roberta", "distilbert", "albert", "electra", "esm")},
        "xlm-roberta": "roberta.",
        "modernbert": "model.",
        "eurobert": "model.",
        "deberta-v2": "deberta.",
    }
)
Head = Callable[[Fields, Architecture], tuple[Component, ...]]


def with_head(fields: Fields, architecture: Architecture, name: str) -> Architecture | None:
    """The architecture with the head of a class, `None` where that is not known.

    Args:
        fields: The config.
        architecture: The family with its usual head.
        name: The class.
    """
    if fields.model_type in DECODERS:
        return _decoder(fields, architecture, name)
    heads = _ENCODERS.get(fields.model_type, {})
    head = next((make for ending, make in heads.items() if name.endswith(ending)), None)
    if head is None:
        return None
    body, parts = _BODIES[fields.model_type], architecture.components
    usual = [part for part in parts if not part.name.startswith(body)] if _keeps_words(fields, name) else []
    kept = [part for part in parts if part.name.startswith(body)]
    return replace(architecture, components=(*kept, *head(fields, architecture), *usual))


def _keeps_words(fields: Fields, name: str) -> bool:
    """Whether words are predicted, too; ELECTRA's pre-training tells which ones were replaced instead."""
    return name.endswith(_PRETRAINING) and fields.model_type != "electra"


def _decoder(fields: Fields, architecture: Architecture, name: str) -> Architecture | None:
    """Classes are computed for all tokens, also where only the last one's are taken."""
    *body, usual = architecture.components
    if not isinstance(usual, Linear) or usual.role != "head":
        return None
    width, kind = usual.in_features, fields.model_type
    if name.endswith(_SEQUENCE):
        head = _layer("score", width, labels(fields), bias=False)
    elif name.endswith(_TOKENS):
        head = _layer("classifier" if kind in _OLDER else "score", width, labels(fields))
    elif name.endswith(_ANSWERS):
        head = _layer("qa_outputs", width, 2)
        body = [_renamed(part) for part in body] if kind in _RENAMED else body
    else:
        return None
    return replace(architecture, components=(*body, head))


def _renamed(part: Component) -> Component:
    return replace(part, name=part.name.replace("model.", "transformer.", 1))


def _layer(
    name: str, width: int, out: int, rows: Rows = TOKENS, *, bias: bool = True, reads: str = "x", writes: str = "x"
) -> Linear:
    return Linear(name, width, out, bias, None, rows, "head", reads=(reads,), writes=writes)


def _width(fields: Fields) -> int:
    return fields.size_of("hidden_size", "dim")


def _of_tokens(name: str) -> Head:
    return lambda fields, architecture: (_layer(name, _width(fields), labels(fields)),)


def _of_sequences(first: str, last: str, classes: int | None = None) -> Head:
    """A layer on the first token, and one to the classes."""

    def head(fields: Fields, architecture: Architecture) -> tuple[Component, ...]:
        width = _width(fields)
        return (
            _layer(first, width, width, PER_SEQUENCE, writes="pooled"),
            _layer(last, width, classes or labels(fields), PER_SEQUENCE, reads="pooled", writes="pooled"),
        )

    return head


def _replaced_words(fields: Fields, architecture: Architecture) -> tuple[Component, ...]:
    width, path = _width(fields), "discriminator_predictions"
    return (_layer(f"{path}.dense", width, width), _layer(f"{path}.dense_prediction", width, 1))


def _after_the_usual(rows: Rows) -> Head:
    """ModernBERT's layer before the words stays, on the rows that are classified."""

    def head(fields: Fields, architecture: Architecture) -> tuple[Component, ...]:
        parts = [part for part in architecture.components if part.name.startswith("head.")]
        moved = [replace(part, rows=rows) if isinstance(part, Linear) else part for part in parts]
        return (*moved, _layer("classifier", _width(fields), labels(fields), rows))

    return head


def _pooled_late(fields: Fields, architecture: Architecture) -> tuple[Component, ...]:
    """EuroBERT's two layers, on all tokens where they are averaged after them, as by default."""
    late = fields.values.get("classifier_pooling", "late") == "late"
    width, rows = _width(fields), TOKENS if late else PER_SEQUENCE
    return (_layer("dense", width, width, rows), _layer("classifier", width, labels(fields), rows))


_EACH_TOKEN: Mapping[str, Head] = MappingProxyType(
    {_TOKENS: _of_tokens("classifier"), _ANSWERS: _of_tokens("qa_outputs")}
)
_DENSE: Mapping[str, Head] = MappingProxyType(
    {_SEQUENCE: _of_sequences("classifier.dense", "classifier.out_proj"), **_EACH_TOKEN}
)
_ENCODERS: Mapping[str, Mapping[str, Head]] = MappingProxyType(
    {
        "bert": {
            _SEQUENCE: _of_sequences("bert.pooler.dense", "classifier"),
            _PRETRAINING: _of_sequences("bert.pooler.dense", "cls.seq_relationship", 2),
            **_EACH_TOKEN,
        },
        "albert": {
            _SEQUENCE: _of_sequences("albert.pooler", "classifier"),
            _PRETRAINING: _of_sequences("albert.pooler", "sop_classifier.classifier"),
            **_EACH_TOKEN,
        },
        "roberta": _DENSE,
        "xlm-roberta": _DENSE,
        "esm": _DENSE,
        "eurobert": {_SEQUENCE: _pooled_late, _TOKENS: _of_tokens("classifier")},
        "electra": {_PRETRAINING: _replaced_words, **_DENSE},
        "deberta-v2": {_SEQUENCE: _of_sequences("pooler.dense", "classifier"), **_EACH_TOKEN},
        "distilbert": {_SEQUENCE: _of_sequences("pre_classifier", "classifier"), **_EACH_TOKEN},
        "modernbert": {
            _SEQUENCE: _after_the_usual(PER_SEQUENCE),
            _TOKENS: _after_the_usual(TOKENS),
            _ANSWERS: _after_the_usual(TOKENS),
        },
    }
)
