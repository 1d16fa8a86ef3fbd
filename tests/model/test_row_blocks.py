"""Rows of sounds by hand."""

from dataclasses import replace

from flopwatch.model.batch import Batch
from flopwatch.model.media import Clips
from flopwatch.model.row_blocks import Bands, Blocks, InPieces, Longer, Once, Where


def test_sounds_in_blocks_and_bands():
    batch, halved = Batch(2, 40, 50, clips=3), Clips(((3, 2, 1),))
    # 50 frames are 25 positions: in blocks of 6 there are five, of which each sees 10; and 25 x 8 bands.
    assert list(Blocks(halved, 6).spans(batch)) == [(6, 15)]
    assert list(Blocks(halved, 6, 10).spans(batch)) == [(10, 15)]
    assert list(Bands(halved, 8).spans(batch)) == [(200, 3)]
    assert Once(13, halved).count(batch) == 13, "for all sounds together"
    assert Once(13, halved).count(replace(batch, clips=0)) == 0


def test_long_sounds_are_cut_into_pieces_of_which_the_last_one_is_filled_up():
    rows = InPieces(Clips(), 500)
    assert list(rows.spans(Batch(2, source_len=500, clips=3))) == [(500, 3)]
    assert list(rows.spans(Batch(2, source_len=1001, clips=3))) == [(500, 9)]
    assert list(Longer(rows, 2).spans(Batch(2, source_len=1001, clips=3))) == [(502, 9)]


def test_rows_of_batches_with_images_or_without():
    sounds, both = Batch(2, 40, 50), Batch(2, 40, 50, grids=((1, 2, 2),))
    found = [[Where(Clips(), images=images).count(batch) for batch in (sounds, both)] for images in (False, True)]
    assert found == [[100, 0], [0, 100]]
