from dataclasses import replace

import pytest

from flopwatch.report import published_mfu
from flopwatch.report.published_mfu import Known, PublishedRun, known_mfu, published_runs
from flopwatch.report.render.efficiency import known_words
from tests import samples


def test_published_runs_of_about_the_size_on_the_chip_are_known():
    known = known_mfu(replace(samples.H100, dtype="bf16"), 8_030_261_248)
    # By hand from the table: 3.2B to 20B parameters on the H100.
    rows = [run for run in published_runs() if "H100" in run.device and 3.3e9 < run.parameters < 2e10]
    assert (known.low, known.high, known.runs) == (min(r.mfu for r in rows), max(r.mfu for r in rows), len(rows))
    assert 0.3 < known.low < known.high == 0.49
    assert "Megatron-LM README" in known_words(known)


@pytest.mark.parametrize(
    ("change", "parameters"),
    [
        ({"name": "NVIDIA L4"}, 8e9),
        ({"dtype": "fp8"}, 8e9),
        ({}, 1000),
        ({}, None),
        ({"name": "NVIDIA H100 PCIe"}, 8e9),
    ],
)
def test_of_other_chips_precisions_and_sizes_nothing_is_known(change, parameters):
    assert known_mfu(replace(samples.H100, **change), parameters) is None


def test_sizes_up_to_two_and_a_half_times_apart_are_near(monkeypatch):
    sizes = {4_000: 0.3, 10_000: 0.4, 25_000: 0.5, 25_001: 0.6, 3_999: 0.1}
    runs = tuple(PublishedRun("NVIDIA H100", size, 8, 2048, mfu, "6N", f"of {mfu}") for size, mfu in sizes.items())
    monkeypatch.setattr(published_mfu, "published_runs", lambda: runs)
    near = known_mfu(samples.H100, 10_000)
    assert near == Known(0.3, 0.5, 3, 4_000, 25_000, ("of 0.3", "of 0.4", "of 0.5"), ("6N",))
    # 62,501 / 2.5 is 25,000.4: one run is near, and one is none.
    assert known_mfu(samples.H100, 62_501) is None


def test_every_row_of_the_table_can_be_true():
    for run in published_runs():
        assert 0 < run.mfu < 1, run
        assert min(run.parameters, run.devices, run.seq_len) > 0, run
        assert run.source, run
        assert run.counting, run
