"""The sections on the inside of steps, and where they are absent."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from flopwatch.report.inside import Inside, MemoryUse, ProfiledSteps, profile_of
from flopwatch.report.render import RENDERERS
from flopwatch.report.render.inside import MEMORY, PHASES, PROFILE, inside_sections
from flopwatch.report.render.traced import OPERATORS
from flopwatch.report.report import report_of, summarize
from flopwatch.trace.report import TraceReport
from tests import samples
from tests.report.test_inside import STEP, run_of
from tests.trace import traces


@pytest.fixture
def profiled(tmp_path):
    path = traces.written(tmp_path / "trace.json", *STEP, **traces.H100)
    return run_of(tmp_path, path)


def sections(report):
    return {each.heading: each for each in inside_sections(report)}


def with_inside(report, **parts):
    return replace(report, inside=Inside(**parts))


def test_a_run_without_a_look_inside_has_no_such_section(profiled):
    assert sections(summarize(profiled)) == {}


def test_phases_have_shares_and_what_is_between_them(profiled):
    report = with_inside(summarize(profiled), phases=samples.PHASES, forward_mfu=0.3, backward_mfu=0.4)
    assert sections(report)[PHASES].rows == (
        ("moving the batch to the device", "1.0%", ""),
        ("forward", "30.0%", "30%"),
        ("backward", "50.0%", "40%"),
        ("gradient clipping", "4.0%", ""),
        ("optimizer", "10.0%", ""),
        # 1 - 0.01 - 0.3 - 0.5 - 0.04 - 0.1
        ("between phases: data, callbacks, logging", "5.0%", ""),
    )


def test_without_a_peak_there_is_no_column_of_mfu(profiled):
    section = sections(with_inside(summarize(profiled), phases=samples.PHASES))[PHASES]
    assert section.columns == ("phase", "share")
    assert {len(row) for row in section.rows} == {2}


def test_memory_has_what_is_held_and_what_to_do(profiled):
    section = sections(with_inside(summarize(profiled), memory=MemoryUse(samples.MEMORY)))[MEMORY]
    assert section.rows == (
        ("held by tensors at most", "60 GiB, 75%"),
        ("held by PyTorch at most", "72 GiB, 90%"),
        ("memory of the device", "80 GiB"),
        ("allocation retries, all ranks", "3"),
    )
    assert "3 allocations had to empty PyTorch's cache" in section.sentences[0]


def test_a_profile_says_that_it_is_a_sample_and_how_much_slower(profiled):
    found = sections(report_of(profiled))
    # 10 us product, 21 us elementwise, 9 us late, of 40.
    assert [(row[0], row[2]) for row in found[PROFILE].rows] == [
        ("matrix products", "25.0%"),
        ("memory-bound compute (norms, elementwise, loss)", "52.5%"),
        ("launch gaps: the device waits for the host", "22.5%"),
    ]
    # A step took 40 us on the device while it was profiled, else 1 s.
    assert found[PROFILE].sentences[0] == (
        "A sample: 3 steps up to step 14, 100% faster than the others. Profiled steps are left out of MFU; starting and"
        " stopping the profiler took 2s."
    )
    assert "What steps lost is divided as in the profiled ones, which are a sample." in RENDERERS["text"](
        report_of(profiled)
    ).replace("\n  ", " ")
    (product, *_) = [row for row in found[OPERATORS].rows if row[0] == "mm"]
    assert product[:4] == ("mm", "256x1024 1024x512", "1", "0.01 ms")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1.0, "as fast as the others."), (0.8, "20% faster than the others."), (1.2, "20% slower than the others.")],
)
def test_profiled_steps_are_held_against_the_others(profiled, seconds, words):
    # The others took 1 s.
    report = report_of(profiled)
    account = replace(report.inside.profiled.trace.first, seconds=3 * seconds, steps=3)
    steps = ProfiledSteps(report.inside.profiled.profile, TraceReport((account,), (), ()))
    assert f"up to step 14, {words}" in sections(with_inside(report, profiled=steps))[PROFILE].sentences[0]


def test_on_a_cpu_nobody_launches_anything(profiled):
    report = report_of(profiled)
    account = replace(report.inside.profiled.trace.first, device="CPU")
    steps = replace(report.inside.profiled, trace=TraceReport((account,), (), ()))
    names = [row[0] for row in sections(with_inside(report, profiled=steps))[PROFILE].rows]
    assert names[-1] == "outside of operators: Python and the framework"


def test_notes_of_a_trace_are_sentences(profiled):
    report = report_of(profiled)
    account = replace(report.inside.profiled.trace.first, notes=("the trace has no device events",))
    steps = replace(report.inside.profiled, trace=TraceReport((account,), (), ()))
    assert "The trace has no device events." in sections(with_inside(report, profiled=steps))[PROFILE].sentences


def test_the_command_that_tells_more_can_be_pasted(profiled):
    report = report_of(profiled)
    account = replace(report.inside.profiled.trace.first, path=Path("my runs/trace.json"))
    steps = replace(report.inside.profiled, trace=TraceReport((account,), (), ()))
    told = with_inside(report, profiled=steps)
    assert "`flopwatch trace 'my runs/trace.json'` tells more;" in RENDERERS["text"](told)
    assert "<code>flopwatch trace &#39;my runs/trace.json&#39;</code> tells more; Perfetto" in RENDERERS["html"](told)


@pytest.mark.parametrize("form", ["text", "md", "html"])
def test_every_form_shows_it(profiled, form):
    page = RENDERERS[form](report_of(profiled))
    for words in (PROFILE, OPERATORS, "matrix products", "launch gaps"):
        assert words in page


def test_json_has_the_account_and_no_object_of_ours(profiled):
    told = json.loads(RENDERERS["json"](report_of(profiled)))["inside"]
    assert told["profile"]["trace"]["parts"]["matmul"] == pytest.approx(10e-6)
    assert (told["phases"], told["memory"]) == (None, None)
    assert profile_of(profiled)[0].to_json()["step"] == 14
