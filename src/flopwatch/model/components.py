"""The arithmetic of a model: small frozen parts that give their parameters and their FLOPs from the same fields.

A multiply-add is two FLOPs. Counted are matrix multiplications (convolutions and the products of attention, state
space models and linear attention among them); looking up an embedding, norms, activations, softmax, elementwise scans
and residual additions are not. Because parameters and FLOPs come from the same fields, a parameter count that equals
the live model's proves the fields.

Every part says which values it reads and writes by name ("x" is the hidden state), in the order in which they run.
That wiring is what `backward` needs to tell which gradients a partly frozen model computes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from flopwatch.model.batch import TOKENS, Batch, Rows, Span, attended_pairs

Role = Literal["weight", "head", "router", "patches"]


def matmul_flops(m: int, k: int, n: int) -> int:
    """FLOPs of one matrix multiplication (m, k) x (k, n): 2mkn, a multiply and an add per term.

    `matmul_flops(8, 4, 6)` is 2 * 8 * 4 * 6 = 384. Source: Golub and Van Loan, Matrix Computations, section 1.1.
    """
    return 2 * m * k * n


@dataclass(frozen=True)
class Leaf:
    """What every part has: its name in the module tree, the values that it reads and the one that it writes.

    `no_grad` marks work that the model does outside of autograd. Leaves that own a bare `nn.Parameter` of their name,
    not a module with a `weight`, are `bare`. `reference` is what Hugging Face's own code runs in its place, where that
    is more than the model asks for; only cross-checks against that code count it.
    """

    name: str
    reads: tuple[str, ...] = field(default=("x",), kw_only=True)
    writes: str = field(default="x", kw_only=True)
    no_grad: bool = field(default=False, kw_only=True)
    bare: bool = field(default=False, kw_only=True)
    reference: Leaf | None = field(default=None, kw_only=True)

    def parameters(self) -> int:
        """Return the number of parameters that the part owns."""
        return 0

    def active_parameters(self) -> int:
        """Parameters that one token meets; fewer than all where tokens are routed."""
        return self.parameters()

    def runs(self, batch: Batch) -> bool:
        """Whether the part has anything to work on: an image's encoder has nothing where there is no image."""
        return True

    def forward_flops(self, batch: Batch) -> int:
        """FLOPs of one forward pass over the batch; zero by convention for elementwise work and lookups."""
        return 0

    def backward_flops(self, forward: int, flowing: frozenset[str], trains: bool) -> int:
        """FLOPs of the backward pass: a product of the forward's size for each gradient that is needed.

        Args:
            forward: The part's forward FLOPs.
            flowing: Names of the values that a gradient flows to.
            trains: Whether the part's own weight trains.
        """
        return forward * (trains + (not flowing.isdisjoint(self.reads)))


@dataclass(frozen=True)
class Linear(Leaf):
    """A dense layer, or a convolution: `in_features` inputs to each of `out_features` outputs, for every row.

    `tied` is the path of the part whose weight it uses, if it has none of its own. One that is not `called` is
    multiplied with by its weight alone, so that an adapter beside it never runs. One that runs `again` is the layer of
    its name that stands before it, on other rows. The output of one that is `opened` is made to require a gradient
    where adapters train under checkpoints, as that of word embeddings is.
    """

    in_features: int
    out_features: int
    bias: bool = False
    tied: str | None = None
    rows: Rows = TOKENS
    role: Role = "weight"
    called: bool = field(default=True, kw_only=True)
    again: bool = field(default=False, kw_only=True)
    opened: bool = field(default=False, kw_only=True)

    def parameters(self) -> int:
        """Count the weight (in * out) and the bias."""
        if self.again:
            return 0
        weight = 0 if self.tied else self.in_features * self.out_features
        return weight + (self.out_features if self.bias else 0)

    def runs(self, batch: Batch) -> bool:
        """Whether there are rows."""
        return self.rows.count(batch) > 0

    def forward_flops(self, batch: Batch) -> int:
        """Count 2 * rows * in * out FLOPs."""
        return matmul_flops(self.rows.count(batch), self.in_features, self.out_features)


@dataclass(frozen=True)
class Experts(Leaf):
    """One matrix per expert, of which every row meets the `active` that it is routed to; none is dropped or padded."""

    in_features: int
    out_features: int
    experts: int
    active: int
    bias: bool = False
    rows: Rows = TOKENS

    def parameters(self) -> int:
        """Count one weight, and one bias, per expert."""
        return self.experts * self._each()

    def active_parameters(self) -> int:
        """Count the parameters of the experts that one token is routed to."""
        return self.active * self._each()

    def _each(self) -> int:
        return self.in_features * self.out_features + (self.out_features if self.bias else 0)

    def forward_flops(self, batch: Batch) -> int:
        """Count 2 * rows * active * in * out FLOPs."""
        return matmul_flops(self.rows.count(batch) * self.active, self.in_features, self.out_features)


@dataclass(frozen=True)
class Embedding(Leaf):
    """A table of vectors; looking one up costs no FLOPs. `words` marks the table of the vocabulary.

    `tied` is the path of the part whose table it uses, if it has none of its own.
    """

    table_rows: int
    features: int
    words: bool = False
    tied: str | None = None

    def parameters(self) -> int:
        """Count one vector of features per row."""
        return 0 if self.tied else self.table_rows * self.features


@dataclass(frozen=True)
class Norm(Leaf):
    """A LayerNorm (with bias) or RMSNorm (without); `affine=False` has no parameters. Elementwise, so not counted."""

    features: int
    bias: bool = False
    affine: bool = True

    def parameters(self) -> int:
        """Count one weight per feature, and one bias."""
        return self.features * (1 + self.bias) if self.affine else 0


@dataclass(frozen=True)
class Vector(Leaf):
    """Parameters that are added or multiplied elementwise: class tokens, biases of their own, layer scales, decays.

    `trains` is false for parameters that Hugging Face keeps out of the gradient itself. One with `rows` of its own is
    not there for a batch without them.
    """

    size: int
    trains: bool = field(default=True, kw_only=True)
    rows: Rows | None = field(default=None, kw_only=True)

    def parameters(self) -> int:
        """Count `size` parameters."""
        return self.size

    def runs(self, batch: Batch) -> bool:
        """Whether there is anything that it is added to."""
        return self.rows is None or self.rows.count(batch) > 0


@dataclass(frozen=True)
class AttentionCore(Leaf):
    """The two products of attention, scores = Q K^T and output = scores V, over the pairs that the mask keeps.

    `window` and `chunk` bound how far back a causal query sees; `radius` how far to both sides. Rows of one stretch of
    `forwards`, the tokens of one image, see each other also forwards. Reads q, k, v, and what is added to the scores.
    """

    heads: int
    key_dim: int
    value_dim: int
    causal: bool = True
    window: int | None = None
    chunk: int | None = None
    radius: int | None = None
    forwards: Rows | None = None
    rows: Rows = TOKENS
    keys: Rows | None = None
    reads: tuple[str, ...] = field(default=("q", "k", "v"), kw_only=True)
    writes: str = field(default="o", kw_only=True)

    def pairs(self, batch: Batch) -> int:
        """Pairs of query and key that the mask keeps, over all sequences."""
        if self.keys is not None:
            spans = zip(_some(self.rows.spans(batch)), _some(self.keys.spans(batch)), strict=True)
            return sum(count * length * other for (length, count), (other, _) in spans)
        kept = sum(
            count * attended_pairs(length, causal=self.causal, window=self.window, chunk=self.chunk, radius=self.radius)
            for length, count in self.rows.spans(batch)
        )
        ahead = () if self.forwards is None else self.forwards.spans(batch)
        return kept + sum(count * (length * (length - 1) // 2) for length, count in ahead)

    def forward_flops(self, batch: Batch) -> int:
        """2 * heads * (key_dim + value_dim) for each kept pair; grouped keys and values change the projections only."""
        return 2 * self.heads * (self.key_dim + self.value_dim) * self.pairs(batch)

    def backward_flops(self, forward: int, flowing: frozenset[str], trains: bool) -> int:
        """Gradients of Q and K from the scores, of the scores and V from the output, each where one flows."""
        query, key, value, *added = (name in flowing for name in self.reads)
        scores, output = query + key, (query or key or any(added)) + value
        return forward // (self.key_dim + self.value_dim) * (self.key_dim * scores + self.value_dim * output)


def _some(spans: Iterable[Span]) -> list[Span]:
    """The spans that occur."""
    return [span for span in spans if span[1]]


@dataclass(frozen=True)
class Product(Leaf):
    """Products of two activations inside a state space model or a linear attention, which work in chunks.

    Args:
        per_row: FLOPs for every row.
        per_pair: FLOPs for every pair of rows within a chunk, to both sides.
        chunk: Rows in a chunk.
        padded: Whether the last chunk is filled up.
        backward: How many times the forward the backward is.
        lacks: What of that the backward does not compute: one product of the "first" chunk, which reads a state that is
            constant, or all of the "last" chunk, which writes a state that nothing reads.
    """

    per_row: int = 0
    per_pair: int = 0
    chunk: int = 1
    padded: bool = True
    backward: int = 2
    lacks: Literal["first", "last"] | None = None
    rows: Rows = TOKENS
    reads: tuple[str, ...] = field(default=("q", "k", "v"), kw_only=True)
    writes: str = field(default="o", kw_only=True)

    def forward_flops(self, batch: Batch) -> int:
        """Over all sequences, `per_row` for each row and `per_pair` for each pair within a chunk."""
        return sum(count * sum(map(self._of, self._chunks(length))) for length, count in self.rows.spans(batch))

    def backward_flops(self, forward: int, flowing: frozenset[str], trains: bool) -> int:
        """`backward` times the forward as soon as a gradient flows to anything that is read; needs the lengths."""
        return 0 if flowing.isdisjoint(self.reads) else self.backward * forward

    def lacking_flops(self, batch: Batch) -> int:
        """Return the FLOPs that the backward saves, over all sequences."""
        if self.lacks is None:
            return 0
        chunks = ((self._chunks(length), count) for length, count in self.rows.spans(batch))
        if self.lacks == "first":
            return sum(count * self._of(each[0]) for each, count in chunks if each)
        return sum(count * self.backward * self._of(each[-1]) for each, count in chunks if each)

    def _chunks(self, length: int) -> list[int]:
        whole, rest = divmod(length, self.chunk)
        last = [self.chunk if self.padded else rest] if rest else []
        return [self.chunk] * whole + last

    def _of(self, length: int) -> int:
        return self.per_row * length + self.per_pair * length**2


@dataclass(frozen=True)
class Contrast(Leaf):
    """Every sequence's vector against every other stream's: one product of the batch with itself (CLIP's logits)."""

    features: int

    def forward_flops(self, batch: Batch) -> int:
        """Count 2 * sequences * features * sequences FLOPs."""
        return matmul_flops(batch.sequences, self.features, batch.sequences)

    def backward_flops(self, forward: int, flowing: frozenset[str], trains: bool) -> int:
        """Count one gradient for every side that a gradient flows to."""
        return forward * sum(name in flowing for name in self.reads)
