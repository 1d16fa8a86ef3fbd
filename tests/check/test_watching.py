"""What watching costs, and how often torch.compile compiles."""

import pytest
import torch

from flopwatch.check import watching
from flopwatch.check.isolation import isolated
from flopwatch.check.watching import Cost
from tests.check.machines_of import CPU
from tests.check.test_gpt import TINY
from tests.versions import watches_compiled


def test_a_step_is_timed_watched_and_not():
    cost = watching.cost_of(CPU, TINY, rounds=3)
    assert 0 < cost.plain_seconds < 5
    assert 0 < cost.watched_seconds < 5
    # Products of 2 layers, forward and backward, are 36 operators; norms, copies and the optimizer come beside.
    assert cost.operators > 36


@pytest.mark.parametrize(("watched", "outcome"), [(0.01, "pass"), (0.0209, "pass"), (0.0212, "fail")])
def test_watching_may_cost_a_tenth_of_a_millisecond_an_operator(watched, outcome):
    # 100 operators x 0.1 ms, and a tenth of 10 ms.
    line = watching.cost_line("x", Cost(0.01, watched, 100), "backend b")
    assert (line.outcome, line.expected) == (outcome, pytest.approx(0.011))
    assert line.words == "on top of 10 ms with 100 operators; backend b"


def test_a_watched_step_that_was_quicker_cost_nothing():
    assert watching.cost_line("x", Cost(0.01, 0.009, 100)).found == 0.0


@pytest.mark.parametrize(("plain", "watched", "outcome"), [(1, 1, "pass"), (1, 2, "fail"), (2, 1, "fail")])
def test_other_compilations_fail(plain, watched, outcome):
    line = watching.compilations(plain, watched, "inductor")
    assert (line.outcome, line.expected, line.found) == (outcome, plain, watched)


def test_nothing_compiled_proves_nothing():
    line = watching.compilations(0, 0, "inductor")
    assert (line.outcome, line.expected, line.found, line.unit) == ("fail", 1, 0, " at least")


@watches_compiled
def test_what_cannot_be_compiled_is_not_here(monkeypatch, tmp_path):
    def refuse(*arguments, **named):
        raise RuntimeError("torch.compile is not supported on Python 3.14+")

    monkeypatch.setattr(torch, "compile", refuse)
    lines = list(watching.check_compiled(CPU, tmp_path))
    assert {line.outcome for line in lines} == {"not here"}
    assert lines[0].words == "RuntimeError: torch.compile is not supported on Python 3.14+"


@watches_compiled
def test_a_gpu_needs_triton_and_a_compiler(monkeypatch):
    cuda = torch.device("cuda")
    monkeypatch.setattr(watching.importlib.util, "find_spec", lambda name: None)
    assert watching.why_not_compiled(cuda) == "torch.compile needs Triton for this GPU"
    monkeypatch.setattr(watching.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(watching.shutil, "which", lambda name: None)
    assert watching.why_not_compiled(cuda) == "Triton needs a C compiler"
    monkeypatch.setattr(watching.shutil, "which", lambda name: name)
    assert watching.why_not_compiled(cuda) is None
    assert (watching.backend_for(cuda), watching.backend_for(CPU.device)) == ("inductor", "aot_eager")


@pytest.mark.slow
def test_flopwatch_causes_no_compilation():
    with isolated() as folder:
        compilations, cost = watching.check_compiled(CPU, folder / "run")
    assert (compilations.outcome, compilations.found) == ("pass", 1)
    assert cost.words.endswith("backend aot_eager")
