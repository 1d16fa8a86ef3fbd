"""Rows of images, videos and sounds by hand, and what a batch's values say of them."""

from dataclasses import replace

import pytest

from flopwatch.model.batch import Batch
from flopwatch.model.media import (
    Clips,
    FilledImages,
    Grids,
    PaddedPatches,
    TellsGrids,
    TellsPadding,
    TellsPixels,
    TellsTiles,
)


def test_every_frame_attends_by_itself_and_four_patches_are_one_token():
    batch = Batch(1, 40, grids=((1, 4, 6), (3, 2, 4)))
    rows = Grids(14, 2)
    assert list(rows.spans(batch)) == [(24, 1), (8, 3)]
    assert rows.count(batch) == 48
    assert rows.tokens().count(batch) == 12
    assert list(Grids(14, together=True).spans(batch)) == [(48, 1)]


def test_windows_at_an_edge_are_smaller():
    # 6 x 10 patches in windows of 4 x 4: 2 whole ones, one of 4 x 2, two of 2 x 4, one of 2 x 2.
    spans = Grids(14, 2, window=4).spans(Batch(1, 40, grids=((1, 6, 10),)))
    assert sorted(spans) == [(4, 1), (8, 1), (8, 2), (16, 2)]


def test_an_image_size_is_rounded_to_whole_tokens_as_processors_do():
    rows = Grids(14, 2)
    # 1000 / 28 = 35.7, 700 / 28 = 25.
    assert rows.of(Batch(2, 40, image_size=(1000, 700))) == ((1, 72, 50),) * 2
    assert rows.of(Batch(2, 40)) == ()
    assert rows.count(Batch(2, 40, images=0, image_size=(56, 56))) == 0


def test_patches_are_filled_up():
    rows = PaddedPatches(Grids(16, 2))
    batch = Batch(2, 40, patches=256, grids=((1, 4, 8), (1, 8, 4), (1, 2, 2)))
    assert list(rows.spans(batch)) == [(256, 3)]
    assert list(rows.spans(Batch(2, 40, grids=((1, 4, 8), (1, 2, 2))))) == [(32, 2)]
    assert rows.count(Batch(2, 40)) == 0


def test_images_are_filled_up_to_the_largest_height_and_width():
    rows = FilledImages(Grids(16, 2))
    # 4 x 8 and 6 x 2 patches fit into 6 x 8; a tensor of 112 x 160 pixels has 7 x 10.
    batch = Batch(2, 40, grids=((1, 4, 8), (1, 6, 2)))
    assert list(rows.spans(batch)) == [(48, 2)]
    assert list(rows.spans(replace(batch, image_size=(112, 160)))) == [(70, 2)]
    # Of a size that is planned as processors round it: 100 / 32 = 3.1 and 60 / 32 = 1.9 tokens, 6 x 4 patches.
    planned = Batch(2, 40, image_size=(100, 60), images=3)
    assert list(rows.spans(planned)) == [(24, 3)]
    # Rounded up it is 4 x 2 tokens, 8 x 4 patches.
    assert list(FilledImages(Grids(16, 2, up=True)).spans(planned)) == [(32, 3)]
    assert rows.count(Batch(2, 40)) == rows.count(Batch(2, 40, images=3)) == 0


def test_sounds_become_shorter_with_every_convolution():
    # 400 samples: (400 - 10) // 5 + 1 = 79, then (79 - 3) // 2 + 1 = 39.
    rows = Clips(((10, 5, 0),)).after((3, 2, 0))
    assert list(rows.spans(Batch(2, source_len=400))) == [(39, 2)]
    assert list(rows.spans(Batch(2, source_len=400, clips=3))) == [(39, 3)]
    assert rows.count(Batch(2, 40)) == 0


def test_what_values_say_of_images():
    batch = Batch(2, 40, image_size=(64, 96), images=3)
    grids = TellsGrids().applied(batch, {"image_grid_thw": [[1, 4, 4]], "video_grid_thw": [[2, 4, 6]]})
    assert (grids.grids, grids.image_count) == (((1, 4, 4), (2, 4, 6)), 2)
    assert TellsGrids().applied(batch, {}).image_count == 0
    assert TellsGrids(("spatial_shapes",)).applied(batch, {"spatial_shapes": [[3, 5]]}).grids == ((1, 3, 5),)
    pixels = TellsPixels(16).applied(batch, {"image_sizes": [[64, 90], [32, 32], [48, 64]]})
    assert pixels.grids == ((1, 4, 5), (1, 2, 2), (1, 3, 4))
    assert TellsPixels(16).applied(batch, {}).grids == ((1, 4, 6),) * 3
    assert TellsPadding().applied(batch, {"pixel_attention_mask": [1, 0, 1, 1]}).image_count == 3
    assert TellsPadding().applied(batch, {}) is None, "which of the three are padding is not told"
    for images in (0, 1):
        assert TellsPadding().applied(replace(batch, images=images), {}).image_count == images


def test_tiles_of_an_image_are_those_that_transformers_cuts():
    pytest.importorskip("transformers")
    from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

    resolutions = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
    tells = TellsTiles(tuple(map(tuple, resolutions)), 336)
    sizes = [(height, width) for height in (40, 300, 336, 700, 1500) for width in (50, 333, 640, 672, 2000)]
    expected = [image_size_to_num_patches(size, resolutions, 336) for size in sizes]
    assert [tells.count(*size) for size in sizes] == expected
    batch = Batch(1, 40, image_size=(336, 336), images=99)
    assert tells.applied(batch, {"image_sizes": sizes}).image_count == sum(expected)
    alone = tells.applied(batch, {"image_sizes": sizes[:3], "batch_num_images": [1, 2]})
    assert alone.image_count == expected[0] + 2


def test_images_that_are_planned_are_cut_into_tiles():
    tells = TellsTiles(((64, 32), (64, 64)), 32)
    planned = tells.planned(Batch(1, 40, image_size=(60, 60), images=3))
    assert (planned.images, planned.image_size) == (3 * 5, (32, 32))
    tiles = Batch(1, 40, image_size=(32, 32), images=3)
    assert tells.planned(tiles) is tiles
    assert TellsGrids().planned(tiles) is tiles


def test_frames_of_a_video_become_one_by_twos():
    rows = Grids(14, 2, frames=2)
    assert rows.of(Batch(1, 40, image_size=(56, 56), frames=5)) == ((3, 4, 4),)
    assert rows.of(Batch(1, 40, image_size=(56, 56))) == ((1, 4, 4),)
