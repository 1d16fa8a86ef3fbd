"""What Gemmas see and hear: MobileNet-V5 by timm's figures, and Gemma 3n's sounds and text without timm."""

import pytest
import torch
import transformers
from torch import nn
from transformers.models.gemma3n import modeling_gemma3n

import flopwatch
from flopwatch.errors import ConfigError
from flopwatch.measure import measure
from flopwatch.measure.inputs import inputs_of
from flopwatch.model.architecture import Architecture
from flopwatch.model.backward import training_flops
from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of
from flopwatch.model.families.mobilenet import mobilenet_v5
from tests.model.families.composites import build
from tests.model.families.joined_gemma import GEMMAS, WITH_TIMM
from tests.model.families.test_composites import counted_as_it_runs

# Of timm 1.0.31's mobilenetv5_300m_enc: its parameters, and what torch's counter sees of one image.
PARAMETERS = 294_126_912
FLOPS = {(768, 768): 871_482_949_632}


@pytest.mark.parametrize("size", FLOPS)
def test_mobilenet_has_timms_parameters_and_flops(size):
    encoder = Architecture("mobilenet", mobilenet_v5("timm_model"), inputs="images")
    assert encoder.parameters() == PARAMETERS
    assert encoder.forward_flops(Batch(1, image_size=size)) == FLOPS[size]


@pytest.fixture
def blind(monkeypatch):
    """A Gemma 3n whose encoder of images is not there, since it takes timm."""

    class Automatic:
        @staticmethod
        def from_config(config):
            sees = config.model_type == "gemma3n_vision"
            return nn.Identity() if sees else transformers.AutoModel.from_config(config)

    monkeypatch.setattr(modeling_gemma3n, "AutoModel", Automatic)
    model_type, fields, _ = WITH_TIMM["gemma3n"]
    return build("gemma3n", config=transformers.AutoConfig.for_model(model_type, **fields))


@pytest.mark.parametrize("batch", [Batch(2, 40, images=0, clips=0), Batch(2, 40, 71, images=0, clips=4)])
def test_gemma_3n_without_an_image_costs_what_its_class_runs(blind, batch):
    architecture = counted_as_it_runs(blind.config)
    assert architecture.parameters() == blind.num_parameters() + PARAMETERS
    measured = measure(blind, real_data=True, **inputs_of(blind, batch, torch.device("cpu")))
    expected = architecture.forward_flops(batch), training_flops(architecture, batch)
    assert (measured.forward_flops, measured.training_flops) == expected


def test_an_image_adds_its_encoder_and_256_rows_of_the_projector():
    model_type, fields, _ = WITH_TIMM["gemma3n"]
    architecture = architecture_of({"model_type": model_type, **fields})
    two, none = (architecture.forward_flops(Batch(1, 600, images=images, clips=0)) for images in (2, 0))
    # 2 x 256 rows x 2048 x 64 for each image.
    assert two - none == 2 * (FLOPS[768, 768] + 2 * 256 * 2048 * 64)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"vision_config": {"architecture": "resnet50"}}, "architecture"),
        ({"vision_config": {"hidden_size": 1024}}, "hidden_size"),
        ({"vision_config": {"model_args": {"channel_multiplier": 0.5}}}, "model_args"),
        ({"audio_config": {"conf_attention_context_right": 2}}, "conf_attention_context_right"),
        ({"audio_config": {"sscp_conv_channel_size": [128]}}, "sscp_conv_channel_size"),
    ],
)
def test_a_gemma_3n_that_is_built_otherwise_is_refused(changes, field):
    model_type, fields, _ = WITH_TIMM["gemma3n"]
    with pytest.raises(ConfigError, match=f"{field}"):
        architecture_of({"model_type": model_type, **fields, **changes})


E4B = {"model_type": "gemma3n", "text_config": {"model_type": "gemma3n_text"}, "vision_config": {}, "audio_config": {}}


def test_gemma_3n_e4b_has_its_published_parameters():
    # The published files hold 7,849,978,192. Of those the class leaves out what the last 15 layers, which use keys and
    # values of others, have no use for: 15 x (2 matrices of 2048 x 512 and a norm of 256) = 31,461,120.
    assert architecture_of(E4B).parameters() == 7_849_978_192 - 15 * (2 * 2048 * 512 + 256)


def test_seconds_of_a_sound_are_a_hundred_frames_each_beside_images_or_alone():
    heard = flopwatch.estimate(E4B, seq_len=512, images=0, seconds=10)
    assert (heard.batch.source_len, heard.notes) == (1000, ())
    assert heard.forward_flops == flopwatch.estimate(E4B, seq_len=512, images=0, source_len=1000).forward_flops
    both = flopwatch.estimate(E4B, seq_len=1024, seconds=10).forward_flops
    seen = flopwatch.estimate(E4B, seq_len=1024).forward_flops
    text = flopwatch.estimate(E4B, seq_len=1024, images=0)
    assert text.notes == ("text alone: no image is counted",)
    heard = flopwatch.estimate(E4B, seq_len=1024, images=0, seconds=10).forward_flops
    assert both - seen == heard - text.forward_flops > 0


def test_a_gemma_4_without_encoders_is_its_text_and_one_that_only_hears_is_refused():
    model_type, fields, _ = GEMMAS["gemma4"]
    alone = {"model_type": model_type, **fields, "vision_config": None, "audio_config": None}
    config = transformers.AutoConfig.for_model(**alone)
    model, batch = build("gemma4", config=config), Batch(2, 40)
    architecture = counted_as_it_runs(alone)
    assert (architecture.inputs, architecture.parameters()) == ("tokens", model.num_parameters())
    measured = measure(model, real_data=True, input_ids=torch.full((2, 40), 2), use_cache=False)
    assert measured.training_flops == training_flops(architecture, batch)
    with pytest.raises(ConfigError, match="'vision_config'"):
        architecture_of({**alone, "audio_config": {}})
