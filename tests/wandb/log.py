"""Reads the rows of an offline W&B file (LevelDB log blocks of protobuf records), for tests."""

import json
import struct
import zlib
from pathlib import Path

BLOCK, HEADER = 32768, 7


def _payloads(path):
    data, parts = Path(path).read_bytes(), []
    assert data[:4] == b":W&B"
    for start in range(0, len(data), BLOCK):
        block, at = data[start : start + BLOCK], HEADER if start == 0 else 0
        while len(block) - at >= HEADER:
            _, length, kind = struct.unpack_from("<IHB", block, at)
            if kind == 0:
                break
            parts.append(block[at + HEADER : at + HEADER + length])
            at += HEADER + length
            if kind in (1, 4):
                yield b"".join(parts)
                parts = []


def records(folder):
    """Every record of the one offline run below a folder."""
    from wandb.proto import wandb_internal_pb2

    (path,) = Path(folder).rglob("*.wandb")
    return [wandb_internal_pb2.Record.FromString(payload) for payload in _payloads(path)]


def _items(items):
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def history(folder):
    """The logged rows."""
    return [_items(record.history.item) for record in records(folder) if record.WhichOneof("record_type") == "history"]


def summary(folder):
    """The last value of every summary key."""
    values = {}
    for record in records(folder):
        if record.WhichOneof("record_type") == "summary":
            values.update(_items(record.summary.update))
    return values


def config(folder):
    """The run's config."""
    values = {}
    for record in records(folder):
        if record.WhichOneof("record_type") == "run":
            values.update(_items(record.run.config.update))
        elif record.WhichOneof("record_type") == "config":
            values.update(_items(record.config.update))
    return values


def write(path, payloads):
    """A file of records, in chunks with valid checksums as W&B's writer lays them out."""
    data = bytearray(b":W&B\xe1\xbe\x00")
    for payload in payloads:
        at = 0
        while at < len(payload):
            room = BLOCK - len(data) % BLOCK
            if room < HEADER:
                data += bytes(room)
                room = BLOCK
            part = payload[at : at + room - HEADER]
            first, last = at == 0, at + len(part) == len(payload)
            kind = {(True, True): 1, (True, False): 2, (False, False): 3, (False, True): 4}[first, last]
            data += struct.pack("<IHB", zlib.crc32(bytes([kind]) + part), len(part), kind) + part
            at += len(part)
    Path(path).write_bytes(data)
    return Path(path)
