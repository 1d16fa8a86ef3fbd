"""Going on from a checkpoint: what was kept, and what the processes before this one did in vain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flopwatch import units
from flopwatch.run import lineage
from flopwatch.run.flat_totals import totals_from
from flopwatch.run.lineage import Lineage, Member
from flopwatch.run.records import Totals

_SILENT_SECONDS = 5.0  # progress is written several times a second


@dataclass(frozen=True)
class Restart:
    """What a process goes on from.

    `totals` have the kept work of the checkpoint, and all that was spent up to now; `lost_files` belong to processes
    whose work is counted as lost from here on. `seen_until` is the last sign (unix seconds) of any of them, by the
    run's first clock. `words` say what was lost, or why that is not known; `None` if nothing was.
    """

    totals: Totals
    lost_files: tuple[str, ...] = ()
    seen_until: float = 0.0
    words: str | None = None


def restart_from(state: Mapping[str, Any], step: int, own_file: Path) -> Restart:
    """Read a checkpoint's state, and in the run files what was done in vain.

    Args:
        state: What `Session.state_dict` returned.
        step: The checkpoint's step.
        own_file: The run file that this process is going to write.
    """
    kept = totals_from(state["totals"])
    saved_at = float(state.get("time", 0.0)) + float(state.get("set_back_seconds", 0.0))
    named = state.get("run_file")
    if not named:
        return Restart(kept, seen_until=saved_at)
    found = lineage.trace_back(named, float(state.get("started_at", 0.0)), own_file)
    if found.before is not None and state.get("totals_in_run_file"):
        kept = lineage.totals_at_checkpoint(found.before.path, step) or kept
    ended = _ended(found)
    totals = _all_lost(kept, found)
    doubts = (*found.doubts, *_doubts(ended, found.before, saved_at))
    if doubts:
        totals = replace(totals, joules=None, lost_steps=None, lost_flops=None)
    return Restart(
        totals,
        tuple(str(each.path.resolve()) for each in found.lost),
        max((saved_at, *(each.last.progress.time + each.start.set_back_seconds for each in ended))),
        f"the lost work is unknown: {doubts[0]}; keep run files next to checkpoints"
        if doubts
        else _words(kept, totals, len(ended)),
    )


def _ended(found: Lineage) -> tuple[Member, ...]:
    """The processes that did something in vain, or may have."""
    return found.lost if found.before is None or found.is_running else (found.before, *found.lost)


def _all_lost(kept: Totals, found: Lineage) -> Totals:
    """The kept totals with what was spent after the checkpoint, and by each process whose work is lost altogether."""
    totals = kept
    if found.before is not None and not found.is_running:
        totals = _with_lost(totals, kept, found.before.last.progress.totals)
    for each in found.lost:
        totals = _with_lost(totals, each.start.totals, each.last.progress.totals)
    return totals


def _doubts(ended: Sequence[Member], before: Member | None, saved_at: float) -> list[str]:
    """Why processes may have done more than is known of them."""
    doubts = [each.last.doubt for each in ended if each.last.doubt is not None]
    if before is not None and before in ended and not before.last.ended:
        silent = saved_at - before.last.progress.time - before.start.set_back_seconds
        if silent > _SILENT_SECONDS:
            doubts.append(
                f"the last entry in {before.path} is {units.format_duration(silent)} older than the checkpoint"
            )
    return doubts


def _with_lost(totals: Totals, since: Totals, until: Totals) -> Totals:
    """Add what one process spent between two moments, none of whose work was kept."""
    seconds = max(until.seconds - since.seconds, 0.0)
    return replace(
        totals,
        seconds=totals.seconds + seconds,
        device_seconds=totals.device_seconds + max(until.device_seconds - since.device_seconds, 0.0),
        joules=_plus(totals.joules, since.joules, until.joules),
        lost_steps=_plus(totals.lost_steps, since.counts.steps, until.counts.steps),
        lost_flops=_plus(totals.lost_flops, since.counts.flops, until.counts.flops),
        lost_seconds=totals.lost_seconds + seconds,
    )


def _plus(amount: int | None, since: int | None, until: int | None) -> int | None:
    if amount is None or since is None or until is None:
        return None
    return amount + max(until - since, 0)


def _words(kept: Totals, totals: Totals, processes: int) -> str | None:
    seconds = totals.lost_seconds - kept.lost_seconds
    if totals.lost_steps is None or kept.lost_steps is None or not seconds:
        return None
    steps = totals.lost_steps - kept.lost_steps
    done = f"{steps:,} step{'' if steps == 1 else 's'} after the checkpoint"
    whom = "the previous process" if processes == 1 else f"{processes} previous processes"
    return f"lost work of {whom}: {done}, {units.format_duration(seconds)}"
