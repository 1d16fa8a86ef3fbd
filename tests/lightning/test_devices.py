"""The precision and the peak of a run. No GPU is here, so devices are described by hand where torch would ask one."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision, Precision
from torch.distributed.fsdp import MixedPrecision as FSDPMixedPrecision

from flopwatch.lightning.devices import describe_device, device_of, dtype_of, with_datasheet_peak
from flopwatch.records import Device


def trainer(plugin, device="cuda", **strategy):
    return SimpleNamespace(
        precision_plugin=plugin,
        strategy=SimpleNamespace(root_device=torch.device(device), **strategy),
        world_size=4,
    )


def weights(dtype=torch.float32):
    return torch.nn.Linear(4, 4, dtype=dtype)


@pytest.mark.parametrize(
    ("plugin", "dtype", "expected"),
    [
        (MixedPrecision("bf16-mixed", "cpu"), torch.float32, "bf16"),
        (HalfPrecision("bf16-true"), torch.bfloat16, "bf16"),
        (HalfPrecision("16-true"), torch.float16, "fp16"),
        (DoublePrecision(), torch.float64, "fp64"),
        (Precision(), torch.float32, "fp32"),
        # A model loaded in bf16 into a 32-bit Trainer computes in bf16.
        (Precision(), torch.bfloat16, "bf16"),
    ],
)
def test_the_precision_is_that_of_the_matrix_multiplications(plugin, dtype, expected):
    assert dtype_of(trainer(plugin), weights(dtype)) == expected


@pytest.mark.parametrize(("setting", "expected"), [("highest", "fp32"), ("high", "tf32"), ("medium", "tf32")])
def test_float32_on_cuda_follows_torchs_setting(setting, expected):
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(setting)
        assert dtype_of(trainer(Precision()), weights()) == expected
        assert dtype_of(trainer(Precision(), device="cpu"), weights()) == "fp32"
    finally:
        torch.set_float32_matmul_precision(before)


def test_torchs_newer_precision_attribute_is_understood():
    script = """
import torch
torch.backends.cuda.matmul.fp32_precision = "tf32"
from flopwatch.lightning.devices import _float32_on_cuda
print(_float32_on_cuda())
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "tf32\n"


def test_the_strategys_compute_dtype_counts_not_its_reduce_dtype():
    mixed = FSDPMixedPrecision(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    assert dtype_of(trainer(Precision(), mixed_precision=mixed), weights()) == "bf16"


def test_mixed_weights_and_sharded_modules_have_no_known_precision():
    class FSDPModule(torch.nn.Linear):
        pass

    both = torch.nn.ModuleList([weights(), weights(torch.bfloat16)])
    assert dtype_of(trainer(Precision()), both) is None
    assert dtype_of(trainer(Precision()), FSDPModule(4, 4)) is None


H100 = Device("NVIDIA H100 80GB HBM3", 8, "bf16", sm_count=132, uuid="cafe")


def test_the_h100_has_its_datasheet_peak():
    device = with_datasheet_peak(H100)
    assert (device.peak_flops_per_second, device.flops_per_clock) == (989.4e12, 540_672)
    assert device.peak_source.startswith("datasheet: H100 whitepaper")


@pytest.mark.parametrize(
    ("device", "said"),
    [
        (Device("NVIDIA Foo", 1, "bf16"), "no peak known for a device named 'NVIDIA Foo'"),
        (Device("NVIDIA H100 80GB HBM3", 1, "bf16", sm_count=60), "should have 132 SMs, this one has 60"),
        (Device("NVIDIA H100 80GB HBM3", 1, None, sm_count=132), "precision is not known"),
        (Device("Tesla T4", 1, "bf16", sm_count=40), "no bf16 peak for Tesla T4"),
        (Device("NVIDIA B100", 1, "bf16"), "not confirmed"),
    ],
)
def test_no_peak_says_why(device, said):
    found = with_datasheet_peak(device)
    assert found.peak_flops_per_second is None
    assert said in found.peak_source
    assert "peak_flops_per_second" in found.peak_source


def test_torchs_device_properties_become_a_device(monkeypatch):
    properties = SimpleNamespace(name=H100.name, multi_processor_count=132, uuid="cafe")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    device = describe_device(torch.device("cuda", 0), 8, "bf16")
    assert (device.name, device.count, device.uuid, device.sm_count) == (H100.name, 8, "cafe", 132)
    assert device.peak_flops_per_second == 989.4e12
    # No driver answers here.
    assert device.driver is None


def test_a_users_peak_goes_first_and_says_so():
    device = device_of(trainer(Precision(), device="cpu"), weights(), 2e12)
    assert (device.peak_flops_per_second, device.peak_source) == (2e12, "given by the user")


def test_a_peak_of_an_unknown_precision_cannot_be_measured():
    both = torch.nn.ModuleList([weights(), weights(torch.bfloat16)])
    device = device_of(trainer(Precision(), device="cpu"), both, "measured")
    assert device.peak_flops_per_second is None
    assert "cannot be measured" in device.peak_source
