"""Chips that users add to the table or that replace its rows: by argument, by file, or from a package."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from flopwatch import files
from flopwatch.errors import ArgumentError
from flopwatch.hardware.chips import Chip, read_chips
from flopwatch.units import is_positive, number, quoted

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

VARIABLE = "FLOPWATCH_CHIPS"
GROUP = "flopwatch.chips"
UserChips = str | Path | Iterable[Chip] | None
_LARGEST_FILE_BYTES = 2**24
_logger = logging.getLogger("flopwatch")


def user_chips(given: UserChips = None) -> tuple[Chip, ...]:
    """All chips of the user; where several have the same name, the one that is nearest to the user wins.

    Args:
        given: A CSV file in the form of `flopwatch/data/chips.csv`, or chips; they win over the files that the variable
            FLOPWATCH_CHIPS names, and those over the entry points of installed packages (group `flopwatch.chips`, each
            a function that returns chips).

    Raises:
        ArgumentError: If a file cannot be read as chips, or something else was given.
    """
    from importlib.metadata import entry_points

    files = [each for each in os.environ.get(VARIABLE, "").split(os.pathsep) if each]
    try:
        named = [chip for path in files for chip in chips_from_file(path)]
    except ArgumentError as error:
        raise ArgumentError(f"in the environment variable {VARIABLE}: {error}") from None
    installed = [chip for each in entry_points(group=GROUP) for chip in _installed(each)]
    return (*installed, *named, *_given(given))


def chips_from_file(path: str | Path) -> list[Chip]:
    """Read chips from a CSV file.

    Raises:
        ArgumentError: If it cannot be read, or is not a table of chips.
    """
    try:
        return read_chips(files.read_text(Path(path), _LARGEST_FILE_BYTES), str(path))
    except OSError as error:
        raise ArgumentError(f"cannot read the chips in {path}: {error.strerror}; check the path") from None
    except UnicodeDecodeError:
        raise ArgumentError(f"expected a CSV file of chips in UTF-8, got {path}") from None


def _given(given: UserChips) -> list[Chip]:
    if given is None:
        return []
    if isinstance(given, (str, Path)):
        return chips_from_file(given)
    chips = list(given) if isinstance(given, Iterable) else [given]
    if not all(isinstance(each, Chip) for each in chips):
        raise ArgumentError(
            f"expected a CSV file or a list of flopwatch.hardware.chips.Chip for chips, got {quoted(given)}"
        )
    for chip in chips:
        for peak in chip.peaks.values():
            if not is_positive(number(peak) or 0.0):
                raise ArgumentError(f"expected a peak above zero for the chip {chip.names[0]}, got {quoted(peak)}")
    return chips


def _installed(entry_point: EntryPoint) -> list[Chip]:
    """The chips of an installed package; one that is broken is left out with a warning."""
    try:
        return _given(entry_point.load()())
    except Exception as error:
        _logger.warning("ignoring the chips of %s: %s: %s", entry_point.value, type(error).__name__, error)
        return []
