"""Torchvision's ResNets: parameters and multiply-adds as its weights' metadata tell them (torchvision 0.28)."""

import pytest

from flopwatch.errors import ConfigError
from flopwatch.model.backward import training_flops
from flopwatch.model.batch import Batch
from flopwatch.model.conventions import forward_flops
from flopwatch.model.families import architecture_of

BLOCK = "Bottleneck"
# name: (layers, more fields, parameters, 10^9 multiply-adds)
PUBLISHED = {
    "resnet18": ([2, 2, 2, 2], {"block": "BasicBlock"}, 11_689_512, 1.814),
    "resnet34": ([3, 4, 6, 3], {"block": "BasicBlock"}, 21_797_672, 3.664),
    "resnet50": ([3, 4, 6, 3], {}, 25_557_032, 4.089),
    "resnet101": ([3, 4, 23, 3], {}, 44_549_160, 7.801),
    "resnet152": ([3, 8, 36, 3], {}, 60_192_808, 11.514),
    "resnext50_32x4d": ([3, 4, 6, 3], {"groups": 32, "width_per_group": 4}, 25_028_904, 4.23),
    "resnext101_32x8d": ([3, 4, 23, 3], {"groups": 32, "width_per_group": 8}, 88_791_336, 16.414),
    "resnext101_64x4d": ([3, 4, 23, 3], {"groups": 64, "width_per_group": 4}, 83_455_272, 15.46),
    "wide_resnet50_2": ([3, 4, 6, 3], {"width_per_group": 128}, 68_883_240, 11.398),
    "wide_resnet101_2": ([3, 4, 23, 3], {"width_per_group": 128}, 126_886_696, 22.753),
}


def resnet(layers, **more):
    return architecture_of({"model_type": "torchvision_resnet", "layers": layers, **{"block": BLOCK, **more}})


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_multiply_adds_are_as_published(name):
    layers, more, parameters, gmacs = PUBLISHED[name]
    model = resnet(layers, **more)
    assert model.parameters() == parameters
    assert round(forward_flops(model, Batch(1, image_size=(224, 224)), "macs") / 1e9, 3) == gmacs


def test_a_grouped_bottleneck_by_hand():
    """One block on 32 x 32, 2 groups of width 16: middle 64 * 16 / 64 * 2 = 32 channels, of which each sees 16.

    The first convolution gives 16 x 16, pooling 8 x 8. A position: 64 * 32 + 9 * 16 * 32 + 32 * 256 + shortcut
    64 * 256 = 31_232 multiply-adds. The classifier has 256 * 10. The first layer has no input gradient.
    """
    model, batch = resnet([1], groups=2, width_per_group=16, num_classes=10), Batch(3, image_size=(32, 32))
    first, rest = 2 * 3 * 256 * 147 * 64, 2 * 3 * (64 * 31_232 + 2560)
    assert model.forward_flops(batch) == first + rest
    assert training_flops(model, batch) == 2 * first + 3 * rest


def test_its_names_are_those_of_torchvision():
    paths = {path for path, leaf in resnet([1, 1], width_per_group=128).named_leaves() if leaf.parameters()}
    convolutions = {f"layer{stage}.0.{part}{n}" for stage in (1, 2) for part in ("conv", "bn") for n in (1, 2, 3)}
    shortcuts = {f"layer{stage}.0.downsample.{n}" for stage in (1, 2) for n in (0, 1)}
    assert paths == {"conv1", "bn1", "fc"} | convolutions | shortcuts


def test_what_torchvision_refuses_is_refused():
    with pytest.raises(ConfigError, match="'Bottleneck' with groups"):
        resnet([2, 2, 2, 2], block="BasicBlock", groups=32)
    with pytest.raises(ConfigError, match="lacks 'block'"):
        architecture_of({"model_type": "torchvision_resnet", "layers": [1]})
