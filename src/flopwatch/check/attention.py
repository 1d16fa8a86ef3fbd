"""Whether fused attention is seen and counted: every kernel of it that this device has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from flopwatch.check.gpt import fused
from flopwatch.check.machine import Machine
from flopwatch.check.noting import NotedOperators
from flopwatch.check.results import CheckLine, compared, not_here
from flopwatch.hardware.benchmark import TORCH_DTYPES
from flopwatch.measure.watching import StepCounter

NAME = "fused attention"
_SEQUENCES, _HEADS, _TOKENS, _WIDTH = 2, 4, 256, 64
_KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": getattr(SDPBackend, "CUDNN_ATTENTION", None),
}


def training_flops() -> int:
    """Scores and values, a multiply-add each per pair that the mask keeps and per number of a head; backward twice."""
    pairs = _TOKENS * (_TOKENS + 1) // 2
    return 3 * 2 * 2 * _SEQUENCES * _HEADS * pairs * _WIDTH


def check_attention(machine: Machine) -> Iterator[CheckLine]:
    """Run attention through each fused kernel; yield whether each was counted exactly."""
    counted = {name: flops for name, kernel in _KERNELS.items() if (flops := _counted(machine, kernel)) is not None}
    yield line(counted, machine)


def line(counted: dict[str, int], machine: Machine) -> CheckLine:
    """What came of the kernels that this device has.

    Args:
        counted: Training FLOPs by kernel.
        machine: Where they ran.
    """
    if not counted:
        return not_here(NAME, f"PyTorch has no fused kernel for {machine.described.name}")
    expected = training_flops()
    wrong = {name: flops for name, flops in counted.items() if flops != expected}
    words = f"forward and backward by {', '.join(wrong or counted)}"
    return compared(
        NAME, not wrong, expected=expected, found=next(iter((wrong or counted).values())), words=words, unit="FLOPs"
    )


def _counted(machine: Machine, kernel: Any) -> int | None:
    """FLOPs of forward and backward by one kernel; `None` if PyTorch does not have it for this device."""
    dtype = TORCH_DTYPES[machine.described.dtype or "fp32"]
    size = (_SEQUENCES, _HEADS, _TOKENS, _WIDTH)
    heads = [torch.randn(size, device=machine.device, dtype=dtype).requires_grad_() for _ in range(3)]
    if kernel is None or not _runs(kernel, heads):
        return None
    counter = StepCounter(nn.Module())
    counter.start()
    try:
        with sdpa_kernel(kernel):
            fused(*heads).sum().backward()
    finally:
        counter.stop()
    return counter.result("causal").training_flops


def _runs(kernel: Any, heads: list[torch.Tensor]) -> bool:
    """Whether PyTorch takes a fused operator if it may take this kernel alone."""
    try:
        with sdpa_kernel(kernel), NotedOperators() as noted:
            fused(*heads)
    except RuntimeError:
        return False
    return any("attention" in each and "math" not in each for each in noted.names)
