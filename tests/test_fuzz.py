"""Whatever a file or a command line holds: the right answer, or one clear error, and that soon.

`FLOPWATCH_FUZZ=20000 python -m pytest tests/test_fuzz.py` tries that many of each; by default there are few.
"""

import contextlib
import copy
import io
import json
import math
import os
import random
import re
from dataclasses import astuple, replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from wandb.proto.wandb_internal_pb2 import ConfigItem, ConfigRecord, HistoryItem, HistoryRecord, Record, RunExitRecord

from flopwatch.cli.command_line import main
from flopwatch.errors import FlopwatchError
from flopwatch.hardware.chips import read_chips
from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of
from flopwatch.report.comparison import entry_of
from flopwatch.report.render import RENDERERS, live
from flopwatch.report.render.comparison import RENDERERS as COMPARISONS
from flopwatch.report.report import summarize
from flopwatch.report.sources import open_run
from flopwatch.report.tail import follow
from flopwatch.run.budget import parse_budget
from flopwatch.run.record_lines import from_json, to_json
from flopwatch.run.records import Profile
from flopwatch.run.run_file import read_run
from flopwatch.units import parse_count
from flopwatch.wandb.log import LogReader
from tests import samples
from tests.model.families.families import FAMILIES
from tests.wandb import log

EXAMPLES = int(os.environ.get("FLOPWATCH_FUZZ", "60"))
fuzz = settings(
    max_examples=EXAMPLES,
    deadline=2_000,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
WORDS = st.sampled_from(
    ["tokens", "FLOPs", "K", "M", "T", "steps", "days", "h", "min", "kWh", "$", "device-hours", "chinchilla", "samples"]
    + ["epochs", " ", "1", "2.5", "1e3", "-", ",", ".", "_", "e", "+", "\u0661", "\uff11", "\x00", "inf", "nan", "0"]
)
QUANTITIES = st.one_of(st.text(max_size=40), st.lists(WORDS, max_size=8).map("".join))
NUMBERS = st.one_of(
    st.integers(-10, 10),
    st.sampled_from([2**31, 2**63, -(2**63), 10**60, 10**400, 0.5, -0.0, 1e308]),
    st.floats(),
)
ODD = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=10), st.sampled_from(["\ud800", "\x1b[2J", "<b>"])),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=8,
)


@fuzz
@given(QUANTITIES)
@example("1.4T tokens")
@example("9" * 61 + " steps")
@example("x" * 2_000)
@example("1" * 61 + "x" * 2_000 + " tokens")
def test_budgets_and_counts_are_read_or_refused(text):
    with in_one_line():
        budget = parse_budget(text)
        assert budget.amount > 0
        # What was read is said in words that mean the same.
        assert parse_budget(str(budget)).unit == budget.unit
    with in_one_line():
        assert parse_count(text) > 0


@fuzz
@given(st.sampled_from(sorted(FAMILIES)), st.data())
def test_a_config_is_counted_or_refused(name, data):
    model_type, _, fields = FAMILIES[name]
    values = {"model_type": model_type, **copy.deepcopy(fields)}
    for key in data.draw(st.lists(st.sampled_from(sorted(values)), min_size=1, max_size=3)):
        values[key] = data.draw(st.one_of(ODD, st.integers(1, 64)))
    try:
        architecture = architecture_of(values)
        parameters = architecture.parameters()
        flops = architecture.forward_flops(Batch(2, 16, 16, image_size=(32, 32)))
    except FlopwatchError as error:
        check(error)
    else:
        assert isinstance(parameters, int)
        assert isinstance(flops, int)
        assert parameters >= 0
        assert flops >= 0


@contextlib.contextmanager
def in_one_line():
    """What is refused inside is refused in one line."""
    try:
        yield
    except FlopwatchError as error:
        check(error)


def check(error):
    """It is one line that can be read."""
    assert "\n" not in str(error)
    assert len(str(error)) < 1_000


def mutated(line, chance, data):
    """A record with some of its values replaced, taken away or moved."""
    record = json.loads(line)
    place = record
    for _ in range(chance.randint(1, 3)):
        inner = [each for each in place.values() if isinstance(each, dict) and each] if isinstance(place, dict) else []
        if inner and chance.random() < 0.4:
            place = chance.choice(inner)
        key = chance.choice(sorted(place))
        if chance.random() < 0.2:
            del place[key]
        else:
            place[key] = data.draw(ODD)
        if not place:
            break
    return json.dumps(record)


@fuzz
@given(st.randoms(use_true_random=False), st.data())
def test_a_run_file_is_reported_or_refused(tmp_path, chance, data):
    lines = [to_json(each) for each in (*samples.healthy_run()[:-1], INSIDE, *PROFILED, samples.end(step=31))]
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(lines))
        change = chance.random()
        if change < 0.7:
            with contextlib.suppress(ValueError, AttributeError, TypeError):
                lines[place] = mutated(lines[place], chance, data)
        elif change < 0.8:
            lines[place] = lines[place][: chance.randrange(len(lines[place]) + 1)]
        elif change < 0.9:
            lines.insert(place, data.draw(st.text(max_size=30)))
        else:
            lines.insert(place, chance.choice(lines))
    path = tmp_path / "run.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="replace")
    try:
        report = summarize(read_run(path))
    except FlopwatchError as error:
        check(error)
        return
    for name in ("text", "md", "json"):
        assert RENDERERS[name](report)


@fuzz
@given(st.binary(max_size=200))
@example(b'{"kind":"window"}')
def test_a_line_is_a_record_or_refused(line):
    with in_one_line():
        record = from_json(line)
        assert record is None or from_json(to_json(record)) == record


def rows_of_a_run():
    facts = {"device": "CPU", "device_count": 1, "verification": "verified"}
    yield Record(config=ConfigRecord(update=[ConfigItem(key="flopwatch", value_json=json.dumps(facts))]))
    for step in range(8):
        row = {"perf/mfu": 0.4, "perf/step_seconds": 0.5, "budget/flops": 1e15 * step, "budget/device_hours": step / 99}
        row |= {"trainer/global_step": 10 * step, "_timestamp": 1e9 + 5 * step, "_runtime": 5.0 * step}
        items = [HistoryItem(key=key, value_json=json.dumps(value)) for key, value in row.items()]
        yield Record(history=HistoryRecord(item=items))
    yield Record(exit=RunExitRecord(exit_code=0))


WHOLE = [record.SerializeToString() for record in rows_of_a_run()]


@fuzz
@given(st.randoms(use_true_random=False), st.data())
def test_a_wandb_file_is_reported_or_refused(tmp_path, chance, data):
    payloads = list(WHOLE)
    for _ in range(chance.randint(0, 4)):
        place = chance.randrange(len(payloads))
        if chance.random() < 0.5:
            item = HistoryItem(key=data.draw(st.sampled_from(["perf/mfu", "perf/step_seconds", "_timestamp", "x"])))
            item.value_json = json.dumps(data.draw(ODD))
            payloads[place] = Record(history=HistoryRecord(item=[item])).SerializeToString()
        else:
            kept = chance.randrange(len(payloads[place]) + 1)
            payloads[place] = payloads[place][:kept] + data.draw(st.binary(max_size=9))
    path = log.write(tmp_path / "run-a.wandb", payloads)
    raw = bytearray(path.read_bytes())
    for _ in range(chance.randint(0, 3)):
        raw[chance.randrange(len(raw))] = chance.randrange(256)
    path.write_bytes(raw[: chance.randrange(len(raw) + 1)] if chance.random() < 0.3 else raw)
    try:
        list(LogReader(path).rows())
        report = summarize(open_run(str(path)))
    except FlopwatchError as error:
        check(error)
        return
    assert RENDERERS["text"](report)


@fuzz
@given(st.text(max_size=300), st.lists(ODD, max_size=5))
@example("bf16,sm_count," + "x" * 2_000, [])
@example("bf16,confidence", ["a", "1e15", "x" * 2_000])
@example("bf16", ["a", "x" * 2_000])
@example("bf16,flops_per_clock_per_sm", ["a", "1e15", "x" * 2_000])
def test_a_table_of_chips_is_read_or_refused(text, cells):
    row = ",".join(json.dumps(str(cell)) for cell in cells)
    for table in (text, f"names,bf16,sm_count,source\n{row}\n", f"names,{text}\n{row}"):
        with in_one_line():
            for chip in read_chips(table, "a file"):
                assert all(0 < peak < 1e60 for peak in chip.peaks.values())


FLAGS = ["--seq-len", "--batch", "--tokens", "--samples", "--gpu", "--count", "--mfu", "--usd-per-gpu-hour", "--json"]
FLAGS += ["--attention", "--convention", "--checkpointing", "--dtype", "--image-size", "--source-len", "--images"]
VALUES = [
    "16",
    "full",
    "6nd",
    "300B",
    "NVIDIA H200",
    "0.4",
    "2.5",
    "32x32",
    "reentrant",
    "fp8",
    "-1",
    "0",
    "nan",
    "1e400",
]


@fuzz
@given(st.lists(st.one_of(st.sampled_from(FLAGS), st.sampled_from(VALUES), st.text(max_size=12)), max_size=10))
def test_a_command_line_is_done_or_refused(tmp_path, words):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "gpt2", **FAMILIES["gpt2"][2]}))
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        status = main(["estimate", str(path), *words])
    assert status in (0, 1, 2)
    assert (status == 0) == (out.getvalue() != "")
    if status == 1:
        assert errors.getvalue().count("\n") == 1


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_no_run(tmp_path, seed):
    noise = random.Random(seed).randbytes(100_000)
    for name in ("run.jsonl", "run-a.wandb"):
        (tmp_path / name).write_bytes(noise)
        with pytest.raises(FlopwatchError):
            open_run(str(tmp_path / name))


def number_paths(value, path=()):
    """Where in a record a number stands."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from number_paths(each, (*path, key))
    elif isinstance(value, list):
        for key, each in enumerate(value):
            yield from number_paths(each, (*path, key))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path


SPECIAL = [0, -1, 1, 10**59, 10**61, 10**400, 0.0, -0.0, 5e-324, 1e-320, 1e-61, -5e-324, -3.5, 1e59, 1e308, -1e308]
SPECIAL += [float("nan"), float("inf"), float("-inf")]
NO_NUMBER = re.compile(r"\b(?:inf|nan|infinity)\b", re.IGNORECASE)
INSIDE = samples.window(31, 1034.0, phases=samples.PHASES, memory=samples.MEMORY)
PROFILED = [replace(INSIDE, first=True, profiled=True), Profile(31, 3, 1.5, 2.0, "trace.json.gz")]
RUN = [
    to_json(each) for each in (*samples.healthy_run()[:-1], samples.HARDWARE, INSIDE, *PROFILED, samples.end(step=31))
]
SLOTS = [(place, path) for place, line in enumerate(RUN) for path in number_paths(json.loads(line))]


def changed_numbers(data, most=4):
    """A run file's text in which a few numbers are no amounts of a run."""
    records = [json.loads(line) for line in RUN]
    for place, path in data.draw(st.lists(st.sampled_from(SLOTS), min_size=1, max_size=most)):
        holder = records[place]
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = data.draw(st.sampled_from(SPECIAL))
    return "".join(json.dumps(record) + "\n" for record in records)


@fuzz
@given(st.data())
def test_no_number_in_a_run_file_makes_a_report_of_nonsense(tmp_path, data):
    path = tmp_path / "run.jsonl"
    path.write_text(changed_numbers(data))
    try:
        report = summarize(read_run(path))
    except FlopwatchError as error:
        check(error)
        return
    memory, step = report.inside.memory, report.inside.phases
    assert memory is None or 0 <= memory.peak_frac <= 1 >= memory.reserved_frac >= 0
    assert step is None or all(amount is None or amount >= 0 for amount in astuple(step))
    for name, render in RENDERERS.items():
        page = render(report)
        if name != "html":
            assert not NO_NUMBER.search(page), page
    for name, render in COMPARISONS.items():
        page = render([entry_of(report), entry_of(report)])
        if name != "html":
            assert not NO_NUMBER.search(page), page
    assert all(math.isfinite(share) and share >= 0 for share in (report.mfu, report.hfu) if share is not None)
    assert report.mfu is None or report.hfu is None or report.mfu <= report.hfu


@fuzz
@given(st.data())
def test_no_number_in_a_run_file_makes_watching_show_nonsense(tmp_path, data):
    path = tmp_path / "run.jsonl"
    path.write_text(changed_numbers(data))
    try:
        rows = list(follow(path).rows())
    except FlopwatchError as error:
        check(error)
        return
    shown = live.screen(rows, "a run") + "".join(live.line(row, live.columns_of(row)) for row in rows)
    assert not NO_NUMBER.search(shown), shown


@fuzz
@given(st.data())
def test_no_number_of_a_plan_makes_an_estimate_of_nonsense(tmp_path, data):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "gpt2", **FAMILIES["gpt2"][2]}))
    numbers = st.sampled_from([repr(each) for each in SPECIAL if each != 10**400] + ["0.4", "1", "9" * 60, "1e59"])
    flags = ["--mfu", "--usd-per-gpu-hour", "--count", "--tokens", "--batch", "--seq-len"]
    words = [f"{flag}={data.draw(numbers)}" for flag in data.draw(st.lists(st.sampled_from(flags), unique=True))]
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        status = main(["estimate", str(path), "--seq-len=8", "--gpu", "NVIDIA H200", "--mfu=0.4", *words])
    assert status in (0, 1)
    assert not NO_NUMBER.search(out.getvalue())
    assert status == 0 or errors.getvalue().count("\n") == 1
