"""Summing counts over the processes of a run, on the CPU, so that no device is ever waited for."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from flopwatch.meter import Counts
from flopwatch.telemetry import Telemetry, over_devices, to_minimize, to_sum

_TIMEOUT = timedelta(seconds=120)
_ARRIVAL_SECONDS = 60.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 2.0
_SUMMED = ("flops", "hardware_flops", "tokens", "useful_tokens", "samples")
_sessions = itertools.count()
_DIGIT_BITS = 30
_DIGITS = 4
_logger = logging.getLogger("flopwatch")


class Ranks:
    """The processes of a run.

    Work is counted once per data-parallel replica: ranks that share a replica (tensor parallel) see the same batch, so
    their sum is divided by how many they are.

    Args:
        strategy: The Trainer's strategy.
        world_size: Number of processes.
    """

    def __init__(self, strategy: Any, world_size: int) -> None:
        self.world_size = world_size
        self._store: Any = None
        self._key = f"flopwatch/{next(_sessions)}"
        replicas = (getattr(strategy, "distributed_sampler_kwargs", None) or {}).get("num_replicas", world_size)
        self._ranks_per_replica = world_size // replicas if replicas and world_size % replicas == 0 else 0
        self._group = self._own_group() if world_size > 1 else None
        self.broken = world_size > 1 and (self._group is None or not self._ranks_per_replica)

    def _own_group(self) -> Any:
        if not dist.is_available() or not dist.is_initialized():
            _logger.warning("this strategy has no process group to sum over; totals of all ranks are not known")
            return None
        try:
            self._store = distributed_c10d._get_default_store()
            everyone = all_arrive(self._store, self._key, self.world_size, _ARRIVAL_SECONDS)
        except (RuntimeError, AttributeError) as error:
            _logger.warning("the ranks could not be asked for flopwatch: %s; their totals are not known", error)
            return None
        if not everyone:
            _logger.warning("flopwatch is not on every rank; totals of all ranks are not known")
            return None
        return dist.new_group(backend="gloo", timeout=_TIMEOUT)

    def leave(self) -> None:
        """Tell the other ranks not to wait for this one any more."""
        if self._store is not None:
            self._store.set(f"{self._key}/left", "1")

    def _someone_left(self) -> bool:
        return bool(self._store.check([f"{self._key}/left"]))

    def owns(self, uuid: str) -> bool:
        """Whether this rank is the first to ask for the GPU with this UUID, so that its energy is counted once."""
        if self._store is None:
            return True
        key, rank = f"{self._key}/gpu/{uuid}", str(dist.get_rank())
        return bool(self._store.compare_set(key, "", rank) == rank.encode())

    def total(self, counts: Counts, seconds: float, telemetry: Telemetry) -> tuple[Counts, float, Telemetry]:
        """Sum the work of all ranks, take the mean of their seconds and of what their GPUs did.

        All ranks call this at the same step. Steps and batches stay each rank's own. If the ranks do not answer, sums
        are unknown from then on.
        """
        if self.world_size == 1:
            return counts, seconds, telemetry
        if not self.broken:
            try:
                if self._someone_left():
                    raise RuntimeError("flopwatch failed on another rank")
                return self._exchange(counts, seconds, telemetry)
            except RuntimeError as error:
                self.broken = True
                _logger.warning("ranks could not be summed: %s; totals are unknown from here on", str(error)[:200])
        return _with(counts, dict.fromkeys((*_SUMMED, "joules"))), seconds, Telemetry()

    def _exchange(self, counts: Counts, seconds: float, telemetry: Telemetry) -> tuple[Counts, float, Telemetry]:
        work = [getattr(counts, name) for name in (*_SUMMED, "joules")]
        amounts = [*work, round(seconds * 1e6), *to_sum(telemetry)]
        lowest = self._start_minima(to_minimize(telemetry))
        sums = self._sums(amounts)
        *sums_of_work, joules, microseconds = sums[: len(work) + 1]
        parts = (None if each is None else each // self._ranks_per_replica for each in sums_of_work)
        total = _with(counts, {**dict(zip(_SUMMED, parts, strict=True)), "joules": joules})
        means = over_devices(sums[len(work) + 1 :], lowest(), self.world_size)
        return total, (microseconds or 0) / 1e6 / self.world_size, means

    def _start_minima(self, amounts: list[int]) -> Callable[[], list[int]]:
        """Begin to look for the lowest of each; what is returned waits for the answer."""
        tensor = torch.tensor(amounts, dtype=torch.int64, device="cpu")
        work = dist.all_reduce(tensor, op=dist.ReduceOp.MIN, group=self._group, async_op=True)

        def lowest() -> list[int]:
            work.wait()
            return list(tensor.tolist())

        return lowest

    def _sums(self, amounts: list[int | None]) -> list[int | None]:
        """Exact sums: every amount travels as digits of 30 bits, which cannot overflow below eight billion ranks."""
        rows = [[int(amount is None), *_digits(amount or 0)] for amount in amounts]
        tensor = torch.tensor(rows, dtype=torch.int64, device="cpu")
        dist.all_reduce(tensor, group=self._group)
        return [None if unknown else _number(digits) for unknown, *digits in tensor.tolist()]


def all_arrive(store: Any, key: str, world_size: int, seconds: float) -> bool:
    """Whether every rank calls this within the time; all ranks get the same answer, late ones too, and none hangs.

    Making a group waits for every rank, which would never end if flopwatch were only on some.

    Args:
        store: What the ranks share.
        key: The same on every rank, used once.
        world_size: Number of ranks.
        seconds: How long to wait for the others.
    """
    deadline = time.monotonic() + seconds
    here, pause = store.add(f"{key}/here", 1), _FIRST_PAUSE_SECONDS
    while here < world_size and time.monotonic() < deadline:
        time.sleep(pause)
        here, pause = store.add(f"{key}/here", 0), min(2 * pause, _LONGEST_PAUSE_SECONDS)
    vote = "go" if here >= world_size else "stop"
    return bool(store.compare_set(f"{key}/decision", "", vote) == b"go")


def _with(counts: Counts, sums: Mapping[str, int | None]) -> Counts:
    return replace(counts, **sums)  # type: ignore[arg-type]


def _digits(amount: int) -> list[int]:
    return [amount >> (_DIGIT_BITS * place) & (2**_DIGIT_BITS - 1) for place in range(_DIGITS)]


def _number(digits: list[int]) -> int:
    return sum(digit << (_DIGIT_BITS * place) for place, digit in enumerate(digits))
