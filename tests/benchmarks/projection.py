"""How good the projection of the time left is, against the mean pace since the start, over simulated and real runs.

    python tests/benchmarks/projection.py [--runs 300] [--traces FOLDER]

Every run is a list of windows: what was done, what it took, and the validations and checkpoints that ended in it. At
30%, 50% and 70% of the work the rest is projected and held against what it really took. `coverage` is how often the 80%
interval held; `error` is the median of |projected / real - 1|; `mean-since-start` is the error of elapsed time x work
left / work done, warm-up, validation and all, as Composer's RuntimeEstimator and most progress bars project.
"""

from __future__ import annotations

import argparse
import csv
import math
import random
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

from flopwatch.run.projection import Pace

Window = tuple[float, float, dict[str, float]]  # amount, seconds without pauses, pauses
AT = (0.3, 0.5, 0.7)
TRACES = Path(__file__).parent / "results" / "traces"


def windows(
    random_: random.Random, paces: list[float], noise: float, amounts: list[float] | None = None
) -> list[Window]:
    """Windows of about ten seconds; every so many of them a validation, and checkpoints at another period."""
    validation, checkpoint = random_.randint(20, 80), random_.randint(15, 120)
    length, save = random_.uniform(5, 60), random_.uniform(1, 20)
    made = []
    for number, pace in enumerate(paces, 1):
        amount = amounts[number - 1] if amounts else 10.0
        pauses = {}
        if number % validation == 0:
            pauses["validation"] = length * random_.gauss(1, 0.03)
        if number % checkpoint == 0:
            pauses["checkpoint"] = save * random_.lognormvariate(0, 0.3)
        made.append((amount, amount * pace * math.exp(random_.gauss(0, noise)), pauses))
    return made


def count(random_: random.Random) -> int:
    return int(10 ** random_.uniform(2.0, 3.5))


def steady(random_: random.Random) -> list[Window]:
    return windows(random_, [1.0] * count(random_), random_.uniform(0.002, 0.05))


def drifting(random_: random.Random) -> list[Window]:
    """The pace wanders: by up to a fifth over the run."""
    number = count(random_)
    step = random_.uniform(0.02, 0.2) / math.sqrt(number)
    level, paces = 0.0, []
    for _ in range(number):
        level += random_.gauss(0, step)
        paces.append(math.exp(level))
    return windows(random_, paces, random_.uniform(0.005, 0.03))


def bursty(random_: random.Random) -> list[Window]:
    """Now and then a window waits for data, up to ten times as long as it should take."""
    chance = random_.uniform(0.01, 0.05)
    stalls = [1 + (random_.random() < chance) * random_.paretovariate(2.0) for _ in range(count(random_))]
    return windows(random_, [min(each, 10.0) for each in stalls], 0.01)


def throttled(random_: random.Random) -> list[Window]:
    """A hot device or a busy file system makes the run slower for a while, again and again."""
    slow, number = random_.uniform(1.05, 1.4), count(random_)
    cold, hot = random_.uniform(20, 200), random_.uniform(5, 100)
    paces, state, left = [], False, random_.expovariate(1 / cold)
    for _ in range(number):
        left -= 1
        if left <= 0:
            state = not state
            left = random_.expovariate(1 / (hot if state else cold))
        paces.append(slow if state else 1.0)
    return windows(random_, paces, 0.01)


def ramp_up(random_: random.Random) -> list[Window]:
    """The batch grows in the first part, and with it the tokens that a second brings."""
    number = count(random_)
    until, start = int(number * random_.uniform(0.05, 0.3)), random_.uniform(1.2, 2.0)
    paces = [start + (1 - start) * min(place / until, 1.0) for place in range(number)] if until else [1.0] * number
    return windows(random_, paces, 0.01, [10 / pace for pace in paces])


def restarted(random_: random.Random) -> list[Window]:
    """The process was started anew at a quarter of the way, on other nodes: what is seen begins there."""
    run = steady(random_)
    return run[len(run) // 4 :]


KINDS: dict[str, Callable[[random.Random], list[Window]]] = {
    each.__name__: each for each in (steady, drifting, bursty, throttled, ramp_up, restarted)
}


def replayed(folder: Path) -> Iterator[tuple[str, list[Window]]]:
    """Recorded runs: a CSV of amount, seconds and the seconds of each kind of pause."""
    for path in sorted(folder.glob("*.csv")):
        with path.open() as file:
            rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
        yield path.stem, [(row.pop("amount"), row.pop("seconds"), {k: v for k, v in row.items() if v}) for row in rows]


def judge(run: list[Window], share: float) -> tuple[float, float, bool] | None:
    """Error of ours, error of the mean since the start, and whether the interval held."""
    until = int(len(run) * share)
    pace, done, elapsed = Pace(), 0.0, 2 * run[0][1]  # set-up and compilation
    for amount, seconds, pauses in run[:until]:
        pace.add(amount, seconds, pauses)
        done, elapsed = done + amount, elapsed + seconds + sum(pauses.values())
    left = sum(amount for amount, _, _ in run[until:])
    real = sum(seconds + sum(pauses.values()) for _, seconds, pauses in run[until:])
    projected = pace.left(left)
    if projected is None or projected.low is None or projected.high is None:
        return None
    naive = elapsed * left / done
    return abs(projected.seconds / real - 1), abs(naive / real - 1), projected.low <= real <= projected.high


def row(name: str, judged: list[tuple[float, float, bool]]) -> str:
    ours, naive, held = zip(*judged, strict=True)
    return (
        f"| {name:24} | {len(judged):5} | {statistics.fmean(held):8.1%} | {statistics.median(ours):6.2%}"
        f" | {statistics.median(naive):16.2%} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300, help="simulated runs of each kind")
    parser.add_argument("--traces", type=Path, default=TRACES, help="folder of recorded runs")
    arguments = parser.parse_args()
    for share in AT:
        print(f"\nAt {share:.0%} of the work\n")
        print("| runs                     |     n | coverage |  error | mean-since-start |")
        print("|--------------------------|-------|----------|--------|------------------|")
        everything = []
        for name, make in KINDS.items():
            runs = [make(random.Random(f"{name}{seed}")) for seed in range(arguments.runs)]
            judged = [each for run in runs if (each := judge(run, share)) is not None]
            everything += judged
            print(row(name, judged))
        for name, run in replayed(arguments.traces):
            # A recorded run is cut at many places, so that one trace judges more than one moment.
            parts = [
                run[start : start + length] for length in (60, 120, 240) for start in range(0, len(run) - length, 20)
            ]
            judged = [each for part in parts if (each := judge(part, share)) is not None]
            if judged:
                everything += judged
                print(row(f"recorded: {name}", judged))
        print(row("all", everything))


if __name__ == "__main__":
    main()
