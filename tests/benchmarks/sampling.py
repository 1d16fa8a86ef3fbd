"""What one reading of a GPU costs the sampling thread, over the fake driver, whose own work is next to nothing.

    python tests/benchmarks/sampling.py

A real driver adds its own time, most of it waiting and not on this core; what is measured here is everything of ours:
the binding, the questions and the sums.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "fake_driver" / "fake_nvml.c"
ROUNDS, READINGS = 7, 1000


def measure():
    """Microseconds of this thread's CPU time for one reading, the median over the rounds, and the extremes."""
    from flopwatch.hardware.nvml import gauges
    from flopwatch.hardware.nvml.lookup import Address, find_gpu
    from flopwatch.hardware.sampler import Sampler

    gauges.SHORTEST_GPM_SECONDS = 0.0  # so that every reading asks for tensor activity, too
    sampler = Sampler(Address("NVIDIA H100 80GB HBM3", uuid="00000000-0000-0000-0000-000000000000"), 1830e6)
    gpu = find_gpu(sampler._address)
    sampler._begin(gpu)
    costs = []
    for _ in range(ROUNDS):
        started = time.thread_time()
        for _ in range(READINGS):
            sampler._sample(gpu)
        costs.append((time.thread_time() - started) / READINGS * 1e6)
        sampler.take()
    costs.sort()
    print(f"CPU time of a reading: {statistics.median(costs):.0f} us ({costs[0]:.0f} to {costs[-1]:.0f})")
    print(f"at one reading a second: {statistics.median(costs) / 1e6:.4%} of one core")


def main():
    """Compile the fake driver and measure in a process that loads it."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "libnvidia-ml.so.1"
        options = ["-O2", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1"]
        subprocess.run(["gcc", *options, "-o", str(library), str(SOURCE)], check=True)
        environment = {**os.environ, "LD_LIBRARY_PATH": folder}
        environment.pop("FAKE_NVML_STATE", None)
        subprocess.run([sys.executable, __file__, "here"], env=environment, check=True)


if __name__ == "__main__":
    measure() if sys.argv[1:] == ["here"] else main()
