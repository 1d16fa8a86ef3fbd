"""Machines that are not there, for lines that are made of numbers alone."""

from dataclasses import replace

import torch

from flopwatch.check.asking import DriverDevice
from flopwatch.check.machine import Machine
from flopwatch.hardware.nvml.lookup import Address, FoundGpu
from flopwatch.run.records import Device

CPU = Machine(torch.device("cpu"), Device("CPU", 1, "fp32"))
# An H100's row: 132 SMs x 4096 FLOPs per clock = 540,672; at 1830 MHz 989.4 TFLOP/s.
H100 = Machine(
    torch.device("cpu"),
    Device(
        "NVIDIA H100 80GB HBM3",
        1,
        "bf16",
        peak_flops_per_second=989.4e12,
        flops_per_clock=540_672.0,
        sm_count=132,
        uuid="1234abcd-0000",
        boost_clock_hz=1830e6,
    ),
    Address("NVIDIA H100 80GB HBM3", uuid="1234abcd-0000"),
)


def found(**changes):
    """What the driver says of that H100."""
    whole = DriverDevice(
        gpu=FoundGpu("handle", "handle", is_slice=False),
        name="NVIDIA H100 80GB HBM3",
        uuid="GPU-1234abcd-0000",
        sm_count=132,
        driver="580.95.05",
        max_sm_clock_hz=1980e6,
        power_limit_watts=700.0,
    )
    return replace(whole, **changes)
