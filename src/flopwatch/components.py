"""The arithmetic of a model: small frozen parts that give their parameters and their FLOPs from the same fields.

A multiply-add is two FLOPs. Counted are matrix multiplications (convolutions and the products of attention, state
space models and linear attention among them); looking up an embedding, norms, activations, softmax, elementwise scans
and residual additions are not. Because parameters and FLOPs come from the same fields, a parameter count that equals
the live model's proves the fields.

Every part says which values it reads and writes by name ("x" is the hidden state), in the order in which they run.
That wiring is what `backward` needs to tell which gradients a partly frozen model computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from flopwatch.batch import TOKENS, Batch, Rows, attended_pairs

AttentionConvention = Literal["causal", "full"]
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
        """Parameters that the part owns."""
        return 0

    def active_parameters(self) -> int:
        """Parameters that one token meets; fewer than all where tokens are routed."""
        return self.parameters()

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

    `tied` is the path of the part whose weight it uses, if it has none of its own.
    """

    in_features: int
    out_features: int
    bias: bool = False
    tied: str | None = None
    rows: Rows = TOKENS
    role: Role = "weight"

    def parameters(self) -> int:
        """Weight (in * out) and bias."""
        weight = 0 if self.tied else self.in_features * self.out_features
        return weight + (self.out_features if self.bias else 0)

    def forward_flops(self, batch: Batch) -> int:
        """2 * rows * in * out."""
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
        """One weight, and bias, for each expert."""
        return self.experts * self._each()

    def active_parameters(self) -> int:
        """Those of the experts that one token is routed to."""
        return self.active * self._each()

    def _each(self) -> int:
        return self.in_features * self.out_features + (self.out_features if self.bias else 0)

    def forward_flops(self, batch: Batch) -> int:
        """2 * rows * active * in * out."""
        return matmul_flops(self.rows.count(batch) * self.active, self.in_features, self.out_features)


@dataclass(frozen=True)
class Embedding(Leaf):
    """A table of vectors; looking one up costs no FLOPs. `words` marks the table of the vocabulary."""

    table_rows: int
    features: int
    words: bool = False

    def parameters(self) -> int:
        """One vector of features for each row."""
        return self.table_rows * self.features


@dataclass(frozen=True)
class Norm(Leaf):
    """A LayerNorm (with bias) or RMSNorm (without); `affine=False` has no parameters. Elementwise, so not counted."""

    features: int
    bias: bool = False
    affine: bool = True

    def parameters(self) -> int:
        """One weight per feature, and one bias."""
        return self.features * (1 + self.bias) if self.affine else 0


@dataclass(frozen=True)
class Vector(Leaf):
    """Parameters that are added or multiplied elementwise: class tokens, biases of their own, layer scales, decays.

    `trains` is false for parameters that Hugging Face keeps out of the gradient itself.
    """

    size: int
    trains: bool = field(default=True, kw_only=True)

    def parameters(self) -> int:
        """`size`."""
        return self.size


@dataclass(frozen=True)
class AttentionCore(Leaf):
    """The two products of attention, scores = Q K^T and output = scores V, over the pairs that the mask keeps.

    `window` and `chunk` bound how far back a causal query sees; `radius` how far to both sides. Reads q, k, v.
    """

    heads: int
    key_dim: int
    value_dim: int
    causal: bool = True
    window: int | None = None
    chunk: int | None = None
    radius: int | None = None
    rows: Rows = TOKENS
    keys: Rows | None = None
    reads: tuple[str, ...] = field(default=("q", "k", "v"), kw_only=True)
    writes: str = field(default="o", kw_only=True)

    def pairs(self, batch: Batch) -> int:
        """Pairs of query and key that the mask keeps, over all sequences."""
        if self.keys is not None:
            spans = zip(self.rows.spans(batch), self.keys.spans(batch), strict=True)
            return sum(count * length * other for (length, count), (other, _) in spans)
        return sum(
            count * attended_pairs(length, causal=self.causal, window=self.window, chunk=self.chunk, radius=self.radius)
            for length, count in self.rows.spans(batch)
        )

    def forward_flops(self, batch: Batch) -> int:
        """2 * heads * (key_dim + value_dim) for each kept pair; grouped keys and values change the projections only."""
        return 2 * self.heads * (self.key_dim + self.value_dim) * self.pairs(batch)

    def backward_flops(self, forward: int, flowing: frozenset[str], trains: bool) -> int:
        """Gradients of Q and K from the scores, of the scores and V from the output, each where one flows."""
        query, key, value = (name in flowing for name in self.reads)
        scores, output = query + key, (query or key) + value
        return forward // (self.key_dim + self.value_dim) * (self.key_dim * scores + self.value_dim * output)


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
        """What the backward has less, over all sequences."""
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
        """2 * sequences * features * sequences."""
        return matmul_flops(batch.sequences, self.features, batch.sequences)

    def backward_flops(self, forward: int, flowing: frozenset[str], trains: bool) -> int:
        """A gradient for each side that one flows to."""
        return forward * sum(name in flowing for name in self.reads)


@dataclass(frozen=True)
class Group:
    """Parts under one name; an empty name adds no level to paths."""

    name: str
    children: tuple[Component, ...]


@dataclass(frozen=True)
class Stack:
    """Layers in a row: a few kinds of layer, and for each position which kind stands there.

    With `shared` all positions of a kind use the same parameters, as ALBERT's do. `indices` names the positions in the
    module tree where they are not 0, 1, 2, ...
    """

    name: str
    kinds: tuple[Group, ...]
    pattern: tuple[int, ...]
    shared: bool = False
    indices: tuple[int, ...] | None = None

    def positions(self) -> Iterator[tuple[int, int]]:
        """The index of every layer in the module tree, with its kind."""
        indices = self.indices or range(len(self.pattern))
        return zip([0] * len(self.pattern) if self.shared else indices, self.pattern, strict=True)

    def shortened(self) -> Stack:
        """Only the first layer of every kind."""
        kept = sorted({kind: self.pattern.index(kind) for kind in self.pattern}.values())
        return replace(self, pattern=tuple(self.pattern[index] for index in kept), indices=tuple(kept))

    def times(self, kind: int) -> int:
        """How many positions are of a kind."""
        return self.pattern.count(kind)


Component = Leaf | Group | Stack


def leaves(component: Component) -> Iterator[tuple[Leaf, int, int]]:
    """Every leaf with how many times it runs and how many times its parameters exist."""
    if isinstance(component, Leaf):
        yield component, 1, 1
    elif isinstance(component, Group):
        for child in component.children:
            yield from leaves(child)
    else:
        for number, kind in enumerate(component.kinds):
            times = component.times(number)
            owned = min(times, 1) if component.shared else times
            for leaf, runs, exist in leaves(kind):
                yield leaf, runs * times, exist * owned


@dataclass(frozen=True)
class ComponentRow:
    """One line of the per-component table."""

    name: str
    parameters: int
    forward_flops: int
    active_parameters: int | None = None


Inputs = Literal["tokens", "source and tokens", "images", "images and tokens", "frames and tokens"]


@dataclass(frozen=True)
class Architecture:
    """A model as an ordered tree of components.

    `max_seq_len` is the longest sequence that learned positions allow, `None` without such a limit. `inputs` says what
    a batch of it holds.
    `sequences_interact` marks models whose cost is not a multiple of the number of sequences.
    """

    model_type: str
    components: tuple[Component, ...]
    max_seq_len: int | None = None
    inputs: Inputs = "tokens"
    causal: bool = True
    sequences_interact: bool = False

    def leaves(self) -> Iterator[tuple[Leaf, int, int]]:
        """Every leaf with how many times it runs and how many times its parameters exist."""
        for component in self.components:
            yield from leaves(component)

    def parameters(self) -> int:
        """Parameters of the whole model; a tied head counts once."""
        return sum(leaf.parameters() * exist for leaf, _, exist in self.leaves())

    def active_parameters(self) -> int:
        """Parameters that one token meets: of routed experts only those that it is sent to."""
        return sum(leaf.active_parameters() * exist for leaf, _, exist in self.leaves())

    def forward_flops(self, batch: Batch) -> int:
        """Exact FLOPs of one forward pass."""
        return sum(leaf.forward_flops(batch) * runs for leaf, runs, _ in self.leaves())

    def rows(self, batch: Batch) -> list[ComponentRow]:
        """The per-component table: attention products on lines of their own; the lines add up to the totals."""
        lines: dict[str, ComponentRow] = {}
        for line, leaf, runs, exist in self.lines():
            row = lines.get(line, ComponentRow(line, 0, 0, 0))
            lines[line] = ComponentRow(
                line,
                row.parameters + exist * leaf.parameters(),
                row.forward_flops + runs * leaf.forward_flops(batch),
                (row.active_parameters or 0) + exist * leaf.active_parameters(),
            )
        return list(lines.values())

    def lines(self) -> Iterator[tuple[str, Leaf, int, int]]:
        """Every leaf that has parameters or work, its line of the table, its runs and how often it exists."""
        for component in self.components:
            for line in _lines(component, "", 1, 1, top=True):
                if line[1].parameters() or isinstance(line[1], (AttentionCore, Product, Contrast, Linear)):
                    yield line

    def with_full_attention(self) -> Architecture:
        """The same model counted over all pairs, masked or not: the `full` attention convention."""
        return self.with_leaves(_unmasked)

    def as_reference(self) -> Architecture:
        """The same model as Hugging Face's own code runs it, for cross-checks against that code."""
        return self.with_leaves(lambda leaf: leaf.reference or leaf)

    def with_leaves(self, change: Callable[[Leaf], Leaf]) -> Architecture:
        """The same tree with every leaf changed."""
        return replace(self, components=tuple(_changed(component, change) for component in self.components))

    def shortened(self) -> Architecture:
        """The same model with one layer of every kind: what a quick cross-check runs."""
        return replace(self, components=tuple(_shortened(component) for component in self.components))

    def stacks(self) -> Iterator[tuple[str, Stack]]:
        """Every stack of layers with its path in the module tree."""
        for component in self.components:
            yield from _stacks(component, "")

    def named_leaves(self) -> Iterator[tuple[str, Leaf]]:
        """Every leaf with its path in the module tree, each layer on its own."""
        for component in self.components:
            yield from _named(component, "")

    def counted_with(self, attention: AttentionConvention) -> Architecture:
        """The same model under an attention convention."""
        return self.with_full_attention() if attention == "full" else self


def _lines(
    component: Component, path: str, runs: int, exist: int, *, top: bool
) -> Iterator[tuple[str, Leaf, int, int]]:
    if isinstance(component, Leaf):
        yield _line_of(component, path, top), component, runs, exist
    elif isinstance(component, Group):
        below = join(path, component.name)
        for child in component.children:
            yield from _lines(child, below, runs, exist, top=top and not component.name)
    else:
        for number, kind in enumerate(component.kinds):
            times = component.times(number)
            owned = min(times, 1) if component.shared else times
            label = f"{component.name}[{kind.name}]" if kind.name else component.name
            for child in kind.children:
                yield from _lines(child, join(path, label), runs * times, exist * owned, top=True)


def _line_of(leaf: Leaf, path: str, top: bool) -> str:
    if isinstance(leaf, AttentionCore):
        return join(path, leaf.name)
    if not top:
        return path
    return join(path, "norms") if path and isinstance(leaf, Norm | Vector) else join(path, leaf.name)


def join(path: str, name: str) -> str:
    """A path one level deeper; an empty name adds none."""
    return f"{path}.{name}" if path and name else path or name


def _changed(component: Component, change: Callable[[Leaf], Leaf]) -> Component:
    if isinstance(component, Leaf):
        return change(component)
    if isinstance(component, Group):
        return Group(component.name, tuple(_changed(child, change) for child in component.children))
    kinds = (Group(kind.name, tuple(_changed(child, change) for child in kind.children)) for kind in component.kinds)
    return replace(component, kinds=tuple(kinds))


def _unmasked(leaf: Leaf) -> Leaf:
    if isinstance(leaf, AttentionCore):
        return replace(leaf, causal=False, window=None, chunk=None, radius=None)
    return leaf


def _shortened(component: Component) -> Component:
    if isinstance(component, Stack):
        return component.shortened()
    if isinstance(component, Group):
        return Group(component.name, tuple(_shortened(child) for child in component.children))
    return component


def _stacks(component: Component, path: str) -> Iterator[tuple[str, Stack]]:
    if isinstance(component, Stack):
        yield join(path, component.name), component
    elif isinstance(component, Group):
        for child in component.children:
            yield from _stacks(child, join(path, component.name))


def _named(component: Component, path: str) -> Iterator[tuple[str, Leaf]]:
    if isinstance(component, Leaf):
        yield join(path, component.name), component
    elif isinstance(component, Group):
        for child in component.children:
            yield from _named(child, join(path, component.name))
    else:
        for index, kind in component.positions():
            for child in component.kinds[kind].children:
                yield from _named(child, join(join(path, component.name), str(index)))
