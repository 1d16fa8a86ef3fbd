"""Prints what is listed of every GPU."""

import dataclasses
import json

from flopwatch.hardware.nvml.inventory import list_gpus

print(json.dumps([dataclasses.asdict(gpu) for gpu in list_gpus()]))
