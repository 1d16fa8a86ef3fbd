"""What watching costs: a step that is watched beside one that is not, as it is written and compiled."""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from flopwatch import units
from flopwatch.check.fits import fit, watched_fit
from flopwatch.check.gpt import SMALL, Net, Shape, shape_for, tokens_of
from flopwatch.check.machine import Machine
from flopwatch.check.noting import NotedOperators
from flopwatch.check.products import wait_for
from flopwatch.check.results import AT_LEAST, CheckLine, compared, not_here
from flopwatch.errors import in_words
from flopwatch.measure.watching import CAN_WATCH_COMPILED, StepCounter

COST, COMPILED_COST, COMPILATIONS = "watching a batch", "watching compiled code", "compilations"
_ROUNDS, _WARM_UP_ROUNDS = 8, 2
_MOST_SECONDS_PER_OPERATOR = 1e-4
_NOISE = 0.1  # of a step that is not watched
_COMPILED_STEPS = 4


@dataclass(frozen=True)
class Cost:
    """Seconds of the quickest step that was not watched, of the quickest one that was, and a step's operators."""

    plain_seconds: float
    watched_seconds: float
    operators: int


def cost_of(machine: Machine, shape: Shape, backend: str = "", rounds: int = _ROUNDS) -> Cost:
    """Run steps that are watched and steps that are not, in turn.

    Args:
        machine: Where.
        shape: Sizes of model and batch.
        backend: Of torch.compile; nothing to run the model as it is written.
        rounds: How many steps of each.
    """
    net = Net(shape).to(machine.device)
    model = torch.compile(net, backend=backend) if backend else net
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    tokens = tokens_of(shape).to(machine.device)

    def step() -> None:
        model(tokens).backward()
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(_WARM_UP_ROUNDS):
        step()
    pairs = [(_seconds(machine, step), _seconds(machine, lambda: _watched(net, step))) for _ in range(rounds)]
    with NotedOperators() as noted:
        step()
    return Cost(min(plain for plain, _ in pairs), min(watched for _, watched in pairs), len(noted.names))


def _seconds(machine: Machine, step: Callable[[], None]) -> float:
    """Time of a step; on a CPU the process's own, which other processes do not lengthen."""
    now = time.process_time if machine.device.type == "cpu" else time.perf_counter
    wait_for(machine.device)
    began = now()
    step()
    wait_for(machine.device)
    return now() - began


def _watched(net: nn.Module, step: Callable[[], None]) -> None:
    counter = StepCounter(net)
    counter.start()
    try:
        step()
    finally:
        counter.stop()


def check_watching(machine: Machine) -> Iterator[CheckLine]:
    """Yield what watching costs for a model as it is written."""
    yield cost_line(COST, cost_of(machine, shape_for(machine.device)))


def cost_line(name: str, cost: Cost, words: str = "") -> CheckLine:
    """The extra time is that of Python for every operator, and no more.

    Args:
        name: Of the line.
        cost: What it cost.
        words: What else to say.
    """
    extra = max(cost.watched_seconds - cost.plain_seconds, 0.0)
    beside = f"on top of {units.format_milliseconds(cost.plain_seconds)} with {cost.operators:,} operators"
    limit = cost.operators * _MOST_SECONDS_PER_OPERATOR + _NOISE * cost.plain_seconds
    return compared(
        name,
        extra <= limit,
        expected=limit,
        found=extra,
        words="; ".join(filter(None, (beside, words))),
        unit="s at most",
    )


def backend_for(device: torch.device) -> str:
    """Inductor on a GPU; on a CPU, where it would call a C++ compiler for a minute, what comes before it."""
    return "inductor" if device.type == "cuda" else "aot_eager"


def why_not_compiled(device: torch.device) -> str | None:
    """Why nothing can be compiled on this machine."""
    if not CAN_WATCH_COMPILED:
        return f"torch {torch.__version__} cannot be watched under torch.compile"
    try:
        torch.compile(nn.Identity())
    except RuntimeError as error:  # of a Python or a system that it does not support
        return in_words(error)
    if device.type != "cuda":
        return None
    if importlib.util.find_spec("triton") is None:
        return "torch.compile needs Triton for this GPU"
    return None if any(map(shutil.which, ("cc", "gcc", "clang"))) else "Triton needs a C compiler"


def check_compiled(machine: Machine, folder: Path) -> Iterator[CheckLine]:
    """Compile a small model with and without FlopWatch; yield how often it was compiled, and what watching it costs.

    Args:
        machine: Where.
        folder: A new folder for the run file.
    """
    why = why_not_compiled(machine.device)
    if why is not None:
        yield not_here(COMPILATIONS, why)
        yield not_here(COMPILED_COST, why)
        return
    backend = backend_for(machine.device)
    plain = _graphs(lambda: fit(machine, SMALL, steps=_COMPILED_STEPS, compile_by=backend))
    watched = _graphs(lambda: watched_fit(machine, SMALL, folder, steps=_COMPILED_STEPS, compile_by=backend))
    yield compilations(plain, watched, backend)
    torch._dynamo.reset()
    yield cost_line(COMPILED_COST, cost_of(machine, SMALL, backend), f"backend {backend}")


def _graphs(train: Callable[[], object]) -> int:
    """How many graphs are compiled while something trains."""
    torch._dynamo.reset()
    before = _compiled_so_far()
    train()
    return _compiled_so_far() - before


def _compiled_so_far() -> int:
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def compilations(plain: int, watched: int, backend: str) -> CheckLine:
    """FlopWatch causes no compilation.

    Args:
        plain: Graphs compiled in a fit without it.
        watched: In the same one with it.
        backend: Of torch.compile.
    """
    if not plain:
        words = f"without FlopWatch; backend {backend}"
        return compared(COMPILATIONS, False, expected=1, found=plain, words=words, unit=AT_LEAST)
    words = f"{'with and without' if plain == watched else 'with'} FlopWatch; backend {backend}"
    return compared(COMPILATIONS, plain == watched, expected=plain, found=watched, words=words)
