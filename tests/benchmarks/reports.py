"""How long the report of a very long run takes, and how much memory: of a run file, and of a `.wandb` file.

    python tests/benchmarks/reports.py [--windows 1000000] [--rows 200000]

Both files are made first, in a temporary folder: a run file in which every field of a window is known, as on GPUs, and
a `.wandb` file of sixteen metrics with a summary record after each row, as wandb writes it. Each report is made by a
process of its own, `flopwatch report FILE -o report.html`, whose time and memory are the operating system's.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

from wandb.proto.wandb_internal_pb2 import (
    ConfigItem,
    ConfigRecord,
    HistoryItem,
    HistoryRecord,
    Record,
    SummaryItem,
    SummaryRecord,
)

from flopwatch.run.counts import Counts, values
from flopwatch.run.metric_table import METRICS
from flopwatch.run.record_lines import to_json
from flopwatch.run.records import BudgetLine, Device, Start, Totals, Window

H100 = Device(
    "NVIDIA H100 80GB HBM3", 8, "bf16", 989.4e12, "datasheet", flops_per_clock=540_672.0, boost_clock_hz=1.83e9
)
BLOCK, HEADER = 2**15, struct.Struct("<IHB")
MAIN = "from flopwatch.cli import run; run()"


def run_file(path: Path, count: int) -> None:
    with path.open("w") as file:
        budgets = (BudgetLine(10 * count, "steps", f"{10 * count} steps"),)
        file.write(to_json(Start("benchmark", 1000.0, 1000.0, 0, H100, budgets=budgets)) + "\n")
        for place in range(1, count + 1):
            seconds = 10 + place * 7 % 11 / 50
            kinds = {"setup": 4.0, "training": 9.0 * place, "data_wait": 1.0 * place, "validation": 2.0 * place}
            work = Counts(31 * 10**15, 4000, 40, 38 * 10**15, 3900, batches=10, steps=10)
            totals = Totals(
                Counts(*(amount * place for amount in values(work))),
                *(12.0 * place, 96.0 * place, 67_200 * place),
                seconds_by_kind=kinds,
            )
            window = Window(
                *(10 * place, 1000.0 + 12.0 * place, seconds, 12.0, 1.0, work),
                *(totals, place == 1, 1.6e9, 1.5e9, 10, place / count, 100.0),
                *({"power_cap": 0.25, "sync_boost": 0.0}, 0.25, True, 0.1, 5600.0, 0.55),
                *(90.0, 110.0, 3, 1.02, {"validation": 2.0}),
            )
            file.write(to_json(window) + "\n")


def chunks(payload: bytes, at: int) -> bytes:
    """A record as it stands in the file from an offset on."""
    made = b""
    first = True
    while first or payload:
        room = BLOCK - (at + len(made)) % BLOCK
        if room < HEADER.size:
            made += bytes(room)
            continue
        part, payload = payload[: room - HEADER.size], payload[room - HEADER.size :]
        kind = {(True, True): 1, (True, False): 2, (False, False): 3, (False, True): 4}[first, not payload]
        made += HEADER.pack(zlib.crc32(bytes([kind]) + part), len(part), kind) + part
        first = False
    return made


def wandb_file(path: Path, count: int) -> None:
    facts = {"device": H100.name, "device_count": 8, "dtype": "bf16", "peak_flops_per_second": 989.4e12}
    config = ConfigRecord(update=[ConfigItem(key="flopwatch", value_json=json.dumps(facts))])
    metrics = [key for key in METRICS if key.startswith(("perf/", "loss/", "budget/"))][:16]
    keys = ["trainer/global_step", "_timestamp", "_step", *metrics]
    with path.open("wb") as file:
        file.write(struct.pack("<4sHB", b":W&B", 0xBEE1, 0))
        at = 7
        records = [Record(config=config)]
        for place in range(1, count + 1):
            values = [10 * place - 1, 1000.0 + 10 * place, place]
            values += [31e15 * place if key == "budget/flops" else 0.4 + place % 97 / 1000 for key in metrics]
            items = [(key, json.dumps(value)) for key, value in zip(keys, values, strict=True)]
            history = [HistoryItem(nested_key=[key], value_json=value) for key, value in items]
            summary = [SummaryItem(nested_key=[key], value_json=value) for key, value in items]
            records += [Record(history=HistoryRecord(item=history)), Record(summary=SummaryRecord(update=summary))]
            for record in records:
                made = chunks(record.SerializeToString(), at)
                at += len(made)
                file.write(made)
            records = []


def measured(path: Path) -> str:
    began = time.perf_counter()
    page = path.with_name("report.html")
    process = subprocess.Popen([sys.executable, "-c", MAIN, "report", str(path), "-o", str(page)], stdout=-3)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    assert status == 0
    memory, size = usage.ru_maxrss / 1024, page.stat().st_size / 2**20
    return f"{seconds:.1f} s, {memory:.0f} MiB, page of {size:.1f} MiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=200_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for make, name, count in (
            (run_file, "run.jsonl", arguments.windows),
            (wandb_file, "run.wandb", arguments.rows),
        ):
            path = Path(folder, name)
            make(path, count)
            size = path.stat().st_size / 2**20
            print(f"{name}, {count:,} rows, {size:.0f} MiB: {measured(path)}", flush=True)
            path.unlink()


if __name__ == "__main__":
    main()
