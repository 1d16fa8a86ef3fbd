import types

import pytest
import torch

from flopwatch.errors import ArgumentError
from flopwatch.measure.maker import Maker
from flopwatch.model.batch import Batch


def maker(batch, **fields):
    config = types.SimpleNamespace(**{"patch_size": 4, "image_size": 16, **fields})
    return Maker(types.SimpleNamespace(config=config), batch, torch.device("meta"))


def test_places_of_images_follow_the_first_word_of_every_sequence():
    words = maker(Batch(2, 6, images=4)).words_with(9, 2)
    assert words.tolist() == [[2, 9, 9, 9, 9, 2]] * 2
    with pytest.raises(ArgumentError, match="its images stand for 6 tokens of a sequence"):
        maker(Batch(2, 6, images=4)).words_with(9, 3)


def test_images_have_the_batch_s_size_the_given_one_or_the_config_s():
    assert maker(Batch(2)).pixels().shape == (2, 3, 16, 16)
    assert maker(Batch(2)).pixels((8, 12)).shape == (2, 3, 8, 12)
    assert maker(Batch(2, image_size=(20, 24))).pixels((8, 12), 5).shape == (2, 5, 3, 20, 24)


def test_patches_are_in_whole_tokens_of_the_text():
    pixels, grids = maker(Batch(3, image_size=(18, 32)), spatial_merge_size=2).patches()
    assert grids.tolist() == [[1, 4, 8]] * 3
    assert pixels.shape == (3 * 32, 3 * 4 * 4)


@pytest.mark.parametrize(("name", "said"), [("length", "--seq-len"), ("source", "--source-len")])
def test_what_is_lacking_names_its_option(name, said):
    with pytest.raises(ArgumentError, match=said):
        getattr(maker(Batch(1)), name)
