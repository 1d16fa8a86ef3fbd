"""What a copied LightningModule may call of Lightning while its step is measured; none of it reaches anything real."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn


class NoOptimizer:
    """Stands in for an optimizer while a manual step is measured: it changes nothing.

    Args:
        parameters: Names of the parameters that the real one holds.
    """

    def __init__(self, parameters: frozenset[str]) -> None:
        self.parameters = parameters
        self.param_groups: list[dict[str, Any]] = [{"lr": 0.0, "params": []}]
        self.state: dict[Any, Any] = {}

    def zero_grad(self, *args: Any, **named: Any) -> None:
        """Do nothing."""

    def step(self, closure: Any = None, **named: Any) -> None:
        """Run the closure, if there is one, as optimizers do."""
        if closure is not None:
            closure()


def parameters_of(module: nn.Module, optimizers: Sequence[Any]) -> list[frozenset[str]]:
    """Names of the module's parameters that each optimizer holds."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    held = []
    for optimizer in optimizers:
        groups = getattr(optimizer, "param_groups", ())
        held.append(frozenset(names[id(each)] for group in groups for each in group["params"] if id(each) in names))
    return held


def detach_from_lightning(module: Any, held: Sequence[frozenset[str]]) -> None:
    """Give a copy its own harmless `log`, `optimizers`, `manual_backward`, `toggle_optimizer` and their like.

    Args:
        module: The copy.
        held: Names of the parameters that each optimizer holds.
    """
    stand_ins = [NoOptimizer(each) for each in held or [frozenset()]]
    before: dict[str, bool] = {}

    def ignore(*args: Any, **named: Any) -> None:
        return None

    def manual_backward(loss: torch.Tensor, *args: Any, **named: Any) -> None:
        loss.backward(*args, **named)

    def toggle(optimizer: NoOptimizer) -> None:
        """Only this one's parameters train until `untoggle`; those of no optimizer stay as they are."""
        others = frozenset().union(*held) - optimizer.parameters if held else frozenset()
        for name, parameter in module.named_parameters():
            if name in others:
                before[name] = parameter.requires_grad
                parameter.requires_grad = False

    def untoggle(optimizer: NoOptimizer) -> None:
        for name, parameter in module.named_parameters():
            if name in before:
                parameter.requires_grad = before.pop(name)

    module.__dict__.update(
        dict.fromkeys(("log", "log_dict", "print", "clip_gradients", "lr_schedulers"), ignore),
        manual_backward=manual_backward,
        toggle_optimizer=toggle,
        untoggle_optimizer=untoggle,
        optimizers=lambda *args, **named: stand_ins if len(stand_ins) > 1 else stand_ins[0],
    )
