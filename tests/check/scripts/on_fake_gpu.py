"""Prints the lines of a check whose GPU is the fake driver's, while the CPU runs the products, for less time."""

import functools
import json
import sys
from dataclasses import asdict

import torch

from flopwatch.check import asking, clocks, readings, running
from flopwatch.check.machine import Machine
from flopwatch.hardware.nvml.lookup import Address
from flopwatch.lightning.counting.precision import Precision
from flopwatch.lightning.devices import with_datasheet_peak
from flopwatch.run.records import Device

NAME = "NVIDIA H100 80GB HBM3"
asking.LONGEST_SECONDS = float(sys.argv[1])
clocks.read_under_load = functools.partial(readings.read_under_load, seconds=1.0, warm_up_seconds=0.0)
described = with_datasheet_peak(Device(NAME, 1, sm_count=132, uuid="cafe"), Precision("bf16"))
machine = Machine(torch.device("cpu"), described, Address(NAME, uuid="cafe"))
checked = running.check(machine, lambda line: None, running.CHECKS[:3])
print(json.dumps({"lines": [asdict(line) for line in checked.lines], "json": checked.to_json()}))
