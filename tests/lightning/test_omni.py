"""Models that see and hear in real fits: whatever is in a batch, and the whole of which they are a part."""

import pytest
import torch
import transformers

from flopwatch.model.backward import training_flops
from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of
from tests.lightning.test_families import Whole
from tests.lightning.test_kinds_of_work import fit
from tests.model.families.composites import COMPOSITES, build, config_of

pytestmark = pytest.mark.slow
THINKERS = ["qwen2_5_omni_thinker", "qwen3_omni_moe_thinker"]
IMAGE, VIDEO, SOUND = 300, 301, 302
# Patches of 4 pixels, two frames of three channels.
VALUES = 3 * 2 * 4 * 4


def patches(*grids):
    return torch.randn(sum(frames * height * width for frames, height, width in grids), VALUES), torch.tensor(grids)


def sounds(*lengths, padded):
    """Frames filled up beyond the longest sound, and which of them are none."""
    mask = torch.arange(padded)[None] < torch.tensor(lengths)[:, None]
    return {"input_features": torch.randn(len(lengths), 20, padded), "feature_attention_mask": mask.int()}


def text(length, *places):
    """Words, and places for images and sounds between the tokens that begin and end them; the second row is padded."""
    ids = torch.full((2, length), 2)
    at = 1
    for token, count in places:
        begins = 305 if token == SOUND else 303
        ids[0, at], ids[0, at + 1 : at + 1 + count], ids[0, at + 1 + count] = begins, token, begins + 1
        at += count + 2
    mask = torch.ones_like(ids)
    mask[1, -5:] = 0
    return {"input_ids": ids, "attention_mask": mask, "use_cache": False}


def heard(name, length):
    """Tokens of a sound that is shorter than a piece: two convolutions and a pooling by two, or three of them."""
    if name == "qwen2_5_omni_thinker":
        return (SOUND, ((length - 1) // 2 + 1) // 2)  # 20 are 10, 5; 9 are 5, 2
    return (SOUND, -(-length // 8))


def batches(name):
    """What a batch holds with its shape: all of it, a video alone, sounds alone, text alone, images alone."""
    images, of_images = patches((1, 4, 8), (1, 8, 4))
    video, of_video = patches((3, 4, 4))
    pixels = {"pixel_values": images, "image_grid_thw": of_images}
    film = {"pixel_values_videos": video, "video_grid_thw": of_video, "video_second_per_grid": torch.ones(1)}
    seen, shown, spoken = [(IMAGE, 8)] * 2, [(VIDEO, 12)], [heard(name, 20), heard(name, 9)]
    yield (
        {**text(60, *seen, *shown, *spoken), **pixels, **film, **sounds(20, 9, padded=24)},
        Batch(2, 60, grids=((1, 4, 8), (1, 8, 4), (3, 4, 4)), sounds=(20, 9), source_len=20),
    )
    yield {**text(30, *shown), **film}, Batch(2, 30, grids=((3, 4, 4),), clips=0)
    yield {**text(30, *spoken), **sounds(20, 9, padded=30)}, Batch(2, 30, 20, images=0, sounds=(20, 9))
    yield text(25), Batch(2, 25, images=0, clips=0)
    yield {**text(41, *seen), **pixels}, Batch(2, 41, grids=((1, 4, 8), (1, 8, 4)), clips=0)


@pytest.mark.parametrize("name", THINKERS)
def test_every_kind_of_batch_is_verified_and_summed(tmp_path, name):
    given = list(batches(name))
    run = fit(tmp_path, Whole(build(name, attention="sdpa")), [inputs for inputs, _ in given] * 2)
    assert run.work.verification == "verified", run.work.note
    architecture = architecture_of(config_of(name))
    assert run.end.totals.flops == 2 * sum(training_flops(architecture, shape) for _, shape in given)


@pytest.mark.parametrize("name", THINKERS)
def test_a_sound_whose_length_is_not_told_is_watched(tmp_path, name):
    class Masked(Whole):
        def training_step(self, batch, batch_idx):
            mask = torch.ones(batch["input_features"].shape[0], batch["input_features"].shape[2], dtype=torch.long)
            return super().training_step({**batch, "feature_attention_mask": mask}, batch_idx)

    inputs = {**text(30, heard(name, 20), heard(name, 20)), **sounds(20, 20, padded=20)}
    del inputs["feature_attention_mask"], inputs["attention_mask"]  # which would be a mask of all pairs
    run = fit(tmp_path, Masked(build(name, attention="sdpa")), [inputs] * 4)
    assert run.work.verification == "watched", run.work.note
    architecture = architecture_of(config_of(name))
    assert run.end.totals.flops == 4 * training_flops(architecture, Batch(2, 30, 20, images=0, clips=2))


def test_a_thinker_inside_of_the_whole_is_found_and_the_whole_is_not_taken_for_it(tmp_path):
    model_type, fields, _ = COMPOSITES["qwen2_5_omni_thinker"]
    thinker = {"model_type": model_type, **fields}
    whole = transformers.Qwen2_5OmniConfig(thinker_config=thinker, enable_audio_output=False)
    model = transformers.Qwen2_5OmniForConditionalGeneration(whole)
    inputs, shape = list(batches(model_type))[1]
    run = fit(tmp_path, Whole(model.thinker), [inputs] * 2)
    assert run.work.verification == "verified", run.work.note
    assert run.end.totals.flops == 2 * training_flops(architecture_of(whole), shape)
