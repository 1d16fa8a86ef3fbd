"""What a training step costs beyond its forward pass: gradients, adapters, recomputation.

The backward of a product C = A B is two products of the same size, one for A's gradient and one for B's. Each is
computed only where it is needed: a weight's where that weight trains, an activation's where something upstream of it
trains. With everything trainable this is twice the forward (PaLM, arXiv 2204.02311, appendix B), except for the parts
that read the data itself, which have no input gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from flopwatch.model.architecture import Architecture, Component, Group, Stack, join, named, taken_in
from flopwatch.model.batch import Batch
from flopwatch.model.components import AttentionCore, Embedding, Experts, Leaf, Linear, Product, Vector, matmul_flops

Checkpointing = Literal["none", "reentrant", "non-reentrant"]


@dataclass(frozen=True)
class Adapter:
    """A low-rank adapter (LoRA): in -> rank -> out (Hu et al., arXiv 2106.09685).

    It stands beside a linear layer, or goes into the layer's weight in every pass, by `products` of its two matrices.
    The rank is that of all experts together where there are some. PEFT's own code runs `reference` products.
    """

    rank: int
    trains: bool = True
    into_weight: bool = False
    products: int = 1
    reference: int = 1


@dataclass(frozen=True)
class Trainable:
    """Which parameters train, by their paths in the module tree.

    Args:
        frozen: Paths of parameters (`....weight`, or a bare parameter's own path) that do not train.
        adapters: Low-rank adapters by the path of the linear layer that they stand beside.
        inputs: Paths of parts whose output is made to require a gradient all the same (`enable_input_require_grads`).
    """

    frozen: frozenset[str] = frozenset()
    adapters: Mapping[str, Adapter] = field(default_factory=dict)
    inputs: frozenset[str] = frozenset()

    @property
    def everything(self) -> bool:
        """Return whether no parameter is frozen and no adapter added."""
        return not self.frozen and not self.adapters and not self.inputs

    def as_reference(self) -> Trainable:
        """The same with adapters as PEFT's own code runs them, for cross-checks against that code."""
        return replace(
            self, adapters={path: replace(each, products=each.reference) for path, each in self.adapters.items()}
        )

    def weight(self, leaf: Leaf, path: str) -> bool:
        """Return whether the matrix of a part trains."""
        tied = leaf.tied if isinstance(leaf, Linear | Embedding) else None
        return f"{tied or path}{'' if leaf.bare else '.weight'}" not in self.frozen

    def anything(self, leaf: Leaf, path: str) -> bool:
        """Return whether any parameter of a part trains."""
        if not leaf.parameters() and not _has_anothers(leaf):
            return False
        if isinstance(leaf, Vector) and not leaf.trains:
            return False
        if self.weight(leaf, path):
            return True
        has_bias = bool(getattr(leaf, "bias", False))
        return has_bias and f"{path}{'_bias' if leaf.bare else '.bias'}" not in self.frozen

    def of(self, leaf: Leaf, path: str) -> tuple[bool, bool, Adapter | None, bool]:
        """All that is said of a part, in the order of the methods and fields."""
        return self.weight(leaf, path), self.anything(leaf, path), self.adapters.get(path), path in self.inputs


def _has_anothers(leaf: Leaf) -> bool:
    """Whether a part uses the parameters of another one."""
    return isinstance(leaf, Linear | Embedding) and bool(leaf.tied or getattr(leaf, "again", False))


EVERYTHING = Trainable()


def training_flops(architecture: Architecture, batch: Batch, trainable: Trainable = EVERYTHING) -> int:
    """Exact FLOPs of forward and backward, without recomputation.

    A 4 x 6 layer that trains, fed by another that trains, on 2 rows: 2 * 2 * 4 * 6 = 96 forward, twice that backward.

    Args:
        architecture: The model, under the attention convention to count with.
        batch: The input.
        trainable: Which parameters train; all by default.
    """
    return TrainingStep(architecture, trainable).flops(batch).training


def added_forward_flops(architecture: Architecture, batch: Batch, trainable: Trainable) -> int:
    """Return the FLOPs that adapters add to the forward pass."""
    return TrainingStep(architecture, trainable).flops(batch).added


class StepFlops(NamedTuple):
    """FLOPs of a step.

    Attributes:
        forward: The forward pass, with adapters.
        added: What of it adapters add.
        training: Forward and backward, without recomputation.
        recomputed: What of the forward checkpointed layers run again.
    """

    forward: int = 0
    added: int = 0
    training: int = 0
    recomputed: int = 0

    def plus(self, other: StepFlops, times: int = 1) -> StepFlops:
        """Return this and so many times the other."""
        return StepFlops(*(own + times * more for own, more in zip(self, other, strict=True)))


class TrainingStep:
    """A model and what of it trains, ready to be counted for batch after batch.

    Args:
        architecture: The model, under the attention convention to count with.
        trainable: Which parameters train; all by default.
        checkpointing: How its stacks of layers are checkpointed.
    """

    def __init__(
        self, architecture: Architecture, trainable: Trainable = EVERYTHING, checkpointing: Checkpointing = "none"
    ) -> None:
        self.architecture, self.trainable, self.checkpointing = architecture, trainable, checkpointing
        self._alike: dict[str, int] = {}
        self._numbers: dict[tuple[object, ...], int] = {}

    def flops(self, batch: Batch) -> StepFlops:
        """Return the exact FLOPs of a batch."""
        walk = _Walk(batch, self)
        for component in self.architecture.components:
            walk.enter(component, "")
        return walk.counts()

    def alike(self, layer: Group, path: str) -> int:
        """A number that a layer shares with those of its kind of which the same parts train."""
        if self.trainable.everything:
            return 0
        number = self._alike.get(path)
        if number is None:
            leaves = (each for child in layer.children for each in named(child, path))
            trains = tuple(self.trainable.of(leaf, below) for below, leaf in leaves)
            number = self._alike[path] = self._numbers.setdefault(trains, len(self._numbers))
        return number


@dataclass(frozen=True)
class _Run:
    """One product or other work of a layer: its forward FLOPs, and whether the backward needs something kept of it.

    Of a matrix product that are its two sides, which are there `before` it runs.
    """

    flops: int
    keeps: bool
    before: bool


class _Walk:
    """One pass through the model in the order in which it runs, with the set of values that a gradient flows to."""

    def __init__(self, batch: Batch, step: TrainingStep, flowing: frozenset[str] = frozenset()) -> None:
        self._batch, self._step, self._trainable = batch, step, step.trainable
        self._flowing = flowing
        self._settled: dict[tuple[str, int, int, int, frozenset[str]], tuple[StepFlops, frozenset[str]]] = {}
        self._layers = StepFlops()
        self._runs: list[_Run] = []
        self._forward = self._added = self._backward = 0

    def counts(self) -> StepFlops:
        """Return what has been counted so far."""
        return self._layers.plus(StepFlops(self._forward, self._added, self._forward + self._backward))

    def enter(self, component: Component, path: str) -> None:
        """Add a component's forward and backward."""
        if isinstance(component, Leaf):
            self._run(component, join(path, component.name))
        elif isinstance(component, Group):
            self._enter_group(component, join(path, component.name))
        else:
            for index, kind in component.positions():
                self._layer(component, kind, index, path)

    def _enter_group(self, group: Group, path: str) -> None:
        before = after = self._flowing
        for child in group.children:
            if group.side_by_side:
                self._flowing = before
            self.enter(child, path)
            after |= self._flowing
        self._flowing = after

    def _layer(self, stack: Stack, kind: int, index: int, path: str) -> None:
        """One layer; those that are alike and have the same gradients flowing cost the same, worked out once."""
        layer, below = stack.kinds[kind], join(path, stack.name)
        at = join(below, str(index))
        key = below, stack.start, kind, self._step.alike(layer, at), self._flowing
        if key not in self._settled:
            self._settled[key] = self._of_layer(layer, at, self._step.checkpointing if stack.checkpointed else "none")
        counts, self._flowing = self._settled[key]
        self._layers = self._layers.plus(counts)

    def _of_layer(self, layer: Group, path: str, checkpointing: Checkpointing) -> tuple[StepFlops, frozenset[str]]:
        inside = _Walk(self._batch, self._step, self._flowing)
        inside._enter_group(layer, path)
        again = _again(inside._runs, checkpointing)
        flowing = self._flowing | inside._flowing & taken_in(layer)
        return inside.counts().plus(StepFlops(recomputed=again)), flowing

    def _run(self, leaf: Leaf, path: str) -> None:
        if not leaf.runs(self._batch):
            return
        trains = self._trainable.anything(leaf, path) and not leaf.no_grad
        weight = trains and self._trainable.weight(leaf, path)
        flows = not self._flowing.isdisjoint(leaf.reads) and not leaf.no_grad
        product = isinstance(leaf, Linear | Experts)
        adapter = self._adapter(leaf, path)
        adapted = adapter is not None and adapter.trains
        if adapter is not None and adapter.into_weight and isinstance(leaf, Linear | Experts):
            self._adapt_weight(leaf, adapter)
            weight = weight or adapted
        forward = leaf.forward_flops(self._batch)
        self._add(leaf, forward, flows, weight)
        self._runs.append(_Run(forward, keeps=flows or (weight if product else trains), before=product))
        if adapter is not None and not adapter.into_weight and isinstance(leaf, Linear):
            self._adapt(leaf, adapter, flows)
        if trains or flows or adapted or path in self._trainable.inputs:
            self._flowing |= {leaf.writes}

    def _adapter(self, leaf: Leaf, path: str) -> Adapter | None:
        """The adapter that runs with a part; it gets no gradient where the part runs outside of autograd."""
        adapter = self._trainable.adapters.get(path)
        if adapter is None or (isinstance(leaf, Linear) and not leaf.called and not adapter.into_weight):
            return None
        return replace(adapter, trains=False) if leaf.no_grad else adapter

    def _add(self, leaf: Leaf, forward: int, flows: bool, weight: bool) -> None:
        self._forward += forward
        if forward and (flows or weight):
            backward = leaf.backward_flops(forward, self._flowing, weight)
            lacking = leaf.lacking_flops(self._batch) if backward and isinstance(leaf, Product) else 0
            self._backward += backward - lacking

    def _adapt(self, leaf: Linear, adapter: Adapter, flows: bool) -> None:
        """Two narrow layers: the first's input gradient only where one flows, the second's always."""
        down = Linear("", leaf.in_features, adapter.rank, rows=leaf.rows).forward_flops(self._batch)
        up = Linear("", adapter.rank, leaf.out_features, rows=leaf.rows).forward_flops(self._batch)
        needed = adapter.trains or flows
        self._forward += down + up
        self._added += down + up
        self._backward += down * (adapter.trains + flows) + up * (adapter.trains + needed)
        self._runs += [_Run(down, needed, before=True), _Run(up, needed, before=True)]

    def _adapt_weight(self, leaf: Linear | Experts, adapter: Adapter) -> None:
        """Products of the narrow matrices, of which one has a gradient for each of them."""
        product = matmul_flops(leaf.out_features, adapter.rank, leaf.in_features)
        forward = product * adapter.products
        self._forward += forward
        self._added += forward
        self._backward += 2 * product * adapter.trains
        self._runs.append(_Run(forward, adapter.trains, before=True))


def _again(runs: list[_Run], checkpointing: Checkpointing) -> int:
    """FLOPs of a layer's forward that its backward runs again."""
    kept = [index for index, run in enumerate(runs) if run.keeps]
    if checkpointing == "none" or not kept:
        return 0
    if checkpointing == "reentrant":
        return sum(run.flops for run in runs)
    last = kept[-1]
    return sum(run.flops for run in runs[: last + (not runs[last].before)])


@dataclass(frozen=True)
class Recomputation:
    """What the backward computes a second time, in FLOPs."""

    checkpointing: int = 0
    attention: int = 0

    @property
    def flops(self) -> int:
        """Return all recomputed FLOPs."""
        return self.checkpointing + self.attention


def recomputation(
    architecture: Architecture,
    batch: Batch,
    checkpointing: Checkpointing = "none",
    trainable: Trainable = EVERYTHING,
    *,
    flash_attention: bool = False,
) -> Recomputation:
    """Return the FLOPs that are recomputed in the backward pass.

    Activation checkpointing of every layer runs each layer's forward again, where anything in it needs a gradient.
    PyTorch's non-reentrant checkpoint stops as soon as the last activation that the backward needs is there, so that a
    product at a layer's end, whose result nothing in the layer keeps, is not run again. Flash attention recomputes the
    scores, half of its forward when keys and values are as wide (Dao et al., arXiv 2205.14135, section 3.1).

    Args:
        architecture: The model, under the attention convention to count with.
        batch: The input.
        checkpointing: How its stacks of layers are checkpointed.
        trainable: Which parameters train; all by default.
        flash_attention: Whether attention runs in a kernel that recomputes its scores.
    """
    again = TrainingStep(architecture, trainable, checkpointing).flops(batch).recomputed
    scores = 0
    if flash_attention:
        cores = ((leaf, runs) for leaf, runs, _ in architecture.leaves() if isinstance(leaf, AttentionCore))
        scores = sum(2 * core.heads * core.key_dim * core.pairs(batch) * runs for core, runs in cores)
    return Recomputation(again, scores)


def newton_schulz_flops(shapes: Iterable[tuple[int, int]], iterations: int = 5) -> int:
    """FLOPs of one Muon step: Newton-Schulz iterations on every weight matrix that it updates.

    An m x n matrix (m the smaller side) takes per iteration A = X X^T, A A and the product with X: 4 m^2 n + 2 m^3.
    One 2 x 3 matrix, one iteration: 4 * 4 * 3 + 2 * 8 = 64. Source: Jordan et al. 2024, Muon.
    """
    total = 0
    for rows, columns in shapes:
        m, n = sorted((rows, columns))
        total += iterations * (4 * m * m * n + 2 * m**3)
    return total
