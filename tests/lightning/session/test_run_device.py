"""The peak that a run is held against, on a CPU whose peak the user gave."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from flopwatch.lightning.options import Options
from flopwatch.lightning.session.run_device import RunDevice


def run_device(layer, precision="32-true", **options):
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    trainer = SimpleNamespace(strategy=strategy, precision_plugin=SimpleNamespace(precision=precision), world_size=2)
    return RunDevice(Options(peak_flops_per_second=1e12, **options), trainer, layer)


def run(one, layer, autocast):
    one.look()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        layer(torch.ones(2, 3))
    return one.settle()


def test_it_is_of_the_precision_that_the_weights_have():
    one = run_device(nn.Linear(3, 3))
    assert (one.device.dtype, one.device.count, one.device.peak_flops_per_second) == ("fp32", 2, 1e12)
    assert not run(one, layer := nn.Linear(3, 3), autocast=False)
    assert layer._forward_pre_hooks == {}


def test_layers_that_ran_under_an_autocast_are_held_against_its_precision(caplog):
    layer = nn.Linear(3, 3)
    one = run_device(layer)
    with caplog.at_level("INFO", logger="flopwatch"):
        assert run(one, layer, autocast=True)
    assert one.device.dtype == "bf16"
    assert "the layers run in bf16: peak " in caplog.text
    assert not one.settle(), "once is enough"


def test_tensor_cores_are_nvidias(monkeypatch):
    one = run_device(nn.Linear(3, 3), dtype="bf16")
    assert one.tensor_core_dtype() is None
    one._trainer.strategy.root_device = torch.device("cuda")
    monkeypatch.setattr(torch.version, "hip", None)
    assert one.tensor_core_dtype() == "bf16"
    monkeypatch.setattr(torch.version, "hip", "7.0")
    assert one.tensor_core_dtype() is None


def test_what_the_user_says_is_not_corrected():
    layer = nn.Linear(3, 3)
    one = run_device(layer, dtype="fp8")
    assert not run(one, layer, autocast=True)
    assert one.device.dtype == "fp8"


@pytest.mark.parametrize("end", ["settle", "look_away"])
def test_nothing_is_left_on_the_layers(end):
    layer = nn.Linear(3, 3)
    one = run_device(layer)
    one.look()
    assert layer._forward_pre_hooks or layer._forward_hooks
    getattr(one, end)()
    assert not layer._forward_pre_hooks
    assert not layer._forward_hooks
