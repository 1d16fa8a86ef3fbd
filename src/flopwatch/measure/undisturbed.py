"""What a measurement leaves as it was: random numbers, and on real data the module."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class OwnNumbers(TorchDispatchMode):
    """Draws torch's CPU random numbers from a separate state; other threads keep the process's state."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._state = torch.get_rng_state()

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Return `True`, as the counter does."""
        return True

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator."""
        if torch.Tag.nondeterministic_seeded not in getattr(operator, "tags", ()):
            return operator(*args, **(kwargs or {}))
        others = torch.get_rng_state()
        torch.set_rng_state(self._state)
        try:
            return operator(*args, **(kwargs or {}))
        finally:
            self._state = torch.get_rng_state()
            torch.set_rng_state(others)


@contextmanager
def random_states_kept(tensors: list[torch.Tensor]) -> Iterator[None]:
    """Put random states back afterwards: Python's, numpy's, and torch's of the CPU and of the tensors' CUDA devices."""
    numpy: Any = sys.modules.get("numpy")
    devices = {each.device for each in tensors if each.is_cuda}
    states = random.getstate(), numpy.random.get_state() if numpy else None
    on_devices = {each: torch.cuda.get_rng_state(each) for each in devices}
    try:
        with OwnNumbers():
            yield
    finally:
        random.setstate(states[0])
        if numpy:
            numpy.random.set_state(states[1])
        for device, state in on_devices.items():
            torch.cuda.set_rng_state(state, device)


@contextmanager
def module_kept(module: nn.Module, inputs: Any) -> Iterator[None]:
    """Put gradients, buffers and modes of a module back afterwards, and the gradients of the inputs."""
    leaves = [*module.parameters(), *(each for each in tensors_of(inputs) if each.is_leaf)]
    gradients = [(each, each.grad) for each in leaves]
    buffers = [
        (owner, name, buffer, buffer.clone())
        for owner in module.modules()
        for name, buffer in owner._buffers.items()
        if buffer is not None
    ]
    modes = [(each, each.training) for each in module.modules()]
    for leaf in leaves:
        leaf.grad = None
    try:
        yield
    finally:
        for leaf, gradient in gradients:
            leaf.grad = gradient
        for each, training in modes:
            each.training = training
        with torch.no_grad():
            for owner, name, buffer, values in buffers:
                owner._buffers[name] = buffer.copy_(values)


def tensors_of(inputs: Any) -> list[torch.Tensor]:
    """Return the tensors in nested inputs."""
    return [each for each in tree_leaves(inputs) if isinstance(each, torch.Tensor)]
