import csv
from importlib import resources

import pytest

from flopwatch.errors import ArgumentError, UnknownDeviceError
from flopwatch.hardware import chips
from flopwatch.hardware.chips import all_chips, find_chip, identify, read_chips

# Figures that SMs x FLOPs per clock and SM x clock miss by more than 1%, and why.
INCONSISTENT_SHEETS = {
    ("v100-sxm3", "fp16"): "the DGX-2 sheet rounds 130.8 to 125 TFLOP/s",
    ("v100-sxm3", "fp32"): "the same sheet",
    ("v100-sxm3", "fp64"): "the same sheet",
    ("l40s", "bf16"): "the sheet's dense bf16 implies 2490 MHz, its other figures 2520 MHz",
    ("l40s", "fp16"): "the same",
    ("a10g", "fp32"): "the sheet counts 72 SMs here and 80 for its tensor figure; torch reports 80",
    ("a10g", "fp64"): "the same",
    ("t4", "fp64"): "rounded to two digits",
    ("a2", "fp64"): "rounded to one digit",
    ("rtx-3080", "fp64"): "rounded to two digits",
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
    with pytest.raises(UnknownDeviceError, match="no bf16 peak for Tesla T4; known peaks: fp16"):
        find_chip("Tesla T4").peak_flops_per_second("bf16")


def test_every_name_belongs_to_one_row():
    names = [chips.normalized(name) for chip in all_chips() for name in chip.names]
    distinct = {(chip.key, chips.normalized(name)) for chip in all_chips() for name in chip.names}
    assert len(distinct) == len(set(names))


@pytest.mark.parametrize("chip", all_chips(), ids=lambda chip: chip.key)
def test_a_row_can_be_checked_by_arithmetic(chip):
    wrong = set()
    for dtype in chip.rates:
        product = chip.flops_per_clock(dtype) * chip.sheet_clock_hz(dtype)
        if product != pytest.approx(chip.peaks[dtype], rel=0.01):
            wrong.add((chip.key, dtype))
    assert wrong == {each for each in INCONSISTENT_SHEETS if each[0] == chip.key}


def test_nearly_every_figure_is_checked_by_arithmetic():
    # What has no rate: TPUs, Gaudi, B100, GB10 and L2 (SMs unknown), and a few FP64 and FP32 figures that are cut.
    figures = [(chip, dtype) for chip in all_chips() for dtype in chip.peaks]
    unchecked = {chip.key for chip, dtype in figures if dtype not in chip.rates}
    whole = {"l2", "b100", "gb10", "gaudi2", "gaudi3", "tpu-v4", "tpu-v5e", "tpu-v5p", "tpu-v6e", "tpu-v7x"}
    assert unchecked == whole | {"h20", "h800-sxm", "h800-pcie", "b300", "gb300"}
    assert len(figures) > 350


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
    # Without tensor cores: 132 x 256 at the higher clock of 1.98 GHz are the sheet's 66.9 TFLOP/s.
    assert h100.flops_per_clock("fp32") == 33_792
    assert h100.flops_per_clock("fp32") * h100.sheet_clock_hz("fp32") == pytest.approx(66.9e12, rel=1e-3)
    assert h100.flops_per_clock("fp4") is None
    assert find_chip("NVIDIA B100").flops_per_clock("bf16") is None


def test_the_data_file_has_no_unknown_columns():
    text = resources.files("flopwatch").joinpath("data/chips.csv").read_text()
    header = next(csv.reader(text.splitlines()))
    clocks = {"boost_clock_hz", "vector_clock_hz", "max_clock_hz", "clock_basis"}
    known = {"key", "names", "sm_count", "flops_per_clock_per_sm", "confidence", "source", "notes"}
    known.add("memory_bytes_per_second")
    assert set(header) == known | clocks | set(chips.DTYPES)


@pytest.mark.parametrize(
    ("name", "bus_bits", "bits_per_second_and_pin"),
    [
        # Memory's width and data rate, as the datasheets and whitepapers have them.
        ("Tesla V100-SXM2-16GB", 4096, 1.756e9),
        ("NVIDIA A100-SXM4-40GB", 5120, 2.43e9),
        ("NVIDIA A100-SXM4-80GB", 5120, 3.186e9),
        ("NVIDIA H100 80GB HBM3", 5120, 5.234e9),
        ("NVIDIA H100 PCIe", 5120, 3.125e9),
        ("NVIDIA H200", 6144, 6.25e9),
        ("NVIDIA L40S", 384, 18e9),
        ("NVIDIA L4", 192, 12.5e9),
        ("Tesla T4", 256, 10e9),
        ("NVIDIA GeForce RTX 3090", 384, 19.5e9),
        ("NVIDIA GeForce RTX 4090", 384, 21e9),
        ("NVIDIA GeForce RTX 5090", 512, 28e9),
        ("AMD Instinct MI300X", 8192, 5.2e9),
        ("AMD Instinct MI250X", 4096, 3.2e9),  # one GCD
    ],
)
def test_memory_bandwidth_is_width_times_data_rate(name, bus_bits, bits_per_second_and_pin):
    expected = bus_bits / 8 * bits_per_second_and_pin
    assert find_chip(name).memory_bytes_per_second == pytest.approx(expected, rel=0.01)


def test_boards_of_one_row_that_differ_in_memory_have_no_bandwidth():
    for name in ("NVIDIA A800-SXM4-80GB", "NVIDIA H20", "NVIDIA A800 40GB Active"):
        assert find_chip(name).memory_bytes_per_second is None


def test_no_unconfirmed_chip_has_a_bandwidth():
    assert [each.key for each in all_chips() if each.confidence == "low" and each.memory_bytes_per_second] == []


TRAPS = {
    "NVIDIA H100 80GB HBM3 MIG 3g.40gb": "the peak of a MIG slice depends on its SMs",
    "NVIDIA A100-SXM4-80GB MIG 1c.3g.40gb": "a MIG slice",
    "NVIDIA A100-SXM4-80GB MIG 1g.10gb+me": "a MIG slice",
    "NVIDIA H100XM-80C": "a virtual GPU shares its chip",
    "GRID A100X-40C": "a virtual GPU",
    "NVIDIA A40-48": "a virtual GPU",
    "NVIDIA A100-1-5CME": "a virtual GPU",
    "NVIDIA GeForce RTX 4090 Laptop GPU": "a laptop GPU's speed",
    "NVIDIA GeForce RTX 2080 with Max-Q Design": "a laptop GPU's speed",
    "NVIDIA A100-PG509-200": "no peak known",
}


@pytest.mark.parametrize("name", TRAPS)
def test_why_a_kind_of_name_has_no_peak(name):
    with pytest.raises(UnknownDeviceError, match=TRAPS[name]) as refused:
        find_chip(name)
    assert ("virtual" in str(refused.value)) == ("virtual" in TRAPS[name])


def test_a_slice_has_its_share_of_the_peak():
    # A100 slices of 1g, 3g and 7g have 14, 42 and 98 of 108 SMs (NVIDIA's MIG guide): 3g is 42/108 of 312 TFLOP/s.
    chip, sms = identify("NVIDIA A100-SXM4-40GB MIG 3g.20gb", 42)
    assert (chip.key, sms) == ("a100-sxm4-40gb", 42)
    assert chip.peak_flops_per_second("bf16", sms) == pytest.approx(121.333e12, rel=1e-5)
    # 42 SMs x 2048 x 1.41 GHz are 121.3 TFLOP/s as well.
    assert chip.flops_per_clock("bf16", sms) * 1.41e9 == pytest.approx(121.3e12, rel=1e-3)
    with pytest.raises(UnknownDeviceError, match="only its own machine"):
        identify("NVIDIA A100-SXM4-40GB MIG 3g.20gb", None)
    with pytest.raises(UnknownDeviceError, match="should have 108 SMs, this one has 200"):
        identify("NVIDIA A100-SXM4-40GB MIG 3g.20gb", 200)


@pytest.mark.parametrize("sms", [114, 144])
def test_a_device_whose_sms_contradict_its_name_is_refused(sms):
    with pytest.raises(UnknownDeviceError, match=f"should have 132 SMs, this one has {sms}"):
        identify("NVIDIA H100 80GB HBM3", sms)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column 'names'"),
        ("names,speed\nFoo,1\n", "the unknown column 'speed'"),
        ("names,bf16\nFoo\n", "as many cells as columns"),
        ("names,bf16\nFoo,1,2\n", "as many cells as columns"),
        ("names,bf16\nFoo,\n", "the peak of at least one of"),
        ("names,bf16\n,1e12\n", "expected a name"),
        ("names,bf16\nFoo,-1\n", "line 2, bf16: expected a number above zero"),
        ("names,bf16\nFoo,nan\n", "expected a number above zero"),
        ("names,bf16,confidence\nFoo,1e12,sure\n", "expected a confidence"),
        ("names,bf16,flops_per_clock_per_sm\nFoo,1e12,bf16=4\n", "such as 'bf16:4096 fp8:8192', got 'bf16=4'"),
    ],
)
def test_a_table_that_is_none_says_what_is_wrong(text, said):
    with pytest.raises(ArgumentError, match=said):
        read_chips(text, "mine.csv")


def test_a_short_table_is_enough():
    (chip,) = read_chips("names,bf16,fp8\nFoo|Foo PCIe,100e12,200e12\n", "mine.csv")
    assert (chip.names, chip.peaks) == (("Foo", "Foo PCIe"), {"bf16": 100e12, "fp8": 200e12})
    assert (chip.confidence, chip.source) == ("user", "given by the user in mine.csv")
