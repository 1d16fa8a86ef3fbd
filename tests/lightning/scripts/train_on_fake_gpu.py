"""A fit on the fake driver's GPU, whose loop is as fast as the clock makes it."""

import functools
import json
import os
import sys
import threading
import time
from pathlib import Path

from flopwatch import FlopWatch
from flopwatch.hardware import sampler as sampler_module
from flopwatch.hardware.nvml.lookup import Address
from flopwatch.hardware.sampler import Sampler
from flopwatch.lightning import callback, devices, hardware
from flopwatch.lightning.session import session
from flopwatch.lightning.timing.stopwatch import Stopwatch
from flopwatch.run.records import Device
from tests.lightning.models import MemoryLogger, TinyGPT, loader, trainer

options = json.loads(sys.argv[2])
now = 0.0
NAME = "NVIDIA H100 80GB HBM3"


def h100(device, count, precision, chips=()):
    return devices.with_datasheet_peak(Device(NAME, count, sm_count=132, uuid="cafe"), devices.Precision("bf16"), chips)


devices.describe_device = h100
session.address_of = lambda device: Address(NAME, uuid="cafe")
hardware.Sampler = functools.partial(Sampler, interval_seconds=0.02)
sampler_module._SILENCE_SECONDS = options["silence"]
callback.Stopwatch = lambda: Stopwatch(lambda: now)
clock = 1980


def at_batch(index):
    global now, clock
    if index == options["at"]:
        lines = ["uuid=GPU-cafe"] + [f"{key}={value}" for key, value in options["then"].items()]
        Path(os.environ["FAKE_NVML_STATE"]).write_text(chr(10).join(lines) + chr(10))
        clock = options["then"].get("sm_clock", clock)
    seconds = options["step"] * 1980 / clock
    now += seconds
    time.sleep(seconds)


logger = MemoryLogger()
fit = trainer(sys.argv[1], FlopWatch(every_n_steps=20), max_steps=options["steps"], logger=logger)
started = time.perf_counter()
fit.fit(TinyGPT(at_batch), loader())
print(json.dumps([threading.get_native_id(), logger.ours(), time.perf_counter() - started]))
