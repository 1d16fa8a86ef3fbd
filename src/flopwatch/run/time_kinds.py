"""The kinds of wall time, and the parts of the devices' capacity, with their names in one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

# Where a kind of time lies: outside of the training loop, between two steps of it, in the time of its steps (waiting
# for data included), not within a process's books, or as a part of what training steps could have done.
Place = Literal["outside", "between steps", "steps", "not booked", "part of steps"]


@dataclass(frozen=True)
class TimeKind:
    """A kind of time or a part of it: its name in files, its words, the sentence on its {share}, and the advice."""

    name: str
    place: Place
    words: str
    short: str
    cost: str = ""
    advice: str = ""


LOST, INTERRUPTION, UNKNOWN, TRAINING = "lost", "interruption", "unknown", "training"
CLOCK, RECOMPUTED, REST, PADDING, USEFUL = "clock", "recomputed", "rest", "padding", "useful"
_TABLE = (
    TimeKind(
        "setup",
        "outside",
        "start-up, through the first batch",
        "start-up",
        "start-up takes {share} of wall time",
        "cache compiled kernels, and restart less often",
    ),
    TimeKind(
        "data_wait",
        "steps",
        "waiting for data",
        "waiting for data",
        "waiting for data takes {share} of the training loop",
        "add data loader workers, prefetch more, or make transforms cheaper",
    ),
    TimeKind(
        "validation",
        "outside",
        "validation",
        "validation",
        "validation takes {share} of wall time",
        "validate less often, or on fewer batches",
    ),
    TimeKind(
        "checkpoint",
        "outside",
        "saving checkpoints",
        "checkpoints",
        "saving checkpoints takes {share} of wall time",
        "save less often, or asynchronously",
    ),
    TimeKind(
        "callbacks",
        "between steps",
        "logging and other callbacks",
        "callbacks",
        "loggers and other callbacks take {share} of wall time",
        "log less, and less often",
    ),
    TimeKind("flopwatch", "between steps", "flopwatch itself", "flopwatch"),
    TimeKind(
        "other",
        "outside",
        "other time outside the training loop",
        "other",
        "{share} of wall time is spent outside the training loop",
        "check what runs at the end of each epoch; persistent_workers=True keeps data loader workers alive",
    ),
    TimeKind(
        LOST,
        "outside",
        "steps repeated after restarts, and their start-up",
        "repeated steps",
        "steps repeated after restarts cost {share} of wall time",
        "save checkpoints more often",
    ),
    TimeKind(
        INTERRUPTION,
        "not booked",
        "downtime between two processes",
        "downtime",
        "the job was down for {share} of wall time",
        "requeue it faster",
    ),
    TimeKind(UNKNOWN, "not booked", "unknown, for example after a clock change", "unknown"),
    TimeKind(TRAINING, "steps", "training steps", "training steps"),
    TimeKind(
        CLOCK,
        "part of steps",
        "clock below the peak's clock",
        "low clocks",
        "low clocks cost {share} of training-step capacity",
        "check the power limit and cooling",
    ),
    TimeKind(
        RECOMPUTED,
        "part of steps",
        "recomputation (activation checkpointing)",
        "recomputation",
        "recomputation is {share} of hardware FLOPs",
        "if memory allows, checkpoint fewer layers",
    ),
    TimeKind(
        REST,
        "part of steps",
        "kernels, communication, launch gaps",
        "kernels, network",
        "kernels, communication and launch gaps take {share} of what the devices could have done, not told apart",
        "FlopWatch(profile=True) records three steps and divides it",
    ),
    TimeKind(
        "matmul_below_peak",
        "part of steps",
        "matrix products below the peak",
        "products",
        "matrix products lose {share} of what the devices could have done, as they run below the peak",
        "see which shapes lose most; larger micro-batches, sizes that are multiples of 128 and 16 bits help",
    ),
    TimeKind(
        "attention_below_peak",
        "part of steps",
        "attention below the peak",
        "attention",
        "attention loses {share} of what the devices could have done, as it runs below the peak",
        "a newer fused kernel, head sizes of 64 or 128, fewer but longer sequences",
    ),
    TimeKind(
        "convolution_below_peak",
        "part of steps",
        "convolutions below the peak",
        "convolutions",
        "convolutions lose {share} of what the devices could have done, as they run below the peak",
        "channels_last, channels that are multiples of 8, torch.backends.cudnn.benchmark = True",
    ),
    TimeKind(
        "other_compute",
        "part of steps",
        "memory-bound compute (norms, elementwise, loss)",
        "memory-bound",
        "memory-bound compute takes {share} of what the devices could have done",
        "torch.compile, or fused norms, activations and losses: each unfused one reads and writes all",
    ),
    TimeKind("optimizer", "part of steps", "optimizer", "optimizer"),
    TimeKind("communication", "part of steps", "communication that nothing hides", "communication"),
    TimeKind("copies", "part of steps", "copies that nothing hides", "copies"),
    TimeKind("launch_gaps", "part of steps", "launch gaps: the device waits for the host", "launch gaps"),
    TimeKind("gaps", "part of steps", "other gaps between kernels", "gaps"),
    TimeKind("outside_operators", "part of steps", "outside of operators: Python and the framework", "Python"),
    TimeKind(
        PADDING,
        "part of steps",
        "model FLOPs spent on padding",
        "padding",
        "padding takes {share} of model FLOPs",
        "pack sequences, or batch them by length",
    ),
    TimeKind(USEFUL, "part of steps", "useful model FLOPs", "useful"),
)
# What a trace's parts of a step are among the rest, where a profile tells them apart.
INSIDE_REST: Mapping[str, str] = MappingProxyType(
    {
        "matmul": "matmul_below_peak",
        "attention": "attention_below_peak",
        "convolution": "convolution_below_peak",
        "other_compute": "other_compute",
        "optimizer": "optimizer",
        "communication_exposed": "communication",
        "copy_exposed": "copies",
        "idle_host": "launch_gaps",
        "idle_other": "gaps",
    }
)
BY_A_PROFILE = (*INSIDE_REST.values(), "outside_operators")
# In the order in which they are shown: outside of training first, then inside, and last what it was all for.
TIME_KINDS: Mapping[str, TimeKind] = MappingProxyType({each.name: each for each in _TABLE})


def kind_of_part(part: str, *, on_cpu: bool) -> str:
    """Return the kind of a trace's part of a step; on a CPU nobody launches anything, and no device waits.

    Waiting for data is a kind of its own, and so no part of the rest.

    Args:
        part: Its name in the trace's account.
        on_cpu: Whether the trace has no device.
    """
    if part == "idle_data":
        return "data_wait"
    return "outside_operators" if on_cpu and part == "idle_host" else INSIDE_REST[part]


def kinds_at(*places: Place) -> tuple[str, ...]:
    """Return the names of the kinds of time in the given places, in order."""
    return tuple(each.name for each in _TABLE if each.place in places)
