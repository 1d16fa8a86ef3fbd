"""Phi-4-multimodal's published sizes, its long sounds, and what is refused."""

import pytest
import torch

import flopwatch
from flopwatch.errors import ConfigError
from flopwatch.measure import measure
from flopwatch.measure.inputs import inputs_of
from flopwatch.model.backward import training_flops
from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of
from tests.model.families.composites import build
from tests.model.families.joined_phi4 import PHI4
from tests.model.families.test_composites import counted_as_it_runs

PUBLISHED = {"model_type": "phi4_multimodal", "vocab_size": 200_064, "hidden_size": 3072, "intermediate_size": 8192}
PUBLISHED |= {"num_hidden_layers": 32, "num_attention_heads": 24, "num_key_value_heads": 8, "tie_word_embeddings": True}


def test_its_encoders_have_the_parameters_of_its_report():
    named = list(architecture_of(PUBLISHED).named_leaves())

    def millions(part):
        return sum(leaf.parameters() for path, leaf in named if part in path) / 1e6

    # arXiv 2503.01743, section 2.1: encoder and projector of images 440 million, of sounds 460 million.
    assert millions("image_embed") == pytest.approx(440, rel=0.005)
    assert millions("audio_embed") == pytest.approx(460, rel=0.015)


def test_sounds_of_more_than_500_positions_run_in_filled_up_pieces():
    # 4100 frames are 513 positions: two pieces of 500.
    model, batch = build("phi4_multimodal"), Batch(1, 1100, 4100, images=0, clips=1)
    architecture = counted_as_it_runs(model.config)
    measured = measure(model, real_data=True, **inputs_of(model, batch, torch.device("cpu")))
    expected = architecture.forward_flops(batch), training_flops(architecture, batch)
    assert (measured.forward_flops, measured.training_flops) == expected


def test_an_estimate_counts_images_by_their_size_and_says_where_none_is_counted():
    text = flopwatch.estimate(PUBLISHED, seq_len=4096)
    assert text.notes[0].startswith("text alone: no image is counted; pass --image-size")
    seen = flopwatch.estimate(PUBLISHED, seq_len=4096, image_size=(500, 900))
    assert (seen.notes, seen.batch.images) == ((), 7)
    assert seen.forward_flops > text.forward_flops


@pytest.mark.parametrize(
    ("part", "changes", "field"),
    [
        ("vision_config", {"crop_size": 64}, "crop_size"),
        ("vision_config", {"feature_layer": -9}, "feature_layer"),
        ("audio_config", {"chunk_size": 18}, "chunk_size"),
        ("audio_config", {"downsample_rate": 2}, "downsample_rate"),
        ("audio_config", {"time_reduction": 6}, "time_reduction"),
        ("audio_config", {"ext_pw_out_channel": 32}, "ext_pw_out_channel"),
    ],
)
def test_what_its_closed_form_does_not_cover_is_refused(part, changes, field):
    model_type, fields, _ = PHI4["phi4_multimodal"]
    with pytest.raises(ConfigError, match=f"'{field}'"):
        architecture_of({"model_type": model_type, **fields, part: {**fields[part], **changes}})
