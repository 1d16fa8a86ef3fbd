"""GPUs in a table and as JSON, from a driver's answers that are made up."""

import json
from dataclasses import replace

import pytest

from flopwatch.errors import UnknownDeviceError
from flopwatch.hardware.amd import AmdGpu
from flopwatch.hardware.chips import Chip
from flopwatch.hardware.nvml.inventory import Gpu, Slice
from flopwatch.report.render.gpus import amd_facts, chip_facts, gpu_facts, render_json, render_text

CHIP = Chip(
    ("My GPU",),
    {"bf16": 100e12, "fp8": 200e12},
    sm_count=100,
    boost_clock_hz=1.5e9,
    source="a sheet",
    confidence="high",
    notes="a note",
)
GPU = Gpu(
    0,
    "My GPU",
    "GPU-a",
    "580",
    sm_count=100,
    sm_clock_hz=1.2e9,
    max_sm_clock_hz=1.5e9,
    power_watts=300.0,
    power_limit_watts=700.0,
    event_reasons=("power_cap",),
    readable={"SM clock": "yes", "energy": "Not Supported"},
)


def facts(gpu=GPU, dtype=None):
    return gpu_facts(gpu, dtype, (CHIP,))


def flat(*rows):
    return [" ".join(line.split()) for line in render_text(list(rows)).splitlines()]


def test_the_first_precision_of_a_chip_is_shown_unless_one_is_asked_for():
    assert [facts(dtype=dtype)["peak_flops_per_second"] for dtype in (None, "fp8")] == [100e12, 200e12]
    assert facts()["peaks"] == {"bf16": 100e12, "fp8": 200e12}


def test_an_unknown_gpu_has_no_peak_and_the_reason_in_its_place():
    row = facts(replace(GPU, name="Another"))
    assert row["peak_flops_per_second"] is None
    assert row["peaks"] == {}
    assert row["sm_count"] == 100
    assert "Another" in row["source"]
    with pytest.raises(UnknownDeviceError):
        chip_facts("My GPU", CHIP, "fp64")


def test_a_table_then_the_peaks_then_what_may_be_read():
    shown = flat(facts())
    assert shown[2] == "0 My GPU 100 1200 of 1500 300 of 700 power cap 100 bf16 GPU-a"
    assert "peak bf16 100 TFLOP/s dense" in shown
    assert "at clock 1500 MHz" in shown
    assert "all peaks, TFLOP/s bf16 100, fp8 200" in shown
    assert "source a sheet (high confidence)" in shown
    assert "note a note" in shown
    assert shown[-3:] == ["what can be read on all GPUs (driver 580)", "SM clock yes", "energy no: Not Supported"]


@pytest.mark.parametrize(
    ("reasons", "words"),
    [
        ((), "nothing"),
        (("idle",), "idle"),
        (("clock_setting", "power_cap"), "user-set clock, power cap"),
        (None, ""),
    ],
)
def test_what_holds_the_clock_down_is_said(reasons, words):
    assert f"300 of 700 {words} 100 bf16".replace("  ", " ") in flat(facts(replace(GPU, event_reasons=reasons)))[2]


def test_what_the_driver_does_not_tell_reads_so():
    bare = facts(Gpu(3, "My GPU", sm_count=100))
    assert flat(bare)[2] == "3 My GPU 100 n/a of n/a n/a of n/a 100 bf16 n/a"


def test_a_slice_has_its_part_of_the_peak_on_a_line_below_its_gpu():
    gpu = replace(GPU, slices=(Slice("My GPU MIG 3g.40gb", "MIG-a", 40),), is_partitioned=True)
    row = facts(gpu)
    # 40 of 100 SMs.
    assert row["slices"][0]["peak_flops_per_second"] == 40e12
    assert row["mig"]
    assert flat(row)[3] == "0 MIG My GPU MIG 3g.40gb 40 40 bf16 MIG-a"


def test_gpus_of_one_kind_have_their_peak_once_and_those_that_differ_what_may_be_read():
    other = replace(GPU, index=1, uuid="GPU-b", readable={"SM clock": "yes"})
    shown = flat(facts(), facts(other))
    assert shown.count("peak bf16 100 TFLOP/s dense") == 1
    assert "what can be read on GPU 0 (driver 580)" in shown
    assert "what can be read on GPU 1 (driver 580)" in shown


def test_amds_gpu_says_that_nothing_is_read_of_it():
    row = amd_facts(AmdGpu(0, "My GPU", "a", 100), None, (CHIP,))
    assert row["peak_flops_per_second"] == 100e12
    assert row["readable"] == {
        "everything": "flopwatch reads clocks, throttling and energy on NVIDIA GPUs only",
    }


def test_a_name_alone_has_no_table():
    assert flat(chip_facts("My GPU", CHIP, None))[0] == "name My GPU"


def test_json_has_one_key_and_every_fact():
    (row,) = json.loads(render_json([facts()]))["gpus"]
    assert (row["name"], row["index"], row["event_reasons"], row["power_watts"]) == ("My GPU", 0, ["power_cap"], 300.0)


def test_a_narrow_terminal_gets_the_columns_that_fit():
    rows = [facts(), facts(replace(GPU, index=1))]
    for width, last in ((200, "UUID"), (80, "peak, TFLOP/s"), (60, "peak, TFLOP/s")):
        table = render_text(rows, width).splitlines()[:4]
        assert table[0].endswith(last)
        assert all(len(line) <= width for line in table)
