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

from flopwatch.lightning.counting.precision import AutocastProbe, Precision, precision_of

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


def test_fully_shards_compute_dtype_counts(python):
    result = python(SCRIPTS / "fully_shard.py")
    assert result.stdout == "bf16 fp32\n", result.stderr


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


FP32, BF16 = torch.float32, torch.bfloat16
PLAIN, MIXED = Precision("fp32"), Precision("bf16", by_autocast=True)


@pytest.mark.parametrize(
    ("assumed", "autocasts", "expected"),
    [
        # Each entry is a layer's autocast in the first batch, None for none.
        (PLAIN, [None, None], "fp32"),
        (PLAIN, [BF16, BF16], "bf16"),
        (PLAIN, [BF16, None], None),
        (MIXED, [BF16, BF16], "bf16"),
        # A router or a head in full precision does not change what most of the work runs in.
        (MIXED, [BF16, None], "bf16"),
        (MIXED, [None, None], None),
        (MIXED, [torch.float16, torch.float16], "fp16"),
        (Precision("fp8", by_layers=True), [BF16, BF16], "fp8"),
    ],
)
def test_autocast_in_training_step_is_seen(assumed, autocasts, expected):
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    probe = AutocastProbe(module, "cpu")
    probe.attach()
    for part, dtype in zip(module, autocasts, strict=True):
        with torch.autocast("cpu", dtype or BF16, enabled=dtype is not None):
            part(torch.ones(4))
    probe.detach()
    module(torch.ones(4))
    assert probe.corrected(assumed).dtype == expected
    assert not any(each._forward_pre_hooks for each in module)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, inputs):
        return self.linear(inputs).relu()


@pytest.mark.parametrize("in_place", [True, False])
def test_compiled_modules_are_looked_at_from_outside_and_compiled_once(in_place):
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph

    layer = Layer()
    if in_place:
        layer.compile(backend=backend)
    module = nn.Sequential(layer if in_place else torch.compile(layer, backend=backend))
    probe = AutocastProbe(module, "cpu")
    for batch in range(3):
        if batch == 0:
            probe.attach()
            probe.attach()  # as after a batch that was skipped at its start
        with torch.autocast("cpu", BF16):
            module(torch.ones(2, 4))
        probe.detach()
    assert probe.corrected(PLAIN).dtype == "bf16"
    assert len(compiled) == 1
    assert not any(each._forward_pre_hooks for each in module.modules())


def test_fsdp_that_keeps_fp32_weights_multiplies_under_its_autocast():
    # Lightning 2.2 to 2.5 made this of FSDPPrecision("bf16-mixed").
    mixed = FSDPMixedPrecision(param_dtype=torch.float32, reduce_dtype=torch.bfloat16, buffer_dtype=torch.bfloat16)
    run = trainer(FSDPPrecision("bf16-mixed"), mixed_precision_config=mixed)
    assert precision_of(run, weights()).dtype == "bf16"


def test_convolutions_under_torchs_newer_attribute_are_understood(python):
    result = python(SCRIPTS / "convolution_attribute.py")
    assert result.stdout == "fp32\ntf32\n"
