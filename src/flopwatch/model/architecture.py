"""A model as an ordered tree of components: groups, stacks of layers, and what they add up to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from flopwatch.model.batch import FRAMES_PER_SECOND, Batch
from flopwatch.model.components import AttentionCore, Contrast, Leaf, Linear, Norm, Product, Vector
from flopwatch.model.media import TellsGrids, TellsPixels, TellsTiles, Told
from flopwatch.model.resized import TellsPlaces, TellsUseful

AttentionConvention = Literal["causal", "full"]


@dataclass(frozen=True)
class Group:
    """Parts under one name; an empty name adds no level to paths.

    Parts that stand `side_by_side` all read what was there before the first of them, not what another one wrote.
    """

    name: str
    children: tuple[Component, ...]
    side_by_side: bool = False


@dataclass(frozen=True)
class Stack:
    """Layers in a row: a few kinds of layer, and for each position which kind stands there.

    With `shared` all positions of a kind use the same parameters, as ALBERT's do. `start` is the index of the first
    one where other parts stand between the layers. Layers that are not `checkpointed` never run again, since Hugging
    Face's class leaves them out of activation checkpointing.
    """

    name: str
    kinds: tuple[Group, ...]
    pattern: tuple[int, ...]
    shared: bool = False
    start: int = 0
    checkpointed: bool = True

    def positions(self) -> Iterator[tuple[int, int]]:
        """The index of every layer in the module tree, with its kind."""
        last = self.start + len(self.pattern)
        return zip([0] * len(self.pattern) if self.shared else range(self.start, last), self.pattern, strict=True)

    def times(self, kind: int) -> int:
        """Return how many positions belong to a kind."""
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


@cache
def taken_in(layer: Group) -> frozenset[str]:
    """Values that a layer reads before it writes them: those that go on from layer to layer, not its own inner ones."""
    taken: set[str] = set()
    made: set[str] = set()
    for leaf, _, _ in leaves(layer):
        taken |= set(leaf.reads) - made
        made.add(leaf.writes)
    return frozenset(taken)


@dataclass(frozen=True)
class ComponentRow:
    """One line of the per-component table."""

    name: str
    parameters: int
    forward_flops: int
    active_parameters: int | None = None


Inputs = Literal[
    "tokens",
    "source and tokens",
    "images",
    "images and tokens",
    "images, sounds and tokens",
    "grids and tokens",
    "filled grids, sounds and tokens",
    "frames and tokens",
    "sounds and tokens",
    "sounds in rows and tokens",
    "grids, sounds and tokens",
    "sounds",
]
SEES_BESIDE_TEXT: frozenset[Inputs] = frozenset(
    (
        "images and tokens",
        "images, sounds and tokens",
        "grids and tokens",
        "grids, sounds and tokens",
        "filled grids, sounds and tokens",
    )
)


def tokens_of(inputs: Inputs | None, batch: Batch) -> int:
    """Tokens of a batch, of source and target together; frames of sound and patches of images are none.

    Args:
        inputs: What the batch holds; where that is not known, everything in it is tokens.
        batch: The batch.
    """
    return batch.tokens if inputs in (None, "source and tokens") else batch.sequences * batch.seq_len


@dataclass(frozen=True)
class Architecture:
    """A model as an ordered tree of components.

    `max_seq_len` is the longest sequence that learned positions allow, `None` without such a limit. `inputs` says what
    a batch of it holds, and `told` what of it only values tell, not shapes. Every sound is filled up to `sound_frames`
    before its encoder, `None` where sounds have lengths of their own.
    """

    model_type: str
    components: tuple[Component, ...]
    max_seq_len: int | None = None
    inputs: Inputs = "tokens"
    causal: bool = True
    told: Told | None = None
    sound_frames: int | None = None
    frames_per_second: int = FRAMES_PER_SECOND

    def leaves(self) -> Iterator[tuple[Leaf, int, int]]:
        """Every leaf with how many times it runs and how many times its parameters exist."""
        for component in self.components:
            yield from leaves(component)

    def tokens(self, batch: Batch) -> int:
        """Tokens of a batch, of source and target together; frames of sound and images are none."""
        return tokens_of(self.inputs, batch)

    @property
    def sees_any_size(self) -> bool:
        """Whether images have sizes of their own, so that without them there is nothing to count of an image."""
        return isinstance(self.told, TellsGrids | TellsPixels | TellsPlaces | TellsUseful)

    def image_tokens(self, batch: Batch) -> int:
        """Tokens of the text that stand for images and sounds: the rows that their encoders hand on to it.

        Of images that are cut into tiles it is none that is sure, since the class drops what is padding.
        """
        if self.inputs not in SEES_BESIDE_TEXT or isinstance(self.told, TellsTiles):
            return 0
        alone = replace(batch, images=0, grids=(), clips=0, sounds=())
        last = {leaf.rows for leaf, _, _ in self.leaves() if isinstance(leaf, Linear) and leaf.writes == "x"}
        return sum(rows.count(batch) for rows in last if not rows.count(alone))

    def parameters(self) -> int:
        """Return the parameters of the whole model; a tied head counts once."""
        return sum(leaf.parameters() * exist for leaf, _, exist in self.leaves())

    def active_parameters(self) -> int:
        """Parameters that one token meets: of routed experts only those that it is sent to."""
        return sum(leaf.active_parameters() * exist for leaf, _, exist in self.leaves())

    def forward_flops(self, batch: Batch) -> int:
        """Return the exact FLOPs of one forward pass."""
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
        """Return the same tree with a function applied to every leaf."""
        return replace(self, components=tuple(_changed(component, change) for component in self.components))

    def named_leaves(self) -> Iterator[tuple[str, Leaf]]:
        """Every leaf with its path in the module tree, each layer on its own."""
        for component in self.components:
            yield from named(component, "")

    def encoders(self) -> Architecture:
        """The same model without its text: what encoders of images and sounds do depends on nothing behind them."""
        text = Batch(1, 1, images=0, clips=0)
        reading = [each for each in self.components if any(leaf.forward_flops(text) for leaf, _, _ in leaves(each))]
        return replace(self, components=tuple(each for each in self.components if each not in reading))

    def counted_with(self, attention: AttentionConvention) -> Architecture:
        """Return the same model under an attention convention."""
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
    """Return a path one level deeper; an empty name adds nothing."""
    return f"{path}.{name}" if path and name else path or name


def _changed(component: Component, change: Callable[[Leaf], Leaf]) -> Component:
    if isinstance(component, Leaf):
        return change(component)
    if isinstance(component, Group):
        return _regrouped(component, change)
    return replace(component, kinds=tuple(_regrouped(kind, change) for kind in component.kinds))


def _regrouped(group: Group, change: Callable[[Leaf], Leaf]) -> Group:
    return replace(group, children=tuple(_changed(child, change) for child in group.children))


def _unmasked(leaf: Leaf) -> Leaf:
    if isinstance(leaf, AttentionCore):
        return replace(leaf, causal=False, window=None, chunk=None, radius=None, forwards=None)
    return leaf


def named(component: Component, path: str) -> Iterator[tuple[str, Leaf]]:
    """Every leaf of a part with its path in the module tree, each layer on its own."""
    if isinstance(component, Leaf):
        if not (isinstance(component, Linear) and component.again):
            yield join(path, component.name), component
    elif isinstance(component, Group):
        for child in component.children:
            yield from named(child, join(path, component.name))
    else:
        for index, kind in component.positions():
            for child in component.kinds[kind].children:
                yield from named(child, join(join(path, component.name), str(index)))
