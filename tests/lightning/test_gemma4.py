"""Gemma 4's batches in real fits: videos, images beside them, and images whose tokens are not told."""

import pytest
import torch

from flopwatch.model.backward import training_flops
from flopwatch.model.batch import Batch
from flopwatch.model.families import architecture_of
from tests.lightning.test_families import Whole
from tests.lightning.test_kinds_of_work import fit
from tests.model.families.composites import build, cases, config_of

pytestmark = pytest.mark.slow
IMAGE, VIDEO = 300, 301


def patches_of(grids, rows, name):
    """Patches and places of images or frames, filled up."""
    places = torch.full((len(grids), rows, 2), -1)
    for place, (_, height, width) in zip(places, grids, strict=True):
        place[: height * width] = torch.cartesian_prod(torch.arange(height), torch.arange(width)).flip(-1)
    pixels = "pixel_values" if name == "image" else "pixel_values_videos"
    return {pixels: torch.ones(len(grids), rows, 48), f"{name}_position_ids": places}


def words(length, *places):
    """Two sequences, the first of which holds so many tokens of each kind, one word apart."""
    ids, at = torch.full((2, length), 2), 1
    for token, count in places:
        ids[0, at : at + count] = token
        at += count + 1
    kinds = (ids == IMAGE).long() + 2 * (ids == VIDEO).long()
    return {"input_ids": ids, "mm_token_type_ids": kinds, "use_cache": False}


FRAMES = ((1, 4, 4),) * 3
FILM = {
    **words(60, *[(VIDEO, 4)] * 3),
    **patches_of(FRAMES, 20, "video"),
    "num_frames_per_video": torch.tensor([3]),
}
SEEN = Batch(2, 60, patches=20, grids=FRAMES, clips=0)


def test_frames_of_a_video_count_as_images_do(tmp_path):
    run = fit(tmp_path, Whole(build("gemma4", attention=None)), [FILM] * 2)
    assert run.work.verification == "verified", run.work.note
    assert run.end.totals.flops == 2 * training_flops(architecture_of(config_of("gemma4")), SEEN)


def test_images_and_videos_that_are_filled_up_alike_are_one_batch_and_others_are_watched(tmp_path):
    image = ((1, 4, 2),)
    alike, other = (
        {
            **words(60, (IMAGE, 2), *[(VIDEO, 4)] * 3),
            **patches_of(FRAMES, 20, "video"),
            **patches_of(image, rows, "image"),
            "num_frames_per_video": torch.tensor([3]),
        }
        for rows in (20, 32)
    )
    architecture = architecture_of(config_of("gemma4"))
    first = training_flops(architecture, Batch(2, 60, patches=20, grids=(*image, *FRAMES), clips=0))
    run = fit(tmp_path / "alike", Whole(build("gemma4", attention=None)), [alike] * 2)
    assert run.work.verification == "verified", run.work.note
    assert run.end.totals.flops == 2 * first
    mixed = fit(tmp_path / "mixed", Whole(build("gemma4", attention=None)), [alike, other])
    # The image alone costs more, filled up to 32 patches in place of 20.
    more = [architecture.encoders().forward_flops(Batch(1, 1, patches=rows, grids=image, clips=0)) for rows in (20, 32)]
    assert mixed.end.totals.flops is None or mixed.end.totals.flops > 2 * first + more[1] - more[0]


def test_where_a_batch_does_not_say_which_tokens_are_images_it_is_watched(tmp_path):
    model = build("gemma4", attention=None)
    _, inputs = next(cases("gemma4", model))
    untold = {name: each for name, each in inputs.items() if name != "mm_token_type_ids"}
    run = fit(tmp_path, Whole(model), [untold] * 2)
    assert run.work.verification == "watched", run.work.note
