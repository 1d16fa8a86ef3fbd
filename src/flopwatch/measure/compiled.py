"""Whether the weights of compiled modules show in what was counted.

A product that torch.compile makes part of a Triton kernel, replays in a CUDA graph, or calls past PyTorch's dispatcher
is seen by no dispatch mode. But a weight matrix that got a gradient went into a product, and its gradient came out of
another one: of each shape as many of either must have been seen as there are such weights. Weights are told by their
shapes, since compiled code casts and copies them out of sight, too.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_leaves

Shape = tuple[int, ...]
State = tuple[weakref.ref[torch.Tensor], int]
_ALIGNMENTS = (1, 4, 8, 16)  # torch.compile may pad a product to whole vectors


class CompiledWeights:
    """The weight matrices of a module's compiled parts, from the begin of a batch to its end.

    Only those of linear layers and convolutions: other parameters need not go into products as they are. What got no
    gradient in the batch may not have run, and is not asked for. A kept gradient that is changed in place looks new.

    Args:
        module: What may hold compiled modules.
    """

    def __init__(self, module: nn.Module) -> None:
        self.unseen: tuple[str, ...] = ()
        self._weights = dict(_matrices(module))
        self._before = {name: _state(weight.grad) for name, weight in self._weights.items()}
        self._into: Counter[Shape] = Counter()
        self._out_of: Counter[Shape] = Counter()

    def saw(self, forward: bool, inputs: list[torch.Tensor], out: Any) -> None:
        """Record a counted product.

        Args:
            forward: Whether it belongs to the forward pass.
            inputs: What went into it.
            out: What came out of it.
        """
        if not self._weights:
            return
        if forward:
            self._into.update(_shape(each) for each in inputs)
        self._out_of.update(_shape(each) for each in tree_leaves(out) if isinstance(each, torch.Tensor))

    def end(self) -> None:
        """Find weights that got a gradient though too few products of their shape were seen, and let go of all."""
        trained = defaultdict(list)
        for name, weight in self._weights.items():
            if _is_new(weight.grad, self._before[name]):
                trained[_shape(weight), _shape(_local(weight))].append(name)
        self.unseen += tuple(
            name
            for shapes, names in trained.items()
            if min(_matching(shapes, self._into), _matching(shapes, self._out_of)) < len(names)
            for name in names
        )
        self._weights.clear()


def compiles_anything() -> bool:
    """Return whether anything in this process was given to torch.compile."""
    frames = sys.modules.get("torch._dynamo.eval_frame")  # which takes a second to import
    return any(each is not None for each in [*getattr(frames, "cached_backends", {}).values()])


def is_compiled(module: nn.Module) -> bool:
    """Return whether torch.compile has replaced a module's call."""
    return hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None


def _matrices(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Weights of compiled linear layers and convolutions that train, by name, tied ones once."""
    compiled = {each for root in module.modules() if is_compiled(root) for each in root.modules()}
    known = set()
    for path, each in module.named_modules() if compiled else ():
        weight = each._parameters.get("weight")
        if each in compiled and _multiplies(each) and weight is not None and id(weight) not in known:
            known.add(id(weight))
            if weight.requires_grad and weight.dim() >= 2:
                yield f"{path}.weight".replace("_orig_mod.", ""), weight


def _multiplies(module: nn.Module) -> bool:
    """Whether it is a linear layer, GPT-2's of transformers included, or a convolution."""
    return isinstance(module, (nn.Linear, _ConvNd)) or type(module).__name__ == "Conv1D"


def _state(gradient: torch.Tensor | None) -> State | None:
    """What changes with a gradient; of a sharded one, accumulated gradients reach the local part alone."""
    return None if gradient is None else (weakref.ref(gradient), _local(gradient)._version)


def _is_new(gradient: torch.Tensor | None, before: State | None) -> bool:
    if gradient is None or before is None:
        return gradient is not None
    return before[0]() is not gradient or before[1] != _local(gradient)._version


def _local(tensor: torch.Tensor) -> torch.Tensor:
    """Return this rank's part of a sharded tensor."""
    part: torch.Tensor = getattr(tensor, "_local_tensor", tensor)
    return part


def _shape(tensor: torch.Tensor) -> Shape:
    """Return the sizes of a tensor in a normal form: without those of 1, sorted."""
    return tuple(sorted(size for size in tensor.shape if size != 1))


def _matching(shapes: tuple[Shape, ...], seen: Counter[Shape]) -> int:
    return sum(count for each, count in seen.items() if any(_is_padded(each, shape) for shape in shapes))


def _is_padded(seen: Shape, shape: Shape) -> bool:
    if len(seen) != len(shape):
        return False
    return all(
        one in {-(-size // alignment) * alignment for alignment in _ALIGNMENTS}
        for one, size in zip(seen, shape, strict=True)
    )
