"""The peak of a run. No GPU is here, so torch's description of one is stood in for."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from flopwatch.hardware.chips import Chip
from flopwatch.lightning.counting.precision import Precision
from flopwatch.lightning.devices import address_of, describe_device, device_of, no_telemetry, with_datasheet_peak
from flopwatch.run.records import Device

BF16 = Precision("bf16")
CUDA = torch.device("cuda", 1)
H100 = Device("NVIDIA H100 80GB HBM3", 8, sm_count=132, uuid="cafe")


def trainer(device="cpu"):
    return SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(device)), world_size=4)


@pytest.fixture
def cuda(monkeypatch):
    """Make torch describe a CUDA device."""

    def describe(**properties):
        values = {"name": H100.name, "multi_processor_count": 132, "uuid": "cafe", **properties}
        values = {name: value for name, value in values.items() if value is not None}
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(**values))

    return describe


def test_the_h100_has_its_datasheet_peak_and_the_clock_that_it_is_for():
    device = with_datasheet_peak(H100, BF16)
    assert (device.dtype, device.peak_flops_per_second, device.flops_per_clock) == ("bf16", 989.4e12, 540_672)
    assert device.boost_clock_hz == 1.83e9
    assert device.peak_source.startswith("datasheet: H100 whitepaper")


def test_an_fp8_run_says_that_its_peak_is_fp8s():
    device = with_datasheet_peak(H100, Precision("fp8", "its linear layers are torchao's Float8Linear"))
    assert (device.dtype, device.peak_flops_per_second) == ("fp8", 1978.9e12)
    assert device.peak_source.endswith("; its linear layers are torchao's Float8Linear")


def test_a_slice_has_the_peak_of_its_own_sms():
    device = with_datasheet_peak(Device("NVIDIA H100 80GB HBM3 MIG 3g.40gb", 1, sm_count=60), BF16)
    # 60 of 132 SMs: 989.4e12 x 60 / 132; 60 x 4096 FLOPs a clock.
    assert device.peak_flops_per_second == pytest.approx(449.727e12, rel=1e-5)
    assert device.flops_per_clock == 245_760
    assert "60 of 132 SMs" in device.peak_source


def test_tf32_on_a_chip_without_it_is_plain_fp32():
    device = with_datasheet_peak(Device("Tesla V100-SXM2-32GB", 1, sm_count=80), Precision("tf32"))
    assert (device.dtype, device.peak_flops_per_second) == ("fp32", 15.7e12)


def test_the_users_chips_go_first():
    device = with_datasheet_peak(H100, BF16, (Chip((H100.name,), {"bf16": 7e14}, source="my own"),))
    assert (device.peak_flops_per_second, device.peak_source) == (7e14, "datasheet: my own")


@pytest.mark.parametrize(
    ("device", "dtype", "said"),
    [
        (Device("NVIDIA Foo", 1), "bf16", "no peak known for a device named 'NVIDIA Foo'"),
        (Device("NVIDIA H100 80GB HBM3", 1, sm_count=60), "bf16", "should have 132 SMs, this one has 60"),
        # An MI308X may call itself MI300X; it has 80 compute units.
        (Device("AMD Instinct MI300X OAM", 1, sm_count=80), "bf16", "should have 304 SMs, this one has 80"),
        (Device("NVIDIA H100XM-80C", 1, sm_count=132), "bf16", "a virtual GPU"),
        (Device("NVIDIA H100 80GB HBM3", 1, sm_count=132), None, "precision is unknown"),
        (Device("Tesla T4", 1, sm_count=40), "bf16", "no bf16 peak for Tesla T4"),
        (Device("NVIDIA B100", 1), "bf16", "not confirmed"),
    ],
)
def test_no_peak_says_why(device, dtype, said):
    found = with_datasheet_peak(device, Precision(dtype))
    assert (found.peak_flops_per_second, found.flops_per_clock, found.boost_clock_hz) == (None, None, None)
    assert said in found.peak_source
    assert "peak_flops_per_second" in found.peak_source


def test_torchs_device_properties_become_a_device_and_an_address(cuda):
    cuda(pci_domain_id=0, pci_bus_id=0x1B, pci_device_id=0)
    device = describe_device(CUDA, 8, BF16)
    assert dataclasses.astuple(device)[:5] == (H100.name, 8, "bf16", 989.4e12, device.peak_source)
    assert (device.uuid, device.sm_count) == ("cafe", 132)
    address = address_of(CUDA)
    assert (address.uuid, address.pci_bus_id, address.cuda_index) == ("cafe", "00000000:1B:00.0", 1)


def test_an_older_torch_gives_a_number_alone(cuda):
    cuda(uuid=None)
    address = address_of(CUDA)
    assert (address.name, address.uuid, address.pci_bus_id, address.cuda_index) == (H100.name, None, None, 1)


def test_amds_gpus_have_a_peak_and_no_telemetry(cuda, monkeypatch):
    monkeypatch.setattr(torch.version, "hip", "6.3")
    cuda(name="AMD Instinct MI300X", multi_processor_count=304)
    assert describe_device(CUDA, 8, BF16).peak_flops_per_second == 1307.4e12
    assert address_of(CUDA) is None
    assert "not on AMD GPUs" in no_telemetry(CUDA)


@pytest.mark.parametrize(
    ("variable", "peak"), [("v5litepod-16", 197e12), ("v4-8", 275e12), ("v6e-4", 918e12), ("v2-8", None), ("", None)]
)
def test_tpus_are_known_by_their_variable(monkeypatch, variable, peak):
    monkeypatch.setenv("TPU_ACCELERATOR_TYPE", variable)
    device = torch.device("xla", 0)
    assert describe_device(device, 16, BF16).peak_flops_per_second == peak
    assert "not on a device of type xla" in no_telemetry(device)


def test_a_cpu_has_no_datasheet_and_nothing_to_say_of_telemetry():
    device = describe_device(torch.device("cpu"), 1, BF16)
    assert (device.name, device.peak_flops_per_second) == ("CPU", None)
    assert no_telemetry(torch.device("cpu")) is None


def test_a_users_peak_goes_first_and_says_so():
    device = device_of(trainer(), Precision("fp32"), 2e12)
    assert (device.peak_flops_per_second, device.peak_source) == (2e12, "given by the user")


@pytest.mark.parametrize("dtype", [None, "fp8"])
def test_a_peak_of_an_unknown_precision_cannot_be_measured(dtype):
    device = device_of(trainer(), Precision(dtype), "measured")
    assert device.peak_flops_per_second is None
    assert "cannot be measured" in device.peak_source
