"""The same two processes, each on a GPU of the fake driver's."""

import functools
import os
import time

from flopwatch.hardware.nvml.lookup import Address
from flopwatch.hardware.sampler import Sampler
from flopwatch.lightning import devices, hardware
from flopwatch.lightning.session import session
from flopwatch.run.records import Device
from tests.lightning.models import TinyGPT
from tests.lightning.scripts.two_ranks import main

NAME, rank = "NVIDIA H100 80GB HBM3", int(os.environ.get("LOCAL_RANK", "0"))
uuid = os.environ["UUIDS"].split(",")[rank]


def h100(device, count, precision, chips=()):
    return devices.with_datasheet_peak(Device(NAME, count, sm_count=132, uuid=uuid), devices.Precision("bf16"), chips)


if __name__ == "__main__":
    devices.describe_device = h100
    session.address_of = lambda device: Address(NAME, uuid=uuid)
    hardware.Sampler = functools.partial(Sampler, interval_seconds=0.02)
    main(TinyGPT(lambda index: time.sleep(0.2)))
