"""Samples the fake driver's GPU through stretches that the options program."""

import dataclasses
import json
import os
import sys
import threading
import time
from pathlib import Path

from flopwatch.hardware import sampler as module
from flopwatch.hardware.nvml.lookup import Address
from flopwatch.hardware.sampler import Sampler

options = json.loads(sys.argv[1])
module._SILENCE_SECONDS = options.get("silence", 10.0)


def state(**values):
    lines = [f"{key.replace('__', '.')}={value}" for key, value in {"uuid": "GPU-cafe", **values}.items()]
    Path(os.environ["FAKE_NVML_STATE"]).write_text(chr(10).join(lines) + chr(10))


sampler = Sampler(Address("NVIDIA H100 80GB HBM3", uuid="cafe"), 1830e6, interval_seconds=0.02)
sampler.start()
stretches = []


def stretch(seconds):
    time.sleep(seconds)
    taken = {**dataclasses.asdict(sampler.take()), "joules": sampler.take_joules()}
    hardware = sampler.hardware()
    taken["hardware"] = None if hardware is None else dataclasses.asdict(hardware)
    taken["troubles"] = [trouble.words for trouble in sampler.troubles()]
    stretches.append(taken)


exec(options["then"])
started = time.perf_counter()
sampler.stop()
took = time.perf_counter() - started
final = [trouble.words for trouble in sampler.troubles()]
threads = threading.active_count()
print(json.dumps([stretches, took, threads, final, sampler.take_joules(), threading.get_native_id()]))
