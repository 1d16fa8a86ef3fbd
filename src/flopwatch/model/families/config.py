"""Reading a model config, whatever form it comes in, with errors that name the field."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flopwatch.errors import ConfigError, UnknownModelError
from flopwatch.model.families import config_file
from flopwatch.units import quoted

_LARGEST_DIMENSION = 2**40
_MOST_LAYERS = 10_001
_COUNTED = ("layer", "depth", "block", "expert", "label", "stage")
_MEASURED = ("size", "dim", "rank", "width", "token", "length", "position", "_id", "stride", "window")


@dataclass(frozen=True)
class Fields:
    """The fields of a config under Hugging Face's names."""

    model_type: str
    values: Mapping[str, Any]

    def size(self, name: str, default: int | None = None) -> int:
        """Return a dimension: a positive int.

        Args:
            name: The field, by its Hugging Face name.
            default: What Hugging Face takes where the field is absent; without one the field is required.

        Raises:
            ConfigError: If the field is missing or is not a positive whole number.
        """
        value = self.values.get(name)
        if value is None:
            if default is None:
                raise self.needed(name, "a positive whole number")
            return default
        if not _is_size(name, value):
            raise self.unusable(name, f"a positive whole number{_below(name, value)}")
        return int(value)

    def size_of(self, *names: str, default: int | None = None) -> int:
        """A dimension that goes by several names; the first that is there counts.

        Raises:
            ConfigError: If none is there and there is no default, or it is not a positive whole number.
        """
        present = next((name for name in names if self.values.get(name) is not None), None)
        if present is not None:
            return self.size(present)
        if default is None:
            raise ConfigError(
                f"the {self.model_type} config lacks {' or '.join(map(repr, names))}, which its FLOPs depend on; add"
                " it to the config"
            )
        return default

    def sizes(self, name: str) -> list[int]:
        """Return a list of dimensions; a single number gives a list of one.

        Raises:
            ConfigError: If it is missing, empty or holds anything but positive whole numbers.
        """
        values = self.values.get(name)
        if values is None or isinstance(values, int):
            return [self.size(name)]
        good = isinstance(values, (list, tuple)) and values
        if not good or not all(_is_size(name, each) for each in values):
            raise self.unusable(name, f"a list of positive whole numbers{_below(name, *_all(values))}")
        return list(values)

    def mapping(self, name: str) -> Mapping[str, Any]:
        """A part of the config that is a mapping itself; empty where it is absent.

        Raises:
            ConfigError: If it is something else.
        """
        value = self.values.get(name)
        if value is None:
            return {}
        if isinstance(value, (str, Path)):  # a config says what a model is; it opens no other file
            raise self.unusable(name, "an object")
        return value if isinstance(value, Mapping) else read_mapping(value)

    def optional_size(self, name: str, default: int | None = None) -> int | None:
        """A dimension that may be null; `default` stands in only where the field is absent altogether."""
        if name not in self.values:
            return default
        return None if self.values[name] is None else self.size(name)

    def flag(self, name: str, default: bool) -> bool:
        """A boolean; `default` stands in where the field is absent, and null is false, as in Hugging Face's code.

        Raises:
            ConfigError: If the field is anything but true, false or null.
        """
        value = self.values.get(name, default)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.unusable(name, "true or false")
        return value

    def refuse(self, name: str, reason: str) -> None:
        """Refuse a config that sets a field whose work the closed form does not count.

        Raises:
            ConfigError: If the field is set to anything but null, false or zero.
        """
        if self.values.get(name):
            raise ConfigError(
                f"the {self.model_type} config sets {name}={quoted(self.values[name])}: {reason}, which is not counted"
                " here"
            )

    def refuse_left_out(self, *names: str, by_default: bool = False) -> None:
        """Refuse a config whose class leaves layers out at random, so that no two steps cost the same.

        Args:
            names: The fields that say how many.
            by_default: Whether the class leaves some out where a field is absent.

        Raises:
            UnknownModelError: If it does; all layers together can be measured.
        """
        for name in names:
            if self.values.get(name) or (by_default and name not in self.values):
                stated = quoted(self.values[name]) if name in self.values else "the default"
                raise UnknownModelError(
                    f"the {self.model_type} config leaves layers out at random ({name}={stated}), so that no closed"
                    f" form says what a step costs; set {name} to 0 to count all of them"
                )

    def needed(self, name: str, expected: str) -> ConfigError:
        """Return the error for a field that is missing or unusable."""
        if self.values.get(name) is not None:
            return self.unusable(name, expected)
        return ConfigError(
            f"the {self.model_type} config lacks {name!r}, which its FLOPs depend on; add it to the config"
        )

    def unusable(self, name: str, expected: str) -> ConfigError:
        """The error for a field that holds the wrong kind of thing."""
        return ConfigError(
            f"the {self.model_type} config needs {expected} for {name!r}, got {quoted(self.values.get(name))}"
        )


def counts_objects(name: str) -> bool:
    """Whether a field says how many layers, experts or labels there are, not how large they are."""
    return any(word in name for word in _COUNTED) and not any(word in name for word in _MEASURED)


def _limit(name: str) -> int:
    """What a field must be below; every layer is a component of its own, so there are fewer of them."""
    layers = counts_objects(name) and ("layer" in name or "depth" in name)
    return _MOST_LAYERS if layers else _LARGEST_DIMENSION


def _all(values: object) -> Sequence[object]:
    return values if isinstance(values, (list, tuple)) else ()


def _below(name: str, *values: object) -> str:
    """Return what a message adds when a number is too large."""
    return f" below {_limit(name):,}" if any(isinstance(each, int) and each >= _limit(name) for each in values) else ""


def _is_size(name: str, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < _limit(name)


def read_mapping(source: object) -> dict[str, Any]:
    """Turn any form of config into a plain dict.

    Args:
        source: A path to `config.json` or to its folder, a mapping, a dataclass, a Hugging Face config, or any object
            or class with attributes.

    Raises:
        ConfigError: If it is none of these, or a file that is not a JSON object.
    """
    if isinstance(source, (str, Path)):
        return config_file.read(Path(source))
    if isinstance(source, Mapping):
        return dict(source)
    if callable(getattr(source, "to_dict", None)) and not isinstance(source, type):
        values = dict(source.to_dict())  # type: ignore[attr-defined]
    elif dataclasses.is_dataclass(source) and not isinstance(source, type):
        values = {field.name: getattr(source, field.name) for field in dataclasses.fields(source)}
    elif hasattr(source, "__dict__"):
        values = _attributes(source)
    else:
        raise ConfigError(
            f"expected a model config (a path, mapping, dataclass or Hugging Face config), got {type(source).__name__}"
        )
    model_type = getattr(source, "model_type", None)
    return {"model_type": model_type, **values} if model_type else values


def _attributes(source: object) -> dict[str, Any]:
    """What an object or a class holds, what its classes hold included; the nearest value counts, methods do not."""
    kind = source if isinstance(source, type) else type(source)
    values: dict[str, Any] = {}
    for each in reversed(kind.__mro__[:-1]):
        values |= {name: value for name, value in vars(each).items() if not _is_of_the_language(name, value)}
    return values if isinstance(source, type) else values | vars(source)


def _is_of_the_language(name: str, value: object) -> bool:
    return name.startswith("_") or callable(value) or hasattr(value, "__get__")
