"""The hyperparameters that a LightningModule saved."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from flopwatch.run.hyperparameters import Scalar, recordable

_logger = logging.getLogger("flopwatch")


def hyperparameters_of(trainer: Any) -> dict[str, Scalar]:
    """Return what `save_hyperparameters` kept and may be written down; nothing where it cannot be read.

    Args:
        trainer: The Trainer, with the module.
    """
    try:
        values = trainer.lightning_module.hparams
        return recordable(values) if isinstance(values, Mapping) else {}
    except Exception as error:
        _logger.debug("the module's hyperparameters cannot be read: %r", error)
        return {}
