"""Reading a config.json; of what is none, saying what it is and what to do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from flopwatch import files
from flopwatch.errors import ConfigError, in_one_line
from flopwatch.units import quoted

_LARGEST_FILE_BYTES = 16 * 2**20
_TRAILING_COMMA = re.compile(r"\s*,\s*[}\]]")
_URL = re.compile(r"https?:/")
_NOT_BY_NAME = "; models are not looked up by name, so download its config.json first"
_POINTER = "version https://git-lfs.github.com/"
_MOST_NAMED = 5  # folders


def read(path: Path) -> dict[str, Any]:
    """Return the fields of a config.json.

    Args:
        path: The file, or the folder that it is in.

    Raises:
        ConfigError: If there is none, or it is not a JSON object.
    """
    try:
        path = path / "config.json" if path.is_dir() else path
        text = files.read_text(path, _LARGEST_FILE_BYTES)
    except FileNotFoundError:
        raise ConfigError(f"expected a config.json or its folder, found no file at {path}{_instead_of(path)}") from None
    except OSError as error:
        raise ConfigError(f"cannot read {str(path)[:200]}: {error.strerror}; check the path") from None
    except UnicodeDecodeError:
        raise ConfigError(f"expected JSON in {path}, got no text; give the config.json beside it") from None
    except ValueError:  # a NUL
        raise ConfigError(f"expected a config.json or its folder, got {quoted(str(path))}") from None
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"expected JSON in {path}, got {_what_it_is(path, text, error)}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"expected JSON in {path}, got something else: {in_one_line(str(error))}") from None
    if not isinstance(values, dict):
        raise ConfigError(
            f"expected a JSON object in {path}, got a {type(values).__name__}; give one config, {{...}}, per file"
        )
    return values


def _instead_of(path: Path) -> str:
    """Return what to do where there is no file."""
    if _URL.match(str(path)):
        return "; nothing is downloaded, so save that file here first"
    if path.suffix != ".json":
        return _NOT_BY_NAME
    if path.name != "config.json" or not path.parent.is_dir():
        return ""
    below = sorted(each.parent.name for each in path.parent.glob("*/config.json"))
    if not below:
        return ""
    named = ", ".join([*below[:_MOST_NAMED], *(["..."] if len(below) > _MOST_NAMED else [])])
    return f"; there is one in each of {named}: give these, one or several"


def _what_it_is(path: Path, text: str, error: json.JSONDecodeError) -> str:
    if not text.strip():
        return "an empty file; copy it from the model again"
    if text.startswith(_POINTER):
        return "a pointer of Git LFS; run `git lfs pull` where it was cloned"
    if text.lstrip().startswith("<"):
        return "a web page; download the raw file"
    if path.suffix in (".yaml", ".yml"):
        return "YAML; write its fields as JSON"
    if _TRAILING_COMMA.match(text, len(text[: error.pos].rstrip().removesuffix(","))):
        return f"a comma before a closing bracket at line {error.lineno}; remove it"
    return f"something else at line {error.lineno}, column {error.colno} ({in_one_line(error.msg)}); mend it there"
