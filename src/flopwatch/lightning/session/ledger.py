"""The run's books: what it goes on from, what this process has done since, and what its devices could have done."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flopwatch.lightning.options import Options
from flopwatch.lightning.output.run_facts import versions
from flopwatch.lightning.ranks.reading import Sum
from flopwatch.lightning.session.module_hyperparameters import hyperparameters_of
from flopwatch.lightning.session.restart import Restart, restart_from
from flopwatch.lightning.timing.stopwatch import Stopwatch
from flopwatch.lightning.trainer import TrainingLoop
from flopwatch.run import clock, metrics
from flopwatch.run.budget import Budget
from flopwatch.run.counts import UNKNOWN
from flopwatch.run.flat_totals import flat
from flopwatch.run.meter import Mark, Meter, totals_of
from flopwatch.run.records import BudgetLine, Device, Progress, Start, Totals, known_fields

_logger = logging.getLogger("flopwatch")


class Ledger:
    """Adds up a run.

    Args:
        device: What its capacity is held against.
        stopwatch: This process's time.
        world_size: How many ranks there are.
    """

    def __init__(self, device: Device, stopwatch: Stopwatch, world_size: int) -> None:
        self.device = device
        self.meter = Meter()
        self.initial = Totals(joules=0)
        self.process_started_at = clock.now() - stopwatch.elapsed_seconds()
        self.started_at = self.process_started_at
        self.set_back_seconds = 0.0
        self.capacity_before: float | None = 0.0
        self._stopwatch = stopwatch
        self._world_size = world_size

    @property
    def began_at(self) -> float:
        """When the run first started (unix seconds), by this process's clock."""
        return self.started_at - self.set_back_seconds

    def go_on_from(self, state: Mapping[str, Any], step: int, own_file: Path) -> Restart:
        """Take the totals of a checkpoint, or note that there are none.

        Args:
            state: What `state` gave when the checkpoint was saved; empty without one.
            step: The step that training goes on from.
            own_file: The run file that this process is going to write.
        """
        if state:
            restart = restart_from(state, step, own_file)
            self.initial = restart.totals
            self.started_at = float(state.get("started_at", self.started_at))
            before = float(state.get("set_back_seconds", 0.0))
            self.set_back_seconds = max(before, restart.seen_until - self.process_started_at)
            began_at = self.process_started_at + self.set_back_seconds
            idle = began_at - float(state.get("time", began_at)) - before
            device = Device(**known_fields(Device, state["device"])) if "device" in state else self.device
            self.capacity_before = metrics.capacity_flops(state.get("capacity_flops"), idle, device)
            return restart
        if step:
            self.initial = Totals(UNKNOWN)
            self.capacity_before = None
            _logger.info("the checkpoint has no flopwatch totals; FLOPs and tokens of the whole run are unknown")
        return Restart(self.initial)

    def start_record(
        self,
        trainer: TrainingLoop,
        name: str,
        run_id: str,
        budgets: Sequence[Budget],
        options: Options,
        restart: Restart,
        resumed_from: str | None,
    ) -> Start:
        """The record that this process begins its run file with.

        Args:
            trainer: The Trainer.
            name: The module's class.
            run_id: Name of the run file's folder.
            budgets: What the run is held against.
            options: What the user asked for.
            restart: What it goes on from.
            resumed_from: The run file of the process that it goes on from.
        """
        return Start(
            run_id=run_id,
            time=self.process_started_at,
            started_at=self.started_at,
            step=trainer.global_step,
            device=self.device,
            totals=self.initial,
            capacity_flops=self.capacity_before,
            name=name,
            budgets=tuple(BudgetLine(each.amount, each.unit, str(each)) for each in budgets),
            precision=str(getattr(trainer.precision_plugin, "precision", "")) or None,
            strategy=type(trainer.strategy).__name__,
            usd_per_device_hour=options.usd_per_device_hour,
            kg_co2_per_kwh=options.kg_co2_per_kwh,
            resumed_from=resumed_from,
            lost_files=restart.lost_files,
            set_back_seconds=self.set_back_seconds,
            versions=versions(),
            host=socket.gethostname(),
            pid=os.getpid(),
            hyperparameters=hyperparameters_of(trainer),
        )

    def totals(
        self, own: Mark, total: Sum | None, seconds: float, seconds_by_kind: Mapping[str, float] | None = None
    ) -> Totals:
        """The run's totals.

        Args:
            own: This process's work.
            total: That of all ranks, where it is known.
            seconds: Wall time of this process.
            seconds_by_kind: The same by kind; by default as it is now.
        """
        return totals_of(
            self.initial,
            own.all() + UNKNOWN if total is None else total.work.all(),
            seconds=seconds,
            devices=self.device.count,
            joules=None if total is None else total.joules,
            seconds_by_kind=self._stopwatch.seconds_by_kind() if seconds_by_kind is None else seconds_by_kind,
        )

    def progress(self, step: int, own: Mark, joules: int | None) -> Progress:
        """How far the run is; may be asked on any thread.

        Args:
            step: The last step.
            own: This process's work.
            joules: The energy of its GPU.
        """
        totals = totals_of(
            self.initial,
            own.all() if self._world_size == 1 else own.all() + UNKNOWN,
            seconds=self._stopwatch.elapsed_seconds(),
            devices=self.device.count,
            joules=joules if self._world_size == 1 else None,
            seconds_by_kind={},
        )
        return Progress(clock.now(), step, totals)

    def capacity_flops(self) -> float | None:
        """What the run's devices could have done at their peak in all wall time so far."""
        return metrics.capacity_flops(self.capacity_before, clock.now() - self.process_started_at, self.device)

    def state(self, totals: Totals, run_file: str | None, *, totals_in_run_file: bool) -> dict[str, Any]:
        """What a resumed run needs.

        Args:
            totals: The run's totals, as far as they are known.
            run_file: The file that this process writes.
            totals_in_run_file: Whether the rest of them follows there.
        """
        return {
            "totals": flat(totals),
            "totals_in_run_file": totals_in_run_file,
            "started_at": self.started_at,
            "set_back_seconds": self.set_back_seconds,
            "time": clock.now(),
            "capacity_flops": self.capacity_flops(),
            "device": asdict(self.device),
            "run_file": run_file,
        }
