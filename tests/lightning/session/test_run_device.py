"""The peak that a run is held against, on a CPU whose peak the user gave."""

from types import SimpleNamespace

import torch
from torch import nn

from flopwatch.lightning.options import Options
from flopwatch.lightning.session.run_device import RunDevice


def run_device(layer, precision="32-true", **options):
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    trainer = SimpleNamespace(strategy=strategy, precision_plugin=SimpleNamespace(precision=precision), world_size=2)
    return RunDevice(Options(peak_flops_per_second=1e12, **options), trainer, layer)


BF16, FP32 = torch.bfloat16, torch.float32


def test_it_is_of_the_precision_that_the_weights_have():
    one = run_device(nn.Linear(3, 3))
    assert (one.device.dtype, one.device.count, one.device.peak_flops_per_second) == ("fp32", 2, 1e12)
    assert not one.is_settled
    assert not one.settle({FP32: 100})
    assert one.is_settled


def test_products_that_ran_in_another_precision_are_held_against_its_peak(caplog):
    one = run_device(nn.Linear(3, 3))
    with caplog.at_level("INFO", logger="flopwatch"):
        assert one.settle({BF16: 100})
    assert one.device.dtype == "bf16"
    assert "matrices are multiplied in bf16: peak " in caplog.text


def test_tensor_cores_are_nvidias(monkeypatch):
    one = run_device(nn.Linear(3, 3), dtype="bf16")
    assert one.tensor_core_dtype() is None
    one._trainer.strategy.root_device = torch.device("cuda")
    monkeypatch.setattr(torch.version, "hip", None)
    assert one.tensor_core_dtype() == "bf16"
    monkeypatch.setattr(torch.version, "hip", "7.0")
    assert one.tensor_core_dtype() is None


def test_what_the_user_says_is_not_corrected():
    one = run_device(nn.Linear(3, 3), dtype="fp8")
    assert not one.settle({BF16: 100})
    assert one.device.dtype == "fp8"
