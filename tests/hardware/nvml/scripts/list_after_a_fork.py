"""Prints 0 where a fork can list the GPUs that its parent has listed before."""

import os

from flopwatch.hardware.nvml.inventory import list_gpus

list_gpus()
if os.fork() == 0:
    os._exit(0 if len(list_gpus()) == 1 else 1)
print(os.waitstatus_to_exitcode(os.wait()[1]))
