"""What a training step costs beyond its forward pass: gradients, adapters, recomputation.

The backward of a product C = A B is two products of the same size, one for A's gradient and one for B's. Each is
computed only where it is needed: a weight's where that weight trains, an activation's where something upstream of it
trains. With everything trainable this is twice the forward (PaLM, arXiv 2204.02311, appendix B), except for the parts
that read the data itself, which have no input gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from flopwatch.model.architecture import Architecture, Component, Group, Stack, join, leaves
from flopwatch.model.batch import Batch
from flopwatch.model.components import AttentionCore, Embedding, Leaf, Linear, Product, Vector

Checkpointing = Literal["none", "reentrant", "non-reentrant"]


@dataclass(frozen=True)
class Adapter:
    """A low-rank adapter (LoRA) beside a linear layer: in -> rank -> out (Hu et al., arXiv 2106.09685)."""

    rank: int
    trains: bool = True


@dataclass(frozen=True)
class Trainable:
    """Which parameters train, by their paths in the module tree.

    Args:
        frozen: Paths of parameters (`....weight`, or a bare parameter's own path) that do not train.
        adapters: Low-rank adapters by the path of the linear layer that they stand beside.
        inputs: Whether the embeddings' output is made to require a gradient all the same
            (`enable_input_require_grads`).
    """

    frozen: frozenset[str] = frozenset()
    adapters: Mapping[str, Adapter] = field(default_factory=dict)
    inputs: bool = False

    @property
    def everything(self) -> bool:
        """Whether nothing is frozen and nothing added."""
        return not self.frozen and not self.adapters and not self.inputs

    def weight(self, leaf: Leaf, path: str) -> bool:
        """Whether the matrix of a part trains."""
        tied = leaf.tied if isinstance(leaf, Linear | Embedding) else None
        return f"{tied or path}{'' if leaf.bare else '.weight'}" not in self.frozen

    def anything(self, leaf: Leaf, path: str) -> bool:
        """Whether any parameter of a part trains."""
        if not leaf.parameters() and not (isinstance(leaf, Linear | Embedding) and leaf.tied):
            return False
        if isinstance(leaf, Vector) and not leaf.trains:
            return False
        if self.weight(leaf, path):
            return True
        has_bias = bool(getattr(leaf, "bias", False))
        return has_bias and f"{path}{'_bias' if leaf.bare else '.bias'}" not in self.frozen


EVERYTHING = Trainable()


def training_flops(architecture: Architecture, batch: Batch, trainable: Trainable = EVERYTHING) -> int:
    """Exact FLOPs of forward and backward, without recomputation.

    A 4 x 6 layer that trains, fed by another that trains, on 2 rows: 2 * 2 * 4 * 6 = 96 forward, twice that backward.

    Args:
        architecture: The model, under the attention convention to count with.
        batch: The input.
        trainable: Which parameters train; all by default.
    """
    walk = _Walk(batch, trainable)
    for component in architecture.components:
        walk.enter(component, "")
    return walk.flops


def added_forward_flops(architecture: Architecture, batch: Batch, trainable: Trainable) -> int:
    """FLOPs that adapters add to the forward pass."""
    walk = _Walk(batch, trainable)
    for component in architecture.components:
        walk.enter(component, "")
    return walk.added


class _Walk:
    """One pass through the model in the order in which it runs, with the set of values that a gradient flows to."""

    def __init__(self, batch: Batch, trainable: Trainable) -> None:
        self._batch = batch
        self._trainable = trainable
        self._flowing: frozenset[str] = frozenset({"x"} if trainable.inputs else ())
        self._settled: dict[tuple[str, int, frozenset[str]], tuple[int, frozenset[str]]] = {}
        self.flops = self.added = 0

    def enter(self, component: Component, path: str) -> None:
        """Add a component's forward and backward."""
        if isinstance(component, Leaf):
            self._run(component, join(path, component.name))
        elif isinstance(component, Group):
            for child in component.children:
                self.enter(child, join(path, component.name))
        else:
            for index, kind in component.positions():
                self._layer(component, kind, index, path)

    def _layer(self, stack: Stack, kind: int, index: int, path: str) -> None:
        """One layer; layers of a kind with the same gradients flowing cost the same, so that is worked out once."""
        below = join(path, stack.name)
        known = self._settled.get((below, kind, self._flowing)) if self._trainable.everything else None
        if known is not None:
            flops, self._flowing = known
            self.flops += flops
            return
        before, flowing = self.flops, self._flowing
        for child in stack.kinds[kind].children:
            self.enter(child, join(below, str(index)))
        self._settled[below, kind, flowing] = self.flops - before, self._flowing

    def _run(self, leaf: Leaf, path: str) -> None:
        forward = leaf.forward_flops(self._batch)
        self.flops += forward
        if leaf.no_grad:
            return
        trains = self._trainable.anything(leaf, path)
        weight = trains and self._trainable.weight(leaf, path)
        if forward:
            backward = leaf.backward_flops(forward, self._flowing, weight)
            lacking = leaf.lacking_flops(self._batch) if backward and isinstance(leaf, Product) else 0
            self.flops += backward - lacking
        adapter = self._trainable.adapters.get(path)
        if adapter is not None and isinstance(leaf, Linear):
            self._adapt(leaf, adapter)
            trains = trains or adapter.trains
        if trains or not self._flowing.isdisjoint(leaf.reads):
            self._flowing |= {leaf.writes}

    def _adapt(self, leaf: Linear, adapter: Adapter) -> None:
        """Two narrow layers: the first's input gradient only where one flows, the second's always."""
        down = Linear("", leaf.in_features, adapter.rank, rows=leaf.rows).forward_flops(self._batch)
        up = Linear("", adapter.rank, leaf.out_features, rows=leaf.rows).forward_flops(self._batch)
        flows = not self._flowing.isdisjoint(leaf.reads)
        self.added += down + up
        self.flops += down * (1 + adapter.trains + flows) + up * (1 + adapter.trains + (adapter.trains or flows))


@dataclass(frozen=True)
class Recomputation:
    """What the backward computes a second time, in FLOPs."""

    checkpointing: int = 0
    attention: int = 0

    @property
    def flops(self) -> int:
        """All of it."""
        return self.checkpointing + self.attention


def recomputation(
    architecture: Architecture, batch: Batch, checkpointing: Checkpointing = "none", *, flash_attention: bool = False
) -> Recomputation:
    """FLOPs that are recomputed in the backward pass.

    Activation checkpointing of every layer runs each layer's forward again. PyTorch's non-reentrant checkpoint stops
    as soon as the last activation that the backward needs is there, so that a product at a layer's end, whose result
    nothing in the layer keeps, is not run again. Flash attention recomputes the scores, half of its forward when keys
    and values are as wide (Dao et al., arXiv 2205.14135, section 3.1).

    Args:
        architecture: The model, under the attention convention to count with.
        batch: The input.
        checkpointing: How its stacks of layers are checkpointed.
        flash_attention: Whether attention runs in a kernel that recomputes its scores.
    """
    again = 0
    if checkpointing != "none":
        again = sum(_again(stack, batch, checkpointing) for _, stack in architecture.stacks())
    scores = 0
    if flash_attention:
        cores = ((leaf, runs) for leaf, runs, _ in architecture.leaves() if isinstance(leaf, AttentionCore))
        scores = sum(2 * core.heads * core.key_dim * core.pairs(batch) * runs for core, runs in cores)
    return Recomputation(again, scores)


def _again(stack: Stack, batch: Batch, checkpointing: Checkpointing) -> int:
    total = 0
    for number, kind in enumerate(stack.kinds):
        parts = [(leaf, runs) for leaf, runs, _ in leaves(kind)]
        if checkpointing == "non-reentrant":
            parts = _until_last_saved(parts)
        total += stack.times(number) * sum(leaf.forward_flops(batch) * runs for leaf, runs in parts)
    return total


def _until_last_saved(parts: list[tuple[Leaf, int]]) -> list[tuple[Leaf, int]]:
    """Without the products at the end whose result only goes into the residual sum, which keeps nothing."""
    return parts[:-1] if parts and isinstance(parts[-1][0], Linear) else parts


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
