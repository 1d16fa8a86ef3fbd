"""Ways of counting that the field quotes, each a re-weighting of one table: the parts of an architecture.

`model` is the exact count and what MFU is made from. The others are for comparing with published numbers; each says
what it counts and where it is from. None but `model`, `full` and `macs` knows that the first layer's missing input
gradient makes the backward cheaper: they take it as twice the forward.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Literal, get_args

from flopwatch.errors import ConfigError
from flopwatch.model import backward
from flopwatch.model.architecture import Architecture, ComponentRow
from flopwatch.model.batch import Batch
from flopwatch.model.components import AttentionCore, Embedding, Experts, Leaf, Linear, Norm, Vector

Convention = Literal[
    "model", "full", "palm", "palm-hfu", "6nd", "chinchilla", "megatron", "megatron-bridge", "torchtitan", "macs"
]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)
DESCRIPTIONS: Mapping[Convention, str] = MappingProxyType(
    {
        "model": "exact: every matrix multiplication, attention over unmasked pairs only, LM head included",
        "full": "exact, but attention over all pairs, masked or not",
        "palm": "6 x parameters + 12 x layers x heads x head size x length per token, full attention",
        "palm-hfu": "palm with every forward run once more, 4/3 of it: hardware FLOPs as llm-foundry counts them",
        "6nd": "rule of thumb: 6 x parameters x tokens, embeddings included, attention left out",
        "chinchilla": "the paper's appendix F: embeddings and logits as products, softmax, full attention",
        "megatron": "matrix multiplications, attention at half the square, no windows, no router",
        "megatron-bridge": "megatron, but of a window of W keys W + 1, one by one",
        "torchtitan": "6 x parameters without embeddings, full attention, no windows",
        "macs": "multiply-adds, which vision papers call FLOPs: half of the exact count",
    }
)
_Weigh = Callable[[Leaf, Batch, int], int]


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
    6 * 174_604_259_328 * 300e9 = 3.1429e23, printed there as 3.14e23. Of experts those count that a token meets. Of
    an encoder-decoder each token meets one side, half of the parameters, so that table counts 3PD.
    """
    return rule_of_thumb_forward_flops(parameters, tokens) + rule_of_thumb_backward_flops(parameters, tokens)


def training_flops(architecture: Architecture, batch: Batch, convention: Convention) -> int:
    """Training FLOPs of a batch under a convention; `model` is the exact count, under the architecture's own masks.

    Raises:
        ConfigError: If the convention has no way to count a part of the model.
    """
    if convention == "model":
        return backward.training_flops(architecture, batch)
    if convention == "full":
        return backward.training_flops(architecture.with_full_attention(), batch)
    if convention == "macs":
        return backward.training_flops(architecture, batch) // 2
    return (4 if convention == "palm-hfu" else 3) * forward_flops(architecture, batch, convention)


def by_convention(architecture: Architecture, batch: Batch) -> dict[str, int]:
    """Training FLOPs of a batch under every convention that can count the model."""
    counted = {convention: _if_it_can(architecture, batch, convention) for convention in CONVENTIONS}
    return {convention: flops for convention, flops in counted.items() if flops is not None}


def _if_it_can(architecture: Architecture, batch: Batch, convention: Convention) -> int | None:
    try:
        return training_flops(architecture, batch, convention)
    except ConfigError:
        return None


def forward_flops(architecture: Architecture, batch: Batch, convention: Convention) -> int:
    """Return the forward FLOPs of a batch under a convention.

    Raises:
        ConfigError: If the convention has no way to count a part of the model.
    """
    return sum(row.forward_flops for row in rows(architecture, batch, convention))


def rows(architecture: Architecture, batch: Batch, convention: Convention) -> list[ComponentRow]:
    """The per-component table re-weighted by a convention; it adds up to the convention's own forward FLOPs.

    Raises:
        ConfigError: If the convention has no way to count a part of the model.
    """
    if convention == "model":
        return architecture.rows(batch)
    if convention == "full":
        return architecture.with_full_attention().rows(batch)
    per_parameter = convention in ("palm", "palm-hfu", "6nd", "torchtitan")
    if per_parameter and architecture.inputs not in ("tokens", "source and tokens"):
        raise ConfigError(
            f"the {convention} convention counts parameters times tokens, which {architecture.inputs} are not"
        )
    tables = sum(isinstance(leaf, Embedding) and leaf.words for leaf, _, _ in architecture.leaves())
    if convention == "chinchilla" and tables > 1:
        raise ConfigError(f"the chinchilla convention counts one table of words, of which there are {tables} here")
    weigh, tokens = _WEIGHTS[convention], architecture.tokens(batch)
    lines: dict[str, ComponentRow] = {}
    for line, leaf, runs, exist in architecture.lines():
        once = weigh(leaf, batch, tokens)
        # Rules of thumb count parameters, however often they are used; products count as often as they run.
        times = exist if per_parameter and not isinstance(leaf, AttentionCore) else runs
        row = lines.get(line, ComponentRow(line, 0, 0, 0))
        lines[line] = ComponentRow(
            line,
            row.parameters + exist * leaf.parameters(),
            row.forward_flops + times * once,
            (row.active_parameters or 0) + exist * leaf.active_parameters(),
        )
    if per_parameter and architecture.inputs == "source and tokens":
        lines = {name: ComponentRow(name, row.parameters, row.forward_flops // 2) for name, row in lines.items()}
    return list(lines.values())


def _six_nd(leaf: Leaf, batch: Batch, tokens: int) -> int:
    """2PD: parameters that a token meets, norms and embeddings among them."""
    return rule_of_thumb_forward_flops(leaf.active_parameters(), tokens)


def _palm(leaf: Leaf, batch: Batch, tokens: int) -> int:
    """2PD plus attention in full (PaLM, arXiv 2204.02311, appendix B); nanoGPT and llm-foundry count the same."""
    return _full_core(leaf, batch) if isinstance(leaf, AttentionCore) else _six_nd(leaf, batch, tokens)


def _torchtitan(leaf: Leaf, batch: Batch, tokens: int) -> int:
    """As PaLM, but without embeddings, and a tied head as a product (torchtitan, models/utils.py)."""
    if isinstance(leaf, Embedding):
        return 0
    if isinstance(leaf, Linear) and leaf.tied:
        return leaf.forward_flops(batch) + rule_of_thumb_forward_flops(leaf.parameters(), tokens)
    return _palm(leaf, batch, tokens)


def _chinchilla(leaf: Leaf, batch: Batch, tokens: int) -> int:
    """Per layer as the exact count in full, 3 FLOPs a pair and head for softmax, and the embedding as a product.

    Source: Hoffmann et al., arXiv 2203.15556, appendix F. The paper's own table A4 leaves embedding and logits out.
    """
    if isinstance(leaf, AttentionCore):
        return _full_core(leaf, batch) + 3 * leaf.heads * _full(leaf).pairs(batch)
    if isinstance(leaf, Embedding):
        return 2 * tokens * leaf.table_rows * leaf.features if leaf.words else 0
    return leaf.forward_flops(batch)


def _megatron(leaf: Leaf, batch: Batch, tokens: int) -> int:
    """Matrix products with causal attention as half of the square; windows and routers are not looked at.

    Source: Megatron-LM, `num_floating_point_operations` since March 2025 (commit 8873b55d6a). Its counts of state space
    models and linear attention are its own and not given here.
    """
    if isinstance(leaf, AttentionCore):
        return _full_core(leaf, batch) // 2 if leaf.causal else _full_core(leaf, batch)
    if isinstance(leaf, Linear) and leaf.role == "router":
        return 0
    if isinstance(leaf, (Linear, Experts, Embedding, Norm, Vector)) or type(leaf) is Leaf:
        return leaf.forward_flops(batch)
    raise ConfigError(f"the megatron convention has no count of {leaf.name!r}; count with 'model' or 'full'")


def _megatron_bridge(leaf: Leaf, batch: Batch, tokens: int) -> int:
    """As Megatron, but layers with a window count the pairs that it keeps, of W keys before a token and its own.

    Source: Megatron-Bridge, `flop_utils.py` (commit 067f987d): Hugging Face's window of W is W - 1 keys and its own.
    """
    if isinstance(leaf, AttentionCore) and leaf.causal and leaf.window is not None:
        return replace(leaf, window=leaf.window + 1).forward_flops(batch)
    return _megatron(leaf, batch, tokens)


def _macs(leaf: Leaf, batch: Batch, tokens: int) -> int:
    """Multiply-adds (fvcore, ptflops, torchvision and vision papers)."""
    return leaf.forward_flops(batch) // 2


def _full(core: AttentionCore) -> AttentionCore:
    unmasked = Architecture("", (core,)).with_full_attention().components[0]
    assert isinstance(unmasked, AttentionCore)
    return unmasked


def _full_core(core: AttentionCore, batch: Batch) -> int:
    return _full(core).forward_flops(batch)


_WEIGHTS: Mapping[Convention, _Weigh] = MappingProxyType(
    {
        "6nd": _six_nd,
        "palm": _palm,
        "palm-hfu": _palm,
        "torchtitan": _torchtitan,
        "chinchilla": _chinchilla,
        "megatron": _megatron,
        "megatron-bridge": _megatron_bridge,
        "macs": _macs,
    }
)
