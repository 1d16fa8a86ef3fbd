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

    `recomputed_flops` is what activation checkpointing runs again, `None` where causal masks in it cannot be seen.
    `by_module` holds the forward FLOPs by the innermost module that ran them, and adds up to the forward. `assumptions`
    says what was taken for granted where the code looks at values.
    """

    forward_flops: int
    backward_flops: int
    recomputed_flops: int | None
    attention: AttentionConvention
    by_module: dict[str, int] = field(default_factory=dict)
    uncounted: tuple[Uncounted, ...] = ()
    assumptions: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every operator was counted that parameters go into, or that is known for heavy work."""
        return not self.missing

    @property
    def missing(self) -> tuple[Uncounted, ...]:
        """The operators without which there is no total."""
        return tuple(each for each in self.uncounted if each.parameters or each.heavy)

    @property
    def training_flops(self) -> int | None:
        """Forward and backward without recomputation; `None` where operators with parameters were not counted."""
        return self.forward_flops + self.backward_flops if self.complete else None

    @property
    def hardware_flops(self) -> int | None:
        """Forward, backward and recomputation; `None` where one of them is unknown."""
        if self.training_flops is None or self.recomputed_flops is None:
            return None
        return self.training_flops + self.recomputed_flops

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
