"""Pieces of sounds by hand, and what a batch's values say of them."""

from flopwatch.model.batch import Batch
from flopwatch.model.sounds import (
    SOUND_MASK,
    Pieces,
    TellsGridsAndSounds,
    WholeSounds,
    after,
    lengths_of,
)

HALVED = (3, 2, 1)


def spans(rows, batch):
    return sorted(rows.spans(batch))


def test_convolutions_leave_what_they_leave_and_never_less_than_nothing():
    assert after(100, [HALVED]) == 50
    assert after(101, [HALVED, HALVED]) == 26  # 51, 26
    assert after(1, [(2, 2, 0)]) == after(0, [(2, 2, 0), (2, 2, 0)]) == 0


def test_the_lengths_are_the_sounds_own_or_all_the_same():
    assert lengths_of(Batch(2, 40, sounds=(3, 5), source_len=9)) == (3, 5)
    assert lengths_of(Batch(2, 40, 7)) == (7, 7)
    assert lengths_of(Batch(2, 40, 7, clips=3)) == (7, 7, 7)
    assert lengths_of(Batch(2, 40)) == lengths_of(Batch(2, 40, 7, clips=0)) == ()


def test_the_last_piece_of_each_sound_is_shorter():
    batch = Batch(2, 40, sounds=(250, 100, 30))
    # 250 are two pieces of 100 and one of 50; halved 50, 50 and 25.
    assert spans(Pieces(100), batch) == [(30, 1), (50, 1), (100, 1), (100, 2)]
    assert spans(Pieces(100, (HALVED,)), batch) == [(15, 1), (25, 1), (50, 1), (50, 2)]


def test_convolutions_see_every_piece_as_long_as_the_longest():
    rows = Pieces(100, (HALVED,), filled=True)
    # Three pieces, one and one, each of 50 positions.
    assert rows.count(Batch(2, 40, sounds=(250, 100, 30))) == 250
    # Of sounds shorter than a piece the longest counts: 60 halved are 30.
    assert rows.count(Batch(2, 40, sounds=(60, 7))) == 60
    # One sound of a batch whose longest has 60.
    assert rows.count(Batch(1, 1, 60, sounds=(7,))) == 30
    assert Pieces(100, (HALVED,), filled=True, across=4).count(Batch(2, 40, sounds=(60, 7))) == 240
    assert rows.count(Batch(2, 40)) == 0


def test_several_pieces_attend_together():
    # 13 positions for 100 frames, 4 for 30: 3 x 13 + 4 = 43 are 26 and 17; 26 are 26.
    rows = Pieces(100, (HALVED,) * 3, together=2)
    assert spans(rows, Batch(2, 40, sounds=(330, 200))) == [(17, 1), (26, 1), (26, 1)]
    # Without a whole piece in the batch a stretch is twice the longest one's: 8 positions for 60 frames.
    assert spans(rows, Batch(2, 40, sounds=(60, 20))) == [(3, 1), (8, 1)]


def test_a_pooling_goes_over_the_whole_sound():
    # 251 halved are 126, and 63 pairs; 5 are 3, of which one is left over.
    assert spans(WholeSounds((HALVED, (2, 2, 0))), Batch(2, 40, sounds=(251, 5, 1))) == [(1, 1), (63, 1)]


def test_values_tell_of_images_videos_and_sounds():
    told, batch = TellsGridsAndSounds(), Batch(2, 40, images=0, clips=0)
    assert told.applied(batch, {}) == batch
    heard = told.applied(batch, {SOUND_MASK: [300, 120]})
    assert (heard.sounds, heard.source_len, heard.clip_count, heard.image_count) == ((300, 120), 300, 2, 0)
    both = told.applied(batch, {SOUND_MASK: [9], "image_grid_thw": [[1, 4, 8]], "video_grid_thw": [[2, 4, 4]]})
    assert (both.sounds, both.grids) == ((9,), ((1, 4, 8), (2, 4, 4)))
