"""The `.wandb` reader against files that the real client wrote."""

import json
import shutil
import struct
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from wandb.proto.wandb_internal_pb2 import HistoryItem, HistoryRecord, Record

from flopwatch.errors import RunFileError
from flopwatch.wandb.log import LogReader
from tests import running
from tests.wandb import log as judge

ROWS = 300
SCRIPT = Path(__file__).parent / "scripts" / "log_rows.py"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wandb")
    result = running.run(SCRIPT, ROWS, cwd=folder)
    assert result.returncode == 0, result.stderr
    (path,) = folder.rglob("*.wandb")
    return path


def test_every_row_is_read_with_its_values(written):
    reader = LogReader(written)
    rows = list(reader.rows())
    assert rows == judge.history(written.parent)
    assert [row["trainer/global_step"] for row in rows] == list(range(ROWS))
    # Rows with a long text are larger than a block of the file, and lie in several chunks.
    assert len(rows[-1]["words"]) == 40_000
    assert rows[7]["nested/a"] == 7
    assert (reader.damaged, reader.ended) == (0, True)
    assert list(reader.rows()) == []


def test_a_file_that_grows_is_read_on_from_where_it_was(written, tmp_path):
    data, path = written.read_bytes(), tmp_path / "run.wandb"
    path.write_bytes(b"")
    reader, rows = LogReader(path), []
    for size in [*range(0, len(data), 4999), len(data)]:
        path.write_bytes(data[:size])
        rows += reader.rows()
    assert rows == judge.history(written.parent)
    assert (reader.damaged, reader.ended) == (0, True)


def test_a_file_cut_off_anywhere_gives_the_rows_before(written, tmp_path):
    whole, data = judge.history(written.parent), written.read_bytes()
    path = tmp_path / "run.wandb"
    for size in range(0, len(data), 1000):
        path.write_bytes(data[:size])
        rows = list(LogReader(path).rows())
        assert rows == whole[: len(rows)]
        assert size < 40_000 or rows


def test_a_damaged_stretch_costs_the_rows_of_its_blocks_alone(written, tmp_path):
    path = tmp_path / "run.wandb"
    shutil.copy(written, path)
    data = bytearray(path.read_bytes())
    data[100_000:100_010] = b"\xff" * 10
    path.write_bytes(data)
    reader = LogReader(path)
    steps = [row["trainer/global_step"] for row in reader.rows()]
    assert reader.damaged >= 1
    assert steps == sorted(set(steps))
    assert ROWS - 60 < len(steps) < ROWS
    assert steps[-1] == ROWS - 1


def log_of(*chunks):
    """A file of chunks with valid checksums."""
    data = b":W&B\xe1\xbe\x00"
    for kind, payload in chunks:
        data += struct.pack("<IHB", zlib.crc32(bytes([kind]) + payload), len(payload), kind) + payload
    return data


def test_a_chunk_that_is_half_written_is_read_once_it_is_whole(tmp_path):
    path = tmp_path / "run.wandb"
    record = Record(history=HistoryRecord(item=[HistoryItem(key="a", value_json="1")])).SerializeToString()
    whole = log_of((2, record[:3]), (4, record[3:]))
    path.write_bytes(whole[:-1] + b"\x00")
    reader = LogReader(path)
    assert list(reader.rows()) == []
    path.write_bytes(whole)
    assert list(reader.rows()) == [{"a": 1}]
    assert reader.damaged == 0


@pytest.mark.parametrize("value", ["[" * 200_000, "nope", "1" * 5000])
def test_a_value_that_is_no_json_costs_itself_alone(tmp_path, value):
    items = [HistoryItem(key="bad", value_json=value), HistoryItem(key="good", value_json="1")]
    record = Record(history=HistoryRecord(item=items)).SerializeToString()
    path = tmp_path / "run.wandb"
    halves = [record[place : place + 30_000] for place in range(0, len(record), 30_000)]
    kinds = [1] if len(halves) == 1 else [2, *[3] * (len(halves) - 2), 4]
    # One chunk for each block, padded as W&B's writer does it.
    data = b""
    for kind, part in zip(kinds, halves, strict=True):
        block = log_of((kind, part)) if not data else log_of((kind, part))[7:]
        data += block.ljust(2**15, b"\x00")
    path.write_bytes(data)
    assert list(LogReader(path).rows()) == [{"good": 1}]


def test_a_record_that_is_no_protobuf_costs_itself_alone(tmp_path):
    good = Record(history=HistoryRecord(item=[HistoryItem(key="a", value_json="1")])).SerializeToString()
    path = tmp_path / "run.wandb"
    path.write_bytes(log_of((1, b"\x12\xff\xff"), (1, good)))
    assert [row for row in LogReader(path).rows() if row] == [{"a": 1}]


@pytest.mark.slow
def test_chunks_that_never_end_are_given_up(tmp_path):
    path = tmp_path / "run.wandb"
    path.write_bytes(log_of((2, b""), *[(3, b"")] * 300_000))
    began = time.process_time()
    assert list(LogReader(path).rows()) == []
    assert time.process_time() - began < 10  # it was quadratic


@pytest.mark.parametrize("content", [b"PK\x03\x04 a zip file", b'{"kind":"start"}', b":W&B\x00\x00\x00"])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "run.wandb"
    path.write_bytes(content)
    with pytest.raises(RunFileError, match=r"expected a \.wandb file"):
        list(LogReader(path).rows())


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(RunFileError, match="cannot read"):
        list(LogReader(tmp_path / "run.wandb").rows())


def test_of_the_config_flopwatchs_part_and_hyperparameters_are_kept(tmp_path):
    def items(**values):
        return [SimpleNamespace(key=key, nested_key=(), value_json=json.dumps(each)) for key, each in values.items()]

    reader = LogReader(tmp_path / "run.wandb")
    reader._configure(items(lr=0.1, api_key="x", layers=[1, 2], flopwatch={"dtype": "bf16"}))
    reader._configure(items(lr=0.2, tied=True))
    assert reader.config == {"lr": 0.2, "tied": True, "flopwatch": {"dtype": "bf16"}}
    for place in range(10):
        reader._configure(items(**{f"p{place}-{each}": each for each in range(50)}))
    assert len(reader.config) == 101
