"""Prints which GPU is found by an address."""

import json
import sys

from flopwatch.errors import DriverError
from flopwatch.hardware.nvml import gauges
from flopwatch.hardware.nvml.driver import ask
from flopwatch.hardware.nvml.lookup import Address, find_gpu

try:
    gpu = find_gpu(Address(**json.loads(sys.argv[1])))
    clock = gauges.sm_clock_hz(gpu.whole).value
    print(json.dumps([ask("nvmlDeviceGetUUID", gpu.handle).value, clock / 1e6, gpu.is_slice, gpu.doubt]))
except DriverError as error:
    print(json.dumps(str(error)))
