"""What is lost inside of steps: by a profile where there is one, else as far as their phases tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from flopwatch import units
from flopwatch.report.finding import StepLoss
from flopwatch.report.inside import Inside
from flopwatch.run import phases
from flopwatch.run.records import Device, StepPhases

# What a profile says of the same loss, with better evidence.
_TOLD_BY_A_PROFILE: Mapping[str, str] = MappingProxyType(
    {
        "slow_backward": "exposed_communication",
        "long_optimizer": "eager_optimizer",
        "long_transfer": "exposed_copies",
    }
)
_IN_BOOKS = "data_wait"  # the run's own books tell it of all steps
_SLOW_BACKWARD = 0.8  # of the forward pass's rate
_LONG_OPTIMIZER, _LONG_TRANSFER = 0.1, 0.05
_ROOM, _FULL, _FRAGMENTS = 0.6, 0.9, 0.1  # of the device's memory


def step_losses(inside: Inside, device: Device) -> tuple[StepLoss, ...]:
    """Return what steps lose of their time at most, each with its evidence.

    Args:
        inside: What is known of them.
        device: What they ran on.
    """
    advice = () if inside.profiled is None else inside.profiled.trace.advice
    known = {each.kind for each in advice}
    losses = [
        StepLoss(each.kind, each.fraction, each.evidence, each.change) for each in advice if each.kind != _IN_BOOKS
    ]
    if inside.phases is not None:
        losses += [each for each in _of_phases(inside.phases, device) if _TOLD_BY_A_PROFILE[each.kind] not in known]
    return tuple(losses)


def _of_phases(step: StepPhases, device: Device) -> Iterator[StepLoss]:
    yield from _backward(step, device)
    yield from _optimizer(step)
    yield from _transfer(step)


def _backward(step: StepPhases, device: Device) -> Iterator[StepLoss]:
    """A backward pass that runs slower than the forward pass waits for something, or has kernels that are worse."""
    if not step.forward_flops or step.backward_flops is None or step.recomputed_flops is None:
        return
    if step.forward_seconds <= 0 or step.backward_seconds <= 0:
        return
    forward = step.forward_flops / step.forward_seconds
    backward = (step.backward_flops + step.recomputed_flops) / step.backward_seconds
    if backward >= _SLOW_BACKWARD * forward:
        return
    lost = step.backward_seconds * (1 - backward / forward) / step.seconds
    evidence = (
        f"the backward pass runs at {units.format_share(backward / forward)} of the forward pass's FLOP/s, and takes"
        f" {units.format_share(step.backward_seconds / step.seconds)} of a step"
    )
    change = "FlopWatch(profile=True) shows which kernels are slow"
    if device.count > 1:
        change = (
            "larger buckets or prefetching of gradients, gradient accumulation, a sharding strategy that moves less"
        )
    yield StepLoss("slow_backward", lost, evidence, change)


def _optimizer(step: StepPhases) -> Iterator[StepLoss]:
    share = phases.share(step, "optimizer_seconds")
    if share is not None and share > _LONG_OPTIMIZER:
        evidence = f"the optimizer takes {units.format_share(share)} of a step"
        change = "fused=True in torch.optim.Adam, AdamW, SGD or Adagrad; larger batches or gradient accumulation"
        yield StepLoss("long_optimizer", share, evidence, change)


def _transfer(step: StepPhases) -> Iterator[StepLoss]:
    share = phases.share(step, "transfer_seconds")
    if share is not None and share > _LONG_TRANSFER:
        evidence = f"moving batches to the device takes {units.format_share(share)} of a step"
        change = "pin_memory=True in the DataLoader; move smaller dtypes, and convert them on the device"
        yield StepLoss("long_transfer", share, evidence, change)


def memory_sentences(inside: Inside) -> tuple[str, ...]:
    """Return what a person should know of the device's memory: a leak, retries, fragmentation, room."""
    memory = inside.memory
    if memory is None or memory.peak_frac is None or memory.reserved_frac is None:
        return ()
    sentences = []
    if memory.growth_bytes_per_step is not None:
        grows = units.format_bytes(1000 * memory.growth_bytes_per_step)
        full = "" if memory.full_at_step is None else f"; the device is full at about step {memory.full_at_step:,}"
        sentences.append(
            f"Tensors hold {grows} more after every 1,000 steps{full}: look for tensors that are kept with their graph,"
            " as losses in a list."
        )
    if memory.held.retries:
        sentences.append(
            f"{memory.held.retries:,} allocations had to empty PyTorch's cache and retry, which waits for the device:"
            " PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True, or a smaller micro-batch."
        )
    elif memory.reserved_frac > _FULL and memory.reserved_frac - memory.peak_frac > _FRAGMENTS:
        sentences.append(
            f"PyTorch holds {units.format_percent(memory.reserved_frac)} of the memory, tensors"
            f" {units.format_percent(memory.peak_frac)} at most: the rest is fragments;"
            " PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True."
        )
    if memory.reserved_frac < _ROOM:
        room = units.format_percent(1 - memory.reserved_frac)
        sentences.append(f"{room} of the device's memory was never used: there is room for a larger micro-batch.")
    return tuple(sentences)
