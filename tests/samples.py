"""Hand-made runs whose numbers can be checked by eye."""

from dataclasses import replace

from flopwatch.model.architecture import ComponentRow
from flopwatch.run.counts import COUNTED, Counts
from flopwatch.run.records import (
    BudgetLine,
    Device,
    End,
    Event,
    Hardware,
    Memory,
    Progress,
    Start,
    StepPhases,
    Totals,
    Window,
    Work,
)

H100 = Device(
    name="NVIDIA H100 80GB HBM3",
    count=2,
    dtype="bf16",
    peak_flops_per_second=1000e12,
    peak_source="datasheet: a sheet",
    flops_per_clock=500_000.0,
    sm_count=132,
    uuid="cafe",
    driver="580.95.05",
    boost_clock_hz=1.83e9,
)
HARDWARE = Hardware(
    time=1001.0,
    name="NVIDIA H100 80GB HBM3",
    uuid="GPU-cafe",
    driver="580.95.05",
    max_sm_clock_hz=1.98e9,
    power_limit_watts=700.0,
    energy_source="the driver's counter",
    readable={"SM clock": "yes", "utilization": "Not Supported"},
)
WORK = Work(
    verification="parameters equal",
    note="the config matches the module's 1,000 parameters exactly",
    model_type="llama",
    parameters=1000,
    active_parameters=1000,
    attention="causal",
    sequences=4,
    seq_len=100,
    forward_flops=8_000,
    training_flops=24_000,
    components=(ComponentRow("layers.mlp", 600, 6_000), ComponentRow("lm_head", 400, 2_000)),
)
TERA = 10**12
# A step of a second; forward at 3e14 FLOP/s is 30% of the peak, backward at 4e14 is 40%.
PHASES = StepPhases(
    seconds=1.0,
    transfer_seconds=0.01,
    forward_seconds=0.3,
    backward_seconds=0.5,
    clip_seconds=0.04,
    optimizer_seconds=0.1,
    forward_flops=90 * TERA,
    backward_flops=200 * TERA,
    recomputed_flops=0,
)
MEMORY = Memory(
    peak_bytes=60 * 2**30, reserved_bytes=72 * 2**30, allocated_bytes=50 * 2**30, total_bytes=80 * 2**30, retries=3
)


def start(**changes):
    values = {
        "run_id": "20260101-000000",
        "time": 1000.0,
        "started_at": 1000.0,
        "step": 0,
        "device": H100,
        "name": "GPT",
        "budgets": (BudgetLine(100_000 * TERA, "flops", "100 PFLOPs"), BudgetLine(40, "steps", "40 steps")),
        "precision": "bf16-mixed",
        "strategy": "DDPStrategy",
        "versions": {"flopwatch": "0.1.0"},
    }
    return Start(**{**values, **changes})


def counts(**amounts):
    """Work whose recomputation and padding are unknown."""
    return Counts(**{"hardware_flops": None, "useful_tokens": None, **amounts})


def changed(record, **changes):
    """Totals or a window with other values, some of which may be of its counts."""
    amounts = {name: changes.pop(name) for name in COUNTED if name in changes}
    return replace(record, counts=replace(record.counts, **amounts), **changes)


def totals(step, at, flops):
    seconds = at - 1000.0
    work = counts(flops=flops, tokens=400 * step, samples=4 * step, batches=step, steps=step)
    return Totals(work, seconds, 2 * seconds, joules=round(1200 * seconds))


def window(step, ended_at, flops=8_000 * TERA, **changes):
    """Ten steps in ten seconds of training and two of validation: 8e15 / 10 s / 2 devices / 1e15 is an MFU of 0.4.

    A quarter of the time power was capped; both devices together drew 1,200 W. Changes may be of its counts.
    """
    values = {
        "step": step,
        "ended_at": ended_at,
        "seconds": 10.0,
        "wall_seconds": 12.0,
        "data_wait_seconds": 1.0,
        "steps": 10,
        "batches": 10,
        "flops": flops,
        "tokens": 4_000,
        "samples": 40,
        "hardware_flops": None if flops is None else flops * 5 // 4,
        "totals": totals(step, ended_at, None if flops is None else flops * step // 10),
        "sm_clock_hz": 1.6e9,
        "sm_clock_hz_min": 1.5e9,
        "clock_samples": 10,
        "throttled": {"power_cap": 0.25, "sync_boost": 0.0},
        "throttled_frac": 0.25,
        "throttle_counted": True,
        "slow_clock_frac": 0.1,
        "power_watts": 1200.0,
        "tensor_active": 0.55,
        "slowest_rank": 1,
        "slowest_rank_ratio": 1.25,
        "pause_seconds": {"validation": 2.0},
    }
    values |= changes
    amounts = {name: values.pop(name) for name in COUNTED if name in values}
    return Window(**values, counts=counts(**amounts))


def end(step=21, at=1035.0, status="finished"):
    return End(
        status=status,
        time=at,
        step=step,
        totals=totals(step, at, 16_800 * TERA),
        seconds={"setup": 4.0, "training": 22.0, "data_wait": 3.0, "validation": 4.0, "checkpoint": 1.5, "other": 0.5},
    )


def progress(step):
    return Progress(1000.0 + step, step, totals(step, 1000.0 + step, 800 * TERA * step))


def healthy_run():
    """One warm-up step that took five seconds, then two windows of ten steps."""
    warm_up = window(
        1, 1009.0, 800 * TERA, seconds=5.0, wall_seconds=5.0, steps=1, batches=1, tokens=400, samples=4, first=True
    )
    first = window(11, 1021.0, totals=totals(11, 1021.0, 8_800 * TERA))
    second = window(21, 1033.0, totals=totals(21, 1033.0, 16_800 * TERA))
    return [start(), WORK, warm_up, first, Event(1025.0, "a note of the run"), second, end()]
