"""Totals as checkpoints and older files hold them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from flopwatch.report.render.json import render
from flopwatch.report.report import summarize
from flopwatch.run.counts import Counts
from flopwatch.run.flat_totals import flat, totals_from
from flopwatch.run.record_lines import from_json, to_json
from flopwatch.run.records import Progress, Totals
from flopwatch.run.run_file import read_run

# Written by flopwatch 0.1.0: six steps, and after a restart from the fourth six more.
FILES = Path(__file__).parent / "data"
FLOPS_PER_BATCH, TOKENS_PER_BATCH = 396_288, 32


@pytest.fixture(scope="module")
def older():
    return read_run(FILES / "schema_1.jsonl")


def test_windows_of_schema_1_have_their_counts(older):
    first, second = older.segments
    assert older.notes == ()
    assert [(each.start.schema, len(each.windows)) for each in older.segments] == [(1, 3), (1, 4)]
    for window in (*first.windows, *second.windows):
        flops, batches = window.counts.flops, window.counts.batches
        assert (flops, window.counts.hardware_flops) == (batches * FLOPS_PER_BATCH, batches * FLOPS_PER_BATCH)
        assert (window.counts.tokens, window.counts.samples) == (batches * TOKENS_PER_BATCH, 2 * batches)
        assert (window.counts.useful_tokens, window.counts.steps) == (None, batches // 2)
        assert window.totals.counts.steps == window.step


def test_totals_of_schema_1_have_their_counts(older):
    first, second = older.segments
    assert first.start.totals == Totals(joules=0)
    # The fifth and the sixth step were done twice.
    assert (second.start.totals.counts.steps, second.start.totals.lost_steps) == (4, 2)
    ended = second.end.totals
    assert ended.counts == Counts(20 * FLOPS_PER_BATCH, 640, 40, 20 * FLOPS_PER_BATCH, None, batches=20, steps=10)
    assert (ended.lost_flops, ended.joules, ended.seconds) == (4 * FLOPS_PER_BATCH, None, 0.24866787800056045)


def test_a_record_is_written_as_older_versions_read_it(older):
    for record in (*older.segments[0].windows, older.segments[0].end):
        told = json.loads(to_json(record))
        assert "counts" not in told
        assert told["totals"]["flops"] == record.totals.counts.flops
        assert from_json(to_json(record)) == record


def test_amounts_are_there_under_their_own_names(older):
    for each in (*older.segments[0].windows, older.segments[1].end.totals):
        own = (each.flops, each.hardware_flops, each.tokens, each.samples, each.steps)
        counts = each.counts
        assert own == (counts.flops, counts.hardware_flops, counts.tokens, counts.samples, counts.steps)


@pytest.mark.parametrize("kind", ["progress", "checkpoint"])
def test_totals_beside_the_run_file_are_read_likewise(kind):
    line = f'{{"kind":"{kind}","time":1.0,"step":2,"totals":{{"flops":{10**30 + 1},"steps":2,"lost_steps":null}}}}'
    totals = from_json(line).totals
    assert totals == Totals(Counts(10**30 + 1, hardware_flops=None, useful_tokens=None, steps=2), lost_steps=None)


def test_a_start_without_totals_has_none_of_what_was_added_later(older):
    start = json.loads(to_json(older.segments[0].start))
    del start["totals"]
    assert from_json(json.dumps(start)).totals == Totals(Counts(hardware_flops=None, useful_tokens=None))


def test_a_report_has_flat_totals_as_ever(older):
    totals = json.loads(render(summarize(older)))["totals"]
    assert (totals["flops"], totals["steps"], totals["lost_steps"]) == (20 * FLOPS_PER_BATCH, 10, 2)
    assert "counts" not in totals


@pytest.mark.parametrize("state", [{"flops": 7, "dreams": 3}])
def test_a_state_of_another_version_is_read_as_far_as_it_is_known(state):
    assert totals_from(state) == Totals(Counts(7, hardware_flops=None, useful_tokens=None))


def test_totals_are_flat_in_a_checkpoint_and_back():
    totals = Totals(Counts(7, 6, None, 8, 5, 2, 1), 9.0, joules=4, seconds_by_kind={"training": 9.0})
    state = json.loads(json.dumps(flat(totals)))
    assert (state["flops"], state["samples"], state["seconds"], "counts" in state) == (7, None, 9.0, False)
    assert totals_from(state) == totals
    assert from_json(to_json(Progress(1.0, 1, replace(totals)))).totals == totals
