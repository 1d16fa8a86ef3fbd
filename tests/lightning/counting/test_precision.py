"""The precision of a run. Libraries that need a GPU are stood in for by classes of their names."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.plugins.precision import (
    DeepSpeedPrecision,
    DoublePrecision,
    FSDPPrecision,
    HalfPrecision,
    MixedPrecision,
)
from pytorch_lightning.plugins.precision import Precision as FullPrecision
from pytorch_lightning.strategies import FSDPStrategy
from torch import nn
from torch.distributed.fsdp import MixedPrecision as FSDPMixedPrecision

from flopwatch.lightning.counting.precision import Precision, precision_of, precision_seen
from tests.versions import torch_2_9

SCRIPTS = Path(__file__).parent / "scripts"


def trainer(plugin, device="cuda", **strategy):
    return SimpleNamespace(
        precision_plugin=plugin,
        strategy=SimpleNamespace(root_device=torch.device(device), **strategy),
        world_size=4,
    )


def weights(dtype=torch.float32):
    return nn.Linear(4, 4, dtype=dtype)


def dtype_of(*arguments, **named):
    return precision_of(*arguments, **named).dtype


@pytest.fixture(autouse=True)
def torchs_own_settings():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.mark.parametrize(
    ("plugin", "dtype", "expected"),
    [
        (MixedPrecision("bf16-mixed", "cpu"), torch.float32, "bf16"),
        (MixedPrecision("16-mixed", "cpu"), torch.float32, "fp16"),
        (HalfPrecision("bf16-true"), torch.bfloat16, "bf16"),
        (HalfPrecision("16-true"), torch.float16, "fp16"),
        (DoublePrecision(), torch.float64, "fp64"),
        (DeepSpeedPrecision("bf16-mixed"), torch.float32, "bf16"),
        (FSDPPrecision("bf16-mixed"), torch.float32, "bf16"),
        (FullPrecision(), torch.float32, "fp32"),
        # A model loaded in bf16 into a 32-bit Trainer computes in bf16.
        (FullPrecision(), torch.bfloat16, "bf16"),
        (FullPrecision(), torch.int8, None),
    ],
)
def test_the_precision_is_that_of_the_matrix_multiplications(plugin, dtype, expected):
    module = weights() if dtype != torch.int8 else nn.Module()
    module.weight = nn.Parameter(torch.zeros(4, 4, dtype=dtype), requires_grad=dtype != torch.int8)
    assert dtype_of(trainer(plugin), module) == expected


@pytest.mark.parametrize(("setting", "expected"), [("highest", "fp32"), ("high", "tf32"), ("medium", "tf32")])
def test_float32_on_cuda_follows_torchs_setting(setting, expected):
    torch.set_float32_matmul_precision(setting)
    assert dtype_of(trainer(FullPrecision()), weights()) == expected
    assert dtype_of(trainer(FullPrecision(), device="cpu"), weights()) == "fp32"


@torch_2_9
def test_torchs_newer_precision_attribute_is_understood(python):
    result = python(SCRIPTS / "matmul_attribute.py")
    assert result.stdout == "tf32\n"


@pytest.mark.parametrize(
    ("convolution", "rest", "expected"),
    [
        # A CNN's weights are convolutions, which torch runs in TF32 by default; a ViT's are not.
        (1000, 10, "tf32"),
        (10, 1000, "fp32"),
        (300, 1000, None),
    ],
)
def test_convolutions_have_a_switch_of_their_own(convolution, rest, expected):
    module = nn.ModuleList([nn.Conv2d(1, convolution, 1), nn.Linear(1, rest)])
    torch.backends.cudnn.allow_tf32 = True
    assert dtype_of(trainer(FullPrecision()), module) == expected
    torch.backends.cudnn.allow_tf32 = False
    assert dtype_of(trainer(FullPrecision()), module) == "fp32"


def test_the_strategys_compute_dtype_counts_not_its_reduce_dtype():
    mixed = FSDPMixedPrecision(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    assert dtype_of(trainer(FullPrecision(), mixed_precision=mixed), weights()) == "bf16"
    # Lightning's real strategy, with its own precision plugin and with the user's dtypes.
    strategy = FSDPStrategy(mixed_precision=mixed)
    strategy._root_device = torch.device("cuda", 0)
    strategy.precision_plugin = FSDPPrecision("32-true")
    assert strategy.mixed_precision_config.param_dtype == torch.bfloat16
    stand_in = SimpleNamespace(root_device=torch.device("cuda"), mixed_precision_config=strategy.mixed_precision_config)
    flat = nn.ParameterList([nn.Parameter(torch.zeros(16))])
    both = SimpleNamespace(precision_plugin=strategy.precision_plugin, strategy=stand_in)
    assert dtype_of(both, flat) == "bf16"


@pytest.mark.parametrize(("key", "expected"), [("bf16", "bf16"), ("fp16", "fp16")])
def test_deepspeeds_own_config_counts(key, expected):
    config = {key: {"enabled": True}}
    assert dtype_of(trainer(FullPrecision(), config=config), weights()) == expected
    assert dtype_of(trainer(FullPrecision(), device="cpu", config={key: {"enabled": False}}), weights()) == "fp32"


@torch_2_9
def test_fully_shards_compute_dtype_counts(python):
    result = python(SCRIPTS / "fully_shard.py")
    assert result.stdout.endswith("bf16 fp32\n"), result.stderr  # some torches print before it


def test_weights_of_several_dtypes_are_no_precision():
    both = nn.ModuleList([weights(), weights(torch.bfloat16)])
    found = precision_of(trainer(FullPrecision()), both)
    assert found.dtype is None
    assert "more than one dtype (float32, bfloat16)" in found.note
    assert "FlopWatch(dtype=...)" in found.note
    assert precision_of(trainer(FullPrecision()), nn.Module()).dtype is None


def test_small_adapters_and_routers_in_fp32_change_nothing():
    # 16 of 10,016 weights.
    mostly = nn.ModuleList([weights(), nn.Linear(100, 100, dtype=torch.bfloat16)])
    assert dtype_of(trainer(FullPrecision()), mostly) == "bf16"


def layer(module, name, **attributes):
    """A layer of a library that is not installed here."""
    return type(name, (nn.Linear,), {"__module__": module, **attributes})(4, 4)


class TransformerEnginePrecision:
    """The name of Lightning's plugin."""

    recipe = type("DelayedScaling", (), {})()


@pytest.mark.parametrize(
    ("plugin", "module", "expected", "said"),
    [
        (TransformerEnginePrecision(), weights(torch.bfloat16), "fp8", "TransformerEngine's"),
        (FullPrecision(), layer("torchao.float8.float8_linear", "Float8Linear"), "fp8", "Float8Linear"),
        (FullPrecision(), layer("torchao.prototype.mx_formats.mx_linear", "MXLinear"), None, "MXLinear"),
        (FullPrecision(), layer("transformer_engine.pytorch.module.linear", "Linear"), None, "at run time"),
        (
            FullPrecision(),
            layer("bitsandbytes.nn.modules", "Linear4bit", compute_dtype=torch.bfloat16),
            "bf16",
            "4-bit",
        ),
        (FullPrecision(), layer("bitsandbytes.nn.modules", "Linear4bit", compute_dtype=None), None, "unknown"),
        (FullPrecision(), layer("bitsandbytes.nn.modules", "Linear8bitLt"), None, "8-bit"),
    ],
)
def test_layers_that_bring_their_own_precision(plugin, module, expected, said):
    found = precision_of(trainer(plugin), nn.Sequential(module, nn.Linear(4, 4)))
    assert (found.dtype, found.by_layers) == (expected, True)
    assert said in found.note


def test_fp4_recipes_are_not_fp8():
    plugin = TransformerEnginePrecision()
    plugin.recipe = type("NVFP4BlockScaling", (), {})()
    assert dtype_of(trainer(plugin), weights(torch.bfloat16)) == "fp4"


@pytest.mark.parametrize(("mode", "expected"), [("nf4", "bf16"), ("int8-training", None)])
def test_bitsandbytes_plugin(mode, expected):
    plugin = type("BitsandbytesPrecision", (), {"mode": mode, "dtype": torch.bfloat16})()
    assert dtype_of(trainer(plugin), weights()) == expected


FP32, BF16, FP16 = torch.float32, torch.bfloat16, torch.float16
PLAIN, MIXED = Precision("fp32"), Precision("bf16", "of the Trainer")


@pytest.mark.parametrize(
    ("assumed", "flops", "expected"),
    [
        (PLAIN, {FP32: 100}, "fp32"),
        (PLAIN, {BF16: 100}, "bf16"),
        # What is faster than assumed is a part of the work only: held against either peak, MFU would be wrong.
        (PLAIN, {BF16: 50, FP32: 50}, None),
        (PLAIN, {BF16: 6, FP32: 94}, None),
        # A router, or a loss.
        (PLAIN, {BF16: 4, FP32: 96}, "fp32"),
        (PLAIN, {BF16: 96, FP32: 4}, "bf16"),
        # A head in full precision does not change what most of the work runs in.
        (MIXED, {BF16: 50, FP32: 50}, "bf16"),
        (MIXED, {FP32: 100}, "fp32"),
        (MIXED, {FP16: 100}, "fp16"),
        (Precision(None, "the weights have more than one dtype"), {BF16: 100}, "bf16"),
        (PLAIN, {torch.complex64: 100}, "fp32"),
        (PLAIN, {torch.float8_e4m3fn: 70, torch.float8_e5m2: 30}, "fp8"),
        (PLAIN, {torch.int8: 100}, None),
        (Precision("fp8", by_layers=True), {BF16: 100}, "fp8"),
        (PLAIN, {}, "fp32"),
    ],
)
def test_products_of_a_watched_batch_decide(assumed, flops, expected):
    assert precision_seen(assumed, flops, weights(), on_cuda=False).dtype == expected


def test_shares_of_several_precisions_are_told():
    seen = precision_seen(PLAIN, {BF16: 3, FP32: 1}, weights(), on_cuda=False)
    assert "more than one precision (75% bfloat16, 25% float32)" in seen.note
    assert "FlopWatch(dtype=...)" in seen.note


def test_single_precision_on_cuda_follows_torchs_switches(monkeypatch):
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    assert precision_seen(MIXED, {FP32: 100}, weights(), on_cuda=True).dtype == "tf32"
    assumed = Precision("tf32", "convolutions follow torch.backends.cudnn.allow_tf32")
    assert precision_seen(assumed, {FP32: 100}, weights(), on_cuda=True) is assumed


def test_fsdp_that_keeps_fp32_weights_multiplies_under_its_autocast():
    # Lightning 2.2 to 2.5 made this of FSDPPrecision("bf16-mixed").
    mixed = FSDPMixedPrecision(param_dtype=torch.float32, reduce_dtype=torch.bfloat16, buffer_dtype=torch.bfloat16)
    run = trainer(FSDPPrecision("bf16-mixed"), mixed_precision_config=mixed)
    assert precision_of(run, weights()).dtype == "bf16"


@torch_2_9
def test_convolutions_under_torchs_newer_attribute_are_understood(python):
    result = python(SCRIPTS / "convolution_attribute.py")
    assert result.stdout == "fp32\ntf32\n"
