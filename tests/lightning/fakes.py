"""Plain objects that have what a part asks of a Trainer, a clock or the other ranks."""

from types import SimpleNamespace

from flopwatch.hardware.telemetry import Telemetry
from flopwatch.lightning.output.windows import Boundary
from flopwatch.lightning.ranks.reading import PendingSum, Sum
from flopwatch.lightning.timing.stopwatch import Lap, LapTicket
from flopwatch.run.counts import Counts
from flopwatch.run.meter import Mark


def trainer(**changes):
    """A Trainer in the middle of its first epoch of ten batches, without limits."""
    counts = {name: SimpleNamespace(ready=0, started=0, processed=0, completed=0) for name in ("current", "total")}
    progress = SimpleNamespace(is_last_batch=False, **counts)
    epochs = SimpleNamespace(current=SimpleNamespace(started=1, processed=0))
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress), epoch_progress=epochs)
    values = {
        **{"max_steps": -1, "max_epochs": None, "num_training_batches": 10, "callbacks": [], "is_global_zero": True},
        **{"fit_loop": loop, "loggers": [], "progress_bar_callback": None, "global_step": 0},
    }
    return SimpleNamespace(**{**values, **changes})


def mark(flops=0, batches=0, steps=0, unknown=False):
    """Work of which FLOPs may be unknown; tokens are ten of each batch."""
    known = Counts(0 if unknown else flops, 10 * batches, batches=batches, steps=steps)
    return Mark(known, {"flops": 1} if unknown else {})


def boundary(step, own, total=None, lap=None, why="", **changes):
    """A window's end at a step; without a lap the device has not come there, without `why` the ranks have not."""
    pending = PendingSum(step, True)
    if total is not None or why:
        pending.settle(total if isinstance(total, Sum) or total is None else Sum(total, 0, Telemetry()), why)
    ticket = LapTicket(None, lap)
    values = {"axis": step - 1, "at": 1000.0 + step, "elapsed_seconds": float(step), "first": False, **changes}
    return Boundary(step=step, own=own, ticket=ticket, sum=pending, **values)


def lap(seconds=10.0, **changes):
    """Ten seconds of training."""
    return Lap(**{"seconds": seconds, "data_wait_seconds": 1.0, "wall_seconds": seconds + 2.0, **changes})
