"""Fits of a model of GPT-2's shape: what a watched one says, and whether it ends with a plain one's weights."""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from flopwatch import units
from flopwatch.check.gpt import Net, Shape, counted_by_torch, shape_for, tokens_of
from flopwatch.check.machine import Machine, lightning_package
from flopwatch.check.products import wait_for
from flopwatch.check.results import CheckLine, between, compared, is_near, not_here
from flopwatch.errors import FlopwatchError
from flopwatch.lightning.callback import FlopWatch
from flopwatch.lightning.timing.device_time import timer_for
from flopwatch.run.records import Work
from flopwatch.run.run_file import Run, read_run

STATUS, FLOPS, MFU, WEIGHTS, PAGE = "fit: status", "fit: FLOPs", "fit: MFU", "fit: weights", "report page"
NAMES = (STATUS, FLOPS, MFU, WEIGHTS, PAGE)
STEPS = 24
_MFU_APART = 0.03  # less than one step of the fit
_SMALLEST_PAGE_BYTES, _LARGEST_PAGE_BYTES = 10_000, 300_000
_STAND_IN_PEAK = 1e12  # FLOP/s, for a device that has none; an MFU against it only shows that the division is right


@dataclass(frozen=True)
class Fit:
    """A fit that is over.

    Attributes:
        net: The network with its weights.
        seconds: Device's time from the second step's begin to the last one's end, by marks of the check's own.
        step_seconds: The same of each step, from its begin to its end.
        watch: The FlopWatch; `None` in a plain fit.
        folder: Where it wrote.
    """

    net: Net
    seconds: float
    step_seconds: tuple[float, ...]
    watch: FlopWatch | None = None
    folder: Path = Path()

    @property
    def run(self) -> Run:
        """The run file."""
        return read_run(self.folder)


def peak_of(machine: Machine) -> float | None:
    """The datasheet's peak in the precision that fits run in: bf16 on a GPU that has it."""
    device = machine.described
    return device.peak_flops_per_second if device.dtype == "bf16" else None


def fit(machine: Machine, shape: Shape, *, steps: int, watch: FlopWatch | None = None, compile_by: str = "") -> Fit:
    """Train a network of a shape, from the same weights with the same data every time.

    Args:
        machine: Where.
        shape: Sizes of model and batch.
        steps: Optimizer steps.
        watch: The callback, whose `dirpath` is a folder of its own.
        compile_by: Backend of torch.compile; nothing to run as it is written.
    """
    lightning = importlib.import_module(lightning_package() or "pytorch_lightning")
    torch.manual_seed(0)
    net = Net(shape)
    marks = _Marks(machine.device)
    module = _module(lightning, net, shape, marks, compile_by)
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(lightning, machine, folder, steps, [watch] if watch else [])
        try:
            trainer.fit(module, DataLoader(tokens_of(shape, steps), batch_size=shape.sequences))  # type: ignore[arg-type]
        except SystemExit:  # Lightning's way to end after Ctrl-C
            raise KeyboardInterrupt from None
        if trainer.interrupted:
            raise KeyboardInterrupt
    wait_for(machine.device)
    return Fit(net, marks.seconds(), marks.step_seconds(), watch)


def _trainer(lightning: Any, machine: Machine, folder: str, steps: int, callbacks: list[Any]) -> Any:
    environments = importlib.import_module(f"{lightning.__name__}.plugins.environments")
    on_cuda = machine.device.type == "cuda"
    return lightning.Trainer(
        max_steps=steps,
        accelerator=machine.device.type,
        devices=[machine.device.index or 0] if on_cuda else 1,
        precision="bf16-mixed" if on_cuda and machine.described.dtype == "bf16" else "32-true",
        deterministic=True,
        plugins=[environments.LightningEnvironment()],  # a job's own variables are none of this fit's
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )


class _Marks:
    """Marks in the device's queue: where steps begin, once callbacks are done, and where they end."""

    def __init__(self, device: torch.device) -> None:
        self._timer: Any = timer_for(device, time.perf_counter)
        self.begun: list[Any] = []
        self.ended: list[Any] = []

    def begin(self) -> None:
        """Note that a step begins."""
        self.begun.append(self._timer.mark())

    def end(self) -> None:
        """Note that an optimizer step has ended."""
        self.ended.append(self._timer.mark())

    def seconds(self) -> float:
        """Device's time from the second step's begin to the last one's end."""
        return float(self.begun[1].seconds_until(self.ended[-1]))

    def step_seconds(self) -> tuple[float, ...]:
        """Device's time of each step."""
        return tuple(float(begun.seconds_until(ended)) for begun, ended in zip(self.begun, self.ended, strict=True))


def _module(lightning: Any, net: Net, shape: Shape, marks: _Marks, compile_by: str) -> Any:
    class Module(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.config = dict(shape.config)
            self.net = torch.compile(net, backend=compile_by) if compile_by else net

        def on_train_batch_start(self, batch: torch.Tensor, batch_idx: int) -> None:
            marks.begin()

        def training_step(self, batch: torch.Tensor, batch_idx: int) -> Any:
            return self.net(batch)

        def optimizer_step(self, *arguments: Any, **named: Any) -> None:
            super().optimizer_step(*arguments, **named)
            marks.end()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(net.parameters(), lr=1e-3)

    return Module()


def watched_fit(
    machine: Machine, shape: Shape, folder: Path, *, steps: int = STEPS, profile: bool = False, compile_by: str = ""
) -> Fit:
    """A fit with FlopWatch.

    Args:
        machine: Where.
        shape: Sizes of model and batch.
        folder: A new folder for its run file and report.
        steps: Optimizer steps.
        profile: Whether three of them are profiled.
        compile_by: Backend of torch.compile; nothing to run as it is written.
    """
    watch = FlopWatch(
        peak_flops_per_second=None if peak_of(machine) else _STAND_IN_PEAK,
        chips=machine.chips or None,
        dirpath=folder,
        profile=profile,
    )
    done = fit(machine, shape, steps=steps, watch=watch, compile_by=compile_by)
    return replace(done, folder=folder)


def check_fits(machine: Machine, folder: Path, shape: Shape | None = None, steps: int = STEPS) -> Iterator[CheckLine]:
    """Fit with and without FlopWatch; yield what the watched fit says, and whether it changed anything.

    Args:
        machine: Where.
        folder: A new folder for the run file and the report.
        shape: Sizes; by default those for the device.
        steps: Optimizer steps of each fit.
    """
    sizes = shape or shape_for(machine.device)
    watched = watched_fit(machine, sizes, folder, steps=steps)
    (segment,) = watched.run.segments
    yield status(segment.work)
    yield flops(sizes, steps, segment.end.totals.counts.flops if segment.end else None)
    yield mfu(machine, sizes, steps, watched)
    yield page(folder)
    plain = fit(machine, sizes, steps=steps)
    same = _same_weights(plain, watched)
    repeats = same or _same_weights(plain, fit(machine, sizes, steps=steps))
    yield weights(same=same, repeats=repeats, steps=steps)


def status(work: Work | None) -> CheckLine:
    """The closed form was confirmed by a watched batch."""
    found = work.verification if work else "withheld"
    return compared(STATUS, found == "verified", expected="verified", found=found, words=work.note if work else "")


def flops(shape: Shape, steps: int, found: int | None) -> CheckLine:
    """The run's total is that of the arithmetic by hand, which torch's own counter confirms."""
    by_hand, by_torch = steps * shape.training_flops, steps * counted_by_torch(shape)
    which = "by hand and by torch's counter"
    if by_hand != by_torch:
        which = "by torch's counter" if found == by_hand else "by hand"
    expected = by_torch if found == by_hand else by_hand
    return compared(
        FLOPS,
        found == expected == by_hand,
        expected=expected,
        found=found,
        words=f"{steps} steps; {which}",
        unit="FLOPs",
    )


def mfu(machine: Machine, shape: Shape, steps: int, watched: Fit) -> CheckLine:
    """MFU is FLOPs over time over peak, by a count and by marks that are not FlopWatch's."""
    found = watched.watch.mfu if watched.watch else None
    if found is None:
        raise FlopwatchError("expected an MFU after the fit, got none")
    rate = (steps - 1) * shape.training_flops / watched.seconds
    peak = peak_of(machine) or _STAND_IN_PEAK
    expected = rate / peak
    words = f"{units.format_si(rate, 'FLOP/s')} of {units.format_si(peak, 'FLOP/s')}"
    if peak_of(machine) is None:
        words += ", a round number as there is no peak"
    return compared(
        MFU, is_near(found, expected, _MFU_APART), expected=expected, found=found, words=words, unit="share"
    )


def _same_weights(one: Fit, other: Fit) -> bool:
    left, right = one.net.state_dict(), other.net.state_dict()
    return all(torch.equal(weight, right[name]) for name, weight in left.items())


def weights(*, same: bool, repeats: bool, steps: int) -> CheckLine:
    """What training leads to is the same to the bit.

    Args:
        same: Whether the watched and the plain fit ended with equal weights.
        repeats: Whether two plain ones did.
        steps: Optimizer steps of each.
    """
    if not repeats:
        return not_here(WEIGHTS, "two fits without FlopWatch differ on this device")
    found = "identical" if same else "different"
    words = f"with and without FlopWatch, after {steps} steps"
    return compared(WEIGHTS, same, expected="identical", found=found, words=words)


def page(folder: Path) -> CheckLine:
    """The report was written, and is small enough to be mailed."""
    pages = list(folder.rglob("report.html"))
    return between(
        PAGE,
        pages[0].stat().st_size if pages else 0,
        least=_SMALLEST_PAGE_BYTES,
        most=_LARGEST_PAGE_BYTES,
        words="report.html" if pages else "no report.html",
        unit="bytes",
    )
