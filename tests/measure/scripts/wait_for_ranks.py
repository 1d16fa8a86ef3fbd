"""Measures code that waits for other ranks, prints what is said, and runs it outside of a measurement.

The process ends without torch's end of the group, which now and then does not return where there is one rank.
"""

import os

import torch

from flopwatch.errors import MeasurementError
from flopwatch.measure import measure
from tests.measure.test_measure import Runs, X


def said_of(wait):
    """What a measurement says, and what comes outside of it."""
    try:
        measure(Runs(lambda m, x: wait()), X)
    except MeasurementError as error:
        return error, wait()


torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
for each in (
    lambda: torch.distributed.barrier(),
    lambda: torch.distributed.all_gather_object([None], 1),
    lambda: torch.distributed.broadcast_object_list([1]),
    lambda: torch.distributed.all_reduce(torch.ones(1, device="cpu")),
):
    print(*said_of(each), flush=True)
os._exit(0)
