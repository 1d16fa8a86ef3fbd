import gzip
import json
import tracemalloc

import pytest

from flopwatch.errors import LargeTraceError, TraceError
from flopwatch.trace import json_events
from flopwatch.trace.json_events import Limits, events_of

EVENTS = [{"name": f"e{number}", "ts": number + 0.5, "args": {"text": '}]"\\ ü'}} for number in range(500)]


def read(path, *names):
    facts = dict.fromkeys(names)
    return list(events_of(path, facts)), facts


@pytest.mark.parametrize("piece", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("packed", [False, True])
def test_events_and_facts_come_whole_whatever_the_size_of_a_piece(tmp_path, monkeypatch, piece, indent, packed):
    monkeypatch.setattr(json_events, "_PIECE", piece)
    text = json.dumps({"a": 12345, "traceEvents": EVENTS[:50], "b": {"c": [1.5]}, "d": 12345}, indent=indent)
    path = tmp_path / "trace.json"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert read(path, "a", "b", "d") == (EVENTS[:50], {"a": 12345, "b": {"c": [1.5]}, "d": 12345})
    assert read(path, "b", "e") == (EVENTS[:50], {"b": {"c": [1.5]}, "e": None})


def test_a_bare_list_of_events_is_a_trace(tmp_path):
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(EVENTS))
    assert read(path) == (EVENTS, {})


def test_what_is_no_event_is_passed_over(tmp_path):
    path = tmp_path / "trace.json"
    path.write_text('{"traceEvents": [1, null, "x", [], {"a": 1}]}')
    assert read(path) == ([{"a": 1}], {})


WHOLE = json.dumps({"traceEvents": EVENTS, "z": 1}).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"\x00\x01\x02binary", "expected a trace of torch.profiler"),
        (b"hello", "got 'hello'"),
        (b'{"a": 1}', "without one"),
        (b'{"traceEvents": 3}', "without one"),
        (b'{"traceEvents" 3}', "damaged"),
        (b'{"traceEvents": [{"a": nope}]}', "damaged"),
        (b'{"traceEvents": [{"a": 1}', "damaged"),
        (WHOLE[:-5], "damaged"),
        (WHOLE[: len(WHOLE) // 2], "damaged"),
        (gzip.compress(WHOLE, mtime=0)[:-20], "damaged"),
        (gzip.compress(WHOLE, mtime=0)[:12], "damaged"),
        (b"\x1f\x8bxxxxxxxxxxxxxxxxx", "damaged"),
        (gzip.compress(WHOLE, mtime=0)[:200] + b"\x00" * 200, "damaged"),
        (b'{"traceEvents": [' + b"[" * 200_000, "nested"),
        (b'{"traceEvents": [' + b'{"a":' * 200_000, "nested"),
        (b'{"traceEvents": [{"ts": ' + b"9" * 10_000 + b"}]}", "numbered"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, content, said):
    path = tmp_path / "trace.json"
    path.write_bytes(content)
    with pytest.raises(TraceError) as error:
        read(path)
    assert said in str(error.value)
    assert "trace.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_opened_is_one_line(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(TraceError, match="cannot read"):
            read(path)


def test_an_event_without_end_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(json_events, "_LARGEST", 1 << 16)
    monkeypatch.setattr(json_events, "_PIECE", 1 << 12)
    path = tmp_path / "trace.json"
    path.write_text('{"traceEvents": [{"a": "' + "x" * 1_000_000 + '"}]}')
    with pytest.raises(TraceError, match="damaged"):
        read(path)


def most_memory(path, count):
    event = json.dumps(EVENTS[0]).encode()
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"traceEvents": [' + b",\n".join([event] * count) + b"]}")
    tracemalloc.start()
    assert sum(1 for _ in events_of(path, {})) == count
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def test_memory_does_not_grow_with_the_file(tmp_path):
    small, large = (most_memory(tmp_path / "trace.json.gz", count) for count in (60_000, 180_000))
    assert large < 1.1 * small


def packed(path, text):
    path.write_bytes(gzip.compress(text.encode()))
    return path


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([{"a": 1}] * 101),
        "[" + "1," * 101 + "1]",  # no events, and yet to be read
        '{"traceEvents": [], ' + ", ".join(f'"{number}": 0' for number in range(51)) + "}",
    ],
)
def test_no_more_values_than_allowed_are_read(tmp_path, text):
    path = packed(tmp_path / "trace.json.gz", text)
    with pytest.raises(LargeTraceError, match=r"trace\.json\.gz: expected a smaller trace"):
        list(events_of(path, {}, Limits(events=100)))
    assert len(list(events_of(path, {}))) in (0, 101)


def test_a_trace_of_as_many_events_and_bytes_as_allowed_is_read(tmp_path):
    text = json.dumps([{"a": 1}] * 100)
    path = packed(tmp_path / "trace.json.gz", text)
    assert len(list(events_of(path, {}, Limits(events=100)))) == 100
    assert len(list(events_of(path, {}, Limits(unpacked_bytes=len(text))))) == 100
    assert path.stat().st_size < 100 < len(text)
    for content in (path.read_bytes(), text.encode()):
        path.write_bytes(content)
        with pytest.raises(LargeTraceError):
            list(events_of(path, {}, Limits(unpacked_bytes=len(text) - 1)))


@pytest.mark.parametrize("text", ['[{"a": [%s1]}]', '{"a": [%s1], "traceEvents": []}'])
def test_a_single_value_is_no_larger_than_allowed(tmp_path, monkeypatch, text):
    monkeypatch.setattr(json_events, "_PIECE", 1 << 12)
    path = packed(tmp_path / "trace.json.gz", text % ("[]," * 10_000))
    with pytest.raises(LargeTraceError):
        list(events_of(path, {}, Limits(characters=20_000)))
    assert len(list(events_of(path, {}, Limits(characters=40_000)))) in (0, 1)


def test_a_bomb_is_given_up_after_a_piece(tmp_path):
    path = tmp_path / "trace.json.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(64):
            file.write(b" " * 2**20)
    tracemalloc.start()
    with pytest.raises(LargeTraceError):
        list(events_of(path, {}, Limits(unpacked_bytes=2**20)))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 16 * 2**20
