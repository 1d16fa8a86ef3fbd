import dataclasses
import json
import re

import pytest

from flopwatch.errors import RunFileError
from flopwatch.run.counts import Counts
from flopwatch.run.record_lines import KINDS, from_json, to_json
from flopwatch.run.records import SCHEMA, Checkpoint, Memory, Profile, Progress, Totals, Window
from tests import samples

PROGRESS = Progress(1003.5, 2, samples.totals(2, 1003.5, 1_600))
PROFILE = Profile(14, 3, step_seconds=1.5, extra_seconds=0.25, trace="/runs/trace.json.gz", rank=1)
INSIDE = samples.window(10, 1010.0, phases=samples.PHASES, memory=samples.MEMORY)
RECORDS = [
    PROGRESS,
    PROFILE,
    INSIDE,
    Checkpoint(2, PROGRESS.totals),
    samples.HARDWARE,
    samples.H100,
    *samples.healthy_run(),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_there_and_back(record):
    assert from_json(to_json(record)) == record
    assert "\n" not in to_json(record)


def test_flops_are_integers_however_large():
    record = dataclasses.replace(RECORDS[-1].totals, counts=samples.counts(flops=10**30 + 1))
    line = to_json(dataclasses.replace(RECORDS[-1], totals=record))
    assert json.loads(line)["totals"]["flops"] == 10**30 + 1
    assert from_json(line).totals.counts.flops == 10**30 + 1


def test_a_line_of_an_older_version_opens_with_defaults():
    values = json.loads(to_json(samples.window(10, 1010.0)))
    for added_later in ("clock_samples", "sm_clock_hz"):
        del values[added_later]
    assert from_json(json.dumps(values)) == samples.window(10, 1010.0, clock_samples=0, sm_clock_hz=None)


def test_a_line_of_a_newer_version_opens_without_what_is_unknown():
    values = json.loads(to_json(samples.window(10, 1010.0)))
    assert from_json(json.dumps({**values, "dreams": 5})) == samples.window(10, 1010.0)
    assert from_json('{"kind":"dream"}') is None


def test_hyperparameters_and_advice_go_there_and_back_and_have_an_end():
    start = samples.start(hyperparameters={"lr": 3e-4, "depth": 12, "tied": True, "name": "adamw"})
    back = from_json(to_json(start))
    assert back == start
    assert back.hyperparameters["tied"] is True
    values = json.loads(to_json(start))
    many = {f"p{place}": "x" * 5_000 for place in range(1_000)}
    held = from_json(json.dumps({**values, "hyperparameters": {**many, "api_key": "k"}})).hyperparameters
    assert (len(held), {len(each) for each in held.values()}) == (100, {200})
    assert from_json(json.dumps({**values, "hyperparameters": {"n": 10**70, "m": 10**30}})).hyperparameters == {
        "m": 10**30
    }
    work = dataclasses.replace(samples.WORK, shape_advice=("x" * 5_000,) * 50)
    told = from_json(to_json(work)).shape_advice
    assert (len(told), {len(each) for each in told}) == (20, {2_000})


def test_a_newer_schema_is_refused():
    with pytest.raises(RunFileError, match=f"schema {SCHEMA + 1}.*install a newer flopwatch"):
        from_json(to_json(samples.start(schema=SCHEMA + 1)))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "not a line of JSON"),
        ('{"kind":"window","st', "not a line of JSON"),
        ("[" * 100_000, "not a record"),
        ('{"kind":' + "[" * 100_000, "not a"),
        ("[1, 2]", "not a record"),
        ('{"step":1}', "not a record"),
        ('{"kind":"window"}', "missing required field `step`"),
        (to_json(samples.window(1, 1.0)).replace('"step":1', '"step":"x"'), "Expected `int`, got `str` - at `$.step`"),
        (to_json(samples.window(1, 1.0)).replace('"step":1', '"step":true'), "Expected `int`, got `bool`"),
        (to_json(samples.end()).replace('"finished"', '"dreaming"'), "at `$.status`"),
        (to_json(samples.end()).replace('"setup":4.0', '"setup":"x"'), "at `$.seconds"),
        (
            to_json(samples.H100).replace("1000000000000000.0", "5e-324"),
            "`float` >= 1e-60 - at `$.peak_flops_per_second`",
        ),
        (to_json(samples.H100).replace("1000000000000000.0", "0.0"), "`float` >= 1e-60 - at `$.peak_flops_per_second`"),
        (to_json(samples.start()).replace(":100000000000000000,", ":-1,"), "at `$.budgets[0].amount`"),
        (to_json(samples.window(10, 1010.0)).replace("1200.0", "-1200.0"), "`float` >= 0.0 - at `$.power_watts`"),
        (to_json(samples.end()).replace('"step":21', '"step":-21'), "or below 0"),
        (to_json(samples.end()).replace('"setup":4.0', '"setup":1e70'), "at `$.seconds"),
        (to_json(samples.start(hyperparameters={"a": 1})).replace('"a":1', '"a":[1]'), "at `$.hyperparameters"),
        (to_json(samples.end()).replace('"setup":4.0', '"setup":Infinity'), "not a line of JSON"),
        (to_json(samples.end()).replace('"time":1035.0', '"time":NaN'), "not a line of JSON"),
        (to_json(samples.end()).replace('"flops":16800000000000000', '"flops":1' + 400 * "0"), "an amount above 1e+60"),
        (to_json(samples.end()).replace('"flops":16800000000000000', '"flops":1' + 9000 * "0"), "out of range"),
        (to_json(samples.WORK).replace('"parameters":600', '"parameters":1' + 99 * "0"), "an amount above 1e+60"),
    ],
)
def test_what_is_no_record_says_why(line, said):
    with pytest.raises(RunFileError, match=re.escape(said)):
        from_json(line)


def test_what_is_unknown_or_as_by_default_is_left_out():
    told = json.loads(to_json(Progress(1.0, 2, Totals(Counts(flops=None)))))
    assert told == {"kind": "progress", "time": 1.0, "step": 2, "totals": told["totals"]}
    # What was counted is told always: unknown is null, and what an older version did not count is not there.
    assert (told["totals"]["flops"], told["totals"]["tokens"], "lost_steps" in told["totals"]) == (None, 0, False)
    assert json.loads(to_json(samples.start()))["schema"] == SCHEMA


def test_every_kind_has_a_sample():
    assert {type(record) for record in RECORDS} == set(KINDS.values())
    assert Window in KINDS.values()


def test_what_contradicts_the_rest_of_a_record_is_left_out():
    # Of hardware FLOPs model FLOPs are a part, and of tokens the useful ones.
    counts = PROGRESS.totals.counts
    impossible = dataclasses.replace(
        PROGRESS.totals, counts=dataclasses.replace(counts, hardware_flops=0, useful_tokens=801)
    )
    assert from_json(to_json(dataclasses.replace(PROGRESS, totals=impossible))).totals.counts == counts
    window = samples.window(10, 1010.0, hardware_flops=7_999 * samples.TERA)
    assert from_json(to_json(window)) == samples.window(10, 1010.0, hardware_flops=None)
    work = dataclasses.replace(samples.WORK, hardware_flops=23_999)
    assert from_json(to_json(work)) == samples.WORK
    equal = dataclasses.replace(
        PROGRESS.totals, counts=dataclasses.replace(counts, hardware_flops=1_600, useful_tokens=800)
    )
    assert from_json(to_json(dataclasses.replace(PROGRESS, totals=equal))).totals == equal


def test_a_byte_order_mark_is_no_part_of_a_line():
    assert from_json(b"\xef\xbb\xbf" + to_json(PROGRESS).encode()) == PROGRESS


def whole_numbers(value, path=()):
    """Where in a record a whole number stands."""
    for key, each in value.items() if isinstance(value, dict) else ():
        yield from whole_numbers(each, (*path, key))
    if isinstance(value, int) and not isinstance(value, bool):
        yield path


def with_number(record, path, number):
    values = holder = json.loads(to_json(record))
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = number
    return json.dumps(values)


LIMITED = [(record, path) for record in RECORDS for path in whole_numbers(json.loads(to_json(record)))]
LIMITED = [(record, path) for record, path in LIMITED if path[-1] != "schema"]
PARTS = ("phases", "memory")


@pytest.mark.parametrize("number", [-1, 10**60, 10**400])
@pytest.mark.parametrize(
    ("record", "path"), [each for each in LIMITED if each[1][0] not in PARTS], ids=lambda each: type(each).__name__
)
def test_a_whole_number_that_is_no_amount_is_refused(record, path, number):
    with pytest.raises(RunFileError):
        from_json(with_number(record, path, number))


@pytest.mark.parametrize("number", [-1, 10**60, 10**400])
@pytest.mark.parametrize("path", [path for _, path in LIMITED if path[0] in PARTS], ids=".".join)
def test_a_part_with_a_whole_number_that_is_no_amount_goes_and_its_window_stays(path, number):
    line = with_number(INSIDE, path, number)
    assert from_json(line) == dataclasses.replace(INSIDE, **{path[0]: None})


def test_numbers_of_phases_memory_and_profiles_are_among_those():
    tried = {path for _, path in LIMITED}
    assert {("memory", each.name) for each in dataclasses.fields(Memory)} < tried
    assert {("phases", f"{each}_flops") for each in ("forward", "backward", "recomputed")} < tried
    assert {("step",), ("steps",), ("rank",)} < tried


@pytest.mark.parametrize(
    "changes",
    [
        {"forward_seconds": 0.35 + 2e-6},  # 0.01 + 0.35 + 0.5 + 0.04 + 0.1 is the whole second
        {"seconds": 0.9},
        {"seconds": 0.0},
        {"seconds": -1.0},
        {"clip_seconds": -0.04},
        {"forward_flops": -1},
        {"recomputed_flops": 10**400},
    ],
)
def test_phases_that_are_no_parts_of_their_step_go(changes):
    line = to_json(dataclasses.replace(INSIDE, phases=dataclasses.replace(samples.PHASES, **changes)))
    assert from_json(line) == dataclasses.replace(INSIDE, phases=None)


@pytest.mark.parametrize("changes", [{"forward_seconds": 0.35}, {"forward_seconds": 0.35 + 5e-7}, {"seconds": 1e9}])
def test_phases_that_fill_their_step_or_do_not_stay(changes):
    window = dataclasses.replace(INSIDE, phases=dataclasses.replace(samples.PHASES, **changes))
    assert from_json(to_json(window)) == window


@pytest.mark.parametrize("name", ["peak_bytes", "reserved_bytes", "allocated_bytes"])
def test_memory_that_a_device_does_not_have_goes(name):
    full = dataclasses.replace(INSIDE, memory=dataclasses.replace(samples.MEMORY, **{name: 80 * 2**30}))
    assert from_json(to_json(full)) == full
    over = dataclasses.replace(INSIDE, memory=dataclasses.replace(samples.MEMORY, **{name: 80 * 2**30 + 1}))
    assert from_json(to_json(over)) == dataclasses.replace(INSIDE, memory=None)


def test_memory_of_a_device_without_any_goes():
    none = Memory(peak_bytes=0, reserved_bytes=0, allocated_bytes=0, total_bytes=0, retries=0)
    assert from_json(to_json(dataclasses.replace(INSIDE, memory=none))) == dataclasses.replace(INSIDE, memory=None)
