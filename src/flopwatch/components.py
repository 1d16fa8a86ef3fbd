"""The arithmetic of a model: small frozen parts that give their parameters and their FLOPs from the same fields.

A multiply-add is two FLOPs. Counted are matrix multiplications; looking up an embedding, norms, activations, softmax
and residual additions are not (they are below a percent of any model here, and no published convention counts them
all). Because parameters and FLOPs come from the same fields, a parameter count that equals the live model's proves
the fields.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeVar

AttentionConvention = Literal["causal", "full"]


def matmul_flops(m: int, k: int, n: int) -> int:
    """FLOPs of one matrix multiplication (m, k) x (k, n): 2mkn, a multiply and an add per term.

    `matmul_flops(8, 4, 6)` is 2 * 8 * 4 * 6 = 384. Source: Golub and Van Loan, Matrix Computations, section 1.1.
    """
    return 2 * m * k * n


def attended_pairs(seq_len: int, *, causal: bool, window: int | None = None) -> int:
    """Number of (query, key) pairs that the attention mask of one sequence keeps.

    Full: T * T. Causal: T * (T + 1) / 2. Causal with a window of W keys, the query's own included (Hugging Face's
    `sliding_window`): the first W queries see 1, 2, ... W keys, each later one W.
    `attended_pairs(5, causal=True, window=3)` is 1 + 2 + 3 + 3 + 3 = 12.
    """
    if not causal:
        return seq_len * seq_len
    reach = seq_len if window is None else min(window, seq_len)
    return reach * (reach + 1) // 2 + (seq_len - reach) * reach


@dataclass(frozen=True)
class Batch:
    """The work of one forward pass: so many sequences of so many tokens each, padding included; zero is no work.

    Raises:
        ValueError: If either is negative.
    """

    sequences: int
    seq_len: int

    def __post_init__(self) -> None:
        if self.sequences < 0 or self.seq_len < 0:
            raise ValueError(f"expected a batch of no less than no tokens, got {self.sequences} x {self.seq_len}")

    @property
    def tokens(self) -> int:
        """Tokens computed, padding included."""
        return self.sequences * self.seq_len


class Component(Protocol):
    """A part of a model."""

    @property
    def name(self) -> str:
        """What the part is called in tables."""

    def parameters(self) -> int:
        """Parameters that the part owns."""

    def forward_flops(self, batch: Batch) -> int:
        """FLOPs of one forward pass over the batch."""


@dataclass(frozen=True)
class Linear:
    """A dense layer applied to every token; `tied` means that the weight belongs to the embedding."""

    name: str
    in_features: int
    out_features: int
    bias: bool = False
    tied: bool = False

    def parameters(self) -> int:
        """Weight (in * out) and bias."""
        weight = 0 if self.tied else self.in_features * self.out_features
        return weight + (self.out_features if self.bias else 0)

    def forward_flops(self, batch: Batch) -> int:
        """2 * tokens * in * out."""
        return matmul_flops(batch.tokens, self.in_features, self.out_features)


@dataclass(frozen=True)
class Embedding:
    """A table of vectors; looking one up costs no FLOPs."""

    name: str
    rows: int
    features: int

    def parameters(self) -> int:
        """One vector of features for each row."""
        return self.rows * self.features

    def forward_flops(self, batch: Batch) -> int:
        """Zero: a lookup multiplies nothing."""
        return 0


@dataclass(frozen=True)
class Norm:
    """A LayerNorm (with bias) or RMSNorm (without); `affine=False` has no parameters. Elementwise, so not counted."""

    name: str
    features: int
    bias: bool = False
    affine: bool = True

    def parameters(self) -> int:
        """One weight per feature, and one bias."""
        return self.features * (1 + self.bias) if self.affine else 0

    def forward_flops(self, batch: Batch) -> int:
        """Zero by convention: elementwise work is not counted."""
        return 0


@dataclass(frozen=True)
class AttentionCore:
    """The two products of attention, scores = Q K^T and output = scores V, over the pairs that the mask keeps."""

    name: str
    query_heads: int
    key_dim: int
    value_dim: int
    causal: bool = True
    window: int | None = None

    def parameters(self) -> int:
        """Zero."""
        return 0

    def forward_flops(self, batch: Batch) -> int:
        """2 * heads * (key_dim + value_dim) for each kept pair; grouped keys and values change the projections only."""
        pairs = batch.sequences * attended_pairs(batch.seq_len, causal=self.causal, window=self.window)
        return 2 * self.query_heads * (self.key_dim + self.value_dim) * pairs


@dataclass(frozen=True)
class Group:
    """Parts under one name, the whole repeated `times` times with parameters of its own each time."""

    name: str
    children: tuple[Component, ...]
    times: int = 1

    def parameters(self) -> int:
        """Sum over the children, times `times`."""
        return self.times * sum(child.parameters() for child in self.children)

    def forward_flops(self, batch: Batch) -> int:
        """Sum over the children, times `times`."""
        return self.times * sum(child.forward_flops(batch) for child in self.children)


@dataclass(frozen=True)
class ComponentRow:
    """One line of the per-component table."""

    name: str
    parameters: int
    forward_flops: int


@dataclass(frozen=True)
class Architecture:
    """A model as an ordered tree of components.

    `max_seq_len` is the longest sequence that learned positions allow, `None` without such a limit.
    """

    model_type: str
    components: tuple[Component, ...]
    max_seq_len: int | None = None

    def parameters(self) -> int:
        """Parameters of the whole model; a tied head counts once."""
        return sum(component.parameters() for component in self.components)

    def active_parameters(self) -> int:
        """Parameters that one token meets: all of them, as long as no component routes."""
        return self.parameters()

    def forward_flops(self, batch: Batch) -> int:
        """Exact FLOPs of one forward pass."""
        return sum(component.forward_flops(batch) for component in self.components)

    def training_flops(self, batch: Batch) -> int:
        """Exact FLOPs of forward and backward with every parameter trainable, without recomputation.

        The backward of a product C = A B is two products of the same size, for A's and for B's gradient, so it costs
        twice the forward (PaLM, arXiv 2204.02311, appendix B).
        """
        return 3 * self.forward_flops(batch)

    def rows(self, batch: Batch) -> list[ComponentRow]:
        """The per-component table: attention products on lines of their own; the lines add up to the totals."""
        rows: dict[str, tuple[int, int]] = {}
        for component in self.components:
            _collect(component, "", 1, batch, rows)
        return [ComponentRow(name, parameters, flops) for name, (parameters, flops) in rows.items()]

    def with_full_attention(self) -> Architecture:
        """The same model counted over all pairs, masked or not: the `full` attention convention."""
        return replace(self, components=tuple(_unmask(component) for component in self.components))

    def counted_with(self, attention: AttentionConvention) -> Architecture:
        """The same model under an attention convention."""
        return self.with_full_attention() if attention == "full" else self


def _collect(component: Component, path: str, times: int, batch: Batch, rows: dict[str, tuple[int, int]]) -> None:
    own_path = f"{path}.{component.name}" if path else component.name
    if isinstance(component, Group):
        for child in component.children:
            _collect(child, own_path, times * component.times, batch, rows)
        return
    line = own_path if isinstance(component, AttentionCore) or not path else path
    parameters, flops = rows.get(line, (0, 0))
    rows[line] = (parameters + times * component.parameters(), flops + times * component.forward_flops(batch))


_C = TypeVar("_C", bound=Component)


def _unmask(component: _C) -> _C:
    if isinstance(component, Group):
        return replace(component, children=tuple(_unmask(child) for child in component.children))
    if isinstance(component, AttentionCore):
        return replace(component, causal=False, window=None)
    return component
