"""Pictures of the report's page, to be looked at: synthetic runs, on a desktop and on a phone.

    python tests/benchmarks/pages.py FOLDER

Makes a healthy, a throttled, a restarted, an empty run, one without GPU, one without a peak, one whose FLOPs are
withheld, a LoRA, a vision, a short run and comparisons of two to nine, writes `report.html` of each and, with Chromium
on the path, pictures at 1,200 and at 390 pixels, in dark and as printed. The runs are made up; their numbers agree.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from flopwatch.model.architecture import ComponentRow
from flopwatch.report.comparison import entry_of
from flopwatch.report.render import RENDERERS
from flopwatch.report.render.comparison import RENDERERS as COMPARED
from flopwatch.report.report import summarize
from flopwatch.run.counts import Counts
from flopwatch.run.record_lines import Record, to_json
from flopwatch.run.records import (
    BudgetLine,
    BudgetShare,
    Device,
    End,
    Hardware,
    Memory,
    Start,
    StepPhases,
    Totals,
    Window,
    Work,
)
from flopwatch.run.run_file import read_run

BEGAN, STEP_SECONDS = 1_760_000_000.0, 1.75
H100 = Device(
    *("NVIDIA H100 80GB HBM3", 64, "bf16", 989.4e12, "datasheet: NVIDIA H100, SXM5"),
    flops_per_clock=540_672.0,
    boost_clock_hz=1.83e9,
)
CPU = Device("CPU", 1, "fp32", 432e9, "measured: 512 x 512 fp32 matmul at 432 GFLOP/s on 2 CPU threads")
# 8.03B parameters, sequences of 8,192 tokens: 2 x parameters + attention, forward.
FORWARD = 8192 * 16_600_000_000
WORK = Work(
    verification="verified",
    note="the config from module.config matches the module's parameters exactly; equal to a watched batch",
    model_type="llama",
    parameters=8_030_261_248,
    active_parameters=8_030_261_248,
    attention="causal",
    sequences=1,
    seq_len=8192,
    tokens=8192,
    forward_flops=FORWARD,
    training_flops=3 * FORWARD,
    hardware_flops=15 * FORWARD // 4,
    components=(
        ComponentRow("layers.self_attn", 1_342_177_280, FORWARD * 28 // 100),
        ComponentRow("layers.mlp", 5_637_144_576, FORWARD * 66 // 100),
        ComponentRow("lm_head", 525_336_576, FORWARD * 6 // 100),
    ),
    method="config",
    conventions={"model": 3 * FORWARD, "palm": 33 * FORWARD // 10, "megatron": 31 * FORWARD // 10},
)
NO_PEAK = Device("TPU v9", 4, "bf16", peak_source="a TPU v9 has no datasheet peak; pass peak_flops_per_second=...")
# Adapters of rank 16 beside every projection: what is frozen has no gradient of its own.
LORA = replace(
    WORK,
    trainable_parameters=41_943_040,
    training_flops=2 * FORWARD + FORWARD // 50,
    hardware_flops=5 * (2 * FORWARD + FORWARD // 50) // 4,
    conventions={},
    components=(*WORK.components, ComponentRow("adapters", 41_943_040, FORWARD // 100)),
)
# A ViT-H/14 on 224 x 224 pixels: 167 GMAC forward, 32 images in a batch.
IMAGES = replace(
    WORK,
    model_type="vit",
    parameters=632_045_800,
    active_parameters=632_045_800,
    attention="full",
    sequences=32,
    seq_len=None,
    image_size=(224, 224),
    tokens=None,
    forward_flops=32 * 334_000_000_000,
    training_flops=3 * 32 * 334_000_000_000,
    hardware_flops=5 * 3 * 32 * 334_000_000_000 // 4,
    components=(
        ComponentRow("encoder.attention", 209_797_120, 32 * 118_000_000_000),
        ComponentRow("encoder.mlp", 419_584_000, 32 * 216_000_000_000),
    ),
    conventions={},
)
WITHHELD = Work("disagree", "the closed form gives 4.2 TFLOPs a batch, the watched batch ran 4.5: neither is used")
COMPARISONS = {
    "two": ("healthy", "throttled"),
    "three": ("healthy", "no-peak", "vision"),
    "comparison": ("healthy", "throttled", "restarted", "lora"),
    "many": ("healthy", "throttled", "restarted", "lora", "vision", "no-peak", "withheld", "cpu", "empty"),
}
KINDS = ("setup", "training", "data_wait", "validation", "checkpoint", "callbacks", "other")


def windows(start: Start, count: int, throttled: bool, work: Work = WORK) -> Iterator[Window]:
    """Windows of about ten seconds; a slow data loader for a minute, hot GPUs for ten where asked for."""
    random_, device = random.Random(start.step), start.device
    totals, now, on_gpu = start.totals, start.time + 95.0, start.device is H100
    kinds = {kind: totals.seconds_by_kind.get(kind, 0.0) for kind in KINDS}
    kinds["setup"] += 95.0
    before = 95.0
    for place in range(count):
        first, hot, starved = place == 0, throttled and 120 < place < 190, 60 < place < 66
        seconds = 38.0 if first else random_.gauss(10, 0.05)
        mfu = 0.05 if first else 0.42 * random_.gauss(1, 0.008) * (0.74 if hot else 1) * (0.6 if starved else 1)
        waited = 4.2 if starved else 0.3
        pauses = {"validation": 45.0} if place % 40 == 39 else {"checkpoint": 30.0} if place % 60 == 59 else {}
        flops = int(mfu * seconds * device.count * (device.peak_flops_per_second or 4e14))
        batch = work.training_flops or 3 * FORWARD
        samples = flops * (work.sequences or 1) // batch
        tokens = None if work.tokens is None and work.image_size else flops * 8192 // batch
        useful = None if tokens is None else tokens * 97 // 100
        steps, known = 1 if first else 6, work.training_flops is not None
        counts = Counts(
            flops=flops if known else None,
            tokens=tokens,
            samples=samples,
            hardware_flops=flops * 5 // 4 if known else None,
            useful_tokens=useful,
            batches=steps,
            steps=steps,
        )
        wall = seconds + sum(pauses.values())
        now, before = now + wall, before + wall
        for kind, spent in {
            "training": seconds - waited - 0.1,
            "data_wait": waited,
            "callbacks": 0.1,
            **pauses,
        }.items():
            kinds[kind] += spent
        totals = Totals(
            counts=totals.counts + counts,
            seconds=start.totals.seconds + before,
            device_seconds=start.totals.device_seconds + before * device.count,
            joules=(totals.joules or 0) + int(wall * 650 * device.count) if on_gpu else None,
            lost_steps=totals.lost_steps,
            lost_flops=totals.lost_flops,
            lost_seconds=totals.lost_seconds,
            seconds_by_kind=dict(kinds),
        )
        step = start.step + 6 * place + 1
        loss, validated = loss_at(step, work, random_), "validation" in pauses
        left = (20_000 - step) * STEP_SECONDS
        shares = tuple(share_of(budget, step, totals.counts.flops) for budget in start.budgets)
        window = Window(
            *(step, now, seconds, wall, waited, counts, totals, first),
            budget_fraction=step / 20_000 if start.budgets else None,
            seconds_left=left if start.budgets else None,
            seconds_left_low=left * 0.93 if start.budgets else None,
            seconds_left_high=left * 1.08 if start.budgets else None,
            budgets=shares,
            pause_seconds=pauses,
            loss=loss,
            validation_loss=loss + 0.04 if validated and loss is not None else None,
        )
        yield with_gpu(window, hot, random_) if on_gpu else window


def share_of(budget: BudgetLine, step: int, flops: int | None) -> BudgetShare:
    """What is used of a budget, and the time to its end by the steps that it has room for."""
    used = step if budget.unit == "steps" else flops
    if not used:
        return BudgetShare(0.0 if used == 0 else None)
    left = step * (budget.amount / used - 1) * STEP_SECONDS
    return BudgetShare(used / budget.amount, left, left * 0.93, left * 1.08)


def loss_at(step: int, work: Work, random_: random.Random) -> float | None:
    """A loss as language models have it; of images unknown, of adapters low from the start."""
    if work is IMAGES:
        return None
    high = 0.5 if work is LORA else 9.0
    return 1.9 + high * step**-0.4 + random_.gauss(0, 0.015)


def with_gpu(window: Window, hot: bool, random_: random.Random) -> Window:
    clock, heat = (1.3e9, 0.85) if hot else (1.755e9, 0.0)
    return replace(
        window,
        sm_clock_hz=clock,
        sm_clock_hz_min=clock - 6e7,
        clock_samples=10,
        throttled={"power_cap": 0.3, "software_thermal": heat},
        throttled_frac=max(0.3, heat),
        throttle_counted=True,
        power_watts=650.0 * H100.count,
        tensor_active=0.5,
        slowest_rank=17 if random_.random() < 0.7 else random_.randrange(64),
        slowest_rank_ratio=random_.gauss(1.06, 0.005),
        phases=step_of(window),
        memory=Memory(61 * 2**30, 70 * 2**30, 48 * 2**30, 80 * 2**30, retries=0),
    )


def step_of(window: Window) -> StepPhases:
    """One step: 28% of it forward, 58% backward, which recomputes a quarter, as the hardware FLOPs have it."""
    seconds = window.seconds / window.counts.steps
    shares = (1.0, 0.003, 0.28, 0.58, 0.012, 0.055)
    parts = tuple(share * seconds for share in shares)
    if window.counts.flops is None:
        return StepPhases(*parts)
    flops = window.counts.flops // window.counts.steps // H100.count
    return StepPhases(*parts, flops // 3, 2 * flops // 3, flops // 4)


def write(
    path: Path, start: Start, count: int, throttled: bool = False, ended: bool = True, work: Work = WORK
) -> list[Window]:
    made = list(windows(start, count, throttled, work))
    records: list[Record] = [start]
    if start.device is H100:
        energy = "the driver's counter"
        records.append(Hardware(start.time, H100.name, driver="580.95.05", energy_source=energy, readable={}))
    if made:
        records += [work, *made]
    if made and ended:
        last = made[-1]
        records.append(End("interrupted", last.ended_at, last.step, last.totals, last.totals.seconds_by_kind))
    path.parent.mkdir(parents=True, exist_ok=True)
    records[0] = replace(start, run_id=path.parent.name)
    path.write_text("".join(f"{to_json(record)}\n" for record in records))
    return made


def runs(folder: Path) -> dict[str, Path]:
    budgets = (BudgetLine(1e22, "flops", "10 ZFLOPs"), BudgetLine(20_000, "steps", "20K steps"))
    nothing = Totals(joules=0)
    first = Start(
        *("run", BEGAN, BEGAN, 0, H100, nothing),
        name="llama-8b (made up)",
        budgets=budgets,
        usd_per_device_hour=2.5,
        hyperparameters={"lr": 3e-4, "batch_size": 512, "warmup": 200},
    )
    names = ("healthy", "throttled", "restarted", "empty", "cpu", "no-peak", "withheld", "lora", "vision", "short")
    paths = {name: folder / name / "run.jsonl" for name in names}
    write(paths["healthy"], first, 300)
    hot = {"lr": 3e-4, "batch_size": 1024, "warmup": 200}
    write(
        paths["throttled"],
        replace(first, name="llama-8b, hot (made up)", hyperparameters=hot),
        300,
        throttled=True,
    )
    write(paths["empty"], first, 0)
    write(paths["cpu"], replace(first, device=CPU, usd_per_device_hour=None), 40)
    write(paths["no-peak"], replace(first, device=NO_PEAK, budgets=()), 60)
    write(paths["withheld"], replace(first, budgets=budgets[1:]), 60, work=WITHHELD)
    lora = {"lr": 2e-4, "batch_size": 64, "adapters": "rank 16", "warmup": 200}
    write(
        paths["lora"],
        replace(first, name="llama-8b-lora (made up)", budgets=(), hyperparameters=lora),
        120,
        work=LORA,
    )
    write(
        paths["vision"],
        replace(first, name="vit-h14 (made up)", usd_per_device_hour=None, budgets=()),
        120,
        work=IMAGES,
    )
    write(paths["short"], first, 3)
    killed = write(folder / "killed" / "run.jsonl", first, 150, ended=False)
    saved, last = killed[99], killed[-1]
    totals = replace(
        last.totals,
        counts=saved.totals.counts,
        lost_steps=last.step - saved.step,
        lost_flops=(last.totals.counts.flops or 0) - (saved.totals.counts.flops or 0),
        lost_seconds=last.ended_at - saved.ended_at,
        seconds_by_kind=saved.totals.seconds_by_kind,
    )
    again = last.ended_at + 1800
    capacity = (again - BEGAN) * H100.count * (H100.peak_flops_per_second or 0)
    earlier = str(folder / "killed" / "run.jsonl")
    second = replace(
        first,
        name="llama-8b, restarted (made up)",
        hyperparameters={"lr": 6e-4, "batch_size": 512, "warmup": 200},
        time=again,
        step=saved.step,
        totals=totals,
        capacity_flops=capacity,
        resumed_from=earlier,
    )
    write(paths["restarted"], second, 200)
    return paths


def picture(page: Path, width: int, height: int, dark: bool = False) -> None:
    """In a frame of the width, as a window of Chromium cannot be as narrow as a phone."""
    frame = page.with_name(f"{width}.html")
    style = f"width:{width}px;height:{height}px;border:0"
    frame.write_text(f'<body style="margin:0"><iframe src="{page.name}" style="{style}"></iframe></body>')
    options = ["--hide-scrollbars", "--allow-file-access-from-files", f"--window-size={max(width, 500)},{height}"]
    options += ["--blink-settings=preferredColorScheme=0"] * dark
    target = page.with_name(f"{width}{'-dark' * dark}.png")
    chromium(*options, f"--screenshot={target}", frame.as_uri())
    frame.unlink()


def chromium(*options: str) -> None:
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", *options]
    subprocess.run(command, check=True, capture_output=True)


def pages(folder: Path) -> Iterator[Path]:
    reports = {name: summarize(read_run(path)) for name, path in runs(folder).items()}
    for name, report in reports.items():
        page = folder / name / "report.html"
        page.write_text(RENDERERS["html"](report), encoding="utf-8")
        yield page
    for name, compared in COMPARISONS.items():
        page = folder / name / "report.html"
        page.parent.mkdir(exist_ok=True)
        page.write_text(COMPARED["html"]([entry_of(reports[each]) for each in compared]), encoding="utf-8")
        yield page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    for page in pages(parser.parse_args().folder.resolve()):
        if shutil.which("chromium"):
            picture(page, 1200, 4800)
            picture(page, 1200, 4800, dark=True)
            picture(page, 390, 9000)
            chromium(f"--print-to-pdf={page.with_suffix('.pdf')}", "--no-pdf-header-footer", page.as_uri())
        print(f"{page}: {page.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    main()
