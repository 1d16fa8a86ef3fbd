import csv
from importlib import resources

import pytest

from flopwatch import chips
from flopwatch.chips import all_chips, find_chip
from flopwatch.errors import UnknownDeviceError

# Tensor peaks that the product of SMs, FLOPs per clock and boost clock misses by more than 1%, and why.
INCONSISTENT_SHEETS = {
    "v100-sxm3": "the DGX-2 sheet rounds 130.8 to 125 TFLOP/s",
    "l40s": "the sheet's dense bf16 implies 2490 MHz, its other figures 2520 MHz",
}


@pytest.mark.parametrize(
    ("name", "dtype", "peak"),
    [
        # Datasheets, dense: half of what is printed "with sparsity".
        ("NVIDIA H100 80GB HBM3", "bf16", 989.4e12),
        ("NVIDIA H100 80GB HBM3", "fp8", 1978.9e12),
        ("NVIDIA H100 PCIe", "bf16", 756.5e12),
        ("NVIDIA H200", "bf16", 989.4e12),
        ("NVIDIA A100-SXM4-80GB", "bf16", 312e12),
        ("A100-SXM4-40GB", "tf32", 156e12),
        ("Tesla V100-SXM2-32GB", "fp16", 125e12),
        ("Tesla T4", "fp16", 65e12),
        ("T4", "fp16", 65e12),
        ("NVIDIA L4", "bf16", 121e12),
        ("NVIDIA L40S", "bf16", 362.05e12),
        ("NVIDIA RTX A6000", "bf16", 154.8e12),
        ("NVIDIA GeForce RTX 4090", "bf16", 165.2e12),
        ("NVIDIA A10G", "bf16", 70e12),
        ("NVIDIA B200", "bf16", 2250e12),
        ("AMD Instinct MI300X", "bf16", 1307.4e12),
        # One GCD, the device that torch sees, is half of the board's 383 TFLOP/s.
        ("AMD Instinct MI250X", "bf16", 191.5e12),
    ],
)
def test_known_names_have_their_dense_datasheet_peak(name, dtype, peak):
    assert find_chip(name).peak_flops_per_second(dtype) == peak


@pytest.mark.parametrize(
    "name",
    ["NVIDIA RTX A1000", "NVIDIA T400 4GB", "NVIDIA H100XM-80C", "GRID A100X-40C", "NVIDIA GeForce RTX 4090 Laptop GPU"]
    + ["NVIDIA H100 80GB HBM3 MIG 3g.40gb", "NVIDIA RTX A400", "NVIDIA L40G", "h100", "", "NVIDIA", "NVIDIA Foo"],
)
def test_look_alike_names_are_refused(name):
    with pytest.raises(UnknownDeviceError, match="no peak known"):
        find_chip(name)


@pytest.mark.parametrize("name", ["NVIDIA H100 80GB", "H100", "H100 80GB"])
def test_the_error_lists_near_names(name):
    with pytest.raises(UnknownDeviceError, match="'NVIDIA H100 80GB HBM3'"):
        find_chip(name)


def test_a_name_that_could_be_short_for_several_boards_is_refused():
    # The driver's "NVIDIA H100" is the 94 GB board; a bare "H100" may mean the PCIe one, of 756 TFLOP/s.
    assert find_chip("NVIDIA H100").key == "h100-sxm5-94gb"
    for name in ("H100", "H200", "H800", "GeForce RTX 4090"):
        with pytest.raises(UnknownDeviceError):
            find_chip(name)
    assert find_chip("GeForce RTX 3090").key == "rtx-3090"
    assert find_chip("B200").key == "b200"


def test_unconfirmed_rows_and_missing_precisions_give_no_number():
    with pytest.raises(UnknownDeviceError, match="not confirmed"):
        find_chip("NVIDIA B100").peak_flops_per_second("bf16")
    with pytest.raises(UnknownDeviceError, match="no bf16 peak for Tesla T4; known are fp16"):
        find_chip("Tesla T4").peak_flops_per_second("bf16")


def test_every_name_belongs_to_one_row():
    names = [chips.normalized(name) for chip in all_chips() for name in chip.names]
    distinct = {(chip.key, chips.normalized(name)) for chip in all_chips() for name in chip.names}
    assert len(distinct) == len(set(names))


@pytest.mark.parametrize("chip", all_chips(), ids=lambda chip: chip.key)
def test_a_row_can_be_checked_by_arithmetic(chip):
    for dtype in ("bf16", "fp16", "tf32", "fp8"):
        per_clock = chip.flops_per_clock(dtype)
        if per_clock is None or chip.boost_clock_hz is None:
            continue
        close = per_clock * chip.boost_clock_hz == pytest.approx(chip.peaks[dtype], rel=0.01)
        assert close or chip.key in INCONSISTENT_SHEETS, (chip.key, dtype)


@pytest.mark.parametrize("chip", all_chips(), ids=lambda chip: chip.key)
def test_every_row_names_its_source_and_confidence(chip):
    assert chip.source
    assert chip.confidence in ("high", "medium", "low")
    assert chip.peaks


def test_flops_per_clock_of_the_h100():
    # 132 SMs x 4096 = 540,672 a clock; at 1.83 GHz 989.4 TFLOP/s. A slice of 60 SMs: 245,760.
    h100 = find_chip("NVIDIA H100 80GB HBM3")
    assert h100.flops_per_clock("bf16") == 540_672
    assert h100.flops_per_clock("tf32") == 270_336
    assert h100.flops_per_clock("fp8") == 1_081_344
    assert h100.flops_per_clock("bf16", sm_count=60) == 245_760
    assert h100.flops_per_clock("fp32") is None
    assert find_chip("NVIDIA B100").flops_per_clock("bf16") is None


def test_the_data_file_has_no_unknown_columns():
    text = resources.files("flopwatch").joinpath("data/chips.csv").read_text()
    header = next(csv.reader(text.splitlines()))
    known = {"key", "names", "sm_count", "boost_clock_hz", "flops_per_clock_per_sm", "max_clock_hz", "clock_basis"}
    assert set(header) == known | {"confidence", "source", "notes"} | set(chips.DTYPES)
