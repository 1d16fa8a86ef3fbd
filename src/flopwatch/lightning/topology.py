"""Who speaks with whom when all ranks of a run are summed: a tree, so that nobody speaks with many."""

from __future__ import annotations

FAN_OUT = 16


def parent_of(rank: int, fan_out: int = FAN_OUT) -> int | None:
    """The rank to which this one's sum goes; `None` for the first rank, which ends up with the sum of all.

    Ranks are numbered through a node before the next one begins, so ranks with neighbouring numbers speak with each
    other where they can: the lowest of every `fan_out` neighbours is the parent of the others, the lowest of every
    `fan_out` such parents is theirs, and so on.
    """
    if rank == 0:
        return None
    span = fan_out
    while rank % span == 0:
        span *= fan_out
    return rank - rank % span


def children_of(rank: int, world_size: int, fan_out: int = FAN_OUT) -> list[int]:
    """The ranks whose parent this one is: at most `fan_out` - 1 on each of the tree's levels."""
    children = []
    step = 1
    while step < world_size and (rank == 0 or rank % (step * fan_out) == 0):
        children += [
            child for child in range(rank + step, min(rank + step * fan_out, world_size), step) if child < world_size
        ]
        step *= fan_out
    return children


def depth_of(rank: int, fan_out: int = FAN_OUT) -> int:
    """How many ranks a message of this one passes before the first one has it."""
    depth = 0
    while (parent := parent_of(rank, fan_out)) is not None:
        rank, depth = parent, depth + 1
    return depth
