"""What the traces of one or several ranks say together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flopwatch.errors import ArgumentError
from flopwatch.hardware.chips import Chip
from flopwatch.trace.account import TraceAccount, account_of
from flopwatch.trace.advice import Advice, advice_of
from flopwatch.trace.collectives import RankWaiting, waiting_of
from flopwatch.trace.json_events import ALL, Limits
from flopwatch.trace.parts import BUSY, PARTS, PHASES
from flopwatch.trace.reader import read
from flopwatch.trace.rows import Row


@dataclass(frozen=True)
class TraceReport:
    """The accounts of one or several ranks.

    Attributes:
        accounts: One for each file, in the order given.
        waiting: Who waits for whom in collectives; nothing for one rank, or if none ran on two.
        advice: What to change on the first rank, the largest gain first.
    """

    accounts: tuple[TraceAccount, ...]
    waiting: tuple[RankWaiting, ...]
    advice: tuple[Advice, ...]

    @property
    def first(self) -> TraceAccount:
        """The account of the first rank, whose operators and FLOPs stand for all."""
        return self.accounts[0]

    @property
    def seconds(self) -> float:
        """Time of the profiled steps, mean over ranks."""
        return self._mean([each.seconds for each in self.accounts])

    @property
    def parts(self) -> dict[str, float]:
        """Seconds of each part, means over ranks; they add up to `seconds`."""
        return {part: self._mean([each.parts[part] for each in self.accounts]) for part in PARTS}

    @property
    def phases(self) -> dict[str, float]:
        """Seconds of compute in each phase, means over ranks."""
        return {phase: self._mean([each.phases[phase] for each in self.accounts]) for phase in PHASES}

    @property
    def communication_seconds(self) -> float:
        """Time with communication under way, mean over ranks."""
        return self._mean([each.communication_seconds for each in self.accounts])

    def _mean(self, values: Sequence[float]) -> float:
        return sum(values) / len(self.accounts)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON: seconds over all profiled steps, FLOPs as integers, unknown as null."""
        first, parts = self.first, self.parts
        return {
            "device": first.device,
            "ranks": len(self.accounts),
            "world_size": first.world_size,
            "steps": first.steps,
            "seconds": self.seconds,
            "busy_seconds": sum(parts[each] for each in BUSY),
            "parts": parts,
            "phases": self.phases,
            "communication_seconds": self.communication_seconds,
            "matmul_flops": first.matmul_flops,
            "flops": first.flops,
            "dtype": first.dtype,
            "peak_flops_per_second": first.peak_flops_per_second,
            "peak_share": first.peak_share,
            "peak_losses": first.peak_losses,
            "named_kernel_share": first.named_kernel_share,
            "operators": [_operator(row) for row in first.rows],
            "per_rank": [_rank(each) for each in self.accounts],
            "waiting": [asdict(each) for each in self.waiting],
            "advice": [asdict(each) for each in self.advice],
            "notes": list(dict.fromkeys(note for each in self.accounts for note in each.notes)),
        }


def _operator(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "part": row.part,
        "phase": row.phase,
        "shapes": row.shapes,
        "dtype": row.dtype,
        "calls": row.calls,
        "flops": row.flops,
        "seconds": row.seconds,
        "least_bytes": row.least_bytes if row.flops is not None else None,
        "peak_share": row.peak_share,
        "bound": row.bound,
        "attention": row.attention or None,
        "lost_seconds": row.lost_seconds,
    }


def _rank(account: TraceAccount) -> Mapping[str, Any]:
    return {
        "file": str(account.path),
        "rank": account.rank,
        "device": account.device,
        "steps": account.steps,
        "seconds": account.seconds,
        "busy_seconds": account.busy_seconds,
        "parts": dict(account.parts),
        "communication_seconds": account.communication_seconds,
    }


def read_trace(
    paths: Path | str | Sequence[Path | str], chips: Sequence[Chip] = (), limits: Limits = ALL
) -> TraceReport:
    """Read the trace of a rank, or those of several, and account for the device's time.

    Args:
        paths: Files that `torch.profiler` wrote, gzipped or not, one for each rank.
        chips: The user's chips, which go before those of the table.
        limits: What is read of each file at most.

    Raises:
        ArgumentError: If a file is named twice, or none is.
        LargeTraceError: If a file is larger than that.
        TraceError: If a file cannot be read, is damaged, or says nothing of a device's time.
    """
    files = [Path(each) for each in ([paths] if isinstance(paths, (str, Path)) else paths)]
    if not files:
        raise ArgumentError("expected at least one trace file, got none")
    known = Counter(each.resolve() for each in files)
    twice = next((each for each in files if known[each.resolve()] > 1), None)
    if twice is not None:
        raise ArgumentError(f"expected one trace file for each rank, got {twice} twice")
    accounts = tuple(account_of(read(path, limits), chips) for path in files)
    waiting = waiting_of([each.collectives for each in accounts]) if len(accounts) > 1 else ()
    return TraceReport(accounts, waiting, advice_of(accounts[0]))
