"""What it costs that ranks publish and the first one reads: by number of ranks in one store, and whole jobs.

    python tests/benchmarks/ranks.py [--ranks 1024 4096 16384] [--windows 5]
    python tests/benchmarks/ranks.py --jobs [--rounds 3]

The first form starts torch's store in a process of its own, publishes the records of so many ranks into it as each rank
does (of a long run in which every optional number is known), and reads them as the first rank does at a window's end.
The second form runs jobs of real processes with and without flopwatch, in turn (`tests/lightning/ranks/job.py`).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.distributed import PrefixStore, TCPStore

from flopwatch.hardware.telemetry import REASONS, Telemetry
from flopwatch.lightning.ranks.marks import StepMark
from flopwatch.lightning.ranks.publishing import OwnRecord, RankReading
from flopwatch.lightning.ranks.reading import Reader
from flopwatch.run.counts import Counts
from flopwatch.run.meter import Mark

JOB = Path(__file__).parents[1] / "lightning" / "ranks" / "job.py"
FAULTS = ("raise", "exit", "kill", "stop", "missing", "breaks", "version", "store")
SECONDS_A_WINDOW = 10.0


def serve(port_out, done):
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    port_out.send(store.port)
    done.recv()
    port_out.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def reading(window):
    shares = dict.fromkeys(REASONS, 0.123456789)
    return RankReading(Telemetry(10, 1.7e9, 1.6e9, shares, 0.5, True, 0.01, 690.5, 0.41), 10**10, "GPU-" + "a" * 36)


def mark_at(step):
    known = Counts(step * 10**18, step * 10**6, step * 10**3, step * 10**18, step * 10**6, batches=step, steps=step)
    return StepMark(step, Mark(known), step * 0.5)


def measure(count, windows):
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(there, there), daemon=True)
    server.start()
    port = here.recv()
    store = PrefixStore("default_pg", TCPStore("127.0.0.1", port, is_master=False, wait_for_workers=False))
    keys = [f"flopwatch/0/rank/{rank}" for rank in range(count)]
    record, reader = OwnRecord("0.2.0", reading), Reader(keys, "0.2.0")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    writes, reads, cpu, size, step = [], [], [], 0, 10**6
    for _ in range(windows):
        for _ in range(16):
            step += 1
            record.note(mark_at(step))
        record.keep(step, window=True)
        payload = record.take(0, 0)
        size = len(payload)
        started = time.perf_counter()
        for key in keys:
            store.set(key, payload)
        store.check(keys[-1:])
        writes.append((time.perf_counter() - started) / count)
        pending = reader.ask(mark_at(step), window=True)
        started, cpu_started = time.perf_counter(), time.thread_time()
        reader.look(store)
        reads.append(time.perf_counter() - started)
        cpu.append(time.thread_time() - cpu_started)
        assert pending.value.work.known.flops == count * step * 10**18
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    here.send(True)
    server_memory = here.recv()
    server.join()
    read, write = statistics.median(reads), statistics.median(writes)
    print(
        f"| {count:,} | {size:,} | {write * 1e6:.0f} | {count * size / 1e6:.1f} | {read:.3f}"
        f" | {statistics.median(cpu):.3f} | {read / SECONDS_A_WINDOW:.1%} | {grown / 1024:.0f}"
        f" | {server_memory / 1024:.0f} |",
        flush=True,
    )


def run_job(**options):
    result = subprocess.run([sys.executable, JOB, json.dumps(options)], capture_output=True, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


def compare(name, rounds, **options):
    seconds = {True: [], False: []}
    for _ in range(rounds):
        for ours in (False, True):
            told = run_job(**{"with": ours, **options})
            assert told["hung"] == 0
            seconds[ours].append(told["seconds"])
    want = options.get("steps", 9) * options["ranks"] * told["flops_per_batch"]
    flops = "absent" if told["flops"] is None else "exact" if told["flops"] == want else f"{told['flops']:,}"
    without, ours = (statistics.median(seconds[key]) for key in (False, True))
    print(f"| {name} | {without:.2f} | {ours:.2f} | {ours - without:+.2f} | {flops} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1024, 4096, 16_384])
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--jobs", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, Python {sys.version.split()[0]}, {multiprocessing.cpu_count()} cores\n")
    if not arguments.jobs:
        print(
            "| ranks | bytes a record | us a write | MB a window | s a read | CPU s of it | of 10 s | MiB reader |"
            " MiB store |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        for count in arguments.ranks:
            measure(count, arguments.windows)
        return
    print("| job | s without | s with flopwatch | difference | total |\n|---|---|---|---|---|")
    for ranks in (2, 4, 17, 18, 32, 64):
        compare(f"{ranks} ranks", arguments.rounds, ranks=ranks)
    for fault in FAULTS:
        compare(f"4 ranks, the last one: {fault}", arguments.rounds, ranks=4, fault=fault)


if __name__ == "__main__":
    main()
