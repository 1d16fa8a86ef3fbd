"""Prints what the driver answers to a function of its."""

import sys

from flopwatch.errors import DriverError
from flopwatch.hardware.nvml.driver import ask, connect

try:
    connect()
    handle = ask("nvmlDeviceGetHandleByIndex", 0).value
    answer = ask(sys.argv[1], handle)
    print(answer.value, answer.error, answer.permanent, sep="|")
except DriverError as error:
    print("DriverError:", error)
