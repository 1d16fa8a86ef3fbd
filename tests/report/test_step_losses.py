"""What steps lose, by hand; and what memory tells."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from flopwatch.report.finding import StepLoss
from flopwatch.report.inside import Inside, MemoryUse, ProfiledSteps
from flopwatch.report.step_losses import memory_sentences, step_losses
from flopwatch.run.records import Device
from flopwatch.trace import Advice
from tests import samples

ONE = Device("NVIDIA H100 80GB HBM3", 1)
EVEN = replace(samples.PHASES, optimizer_seconds=0.05)


def losses(step, device=ONE):
    return {each.kind: each for each in step_losses(Inside(phases=step), device)}


def test_where_phases_are_even_nothing_is_lost():
    # Forward 3e14 FLOP/s, backward 4e14; the optimizer takes 5%, moving batches 1%.
    assert losses(EVEN) == {}
    assert step_losses(Inside(), ONE) == ()


def test_a_backward_that_is_slower_than_the_forward_could_be_as_fast():
    # 5e13 of 2e14 FLOPs in the same 0.5 s: 1e14 a second, a third of the forward's 3e14.
    slow = replace(EVEN, backward_flops=50 * samples.TERA)
    found = losses(slow)["slow_backward"]
    # At the forward's rate it takes a third of 0.5 s: two thirds of it are lost, a third of the step's second.
    assert found.share == pytest.approx(1 / 3)
    assert found.evidence.startswith("the backward pass runs at 33.3% of the forward pass's FLOP/s, and takes 50.0%")
    assert "profile=True" in found.change
    assert "buckets" in losses(slow, replace(ONE, count=8))["slow_backward"].change


def test_recomputation_is_work_of_the_backward():
    step = replace(EVEN, backward_flops=50 * samples.TERA, recomputed_flops=100 * samples.TERA)
    assert losses(step) == {}
    assert losses(replace(step, recomputed_flops=None)) == {}


@pytest.mark.parametrize(
    ("part", "kind", "change"),
    [("optimizer_seconds", "long_optimizer", "fused=True"), ("transfer_seconds", "long_transfer", "pin_memory=True")],
)
def test_a_long_optimizer_or_transfer_is_told(part, kind, change):
    found = losses(replace(EVEN, **{part: 0.2}))[kind]
    assert found.share == pytest.approx(0.2)
    assert "takes 20.0% of a step" in found.evidence
    assert change in found.change


def test_a_profile_says_more_than_phases():
    advice = [Advice("launch_bound", "it waits", "CUDA graphs", 0.3, 0.1)]
    trace = SimpleNamespace(advice=advice)
    inside = Inside(phases=replace(EVEN, optimizer_seconds=0.5), profiled=ProfiledSteps(None, trace))
    assert [each.kind for each in step_losses(inside, ONE)] == ["launch_bound", "long_optimizer"]
    advice.append(Advice("eager_optimizer", "it runs 9 kernels", "fused=True", 0.5, 0.1))
    assert step_losses(inside, ONE) == (
        StepLoss("launch_bound", 0.3, "it waits", "CUDA graphs"),
        StepLoss("eager_optimizer", 0.5, "it runs 9 kernels", "fused=True"),
    )


def test_waiting_for_data_is_told_by_the_runs_books_alone():
    advice = [Advice("data_wait", "nothing runs", "more workers", 0.3, 0.1)]
    assert step_losses(Inside(profiled=ProfiledSteps(None, SimpleNamespace(advice=advice))), ONE) == ()


def sentences(growth=None, full_at=None, **changes):
    memory = replace(samples.MEMORY, retries=0, **changes)
    return memory_sentences(Inside(memory=MemoryUse(memory, growth, full_at)))


GIB = 2**30


def test_memory_that_is_well_used_needs_no_words():
    assert sentences(peak_bytes=70 * GIB, reserved_bytes=74 * GIB) == ()
    assert memory_sentences(Inside()) == ()


def test_room_is_for_a_larger_micro_batch():
    # 40 of 80 GiB reserved at most.
    (words,) = sentences(peak_bytes=35 * GIB, reserved_bytes=40 * GIB)
    assert words == "50% of the device's memory was never used: there is room for a larger micro-batch."


def test_fragments_and_retries_name_the_setting():
    (fragments,) = sentences(peak_bytes=60 * GIB, reserved_bytes=76 * GIB)
    assert fragments.startswith("PyTorch holds 95% of the memory, tensors 75% at most: the rest is fragments;")
    memory = replace(samples.MEMORY, peak_bytes=60 * GIB, reserved_bytes=76 * GIB, retries=12)
    (retries,) = memory_sentences(Inside(memory=MemoryUse(memory)))
    assert retries.startswith("12 allocations had to empty PyTorch's cache and retry")


def test_a_leak_says_when_the_device_is_full():
    (words,) = sentences(growth=1024.0**2, full_at=21_000, peak_bytes=70 * GIB, reserved_bytes=74 * GIB)
    assert words.startswith(
        "Tensors hold 1000 MiB more after every 1,000 steps; the device is full at about step 21,000"
    )


def test_a_leak_without_a_step_to_come_says_none():
    (words,) = sentences(growth=1024.0**2, peak_bytes=70 * GIB, reserved_bytes=74 * GIB)
    assert words == (
        "Tensors hold 1000 MiB more after every 1,000 steps: look for tensors that are kept with their graph, as losses"
        " in a list."
    )
