"""The device that a run is held against: its peak at the precision that the layers were seen to run in."""

from __future__ import annotations

import logging
from typing import Any

import torch

from flopwatch.hardware.chips import Dtype
from flopwatch.lightning.counting.precision import AutocastProbe, Precision, precision_of
from flopwatch.lightning.devices import device_of
from flopwatch.lightning.options import Options
from flopwatch.run.records import Device

_logger = logging.getLogger("flopwatch")


class RunDevice:
    """Finds the device, and looks at the layers during the first batch.

    Args:
        options: What the user asked for.
        trainer: The Trainer, its strategy set up.
        module: The LightningModule.
    """

    def __init__(self, options: Options, trainer: Any, module: Any) -> None:
        self._options, self._trainer = options, trainer
        self._precision = precision_of(trainer, module)
        if options.dtype is not None:
            self._precision = Precision(options.dtype, "precision given by the user", by_layers=True)
        self._probe = AutocastProbe(module, trainer.strategy.root_device.type)
        self.device = self._found()

    def _found(self) -> Device:
        return device_of(self._trainer, self._precision, self._options.peak_flops_per_second, self._options.chips)

    def tensor_core_dtype(self) -> Dtype | None:
        """Return the precision of the run's products where NVIDIA's tensor cores may do them; `None` elsewhere."""
        is_nvidia = self._trainer.strategy.root_device.type == "cuda" and torch.version.hip is None
        return self._precision.dtype if is_nvidia else None

    def look(self) -> None:
        """Look at the layers from here on."""
        self._probe.attach()

    def look_away(self) -> None:
        """Look at them no more."""
        self._probe.detach()

    def settle(self) -> bool:
        """Hold the run against another peak where its layers ran in another precision; whether that is so."""
        self._probe.detach()
        precision = self._probe.corrected(self._precision)
        if precision == self._precision:
            return False
        self._precision = precision
        self.device = self._found()
        _logger.info("the layers run in %s: peak %s", precision.dtype, self.device.peak_source)
        return True
