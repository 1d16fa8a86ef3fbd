"""Runs the checks one after the other, each apart from the others: what goes wrong in one is a line of its own."""

from __future__ import annotations

import getpass
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flopwatch.check.asking import Asked
from flopwatch.check.attention import NAME, check_attention
from flopwatch.check.clocks import check_clocks
from flopwatch.check.device import check_device
from flopwatch.check.fits import check_fits
from flopwatch.check.isolation import OutOfTime, at_most, isolated
from flopwatch.check.machine import Machine, processor, versions
from flopwatch.check.products import check_products
from flopwatch.check.profile import check_profile
from flopwatch.check.results import CheckLine, counts
from flopwatch.check.watching import check_compiled, check_watching
from flopwatch.errors import DriverError, in_words
from flopwatch.hardware.nvml.driver import driver_version

SCHEMA = 1
_SHORTEST_SECONDS = 1e-3  # no limit at all would be 0
_UUID = re.compile(r"(?<=[0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f-]{14,}", re.IGNORECASE)
_PATH = re.compile(r"(?<![\w/])~?/(?:[^\s/:'\"]+/)+")


@dataclass(frozen=True)
class Check:
    """A group of lines.

    Attributes:
        name: What it is called where it fails as a whole.
        run: Yields its lines; it may write into the folder that it is given, which is not there yet.
        seconds: The longest that it may take.
    """

    name: str
    run: Callable[[Machine, Path], Iterator[CheckLine]]
    seconds: float = 60.0


CHECKS = (
    Check("device", lambda machine, _: check_device(machine)),
    Check("products", lambda machine, _: check_products(machine)),
    Check("under load", lambda machine, _: check_clocks(machine)),
    Check(NAME, lambda machine, _: check_attention(machine)),
    Check("fits", check_fits),
    Check("watching", lambda machine, _: check_watching(machine)),
    Check("torch.compile", check_compiled, 120.0),
    Check("profile", check_profile),
)


@dataclass(frozen=True)
class Checked:
    """What came of all checks.

    Attributes:
        versions: Of what the numbers depend on.
        device: Name, SMs, precision and peak of the device.
        lines: In order.
        seconds: What they took.
    """

    versions: Mapping[str, str]
    device: Mapping[str, Any]
    lines: tuple[CheckLine, ...]
    seconds: float

    @property
    def failed(self) -> tuple[CheckLine, ...]:
        """The lines that failed."""
        return tuple(line for line in self.lines if line.outcome == "fail")

    def to_json(self) -> dict[str, Any]:
        """Everything, without what would tell whose machine it is."""
        return {
            "schema": SCHEMA,
            "versions": dict(self.versions),
            "device": dict(self.device),
            "outcomes": counts(self.lines),
            "seconds": round(self.seconds, 1),
            "lines": [asdict(line) for line in self.lines],
        }


def check(machine: Machine, show: Callable[[CheckLine], None], checks: Sequence[Check] = CHECKS) -> Checked:
    """Run checks.

    Args:
        machine: What is checked.
        show: Is given every line as it comes.
        checks: Which ones.
    """
    began, lines = time.monotonic(), list[CheckLine]()
    with isolated() as folder:
        for number, each in enumerate(checks):
            for line in _lines_of(each, machine, folder / str(number)):
                lines.append(line)
                show(line)
    return Checked(versions(driver(machine)), facts(machine), tuple(lines), time.monotonic() - began)


def _lines_of(each: Check, machine: Machine, folder: Path) -> Iterator[CheckLine]:
    """The lines of a check, whose time passes while it runs, and not while a line is shown."""
    lines, left = each.run(machine, folder), each.seconds
    try:
        while True:
            began = time.monotonic()
            with at_most(max(left, _SHORTEST_SECONDS)):
                line = next(lines, None)
            if line is None:
                return
            left -= time.monotonic() - began
            yield line
    except OutOfTime:
        yield CheckLine(
            each.name, "fail", each.seconds, "longer", "the rest of this group was not checked", "s at most"
        )
    except Exception as error:
        yield CheckLine(each.name, "fail", words=without_owner(in_words(error)))


def without_owner(text: str) -> str:
    """A text without folders, the rest of a UUID, and the names of the machine and its user."""
    found = _UUID.sub("...", _PATH.sub("", text))
    for name in filter(None, (platform.node(), _user())):
        found = re.sub(rf"\b{re.escape(name)}\b", "...", found)
    return found


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


def driver(machine: Machine) -> str | None:
    """The NVIDIA driver's version; `None` where it does not answer, or is not the device's."""
    if machine.address is None:
        return None
    try:
        return Asked(driver_version).answer()
    except DriverError:
        return None


def facts(machine: Machine) -> dict[str, Any]:
    """What the device is."""
    device = machine.described
    return {
        "name": device.name,
        "type": machine.device.type,
        "sm_count": device.sm_count,
        "dtype": device.dtype,
        "peak_flops_per_second": device.peak_flops_per_second,
        "processor": processor(),
    }
