"""GPUs as people name them: the driver's name, the short key of the table, or a choice where a name means several."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flopwatch import units
from flopwatch.errors import UnknownDeviceError
from flopwatch.hardware.chips import Chip, Dtype, all_chips, find_chip, normalized

_MOST_CHOICES = 8
_NO_DOCUMENT = re.compile(r"^(names|PCI|torch props)\b|#\d")  # of drivers, torch, issues


def driver_name(name: str, dtype: Dtype | None = None, more: Sequence[Chip] = ()) -> str:
    """The name by which the driver knows a GPU.

    Args:
        name: The driver's name, or the key of a chip's row, such as "h100-sxm5-80gb".
        dtype: Precision whose peak is shown with each choice; by default the chip's first.
        more: The user's chips.

    Raises:
        UnknownDeviceError: If it is neither, or may be several GPUs: none is taken in silence, the choices are listed.
    """
    try:
        find_chip(name, more)
    except UnknownDeviceError:
        wanted = name.strip().lower()
        for chip in (*more, *all_chips()):
            if chip.key.lower() == wanted:
                return chip.names[0]
        choices = [_choice(chip, dtype) for chip in (*more, *all_chips()) if _may_be(chip, wanted, dtype)]
        if not choices:
            raise
        raise UnknownDeviceError(
            f"expected one GPU, but {units.quoted(name)} may be {'several' if len(choices) > 1 else 'this one'}: pass"
            f" {', '.join(choices[:_MOST_CHOICES])}, or the full name that the driver reports"
        ) from None
    return name


def _may_be(chip: Chip, wanted: str, dtype: Dtype | None) -> bool:
    """Whether a chip's name or key begins with these words and its peak is confirmed."""
    if chip.confidence == "low" or (dtype is not None and dtype not in chip.peaks):
        return False
    words = [re.sub(r"[\s-]+", " ", each.lower()) for each in (chip.key, *map(normalized, chip.names))]
    start = re.sub(r"[\s-]+", " ", normalized(wanted).removeprefix("nvidia "))
    return bool(start) and any(f"{each} ".startswith(f"{start} ") for each in words)


def _choice(chip: Chip, dtype: Dtype | None) -> str:
    chosen: Dtype = dtype if dtype is not None else next(iter(chip.peaks))
    return f"{chip.key} ({units.format_si(chip.peaks[chosen], 'FLOP/s')} {chosen})"


def source_words(source: str) -> str:
    """Where a peak is from, for readers: the first document of a row's source, without what was checked beside it."""
    documents = re.sub(r"\s*\([^)]*\)", "", source).split(";")  # in brackets there may be semicolons, too
    parts = (re.sub(r"\s+via .*$", "", each).strip() for each in documents)
    return next((each for each in parts if each and not _NO_DOCUMENT.search(each)), "flopwatch's table of chips")
