"""Lines of a check for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from flopwatch import units
from flopwatch.check.results import AT_LEAST, AT_MOST, CheckLine, Outcome, Value, counts
from flopwatch.check.running import Checked

_OUTCOME_COLUMNS, _NAME_COLUMNS = 10, 24
_END = "\x1b[0m"
_COLOURS: Mapping[Outcome, str] = MappingProxyType({"pass": "\x1b[32m", "fail": "\x1b[1;31m", "not here": "\x1b[2m"})


@dataclass(frozen=True)
class Style:
    """How wide lines may be, and whether outcomes have colours."""

    width: int = 80
    colour: bool = False


def value_words(value: Value, unit: str) -> str:
    """A value with its unit, as a reader expects it."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return value
    return _number_words(value, unit.removesuffix(AT_MOST).removesuffix(AT_LEAST))


def _number_words(value: float, unit: str) -> str:
    if unit == "FLOPs":
        return f"{value:,} FLOPs"
    if unit == "bytes":
        return f"{value:,} bytes"
    if unit == "share":
        return units.format_percent(value)
    if unit == "Hz":
        return units.format_clock(value)
    if unit == "s":
        return units.format_milliseconds(value) if value < 1 else units.format_duration(value)
    return units.format_si(value, unit) if unit else f"{value:,}"


def line_text(line: CheckLine, style: Style) -> str:
    """One line of the check, wrapped below itself where it is long.

    Args:
        line: What came.
        style: Of the terminal.
    """
    indent = _OUTCOME_COLUMNS + _NAME_COLUMNS
    wrapped = textwrap.wrap(_words(line), max(style.width - indent, 20), break_on_hyphens=False) or [""]
    outcome = line.outcome.upper() if line.outcome == "fail" else line.outcome
    shown = f"{_COLOURS[line.outcome]}{outcome}{_END}" if style.colour else outcome
    padding = " " * (_OUTCOME_COLUMNS - len(outcome))
    text = f"\n{' ' * indent}".join(units.printable(each) for each in wrapped)
    return f"{shown}{padding}{line.name:{_NAME_COLUMNS}}{text}".rstrip()


def _words(line: CheckLine) -> str:
    if line.expected is None and line.found is None:
        return line.words
    expected, found = value_words(line.expected, line.unit), value_words(line.found, line.unit)
    if line.outcome == "pass":
        return f"{found}, {line.words}".removesuffix(", ")
    limit = next((f"{each.strip()} " for each in (AT_MOST, AT_LEAST) if line.unit.endswith(each)), "")
    if expected == found:  # as they are rounded
        expected, found = _in_full(line.expected, line.unit), _in_full(line.found, line.unit)
    return f"expected {limit}{expected}, got {found}; {line.words}".removesuffix("; ")


def _in_full(value: Value, unit: str) -> str:
    return f"{value:.9g} {unit.partition(' at ')[0]}".strip() if isinstance(value, int | float) else str(value)


def device_words(device: Mapping[str, Any]) -> str:
    """A device's name, of a CPU its model, of which checks use one thread."""
    if device["type"] != "cpu":
        return str(device["name"])
    return f"{device['processor']}, one thread"


def head(versions: Mapping[str, str], device: Mapping[str, Any], style: Style) -> str:
    """What is checked, above the lines."""
    names = {"flopwatch": "flopwatch", "torch": "torch", "lightning": "Lightning", "python": "Python", "cuda": "CUDA"}
    words = [f"{name} {versions[key]}" for key, name in names.items() if key in versions]
    words += [f"driver {versions['driver']}"] if "driver" in versions else []
    words += [versions["os"], device_words(device)]
    return "\n".join(textwrap.wrap(units.printable(", ".join(words)), style.width)) + "\n"


def foot(checked: Checked) -> str:
    """How many lines passed, below them."""
    found = counts(checked.lines)
    return f"\n{found['pass']} passed, {found['fail']} failed, {found['not here']} not here, in {checked.seconds:.0f} s"


def page(checked: Checked, style: Style) -> str:
    """The whole check as text."""
    lines = [line_text(line, style) for line in checked.lines]
    return "\n".join([head(checked.versions, checked.device, style), *lines, foot(checked)]) + "\n"
