"""What a model is called with: tokens in whose place its encoder's features go, images in its layout."""

from types import SimpleNamespace

import pytest
import torch
import transformers

from flopwatch.errors import ArgumentError, MeasurementError
from flopwatch.measure.inputs import inputs_of, leaves_images_out
from flopwatch.model.batch import Batch
from tests.model.families.composites import build
from tests.model.families.models import build as build_plain

CPU = torch.device("cpu")


def test_as_many_tokens_stand_for_an_image_as_its_encoder_gives():
    inputs = inputs_of(build("qwen2_5_vl"), Batch(2, 40, grids=((1, 4, 8), (2, 8, 4))), CPU)
    # 4 x 8 patches are 8 tokens; of two frames 8 x 4 patches 16.
    assert (inputs["input_ids"] == 300).sum(1).tolist() == [8, 16]
    assert inputs["pixel_values"].shape == (32 + 64, 3 * 2 * 4 * 4)
    assert inputs["image_grid_thw"].tolist() == [[1, 4, 8], [2, 8, 4]]


def test_images_of_a_sequence_stand_apart():
    inputs = inputs_of(build("llava"), Batch(1, 40, image_size=(32, 32), images=2), CPU)
    (kinds,) = (inputs["input_ids"] == 300).int()
    assert kinds.diff().tolist().count(1) == 2


def test_images_that_do_not_fit_are_named():
    with pytest.raises(ArgumentError, match="up to 17 tokens of a sequence; expected a longer --seq-len, got 12"):
        inputs_of(build("llava"), Batch(1, 12, image_size=(32, 32), images=1), CPU)


def test_text_alone_where_there_are_no_images():
    assert "pixel_values" not in inputs_of(build("qwen2_vl"), Batch(2, 12), CPU)
    assert "pixel_values" not in inputs_of(build("llava"), Batch(2, 12, images=0), CPU)


@pytest.mark.parametrize(
    ("name", "batch", "out"),
    [
        # Images of Qwen2-VL and Pixtral have sizes of their own, those of LLaVA the size of the config.
        *((name, Batch(2, 40), True) for name in ("qwen2_vl", "mistral3", "lfm2_vl")),
        *((name, Batch(2, 40), False) for name in ("llava", "llava_next", "internvl", "aya_vision")),
        *((name, Batch(2, 40, images=0), True) for name in ("qwen2_vl", "llava")),
        *((name, Batch(2, 40, images=2, image_size=(32, 32)), False) for name in ("qwen2_vl", "mistral3")),
    ],
)
def test_images_that_are_left_out_are_known(name, batch, out):
    assert leaves_images_out(build(name, device="meta"), batch) is out


def test_a_model_without_eyes_leaves_no_images_out():
    assert not leaves_images_out(build_plain("llama"), Batch(2, 40, images=0))


def test_images_in_rows_have_a_mask_that_says_that_none_is_padding():
    inputs = inputs_of(build("idefics3"), Batch(2, 40, image_size=(32, 32), images=4), CPU)
    assert inputs["pixel_values"].shape == (2, 2, 3, 32, 32)
    assert inputs["pixel_attention_mask"].shape == (2, 2, 32, 32)
    assert inputs["pixel_attention_mask"].all()


def test_encoders_and_decoders_need_both_lengths():
    model = build_plain("t5")
    assert {"input_ids", "decoder_input_ids"} <= set(inputs_of(model, Batch(2, 12, 7), CPU))
    with pytest.raises(ArgumentError, match="--source-len"):
        inputs_of(model, Batch(2, 12), CPU)
    with pytest.raises(ArgumentError, match="--seq-len"):
        inputs_of(build_plain("llama"), Batch(2), CPU)


def test_what_is_read_under_a_name_of_its_own_is_unknown():
    class Strange(torch.nn.Module):
        main_input_name, config = "latents", SimpleNamespace()

        def forward(self, latents):
            return latents

    with pytest.raises(MeasurementError, match="Strange reads 'latents', whose shape is unknown"):
        inputs_of(Strange(), Batch(1, 4), CPU)


def test_words_have_places_on_a_page():
    config = transformers.LayoutLMConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=32)
    with torch.device("meta"):
        model = transformers.LayoutLMModel(config)
    assert inputs_of(model, Batch(2, 12), CPU)["bbox"].shape == (2, 12, 4)
