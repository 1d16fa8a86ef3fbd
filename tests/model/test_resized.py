"""Images as processors resize and cut them, by hand and by the processors themselves."""

from dataclasses import replace

from flopwatch.model.batch import Batch, PerImage
from flopwatch.model.resized import OfTiles, TellsPlaces, TellsUseful, Tiled


def test_the_place_of_the_last_patch_tells_the_grid():
    batch, places = Batch(2, 40, patches=60), {"image_position_ids": [[5, 3], [0, 0]], "video_position_ids": [[1, 2]]}
    tells = TellsPlaces(16, 3)
    assert tells.applied(batch, places).grids == ((1, 4, 6), (1, 1, 1), (1, 3, 2))
    assert tells.applied(batch, {"mm_token_type_ids": [[0]]}).image_count == 0
    by_kind = TellsPlaces(16, 3, by_kind=True)
    assert by_kind.applied(batch, places) is None, "which tokens see each other forwards is not told"
    assert by_kind.applied(batch, {**places, "mm_token_type_ids": [[0]]}).image_count == 3
    assert by_kind.applied(batch, {}).image_count == 0


def test_images_that_are_planned_are_resized_as_gemma_4s_processor_does():
    tells = TellsPlaces(16, 3)
    # Squares of 48 pixels, 280 at most: 16.7 x 16.7, 9.7 x 29.0 and 0.8 x 334 of them, rounded down.
    for size, height, width in (
        ((768, 768), 48, 48),
        ((400, 1200), 27, 84),
        ((10, 4000), 3, 840),
        ((4000, 10), 840, 3),
    ):
        planned = tells.planned(Batch(2, 400, image_size=size, images=3))
        assert (planned.grids, planned.patches, planned.image_count) == (((1, height, width),) * 3, 2520, 3)
    # A frame has 70 at most: 8.4 x 8.4.
    video = tells.planned(Batch(1, 400, image_size=(768, 768), frames=4))
    assert (video.grids, video.patches) == (((1, 24, 24),) * 4, 630)
    for alone in (Batch(2, 40), Batch(2, 40, image_size=(64, 64), images=0)):
        assert tells.planned(alone) is alone


def test_of_tiles_the_useful_tokens_are_those_that_the_mask_keeps():
    # 32 pixels, patches of 8: 2 x 2 tokens a tile. Of two tiles beside each other the sums of two rows each.
    tells = TellsUseful(32, 8)
    batch, whole = Batch(2, 60, image_size=(32, 32), images=6), [2, 2]
    values = {
        "image_sizes": [[32, 64], [64, 32]],
        "image_attention_mask": [[whole, [2, 0], [1, 0]], [whole, [1, 1], [1, 0]]],
    }
    assert tells.applied(batch, values).grids == ((1, 1, 3), (1, 3, 1))
    assert tells.applied(replace(batch, images=0), {}).image_count == 0
    assert tells.applied(batch, {"image_sizes": [[32, 64]]}) is None, "what of the tiles holds an image is not told"


def test_images_that_are_planned_are_cut_into_tiles_as_phi_4s_processor_does():
    tells = TellsUseful(448, 14)
    # 2 x 3 tiles and the whole. 900 pixels become 1344, 500 of them 746, so that 150 // 14 = 10 of 64 patches are a
    # border: 54 / 2 x 96 / 2 tokens.
    planned = tells.planned(Batch(1, 4000, image_size=(500, 900), images=2))
    assert (planned.images, planned.image_size, planned.grids) == (14, (448, 448), ((1, 27, 48),) * 2)
    # Of 8 x 8 tiles, more than 36, the same proportions in 6 x 6.
    assert tells.planned(Batch(1, 1, image_size=(3584, 3584))).grids == ((1, 96, 96),)
    # Half of an image that is 1 : 40 would be 1 : 36, the longest there is.
    assert tells.planned(Batch(1, 1, image_size=(448, 17920))).images == 37
    alone = Batch(1, 40)
    assert tells.planned(alone) is alone


def test_an_images_tokens_are_those_of_its_tiles_with_ends_of_rows_and_of_the_whole():
    batch = Batch(1, 60, images=5, grids=((1, 3, 2), (1, 2, 2)))
    # 3 x (2 + 1) + 1 + 2 x (2 + 1) and one row less.
    assert Tiled(2).count(batch) == 16 + 13
    assert OfTiles(PerImage(4)).count(batch) == 20
    assert OfTiles(PerImage(4)).count(replace(batch, grids=())) == 0, "without an image's size nothing is seen"
