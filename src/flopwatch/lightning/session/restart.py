"""Going on from a checkpoint: what was kept, and what the processes before this one did in vain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flopwatch import units
from flopwatch.errors import RunFileError
from flopwatch.run import run_file as runfile
from flopwatch.run.meter import totals_from
from flopwatch.run.records import Totals


@dataclass(frozen=True)
class Restart:
    """What a process goes on from.

    `totals` have the kept work of the checkpoint, and all that was spent up to now; `lost_files` belong to processes
    whose work is lost altogether; `words` say what was lost, `None` if nothing was.
    """

    totals: Totals
    lost_files: tuple[str, ...] = ()
    words: str | None = None


def restart_from(state: Mapping[str, Any], step: int, own_file: Path) -> Restart:
    """Read a checkpoint's state, and in the run files what was done after it.

    Args:
        state: What `Session.state_dict` returned.
        step: The checkpoint's step.
        own_file: The run file that this process is going to write.
    """
    kept = totals_from(state["totals"])
    named = state.get("run_file")
    if not named:
        return Restart(kept)
    before = runfile.earlier_file(own_file, named)
    if state.get("totals_in_run_file") and before is not None:
        kept = runfile.totals_at_checkpoint(before, step) or kept
    last = None if before is None else runfile.last_sign(before)
    if last is None:
        words = (
            f"the run file {named} of the process before is gone or cannot be read: what it did after the checkpoint is"
            " not known; keep run files beside checkpoints"
        )
        return Restart(replace(kept, lost_steps=None, lost_flops=None), (), words)
    siblings = runfile.lost_siblings(Path(named), step, own_file)
    totals = _with_lost(kept, kept, last.totals)
    for sibling in siblings:
        began, ended = _began(sibling), runfile.last_sign(sibling)
        if began is not None and ended is not None:
            totals = _with_lost(totals, began, ended.totals)
    return Restart(totals, tuple(str(each.resolve()) for each in siblings), _words(kept, totals))


def _began(path: Path) -> Totals | None:
    try:
        return runfile.read_start(path).totals
    except RunFileError:
        return None


def _with_lost(totals: Totals, since: Totals, until: Totals) -> Totals:
    """Add what one process spent between two moments, none of whose work was kept."""
    seconds = max(until.seconds - since.seconds, 0.0)
    return replace(
        totals,
        seconds=totals.seconds + seconds,
        device_seconds=totals.device_seconds + max(until.device_seconds - since.device_seconds, 0.0),
        joules=_plus(totals.joules, since.joules, until.joules),
        lost_steps=_plus(totals.lost_steps, since.steps, until.steps),
        lost_flops=_plus(totals.lost_flops, since.flops, until.flops),
        lost_seconds=totals.lost_seconds + seconds,
    )


def _plus(amount: int | None, since: int | None, until: int | None) -> int | None:
    if amount is None or since is None or until is None:
        return None
    return amount + max(until - since, 0)


def _words(kept: Totals, totals: Totals) -> str | None:
    seconds = totals.lost_seconds - kept.lost_seconds
    if totals.lost_steps is None or kept.lost_steps is None or not seconds:
        return None
    steps = totals.lost_steps - kept.lost_steps
    done = f"{steps:,} step{'' if steps == 1 else 's'} after the checkpoint"
    return f"lost with the process before: {done}, {units.format_duration(seconds)} of its time"
