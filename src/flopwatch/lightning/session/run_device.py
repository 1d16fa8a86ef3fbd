"""The device that a run is held against: its peak at the precision in which a batch was seen to multiply."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch

from flopwatch.hardware.chips import Dtype
from flopwatch.lightning.counting.precision import Precision, precision_of, precision_seen
from flopwatch.lightning.devices import device_of
from flopwatch.lightning.options import Options
from flopwatch.run.records import Device

_logger = logging.getLogger("flopwatch")


class RunDevice:
    """Finds the device, by what Trainer and weights say and then by what a watched batch ran.

    Args:
        options: What the user asked for.
        trainer: The Trainer, its strategy set up.
        module: The LightningModule.
    """

    def __init__(self, options: Options, trainer: Any, module: Any) -> None:
        self._options, self._trainer, self._module = options, trainer, module
        self._precision = precision_of(trainer, module)
        if options.dtype is not None:
            self._precision = Precision(options.dtype, "precision given by the user", by_layers=True)
        self._is_settled = False
        self.device = self._found()

    def _found(self) -> Device:
        return device_of(self._trainer, self._precision, self._options.peak_flops_per_second, self._options.chips)

    def tensor_core_dtype(self) -> Dtype | None:
        """Return the precision of the run's products where NVIDIA's tensor cores may do them; `None` elsewhere."""
        is_nvidia = self._trainer.strategy.root_device.type == "cuda" and torch.version.hip is None
        return self._precision.dtype if is_nvidia else None

    @property
    def is_settled(self) -> bool:
        """Whether it was held against what a batch ran."""
        return self._is_settled

    def settle(self, flops: Mapping[torch.dtype, int]) -> bool:
        """Hold the run against another peak where a batch multiplied in another precision; whether that is so.

        Args:
            flops: Of a watched batch, by the dtype of the factors.
        """
        self._is_settled = True
        on_cuda = self._trainer.strategy.root_device.type == "cuda"
        precision = precision_seen(self._precision, flops, self._module, on_cuda=on_cuda)
        if precision == self._precision:
            return False
        self._precision = precision
        self.device = self._found()
        _logger.info("matrices are multiplied in %s: peak %s", precision.dtype, self.device.peak_source)
        return True
