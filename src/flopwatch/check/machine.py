"""The machine that is checked: its device, the driver's address of it, and versions; nothing that names its owner."""

from __future__ import annotations

import importlib.util
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch

from flopwatch.hardware.chips import Chip, Dtype
from flopwatch.hardware.nvml.lookup import Address
from flopwatch.lightning.counting.precision import Precision
from flopwatch.lightning.devices import address_of, describe_device
from flopwatch.run.records import Device

LIGHTNINGS = ("pytorch_lightning", "lightning.pytorch")  # the first one that is installed is used
WHY_NO_DRIVER = "no NVIDIA GPU that torch can use"  # where a machine has no address
_WITH_BF16 = (8, 0)  # compute capability of Ampere


@dataclass(frozen=True)
class Machine:
    """What is checked.

    Attributes:
        device: Where torch runs the checks.
        described: Its name, SMs, precision and datasheet peak, as a run would record them.
        address: How the NVIDIA driver's handle of it is found; `None` where it is none of NVIDIA's.
        chips: The user's chips, which go before those of the table.
    """

    device: torch.device
    described: Device
    address: Address | None = None
    chips: tuple[Chip, ...] = ()


def machine_here(chips: tuple[Chip, ...] = ()) -> Machine:
    """Return this machine with torch's current CUDA device, else its CPU.

    Args:
        chips: The user's chips, which go before those of the table.
    """
    if not torch.cuda.is_available():
        device = torch.device("cpu")
        return Machine(device, describe_device(device, 1, Precision("fp32"), chips))
    device = torch.device("cuda", torch.cuda.current_device())
    described = describe_device(device, 1, Precision(_half(device)), chips)
    return Machine(device, described, address_of(device), chips)


def _half(device: torch.device) -> Dtype:
    """bf16 where the device multiplies in it."""
    has_bf16 = torch.version.hip or torch.cuda.get_device_capability(device) >= _WITH_BF16
    return "bf16" if has_bf16 else "fp16"


def lightning_package() -> str | None:
    """The name of the Lightning that is installed."""
    return next((name for name in LIGHTNINGS if importlib.util.find_spec(name.partition(".")[0])), None)


def versions(driver: str | None = None) -> Mapping[str, str]:
    """Versions of what the numbers depend on; what is not installed is left out.

    Args:
        driver: The NVIDIA driver's.
    """
    known = {
        "flopwatch": _version("flopwatch"),
        "torch": torch.__version__,
        "lightning": _version((lightning_package() or "").partition(".")[0].replace("_", "-")),
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
        "driver": driver,
        "os": operating_system(),
    }
    return {name: str(version) for name, version in known.items() if version}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package) if package else None
    except metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's model."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        cpuinfo = ""
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return model[1].strip() if model else platform.machine()


def operating_system() -> str:
    """The system, its kernel's numbers and the processor's kind: a kernel's own suffix may name a company."""
    numbers = re.match(r"[\d.]*\d", platform.release())
    return " ".join(filter(None, (platform.system(), numbers and numbers[0], platform.machine())))
