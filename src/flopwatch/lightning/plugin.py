"""Entry point of Lightning's callback factories: `FLOPWATCH=1 python train.py` monitors an unchanged script.

The variable holds 1, or options of `FlopWatch` as `name=value` with semicolons between them. Without it nothing is
imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flopwatch.errors import ArgumentError, FlopwatchError
from flopwatch.units import quoted

if TYPE_CHECKING:
    from flopwatch.lightning.callback import FlopWatch

VARIABLE = "FLOPWATCH"
_OFF, _ON = ("", "0", "false", "off", "no"), ("1", "true", "on", "yes")


def callbacks() -> list[FlopWatch]:
    """The callbacks to add to every Trainer: one `FlopWatch` if the variable asks for it, none otherwise.

    Raises:
        ArgumentError: If the variable holds something else than options of `FlopWatch`.
    """
    text = os.environ.get(VARIABLE, "").strip()
    if text.lower() in _OFF:
        return []
    from flopwatch.lightning.callback import FlopWatch

    try:
        watch = FlopWatch(**parse_options(text))
    except FlopwatchError as error:
        raise ArgumentError(f"in the environment variable {VARIABLE}: {error}") from None
    watch.from_environment = True
    return [watch]


def parse_options(text: str) -> dict[str, Any]:
    """Read "budget=1.4T tokens; every_n_seconds=30" into arguments of `FlopWatch`.

    Raises:
        ArgumentError: If an option is not one of those, or its value is not of its kind.
    """
    if text.lower() in _ON:
        return {}
    options: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or name not in _OPTIONS:
            known = ", ".join(_OPTIONS)
            raise ArgumentError(
                f"expected 1 or options such as 'budget=1.4T tokens', out of {known}; got {quoted(part)}"
            )
        read, expected = _OPTIONS[name]
        try:
            given = read(value)
        except ValueError:
            raise ArgumentError(f"expected {expected} for {name}, got {quoted(value)}") from None
        if name == "budget":
            options.setdefault(name, []).append(given)
        elif name in options:
            raise ArgumentError(f"expected {name} once, got it twice")
        else:
            options[name] = given
    return options


def _switch(text: str) -> bool:
    if text.lower() not in _ON + _OFF:
        raise ValueError(text)
    return text.lower() in _ON


def _number_or_measured(text: str) -> float | str:
    return text if text == "measured" else float(text)


_OPTIONS: dict[str, tuple[Callable[[str], Any], str]] = {
    "budget": (str, "a budget"),
    "on_budget": (str, "'warn' or 'stop'"),
    "alert_below_mfu": (float, "a number"),
    "alert_after_seconds": (float, "a number"),
    "config": (str, "a path"),
    "peak_flops_per_second": (_number_or_measured, "a number or 'measured'"),
    "dtype": (str, "a precision"),
    "chips": (str, "a path"),
    "attention": (str, "'causal' or 'full'"),
    "every_n_seconds": (float, "a number"),
    "every_n_steps": (int, "a whole number"),
    "usd_per_device_hour": (float, "a number"),
    "kg_co2_per_kwh": (float, "a number"),
    "loss": (str, "the name of a logged metric"),
    "val_loss": (str, "the name of a logged metric"),
    "profile": (_switch, "yes or no"),
    "profile_every": (str, "an interval"),
    "dirpath": (str, "a folder"),
    "report": (_switch, "yes or no"),
    "prefix": (str, "a word"),
    "inference": (_switch, "yes or no"),
}
