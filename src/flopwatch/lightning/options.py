"""The user's arguments, validated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from flopwatch.errors import ArgumentError
from flopwatch.hardware.chips import DTYPES, Chip, Dtype
from flopwatch.lightning.counting.shapes import BatchShape
from flopwatch.lightning.devices import UsersPeak
from flopwatch.lightning.profile import ProfileOptions
from flopwatch.model.architecture import AttentionConvention
from flopwatch.model.families import architecture_of
from flopwatch.run.budget import Budget, parse_budget
from flopwatch.units import is_positive, quoted

OnBudget = Literal["warn", "stop"] | Callable[[Any, str], None]
# What is expected of each number.
_NUMBERS: Mapping[str, str] = MappingProxyType(
    {
        "every_n_steps": "a number of steps above zero",
        "optimizer_flops": "a whole number of FLOPs above zero",
        "every_n_seconds": "a number of seconds above zero",
        "usd_per_device_hour": "a price above zero",
        "kg_co2_per_kwh": "kilograms of CO2 above zero",
        "alert_below_mfu": "an MFU from 0 to 1",
        "alert_after_seconds": "a number of seconds above zero",
    }
)
_WHOLE = ("every_n_steps", "optimizer_flops")
_NEEDED = ("every_n_seconds", "alert_after_seconds")
_FUNCTIONS = ("batch_shape", "flops_per_batch")
_SWITCHES = ("report", "inference")


@dataclass(frozen=True)
class Options:
    """The arguments of `FlopWatch`.

    Raises:
        ArgumentError: If one of them cannot be used; the text says what was expected.
        ConfigError: If `config` cannot be counted.
    """

    budgets: tuple[Budget, ...] = ()
    config: object | None = None
    peak_flops_per_second: UsersPeak = None
    attention: AttentionConvention = "causal"
    batch_shape: BatchShape | None = None
    flops_per_batch: Callable[[Any], int] | None = None
    every_n_seconds: float = 10.0
    every_n_steps: int | None = None
    usd_per_device_hour: float | None = None
    kg_co2_per_kwh: float | None = None
    dirpath: Path | None = None
    report: bool = True
    prefix: str = ""
    optimizer_flops: int | None = None
    chips: tuple[Chip, ...] = ()
    dtype: Dtype | None = None
    on_budget: OnBudget = "warn"
    alert_below_mfu: float | None = None
    alert_after_seconds: float = 600.0
    inference: bool = False
    loss: str | None = None
    val_loss: str | None = None
    profile: ProfileOptions | None = None

    def __post_init__(self) -> None:
        """Check every one, and the prefix loses the slashes around it."""
        self._check_choices()
        for name, expected in _NUMBERS.items():
            if getattr(self, name) is not None or name in _NEEDED:
                _check_above_zero(name, getattr(self, name), expected, whole=name in _WHOLE)
        if self.alert_below_mfu is not None and self.alert_below_mfu > 1:
            raise ArgumentError(f"expected an MFU from 0 to 1 for alert_below_mfu, got {quoted(self.alert_below_mfu)}")
        for name in _FUNCTIONS:
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                raise ArgumentError(f"expected a function for {name}, got {quoted(getattr(self, name))}")
        for name in _SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise ArgumentError(f"expected True or False for {name}, got {quoted(getattr(self, name))}")
        self._check_budgets()
        if self.config is not None:
            architecture_of(self.config)
        object.__setattr__(self, "prefix", self.prefix.strip("/"))

    def _check_choices(self) -> None:
        if self.attention not in ("causal", "full"):
            raise ArgumentError(f"expected attention='causal' or 'full', got {quoted(self.attention)}")
        if self.peak_flops_per_second not in (None, "measured"):
            expected = "a number of FLOP/s above zero or 'measured'"
            _check_above_zero("peak_flops_per_second", self.peak_flops_per_second, expected)
        if self.dtype is not None and self.dtype not in DTYPES:
            raise ArgumentError(f"expected one of {', '.join(DTYPES)} for dtype, got {quoted(self.dtype)}")
        if not isinstance(self.prefix, str):
            raise ArgumentError(f"expected a word for prefix, got {quoted(self.prefix)}")
        for name in ("loss", "val_loss"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise ArgumentError(f"expected the name of a logged metric for {name}, got {quoted(value)}")

    def _check_budgets(self) -> None:
        if self.on_budget not in ("warn", "stop") and not callable(self.on_budget):
            raise ArgumentError(f"expected 'warn', 'stop' or a function for on_budget, got {quoted(self.on_budget)}")
        if self.on_budget != "warn" and not self.budgets:
            raise ArgumentError(f"on_budget={quoted(self.on_budget)} needs a budget: pass budget=")
        if self.usd_per_device_hour is None and any(each.unit == "usd" for each in self.budgets):
            raise ArgumentError("a cost budget needs a device's price: pass usd_per_device_hour=")


def budgets_of(budget: str | Sequence[str] | None) -> tuple[Budget, ...]:
    """The budgets that a user wrote.

    Raises:
        ArgumentError: If it is neither a text nor a list of them.
        QuantityError: If one cannot be read.
    """
    if budget is None:
        return ()
    texts = [budget] if isinstance(budget, str) else budget
    if not isinstance(texts, (list, tuple)) or not all(isinstance(each, str) for each in texts):
        raise ArgumentError(f"expected a budget like '1.4T tokens' or a list of them, got {quoted(budget)}")
    return tuple(parse_budget(text) for text in texts)


def profile_of(profile: object, every: object = None, ranks: Sequence[int] = (0,)) -> ProfileOptions | None:
    """What a user wants to be profiled.

    Args:
        profile: Whether anything is.
        every: "1 hour" or "1000 steps" from one profile to the next; `None` for a single one.
        ranks: Whose steps.

    Raises:
        ArgumentError: If one of them cannot be used.
        QuantityError: If `every` cannot be read.
    """
    if not isinstance(profile, bool):
        raise ArgumentError(f"expected True or False for profile, got {quoted(profile)}")
    if isinstance(ranks, (str, bytes)) or not isinstance(ranks, Sequence) or not all(map(_is_rank, ranks)):
        raise ArgumentError(f"expected a list of ranks like [0, 8] for profile_ranks, got {quoted(ranks)}")
    if every is not None and not isinstance(every, str):
        raise ArgumentError(
            f"expected an interval like '1 hour' or '1000 steps' for profile_every, got {quoted(every)}"
        )
    if not profile:
        if every is not None:
            raise ArgumentError(f"profile_every={quoted(every)} needs profile=True")
        return None
    if every is None:
        return ProfileOptions(tuple(ranks))
    interval = parse_budget(every)
    if interval.unit not in ("steps", "seconds"):
        raise ArgumentError(
            f"expected an interval like '1 hour' or '1000 steps' for profile_every, got {quoted(every)}"
        )
    if interval.unit == "steps":
        return ProfileOptions(tuple(ranks), every_steps=int(interval.amount))
    return ProfileOptions(tuple(ranks), every_seconds=float(interval.amount))


def _is_rank(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def folder_of(dirpath: object) -> Path | None:
    """The folder that a user named.

    Raises:
        ArgumentError: If it is not a local one.
    """
    if dirpath is None:
        return None
    if not isinstance(dirpath, (str, Path)) or "://" in str(dirpath):
        raise ArgumentError(f"expected a local folder for dirpath, got {quoted(dirpath)}")
    return Path(dirpath)


def _check_above_zero(name: str, value: Any, expected: str, *, whole: bool = False) -> None:
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not is_positive(value):
        raise ArgumentError(f"expected {expected} for {name}, got {quoted(value)}")
