import pytest

from flopwatch.errors import UnknownDeviceError
from flopwatch.hardware.chips import Chip
from flopwatch.hardware.short_names import driver_name, source_words


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3"),
        ("H100 PCIe", "H100 PCIe"),
        ("h100-sxm5-80gb", "NVIDIA H100 80GB HBM3"),
        ("A100-SXM4-80GB", "A100-SXM4-80GB"),
        ("mi300x", "AMD Instinct MI300X"),
    ],
)
def test_a_full_name_and_a_key_are_one_gpu(name, found):
    assert driver_name(name) == found


def test_a_name_of_several_gpus_is_a_choice_with_their_peaks():
    with pytest.raises(UnknownDeviceError) as told:
        driver_name("H100", "bf16")
    for choice in ("h100-sxm5-80gb (989 TFLOP/s bf16)", "h100-pcie (756 TFLOP/s bf16)", "h100-nvl (835 TFLOP/s bf16)"):
        assert choice in str(told.value)
    assert "h100-sxm5-64gb" not in str(told.value), "its row is not confirmed"
    assert "\n" not in str(told.value)


def test_nothing_near_keeps_the_tables_own_words():
    with pytest.raises(UnknownDeviceError, match="no peak known for a device named 'Abacus'"):
        driver_name("Abacus")
    with pytest.raises(UnknownDeviceError, match="no peak known for a device named 'H1000'"):
        driver_name("H1000")


def test_chips_of_the_user_are_choices_too():
    mine = Chip(("NVIDIA Foo 40GB",), {"bf16": 1e12}, key="foo-40")
    assert driver_name("foo-40", "bf16", [mine]) == "NVIDIA Foo 40GB"
    with pytest.raises(UnknownDeviceError, match=r"may be this one: pass foo-40 \(1 TFLOP/s bf16\)"):
        driver_name("foo", "bf16", [mine])


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("H100 whitepaper Table 3 (tensor 1830 MHz); cudnn-frontend#650; names: x 595", "H100 whitepaper Table 3"),
        ("names: open-gpu-kernel-modules", "flopwatch's table of chips"),
        ("FlashMLA#75; names: x", "flopwatch's table of chips"),
        ("given by the user", "given by the user"),
        ("Turing whitepaper (reference card; FE 1635 MHz = 56.9)", "Turing whitepaper"),
        ("torch props SM=78; torchtitan's table of peaks (148); measured 142.3", "torchtitan's table of peaks"),
    ],
)
def test_a_source_is_its_first_document(source, words):
    assert source_words(source) == words
