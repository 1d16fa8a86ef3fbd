"""Errors that a user can cause; their messages say what was expected, what came and what to do."""

from __future__ import annotations


class FlopwatchError(Exception):
    """Base of every error that flopwatch raises on purpose; its text is one line meant for the user."""


class ConfigError(FlopwatchError):
    """A model config that cannot be turned into an exact count."""


class UnknownModelError(ConfigError):
    """A `model_type` without a closed form; `measurable` unless it is not even named, or joins several models."""

    def __init__(self, text: str, *, measurable: bool = True) -> None:
        super().__init__(text)
        self.measurable = measurable


class MeasurementError(FlopwatchError):
    """A module whose FLOPs cannot be measured."""


class UnknownDeviceError(FlopwatchError):
    """A device, or a precision of a device, without a known peak."""


class QuantityError(FlopwatchError):
    """A text that should hold an amount, a duration or a budget, and does not."""


class ArgumentError(FlopwatchError):
    """An argument, of a function, of the command line or of a file that it names, that cannot be used."""


class RunFileError(FlopwatchError):
    """A run file that does not exist or holds nothing readable."""


class TraceError(FlopwatchError):
    """A profiler's trace that does not exist, is damaged or says nothing of a device's time."""


class LargeTraceError(TraceError):
    """A trace of more than its reader was allowed to read."""


class DriverError(FlopwatchError):
    """The NVIDIA driver did not respond."""


class WandbError(FlopwatchError):
    """W&B is not installed, cannot be reached or refuses, or a run of it holds nothing of flopwatch."""


def in_words(error: Exception, most: int = 200) -> str:
    """An error's kind and text in one line, whatever it is made of; a long one is cut between words."""
    kind = type(error).__name__
    try:
        text = str(error)
    except Exception:
        text = "which cannot say why"
    line = in_one_line(text, most)
    return line if line.startswith(kind) else f"{kind}: {line}".removesuffix(": ")


def in_one_line(text: str, most: int = 200) -> str:
    """A text without line breaks and what moves a cursor; a long one is cut between words."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= most else f"{line[: most + 1].rpartition(' ')[0] or line[:most]} ..."
