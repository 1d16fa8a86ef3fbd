"""AMD's GPUs by name, where AMD's own `amdsmi` is installed. The only user of it; nothing else is read of them."""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass
from typing import Any

_logger = logging.getLogger("flopwatch")


@dataclass(frozen=True)
class AmdGpu:
    """A GPU as `amdsmi` describes it; what it does not tell is `None`."""

    index: int
    name: str
    uuid: str | None
    compute_units: int | None


def list_gpus() -> list[AmdGpu]:
    """Every GPU that `amdsmi` shows; none where it is missing or does not answer."""
    try:
        amdsmi: Any = importlib.import_module("amdsmi")
        amdsmi.amdsmi_init()
        handles = amdsmi.amdsmi_get_processor_handles()
    except ImportError:
        return []
    except Exception as error:  # amdsmi raises its own kinds where there is no driver, and OSError without its library
        _logger.debug("amdsmi does not respond: %s", error)
        return []
    return [_describe(amdsmi, index, handle) for index, handle in enumerate(handles)]


def _describe(amdsmi: Any, index: int, handle: Any) -> AmdGpu:
    try:
        facts = amdsmi.amdsmi_get_gpu_asic_info(handle)
        uuid = str(amdsmi.amdsmi_get_gpu_device_uuid(handle))
    except Exception:
        return AmdGpu(index, "unknown", None, None)
    units = facts.get("num_compute_units")
    return AmdGpu(index, str(facts.get("market_name", "unknown")), uuid, units if isinstance(units, int) else None)
