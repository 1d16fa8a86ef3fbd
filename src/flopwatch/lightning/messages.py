"""How flopwatch's messages reach the terminal."""

from __future__ import annotations

import logging

_logger = logging.getLogger("flopwatch")


def show_messages() -> None:
    """Let our few lines reach the terminal, as Lightning does with its own, unless the user handles them."""
    if not _logger.handlers and not logging.getLogger().handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("flopwatch: %(message)s"))
        _logger.addHandler(handler)
        if _logger.level == logging.NOTSET:
            _logger.setLevel(logging.INFO)
        _logger.propagate = False
