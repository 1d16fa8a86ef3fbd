"""Fits with and without FlopWatch, in small, and the lines that are made of them."""

from dataclasses import replace

import pytest
import torch

from flopwatch.check import fits
from flopwatch.check.fits import Fit
from flopwatch.check.gpt import Net
from flopwatch.check.isolation import isolated
from flopwatch.check.machine import Machine
from flopwatch.run.records import Work
from tests.check.machines_of import CPU, H100
from tests.check.test_gpt import TINY


@pytest.fixture
def folder():
    with isolated() as name:
        yield name / "run"


def test_a_fit_of_a_tiny_one_passes_every_line(folder):
    lines = {line.name: line for line in fits.check_fits(CPU, folder, replace(TINY, tokens=64, width=64), 6)}
    assert tuple(lines) == (fits.STATUS, fits.FLOPS, fits.MFU, fits.PAGE, fits.WEIGHTS)
    # In steps of a few milliseconds what lies between the two kinds of marks counts; it is real time.
    outcomes = {name: line.outcome for name, line in lines.items() if name != fits.MFU}
    assert set(outcomes.values()) == {"pass"}
    assert lines[fits.MFU].found == pytest.approx(lines[fits.MFU].expected, rel=0.3)
    assert lines[fits.FLOPS].found == 6 * replace(TINY, tokens=64, width=64).training_flops


def test_two_plain_fits_end_alike(folder):
    one, other = fits.fit(CPU, TINY, steps=3), fits.fit(CPU, TINY, steps=3)
    assert len(one.step_seconds) == 3
    assert 0 < sum(one.step_seconds[1:]) < one.seconds  # which also has what lies between the steps
    torch.manual_seed(0)
    untrained = Net(TINY).state_dict()
    assert all(torch.equal(weight, other.net.state_dict()[name]) for name, weight in one.net.state_dict().items())
    assert not torch.equal(one.net.state_dict()["wte.weight"], untrained["wte.weight"])


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_ends_a_fit_as_such(folder, monkeypatch, error):
    def forward(self, tokens):
        raise error

    monkeypatch.setattr(Net, "forward", forward)
    with pytest.raises(KeyboardInterrupt):
        fits.fit(CPU, TINY, steps=3)


def test_another_status_fails():
    line = fits.status(Work("watched", "counted from watched batches"))
    assert (line.outcome, line.expected, line.found) == ("fail", "verified", "watched")
    assert fits.status(None).found == "withheld"


def test_flops_that_differ_by_one_fail():
    line = fits.flops(TINY, 3, 3 * TINY.training_flops + 1)
    assert (line.outcome, line.expected) == ("fail", 3 * TINY.training_flops)
    assert fits.flops(TINY, 3, 3 * TINY.training_flops).outcome == "pass"
    assert fits.flops(TINY, 3, None).outcome == "fail"


def test_a_count_that_torch_does_not_share_fails_with_both(monkeypatch):
    monkeypatch.setattr(fits, "counted_by_torch", lambda shape: 7)
    line = fits.flops(TINY, 3, 3 * TINY.training_flops)
    assert line.outcome == "fail"
    assert (line.expected, line.found) == (21, 3 * TINY.training_flops)
    assert line.words == "3 steps; by torch's counter"


class Watch:
    def __init__(self, mfu):
        self.mfu = mfu


@pytest.mark.parametrize(
    ("machine", "mfu", "outcome"),
    [
        # 9 of 10 steps of 396,288 FLOPs in 1 ms: 3.567 GFLOP/s, of 1 TFLOP/s 0.3567%.
        (CPU, 0.003567, "pass"),
        (CPU, 0.003567 * 10 / 9, "fail"),
        (H100, 3.566592e9 / 989.4e12, "pass"),
        (H100, 0.003567, "fail"),
    ],
)
def test_mfu_is_flops_over_time_over_peak(machine, mfu, outcome):
    line = fits.mfu(machine, TINY, 10, Fit(Net(TINY), 0.001, (), Watch(mfu)))
    assert line.outcome == outcome
    assert line.words.startswith("3.57 GFLOP/s of ")


def test_without_an_mfu_the_fits_fail(folder):
    from flopwatch.errors import FlopwatchError

    with pytest.raises(FlopwatchError, match="expected an MFU"):
        fits.mfu(CPU, TINY, 10, Fit(Net(TINY), 0.001, (), Watch(None)))


def test_only_a_peak_in_the_fits_precision_counts():
    fp16 = replace(H100.described, dtype="fp16")
    assert fits.peak_of(Machine(H100.device, fp16)) is None
    assert fits.peak_of(H100) == 989.4e12


@pytest.mark.parametrize(
    ("same", "repeats", "outcome"), [(True, True, "pass"), (False, True, "fail"), (False, False, "not here")]
)
def test_weights_are_compared_where_a_device_repeats_itself(same, repeats, outcome):
    assert fits.weights(same=same, repeats=repeats, steps=3).outcome == outcome


@pytest.mark.parametrize(
    ("size", "outcome", "unit"),
    [
        (300_000, "pass", "bytes at most"),
        (300_001, "fail", "bytes at most"),
        (10_000, "pass", "bytes at most"),
        (9_999, "fail", "bytes at least"),
    ],
)
def test_a_page_is_there_whole_and_small(tmp_path, size, outcome, unit):
    (tmp_path / "report.html").write_bytes(b"x" * size)
    line = fits.page(tmp_path)
    assert (line.outcome, line.found, line.unit) == (outcome, size, unit)


def test_a_page_that_was_not_written_fails(tmp_path):
    line = fits.page(tmp_path)
    assert (line.outcome, line.expected, line.found, line.words) == ("fail", 10_000, 0, "no report.html")
