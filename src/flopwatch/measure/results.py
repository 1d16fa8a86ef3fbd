"""What was counted of one training step."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from torch import nn

from flopwatch.model.architecture import AttentionConvention, ComponentRow


@dataclass(frozen=True)
class Uncounted:
    """An operator without a formula: how often it ran, the parameters that went into it, whether it is heavy."""

    operator: str
    calls: int
    parameters: tuple[str, ...] = ()
    heavy: bool = False


@dataclass(frozen=True)
class Measurement:
    """What one training step of a module costs.

    `recomputed_flops` is what activation checkpointing runs again. `by_module` holds the forward FLOPs by the module
    that ran them, or whose weights they took, and adds up to the forward. `unseen` names weights of compiled modules
    of which products ran where they were not seen. `assumptions` says what was taken for granted.
    """

    forward_flops: int
    backward_flops: int
    recomputed_flops: int
    attention: AttentionConvention
    by_module: dict[str, int] = field(default_factory=dict)
    uncounted: tuple[Uncounted, ...] = ()
    unseen: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Return whether every operator was counted and no product was hidden."""
        return not self.missing and not self.unseen

    @property
    def missing(self) -> tuple[Uncounted, ...]:
        """The operators without which there is no total: parameters go into them, or they are known for heavy work."""
        return tuple(each for each in self.uncounted if each.parameters or each.heavy)

    @property
    def training_flops(self) -> int | None:
        """Forward and backward without recomputation; `None` where they are not complete."""
        return self.forward_flops + self.backward_flops if self.complete else None

    @property
    def hardware_flops(self) -> int | None:
        """Forward, backward and recomputation; `None` where they are not complete."""
        return None if self.training_flops is None else self.training_flops + self.recomputed_flops

    def rows(self, module: nn.Module) -> tuple[ComponentRow, ...]:
        """Forward FLOPs and parameters by the module's children, two levels deep; they add up to the totals."""
        forward: Counter[str] = Counter()
        parameters: Counter[str] = Counter()
        for name, flops in self.by_module.items():
            forward[_two_levels(name)] += flops
        for name, parameter in module.named_parameters():
            parameters[_two_levels(name.rpartition(".")[0])] += parameter.numel()
        return tuple(
            ComponentRow(line or type(module).__name__, parameters[line], forward[line])
            for line in dict.fromkeys((*parameters, *forward))
        )


def _two_levels(path: str) -> str:
    return ".".join(path.replace("_orig_mod.", "").split(".")[:2])
