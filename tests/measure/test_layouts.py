"""The layouts of images, sounds and time series that small models of Hugging Face really read."""

import pytest
import torch
import transformers

from flopwatch.errors import ArgumentError
from flopwatch.measure.inputs import inputs_of
from flopwatch.model.batch import Batch
from tests.model.families.composites import build

CPU = torch.device("cpu")


def shapes(model, batch):
    return {
        name: tuple(each.shape) for name, each in inputs_of(model, batch, CPU).items() if isinstance(each, torch.Tensor)
    }


def made(name, **fields):
    config = transformers.AutoConfig.for_model(name, **fields)
    with torch.device("meta"):
        return transformers.AutoModel.from_config(config)


def test_images_in_their_own_sizes_are_rows_of_patches_or_filled_up():
    batch = Batch(1, 90, grids=((1, 4, 8), (1, 2, 2)))
    assert shapes(build("qwen2_vl"), batch)["pixel_values"] == (36, 3 * 2 * 4 * 4)
    padded = inputs_of(build("lfm2_vl"), batch, CPU)
    assert padded["pixel_values"].shape == (2, 32, 3 * 8 * 8)
    assert padded["spatial_shapes"].tolist() == [[4, 8], [2, 2]]
    assert padded["pixel_attention_mask"].sum(1).tolist() == [32, 4]
    sized = inputs_of(build("mistral3"), Batch(1, 90, image_size=(32, 64), grids=batch.grids), CPU)
    assert sized["image_sizes"].tolist() == [[32, 64], [16, 16]]


def test_tiles_stand_in_a_row_for_each_sequence_or_each_image():
    assert shapes(build("idefics3"), Batch(2, 40, images=4))["pixel_values"] == (2, 2, 3, 32, 32)
    cut = inputs_of(build("llava_next"), Batch(1, 160, images=6), CPU)
    assert (cut["pixel_values"].shape, cut["image_sizes"].tolist()) == ((2, 3, 3, 32, 32), [[64, 32]] * 2)
    with pytest.raises(ArgumentError, match="a multiple of 3 tiles"):
        inputs_of(build("llava_next"), Batch(1, 160, images=4), CPU)


def test_an_encoder_on_its_own_takes_patches_with_their_grids():
    vision = {"depth": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 8, "patch_size": 4}
    found = shapes(made("qwen2_5_vl_vision", **vision), Batch(1, grids=((1, 4, 8),)))
    assert found["grid_thw"] == (1, 3)
    assert found["hidden_states"] == (32, 3 * 2 * 4 * 4)


def test_frames_of_sound_stand_last_where_a_convolution_runs_over_time():
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    assert shapes(build("voxtral"), Batch(1, 60, 96, clips=2))["input_features"] == (2, 20, 96)
    assert shapes(build("voxtral"), Batch(2, 60))["input_features"] == (2, 20, 96)
    bert = made("wav2vec2-bert", **sizes, feature_projection_input_dim=160)
    assert shapes(bert, Batch(1, source_len=50))["input_features"] == (1, 50, 160)
    waves = made("wav2vec2", **sizes, num_conv_pos_embedding_groups=2)
    assert shapes(waves, Batch(3, source_len=4000))["input_values"] == (3, 4000)
    with pytest.raises(ArgumentError, match=r"samples of each sound \(--source-len\)"):
        inputs_of(waves, Batch(3), CPU)


def test_videos_and_time_series_are_as_long_as_the_config_says():
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    video = made("videomae", **sizes, image_size=32, num_frames=4)
    assert shapes(video, Batch(2))["pixel_values"] == (2, 4, 3, 32, 32)
    series = made("informer", prediction_length=6, context_length=10, lags_sequence=[1, 3], num_time_features=2)
    found = shapes(series, Batch(5))
    assert found["past_values"] == (5, 13)
    assert found["future_time_features"] == (5, 6, 2)
    patches = made("patchtst", context_length=32, num_input_channels=3)
    assert shapes(patches, Batch(5)) == {"past_values": (5, 32, 3)}
