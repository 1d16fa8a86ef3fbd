"""Prints the peaks of the chips that packages bring."""

import logging

from flopwatch.hardware.user_chips import user_chips

logging.basicConfig()
print(*[chip.peaks["bf16"] for chip in user_chips()] or ["none"])
