"""What logging a window to W&B costs the training thread, by the number of keys and the length of a step.

    python tests/benchmarks/wandb_logging.py [--rounds 200]

A real WandbLogger writes offline, from the sink that FlopWatch writes by. Rounds take the numbers of keys in turn, a
tenth of a second apart, as no window follows another at once. A call's time is shared by the steps of its window of ten
seconds.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable

from pytorch_lightning.loggers import WandbLogger

from flopwatch.lightning.output.sinks import LoggerSink
from flopwatch.run.metric_table import METRICS

WINDOW_SECONDS = 10.0
STEPS_MS = (1, 10, 100, 1000)


def timed(function: Callable[[], None]) -> tuple[float, float]:
    """CPU seconds of this thread, and seconds."""
    cpu, wall = time.thread_time(), time.perf_counter()
    function()
    return time.thread_time() - cpu, time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    os.environ["WANDB_SILENT"] = "true"
    keys, random_ = list(METRICS), random.Random(0)
    counts = [1, len(keys) // 2, len(keys)]
    spent: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        logger = WandbLogger(save_dir=folder, project="benchmark", offline=True)
        sink = LoggerSink([logger])
        assert logger.experiment  # made by Lightning before a fit
        announcing = timed(lambda: sink.open(keys))[1]
        for step in range(rounds):
            for count in random_.sample(counts, len(counts)):
                row = {key: random_.random() for key in keys[:count]}
                spent[count].append(timed(lambda row=row, step=step: sink.log_metrics(row, step)))
                time.sleep(0.1)
        logger.experiment.finish()
    print(f"telling W&B the axis of {len(keys)} keys, once: {announcing * 1e3:.1f} ms")
    print("keys   CPU of a call   wall, median and 99%     per step of " + "  ".join(f"{ms:>5} ms" for ms in STEPS_MS))
    for count in counts:
        cpu = statistics.median(each for each, _ in spent[count])
        wall = sorted(each for _, each in spent[count])
        middle, late = statistics.median(wall), wall[int(len(wall) * 0.99)]
        shares = "  ".join(f"{middle / (WINDOW_SECONDS * 1e3 / ms) * 1e6:>5.2f} us" for ms in STEPS_MS)
        line = f"{count:>4}   {cpu * 1e6:>10.0f} us   {middle * 1e6:>7.0f} us {late * 1e6:>7.0f} us"
        print(f"{line}              {shares}")


if __name__ == "__main__":
    main()
