"""Reading the `.wandb` file that every run writes locally, also during the run or after a crash.

The file is a LevelDB log (blocks of 32 KiB; records in one or more chunks, each with a CRC) of protobuf records.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from flopwatch.errors import RunFileError, WandbError
from flopwatch.run.hyperparameters import recordable
from flopwatch.run.reading_bar import no_bar
from flopwatch.wandb.live import SUMMARY

_BLOCK, _HEADER = 2**15, struct.Struct("<IHB")
_FILE_HEADER = struct.pack("<4sHB", b":W&B", 0xBEE1, 0)
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_CRC_OF_KIND = [zlib.crc32(bytes([kind])) for kind in range(5)]
_LARGEST_RECORD = 2**22
_MOST_ITEMS, _LONGEST_VALUE = 10_000, 2**20
_HISTORY, _CONFIG, _RUN, _EXIT = 2, 5, 17, 18  # fields of the Record message
_ASIDE = (1, 16, 19, 200)  # its number, control, uuid and info, which may come before or after its content
_WITH_LENGTH = 2
_LONGEST_NUMBER = 64
_DIGITS = frozenset("-0123456789")


@dataclass
class LogReader:
    """Reads what is complete in a file, and at the next call what has been added since.

    A torn end, as a killed process leaves it, is waited for; a damaged chunk is left out with the rest of its block.
    `damaged` counts those; `ended` tells that the run has written that it ended, with which `exit_code`. `config`
    (what is flopwatch's of it, and hyperparameters), `name` and `run_id` are as far as the file was read.
    """

    path: Path
    tell: Callable[[str, int, int], None] = no_bar
    damaged: int = 0
    ended: bool = False
    exit_code: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    name: str | None = None
    run_id: str | None = None
    _at: int = 0
    _parts: list[bytes] = field(default_factory=list)
    _size: int = 0

    def rows(self) -> Iterator[dict[str, Any]]:
        """Return the rows logged since the last call.

        Raises:
            RunFileError: If the file cannot be read, or is no `.wandb` file.
        """
        for payload in self.payloads():
            kind = _field_of(payload)
            if kind == _HISTORY:
                yield history_row(payload)
            elif kind in (_CONFIG, _RUN, _EXIT):
                self._note(payload)

    def read_config(self, key: str) -> None:
        """Read on until the config has a key, without decoding rows."""
        for payload in self.payloads():
            if _field_of(payload) in (_CONFIG, _RUN, _EXIT):
                self._note(payload)
                if key in self.config:
                    return

    def check(self) -> None:
        """Check that this is a `.wandb` file.

        Raises:
            RunFileError: If it cannot be read, or is no `.wandb` file.
        """
        next(LogReader(self.path).payloads(), None)

    def payloads(self) -> Iterator[bytes]:
        """Return every record since the last call, as protobuf."""
        try:
            with self.path.open("rb") as file:
                if self._at == 0 and not self._check_header(file):
                    return
                file.seek(self._at)
                yield from self._records(file)
        except OSError as error:
            raise RunFileError(f"cannot read {self.path}: {error.strerror}; check the path") from None

    def _note(self, payload: bytes) -> None:
        """Store what a record says about the run itself."""
        record = _decoded(payload)
        if record.WhichOneof("record_type") == "exit":
            self.ended, self.exit_code = True, record.exit.exit_code
        elif record.WhichOneof("record_type") == "config":
            self._configure(record.config.update)
        else:
            self._configure(record.run.config.update)
            self.name, self.run_id = record.run.display_name or None, record.run.run_id or None

    def _configure(self, items: Iterable[Any]) -> None:
        """Store flopwatch's part of the config, and hyperparameters; the rest may be large."""
        values = {**self.config, **_values(items)}
        self.config = recordable(values)
        if SUMMARY in values:
            self.config[SUMMARY] = values[SUMMARY]

    def _check_header(self, file: BinaryIO) -> bool:
        header = file.read(len(_FILE_HEADER))
        if not _FILE_HEADER.startswith(header):
            raise RunFileError(f"expected a .wandb file, but {self.path} does not start like one")
        if len(header) < len(_FILE_HEADER):
            return False
        self._at = len(header)
        return True

    def _records(self, file: BinaryIO) -> Iterator[bytes]:
        size = os.fstat(file.fileno()).st_size
        while block := file.read(_BLOCK - self._at % _BLOCK):
            start, whole = self._at, (self._at + len(block)) % _BLOCK == 0
            for end, kind, data in self._chunks(block, whole):
                self._at = start + end
                record = self._joined(kind, data)
                if record is not None:
                    yield record
            if not whole:
                return
            self._at = start + len(block)
            self.tell(self.path.name, self._at, size)

    def _chunks(self, block: bytes, whole: bool) -> Iterator[tuple[int, int, bytes]]:
        """End, kind and data of every chunk of a block; stops at its padding, its torn end or a damaged chunk."""
        at = 0
        while at + _HEADER.size <= len(block):
            crc, length, kind = _HEADER.unpack_from(block, at)
            end = at + _HEADER.size + length
            if (kind == 0 and length == 0) or end > len(block):
                return
            data = block[at + _HEADER.size : end]
            if kind > _LAST or zlib.crc32(data, _CRC_OF_KIND[kind]) != crc:
                if whole:  # what is still being written may be looked at once more
                    self._lose()
                return
            yield end, kind, data
            at = end

    def _joined(self, kind: int, data: bytes) -> bytes | None:
        if kind == _FULL:
            return data
        if kind == _FIRST:
            self._parts, self._size = [], 0
        elif not self._parts:
            return None
        self._parts.append(data)
        self._size += _HEADER.size + len(data)
        if self._size > _LARGEST_RECORD:
            self._lose()
        if kind != _LAST or not self._parts:
            return None
        parts, self._parts = self._parts, []
        return b"".join(parts)

    def _lose(self) -> None:
        self.damaged += 1
        self._parts = []


def _field_of(payload: bytes) -> int:
    """Which field of the `Record` message holds its content; most records need no more decoding than that."""
    at = 0
    while at < len(payload):
        tag, at = _varint(payload, at)
        if tag >> 3 not in _ASIDE:
            return tag >> 3
        length, at = _varint(payload, at)
        at += length if tag & 0x07 == _WITH_LENGTH else 0
    return 0


def _varint(payload: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while at < len(payload) and shift < 64:
        value |= (payload[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not payload[at - 1] & 0x80:
            break
    return value, at


def history_row(payload: bytes) -> dict[str, Any]:
    """The values of a logged row by their keys; what is no JSON is left out."""
    return _values(_decoded(payload).history.item)


def _values(items: Iterable[Any]) -> dict[str, Any]:
    values = {}
    for item in itertools.islice(items, _MOST_ITEMS):
        key = item.key or "/".join(item.nested_key)
        text = item.value_json
        if len(text) > _LONGEST_VALUE:
            continue
        try:
            # Most are numbers, which need no parser.
            is_number = text[:1] in _DIGITS and len(text) < _LONGEST_NUMBER
            values[key] = float(text) if is_number else json.loads(text)
        except (ValueError, RecursionError):
            continue
    return values


def has_wandb() -> bool:
    """Whether wandb is installed, which the records of its files need."""
    return importlib.util.find_spec("wandb") is not None


def _decoded(payload: bytes) -> Any:
    """A record; a message that is used again keeps what it held before in memory, so each has a new one."""
    try:
        from google.protobuf.message import DecodeError
        from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]
    except ImportError as error:
        raise WandbError(f"reading a .wandb file needs the package wandb ({error}); run `pip install wandb`") from None
    try:
        return Record.FromString(payload)
    except DecodeError:
        return Record()
