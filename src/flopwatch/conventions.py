"""Ways of counting that are not exact but that the field quotes, each under its own label.

Exact counts come from `components`. What stands here is for comparing with published numbers.
"""

from __future__ import annotations

from typing import Literal, get_args

from flopwatch.components import Architecture, Batch, ComponentRow

Convention = Literal["model", "6nd"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)
DESCRIPTIONS: dict[Convention, str] = {
    "model": "exact: every matrix multiplication, attention over the pairs that the mask keeps, LM head included",
    "6nd": "rule of thumb: 6 x parameters x tokens, embeddings included, attention left out",
}


def rule_of_thumb_forward_flops(parameters: int, tokens: int) -> int:
    """Forward FLOPs by the rule of thumb 2PD: one multiply-add per parameter and token.

    Source: Kaplan et al., Scaling Laws for Neural Language Models, arXiv 2001.08361, section 2.1.
    """
    return 2 * parameters * tokens


def rule_of_thumb_backward_flops(parameters: int, tokens: int) -> int:
    """Backward FLOPs by the rule of thumb 4PD: twice the forward, for input and weight gradients.

    Source: Kaplan et al., arXiv 2001.08361, section 2.1.
    """
    return 4 * parameters * tokens


def rule_of_thumb_training_flops(parameters: int, tokens: int) -> int:
    """Training FLOPs by the rule of thumb 6PD, the `6nd` convention.

    P counts all parameters, embeddings included, as GPT-3's table D.1 does (Brown et al., arXiv 2005.14165):
    6 * 174_604_259_328 * 300e9 = 3.1429e23, printed there as 3.14e23.
    """
    return rule_of_thumb_forward_flops(parameters, tokens) + rule_of_thumb_backward_flops(parameters, tokens)


def training_flops(architecture: Architecture, batch: Batch, convention: Convention) -> int:
    """Training FLOPs of a batch under a convention; `model` is the exact count."""
    if convention == "6nd":
        return rule_of_thumb_training_flops(architecture.active_parameters(), batch.tokens)
    return architecture.training_flops(batch)


def forward_flops(architecture: Architecture, batch: Batch, convention: Convention) -> int:
    """Forward FLOPs of a batch under a convention; `model` is the exact count."""
    if convention == "6nd":
        return rule_of_thumb_forward_flops(architecture.active_parameters(), batch.tokens)
    return architecture.forward_flops(batch)


def rows(architecture: Architecture, batch: Batch, convention: Convention) -> list[ComponentRow]:
    """The per-component table re-weighted by a convention; it adds up to the convention's own forward FLOPs."""
    exact = architecture.rows(batch)
    if convention == "6nd":
        return [
            ComponentRow(row.name, row.parameters, rule_of_thumb_forward_flops(row.parameters, batch.tokens))
            for row in exact
        ]
    return exact
