"""`flopwatch.estimate`, the function."""

import re

import pytest

import flopwatch
from flopwatch.errors import ArgumentError, MeasurementError, UnknownDeviceError
from flopwatch.model.batch import Batch
from flopwatch.model.estimate import estimate as counted
from flopwatch.model.families import architecture_of
from tests.model.test_conventions import GPT3
from tests.model.test_estimate import GEMMA_3
from tests.model.test_shape_advice import GPT2, LLAMA_7B, VIT

H100 = "h100-sxm5-80gb"


def test_it_is_a_function_though_a_module_has_its_name():
    import flopwatch.model.estimate

    assert callable(flopwatch.estimate)


def test_it_counts_as_the_closed_form_does():
    result = flopwatch.estimate(GPT3, seq_len=2048, tokens=300e9, gpu=H100, count=1024, mfu=0.4, usd_per_gpu_hour=2.5)
    assert result.training_flops == counted(architecture_of(GPT3), Batch(1, 2048)).training_flops
    # 3.1857e23 / (1024 x 989.4e12 x 0.4) = 786,090 s.
    assert result.planned.seconds == pytest.approx(786_090, rel=1e-3)
    assert result.planned.gpu == "NVIDIA H100 80GB HBM3"
    assert result.scenarios == ()


def test_without_a_utilization_there_are_three():
    result = flopwatch.estimate(GPT3, seq_len=2048, tokens="300B", gpu=H100, count="1K")
    assert result.planned is None
    assert [each.mfu for each in result.scenarios] == [0.3, 0.4, 0.5]
    hours = [each.gpu_hours for each in result.scenarios]
    assert hours == pytest.approx([hours[1] * 4 / 3, 223_600, hours[1] * 4 / 5], rel=1e-3)


def test_chinchilla_is_twenty_tokens_per_parameter():
    assert flopwatch.estimate(GPT2, seq_len=1024, tokens="chinchilla").tokens == 20 * 124_439_808


@pytest.mark.parametrize(("written", "length"), [("8k", 8192), ("1K", 1024), ("1M", 2**20), ("300", 300), (300, 300)])
def test_a_length_is_told_in_powers_of_two(written, length):
    assert flopwatch.estimate(LLAMA_7B, seq_len=written).batch.seq_len == length


@pytest.mark.parametrize("none", [0, "0", 0.0])
def test_without_images_a_model_that_sees_is_counted_as_text(none):
    text = flopwatch.estimate(GEMMA_3, seq_len=64, images=none)
    assert (text.batch.images, text.notes) == (0, ("text alone: no image is counted",))
    assert text.forward_flops == counted(architecture_of(GEMMA_3), Batch(1, 64, images=0)).forward_flops
    with pytest.raises(ArgumentError, match="or --images 0 for text alone"):
        flopwatch.estimate(GEMMA_3, seq_len=64)
    for wrong in (False, -1, "-1"):
        with pytest.raises(ArgumentError, match="images: expected"):
            flopwatch.estimate(GEMMA_3, seq_len=64, images=wrong)


def test_lora_of_a_7b_trains_what_peft_prints():
    # PEFT prints "trainable params: 39,976,960 || all params: 6,778,392,576" for rank 16 on all linear layers.
    result = flopwatch.estimate(LLAMA_7B, seq_len=1024, lora_rank=16)
    assert (result.trained_parameters, result.parameters) == (39_976_960, 6_778_392_576)
    adapters = result.components[-1]
    assert (adapters.name, adapters.parameters) == ("adapters", 39_976_960)
    assert sum(each.parameters for each in result.components) == result.parameters
    assert sum(each.forward_flops for each in result.components) == result.forward_flops
    full = flopwatch.estimate(LLAMA_7B, seq_len=1024)
    # Frozen weights need no gradient of their own: a third of the work falls away, adapters are 0.6%.
    assert 0.66 < result.training_flops / full.training_flops < 0.69


def test_a_model_without_masks_has_no_attention_convention():
    assert not flopwatch.estimate(VIT).is_masked
    assert flopwatch.estimate(GPT2, seq_len=8).is_masked


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"seq_len": 0}, ArgumentError, "seq_len: expected a positive whole amount, got 0"),
        ({"seq_len": 8.5}, ArgumentError, "seq_len: expected a positive whole amount, got 8.5"),
        ({"seq_len": "8kk"}, ArgumentError, "seq_len: expected a number"),
        ({"tokens": float("nan")}, ArgumentError, "tokens: expected a positive whole amount, got nan"),
        ({"tokens": True}, ArgumentError, "tokens: expected a positive whole amount, got True"),
        ({"source_len": "3k"}, ArgumentError, "source_len: expected a number without a suffix, such as 3000, got '3k'"),
        ({"seconds": -1}, ArgumentError, "seconds: expected a number of at least 0.01, one frame of sound, got -1"),
        ({"seconds": float("nan")}, ArgumentError, "seconds: expected a number .* got nan"),
        ({"seconds": True}, ArgumentError, "seconds: expected a number .* got True"),
        ({"seconds": 3, "source_len": 300}, ArgumentError, "in source_len or in seconds, got both"),
        ({"seconds": 3}, ArgumentError, "seconds: a llama hears no sounds"),
        ({"frames": 0}, ArgumentError, "frames: expected a positive whole amount, got 0"),
        ({"frames": 2}, ArgumentError, "frames: a llama reads tokens; leave it out"),
        ({"gpu": "H100"}, UnknownDeviceError, r"'H100' may be several: pass h100-sxm5-80gb \(989 TFLOP/s bf16\)"),
        (
            {"tokens": "chinchilla", "lora_rank": 4},
            ArgumentError,
            "tokens: expected a number for a run that trains a part",
        ),
        ({"mfu": 0.4}, ArgumentError, "expected gpu with mfu"),
        ({"image_size": 224}, ArgumentError, "image_size: a llama reads tokens; leave it out"),
        ({"source_len": 100}, ArgumentError, "source_len: a llama reads tokens; leave it out"),
        ({"images": 4}, ArgumentError, "images: a llama reads tokens; leave it out"),
        ({"convention": "6nd", "lora_rank": 4}, Exception, "count with 'model'"),
        ({"tokens": 5, "samples": 5}, ArgumentError, "in tokens or in samples, got both"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(changes, error, said):
    with pytest.raises(error, match=said):
        flopwatch.estimate(LLAMA_7B, **{"seq_len": 8, **changes})


def test_images_have_no_length_in_tokens():
    """105 GFLOPs of an image over 1,024 tokens, which it does not have, would be a number per token."""
    assert flopwatch.estimate(VIT).training_flops_per_token is None
    with pytest.raises(ArgumentError, match="seq_len: a vit reads images; leave it out"):
        flopwatch.estimate(VIT, seq_len=1024)


def test_a_model_that_cannot_be_measured_says_both_reasons():
    with pytest.raises(MeasurementError, match=r"no closed form for model_type 'transmogrifier'.* cannot be measured"):
        flopwatch.estimate({"model_type": "transmogrifier"}, seq_len=8)
    with pytest.raises(ArgumentError, match="adapters and frozen parts are counted in models with one only"):
        flopwatch.estimate({"model_type": "transmogrifier"}, seq_len=8, lora_rank=4)
    with pytest.raises(ArgumentError, match=r"frames: .*; videos are counted in models with one only"):
        flopwatch.estimate({"model_type": "transmogrifier"}, seq_len=8, frames=4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"attention": "casual"}, "attention: expected one of causal, full, got 'casual'"),
        ({"convention": "nope"}, "convention: expected one of model, "),
        ({"checkpointing": True}, "checkpointing: expected one of none, reentrant, non-reentrant, got True"),
        ({"dtype": ["bf16"]}, "dtype: expected one of bf16, "),
        ({"gpu": H100, "count": 10**400}, "count: expected a positive whole amount, got 1000"),
        ({"lora_rank": 2.5}, "lora_rank: expected a positive whole amount, got 2.5"),
        ({"lora_rank": 4, "lora_targets": 3}, "lora_targets: expected a text or a list of them, got 3"),
        ({"freeze": None}, "freeze: expected a text or a list of them, got None"),
        ({"gpu": 3}, "gpu: expected the driver's name of a GPU, got 3"),
        ({"gpu": H100, "mfu": "0.4"}, "mfu: expected a number, got '0.4'"),
        ({"gpu": H100, "usd_per_gpu_hour": "2"}, "usd_per_gpu_hour: expected a number, got '2'"),
        ({"image_size": "8xx"}, "image_size: expected height and width in pixels, like 800x600, got '8xx'"),
        ({"image_size": (1, 2, 3)}, "image_size: expected height and width in pixels"),
        ({"image_size": (5.5, 6)}, "image_size: expected a positive whole amount, got 5.5"),
    ],
)
def test_what_an_argument_cannot_be_is_told_with_its_name(given, said):
    with pytest.raises(ArgumentError, match=re.escape(said)):
        flopwatch.estimate(GPT2, seq_len=8, **given)


@pytest.mark.parametrize("size", [224, "224", "224x224", (224, 224), [224, 224]])
def test_a_size_of_images_is_a_number_a_pair_or_a_text(size):
    """An image of 224 x 224 has (224 / 16)^2 = 196 patches, whatever the size is told as."""
    sized = flopwatch.estimate(VIT, image_size=size)
    assert sized.forward_flops == counted(architecture_of(VIT), Batch(1, 0, image_size=(224, 224))).forward_flops


def test_one_part_may_be_frozen_by_its_name_alone():
    one, listed = (flopwatch.estimate(GPT2, seq_len=8, freeze=each) for each in ("transformer.h", ["transformer.h"]))
    assert one == listed
    assert one.training_flops < flopwatch.estimate(GPT2, seq_len=8).training_flops
