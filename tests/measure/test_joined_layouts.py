"""Classes that read tiles or windows: what is measured without data is what torch's counter sees of a real pass."""

import pytest
import transformers

from flopwatch.errors import ArgumentError
from flopwatch.measure.huggingface import build, measured
from flopwatch.measure.inputs import inputs_of
from flopwatch.measure.joined_layouts import JOINED_LAYOUTS, _tiling
from flopwatch.model.batch import Batch
from tests.measure.real_passes import BERT, CPU, TEXT, both_counts

GQA = {**TEXT, "num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
SIGLIP = {**BERT, "image_size": 32, "patch_size": 8, "model_type": "siglip_vision_model"}
WHISPER = {**BERT, "num_mel_bins": 20, "max_source_positions": 48}
MOLMO = {**BERT, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}

# name: (config, tokens of each image or sound, batches with them)
CASES = {
    "granite_docling": (
        {
            "text_config": GQA,
            "vision_config": {**BERT, "image_size": 32, "patch_size": 4, "out_hidden_size": 32, "scale_factor": 4}
            | {"deepstack_visual_indexes": [0], "use_fine_route": False},
            "image_token_id": 100,
            "pad_token_id": 0,
        },
        [Batch(2, 24, images=2), Batch(2, 40, images=3)],
    ),
    "modernvbert": (
        {
            "text_config": {**TEXT, **IDS, "model_type": "modernbert"},
            "vision_config": SIGLIP,
            "image_token_id": 100,
            "pixel_shuffle_factor": 2,
        },
        [Batch(2, 24, images=2), Batch(2, 40, images=4)],
    ),
    "ultravbert": (
        {"text_config": GQA, "vision_config": {**SIGLIP, "vision_use_head": False}, "image_token_id": 100}
        | {"pixel_shuffle_factor": 2},
        [Batch(2, 24, images=2), Batch(2, 40, images=4)],
    ),
    "molmo2": (
        {
            "text_config": {**GQA, "additional_vocab_size": 8, "intermediate_size": 48},
            "vision_config": {**MOLMO, "patch_size": 2, "image_size": [24, 24]},
            "adapter_config": {
                **MOLMO,
                "vision_feature_layer": [1, 0],
                "text_hidden_size": 32,
                "intermediate_size": 40,
            },
            "image_patch_id": 110,
        },
        [Batch(2, 90, images=2), Batch(2, 200, images=2, image_size=(40, 30))],
    ),
    "video_llama_3": (
        {
            "text_config": {**GQA, "model_type": "qwen2"},
            "vision_config": {**BERT, "patch_size": 4, "model_type": "video_llama_3_vision"},
            "image_token_id": 100,
            "video_token_id": 101,
        },
        [Batch(2, 40, images=2, image_size=(16, 24)), Batch(2, 90, images=4, image_size=(20, 8))],
    ),
    "moss_transcribe_diarize": (
        {"text_config": {**GQA, "model_type": "qwen3"}, "audio_config": WHISPER, "audio_token_id": 100},
        [Batch(2, 30), Batch(2, 60, 230, clips=2)],
    ),
    "musicflamingo": (
        {
            "text_config": {**GQA, "model_type": "qwen2"},
            "audio_config": {**WHISPER, "model_type": "audioflamingo3_encoder"},
            "audio_token_id": 100,
        },
        [Batch(2, 60), Batch(2, 90, 230, clips=2)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_measured_is_what_a_real_pass_runs_and_more_than_its_text(name):
    config, batches = CASES[name]
    for batch in batches:
        ours, theirs = both_counts(name, config, batch)
        assert ours == theirs
        text, _ = both_counts(name, config, Batch(batch.sequences, batch.seq_len, images=0, clips=0))
        assert ours[0] > text[0]


def test_an_image_of_molmo_is_cut_into_tiles_that_overlap_and_the_whole():
    config = transformers.AutoConfig.for_model("molmo2", **CASES["molmo2"][0])
    model = transformers.Molmo2ForConditionalGeneration(config)
    # 12 x 12 patches of 2 pixels, of which tiles share 4 at each side: windows of 8 pixels beyond margins of 16. An
    # image of 40 x 30 has 24 x 14 within the margins: 3 x 2 tiles are 1.0 and 1.14 times as large.
    given = inputs_of(model, Batch(1, 200, image_size=(40, 30)), CPU)
    # 3 x 4 + 8 = 20 patches by 2 x 4 + 8 = 16, two by two a token.
    assert given["image_grids"].tolist() == [[6, 6, 10, 8]]
    assert given["pixel_values"].shape == (7, 144, 12)
    pooled = given["image_token_pooling"]
    assert pooled.shape == (36 + 80, 4)
    assert pooled.unique().numel() == 144 + 20 * 16, "every patch of the image once, and the whole of it"
    assert _tiling((24, 24), 12, 2) == (1, 1)
    assert _tiling((2000, 1000), 12, 2) == (4, 2), "an image that is too large is made as little smaller as can be"


def test_a_long_sound_has_windows_of_which_the_last_one_is_filled_up():
    config = transformers.AutoConfig.for_model("musicflamingo", **CASES["musicflamingo"][0])
    model = transformers.MusicFlamingoForConditionalGeneration(config)
    given = inputs_of(model, Batch(1, 90, 230, clips=1), CPU)
    # 96 + 96 + 38 frames; 24 + 24 + 9 tokens.
    assert given["input_features_mask"].sum(-1).tolist() == [96, 96, 38]
    assert int((given["input_ids"] == 100).sum()) == 57


def test_what_does_not_fit_the_text_is_refused():
    for name, batch in (("molmo2", Batch(1, 60)), ("musicflamingo", Batch(1, 20)), ("granite_docling", Batch(1, 4))):
        config, _ = CASES[name]
        values = transformers.AutoConfig.for_model(name, **config).to_dict()
        with pytest.raises(ArgumentError, match="expected a longer --seq-len"):
            measured(build({**values, "architectures": None}), batch, "full")


def test_every_layout_here_has_a_case():
    assert set(JOINED_LAYOUTS) <= set(CASES)
