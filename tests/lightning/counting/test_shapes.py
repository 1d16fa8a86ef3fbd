"""What a batch holds, from shapes alone."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from flopwatch.lightning.counting.shapes import (
    Signatures,
    get,
    has_pairs_of_its_own,
    is_images,
    is_plain,
    is_tokens,
    samples_of,
    shape_of,
)
from flopwatch.model.batch import Batch

ONE, TWO = torch.zeros(2, 3), torch.zeros(4, 3)
LONG = torch.zeros(3, 8, dtype=torch.long)


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        ({"input_ids": LONG, "labels": LONG}, (Batch(3, 8), True)),
        ((LONG, LONG), (Batch(3, 8), True)),
        ([LONG, LONG], (Batch(3, 8), True)),
        ((LONG, LONG[:, :1]), (Batch(3, 8), False)),
        (LONG, (Batch(3, 8), False)),
        (LONG.int(), (Batch(3, 8), False)),
        (LONG.float(), (None, False)),
        (LONG.bool(), (None, False)),
        (LONG[0], (None, False)),
        (LONG[:0], (Batch(0, 8), False)),
        ({"pixel_values": LONG}, (None, False)),
        ((), (None, False)),
        (None, (None, False)),
        ("text", (None, False)),
        (7, (None, False)),
    ],
    ids=str,
)
def test_shapes_of_batches(batch, expected):
    assert (shape_of(batch), is_plain(batch)) == expected


def test_a_signature_is_shapes_types_and_what_takes_few_values():
    signatures = Signatures()
    assert signatures.of((ONE, "left", 1)) == signatures.of((torch.ones(2, 3), "left", 1))
    first = signatures.of({"x": ONE, "task": "a"})
    assert first != signatures.of({"x": TWO, "task": "a"})
    assert first != signatures.of({"x": ONE.half(), "task": "a"})
    assert first != signatures.of({"x": ONE, "task": "b"})


def test_a_number_that_keeps_changing_is_no_part_of_a_signature():
    signatures = Signatures()
    seen = [signatures.of({"x": ONE, "number": number}) for number in range(20)]
    assert len(set(seen[:8])) == 8
    assert len(set(seen[8:])) == 1


IMAGES, FRAMES, CLIP = torch.zeros(3, 3, 32, 64), torch.zeros(3, 20, 100), torch.zeros(1, 8, 3, 32, 64)
TEXT, PATCHES, VIDEO = (
    {"input_ids": LONG},
    {"pixel_values": torch.zeros(96, 48)},
    {"pixel_values_videos": torch.zeros(96, 48)},
)
FILLED_UP = {"pixel_values": torch.zeros(2, 96, 48), "image_position_ids": torch.zeros(2, 96, 2, dtype=torch.long)}
FRAMES_OF_VIDEO = {"pixel_values_videos": torch.zeros(5, 24, 48), "video_position_ids": LONG}


@pytest.mark.parametrize(
    ("inputs", "batch", "expected"),
    [
        ("images", IMAGES, Batch(3, image_size=(32, 64))),
        ("images", (IMAGES, LONG), Batch(3, image_size=(32, 64))),
        ("images", {"pixel_values": IMAGES}, Batch(3, image_size=(32, 64))),
        ("images", {"pixel_values": IMAGES.long()}, None),
        (
            "images and tokens",
            {"input_ids": LONG[:2], "pixel_values": IMAGES},
            Batch(2, 8, image_size=(32, 64), images=3),
        ),
        ("images and tokens", {"input_ids": LONG}, Batch(3, 8, images=0)),
        ("images and tokens", {"input_ids": LONG, "photos": IMAGES}, None),
        (
            "images and tokens",
            {"input_ids": LONG, "pixel_values": torch.zeros(3, 5, 3, 32, 64)},
            Batch(3, 8, image_size=(32, 64), images=15),
        ),
        ("images and tokens", {**TEXT, "pixel_values": IMAGES, "pixel_values_videos": CLIP}, None),
        ("images and tokens", {**TEXT, "pixel_values_videos": CLIP}, None),
        ("images and tokens", {**TEXT, "photos": IMAGES.to(torch.uint8)}, None),
        ("images and tokens", {**TEXT, "photos": [IMAGES[0], IMAGES[1]]}, None),
        ("images and tokens", {**TEXT, "attention_mask": torch.zeros(3, 1, 8, 8)}, Batch(3, 8, images=0)),
        ("images and tokens", (LONG, IMAGES), None),
        ("images and tokens", LONG, Batch(3, 8, images=0)),
        ("grids and tokens", {**TEXT, **PATCHES, "image_grid_thw": LONG}, Batch(3, 8, images=0)),
        ("grids and tokens", {**TEXT, **PATCHES}, None),
        ("grids and tokens", {**TEXT, **VIDEO, "video_grid_thw": LONG}, Batch(3, 8, images=0)),
        ("grids and tokens", {**TEXT, **VIDEO, "image_grid_thw": LONG}, None),
        (
            "grids and tokens",
            {**TEXT, "pixel_values": torch.zeros(2, 96, 48), "spatial_shapes": LONG},
            Batch(3, 8, images=0, patches=96),
        ),
        ("grids and tokens", {"input_ids": LONG, "position_ids": LONG.expand(3, 3, 8)}, Batch(3, 8, images=0)),
        ("grids and tokens", {"input_ids": LONG, "photos": IMAGES}, None),
        ("grids and tokens", {**TEXT, **FILLED_UP}, Batch(3, 8, images=0, patches=96)),
        ("grids and tokens", {**TEXT, **FILLED_UP, **FRAMES_OF_VIDEO}, None),  # filled up to two numbers
        ("filled grids, sounds and tokens", {**TEXT, **FILLED_UP}, Batch(3, 8, images=0, patches=96, clips=0)),
        (
            "filled grids, sounds and tokens",
            {**TEXT, **FILLED_UP, "input_features": FRAMES, "input_features_mask": LONG},
            Batch(3, 8, 20, images=0, patches=96, clips=3),
        ),
        (
            "filled grids, sounds and tokens",
            {**TEXT, "input_features": FRAMES},
            None,
        ),  # without a mask nothing is heard
        ("filled grids, sounds and tokens", {**TEXT, "spectrograms": FRAMES}, None),
        (
            "images, sounds and tokens",
            {**TEXT, "image_pixel_values": CLIP, "image_attention_mask": torch.ones(1, 8, 4, 4), "image_sizes": LONG},
            Batch(3, 8, image_size=(32, 64), images=8, clips=0),
        ),
        (
            "images, sounds and tokens",
            {**TEXT, "audio_input_features": FRAMES, "audio_embed_sizes": LONG[0]},
            Batch(3, 8, 20, images=0, clips=3),
        ),
        ("images, sounds and tokens", {**TEXT, "pixel_values": IMAGES, "input_features": FRAMES}, None),
        ("images, sounds and tokens", {**TEXT, "photos": IMAGES}, None),
        ("grids and tokens", (LONG, torch.zeros(96, 48, 2)), None),
        ("sounds and tokens", {**TEXT, "input_features": FRAMES}, Batch(3, 8, 100, clips=3)),
        ("sounds and tokens", TEXT, Batch(3, 8, clips=0)),
        ("sounds and tokens", {**TEXT, "input_features": FRAMES[0]}, None),
        ("sounds and tokens", {**TEXT, "input_features": FRAMES, "pixel_values": IMAGES}, None),
        ("sounds and tokens", {**TEXT, "spectrograms": FRAMES}, None),
        ("source and tokens", {"input_ids": LONG, "labels": LONG[:, :5]}, Batch(3, 5, 8)),
        ("source and tokens", {"input_ids": LONG, "labels": LONG, "decoder_input_ids": LONG[:, :4]}, Batch(3, 4, 8)),
        ("source and tokens", {"input_ids": LONG, "labels": LONG[:2]}, None),
        ("source and tokens", {"input_ids": LONG}, None),
        ("frames and tokens", {"input_features": FRAMES, "labels": LONG}, Batch(3, 8, 100)),
        ("frames and tokens", {"input_features": FRAMES[0], "labels": LONG}, None),
    ],
)
def test_every_kind_of_model_finds_what_it_reads(inputs, batch, expected):
    assert shape_of(batch, inputs) == expected
    if isinstance(batch, dict):
        assert shape_of(SimpleNamespace(**batch), inputs) == expected, "attributes are read as entries are"


@dataclass(slots=True)
class Slotted:
    input_ids: torch.Tensor
    photos: torch.Tensor | None = None


@pytest.mark.parametrize("inputs", ["images and tokens", "grids and tokens", "sounds and tokens"])
def test_of_an_object_with_images_under_another_name_nothing_is_taken_for_text_alone(inputs):
    assert shape_of(Slotted(LONG, IMAGES), inputs) is None
    assert shape_of(Slotted(LONG), inputs).tokens == 24


def test_of_an_object_that_hides_its_tensors_nothing_is_taken_for_text_alone():
    class Hides:
        input_ids = property(lambda self: LONG)

    assert shape_of(Hides(), "images and tokens") is None


def test_a_batch_may_be_an_object_with_attributes():
    batch = SimpleNamespace(input_ids=LONG)
    assert (get(batch, "input_ids") is LONG, get(batch, "labels")) == (True, None)
    assert shape_of(batch) == Batch(3, 8)


@pytest.mark.parametrize(
    ("batch", "own"),
    [
        ({"attention_mask": torch.ones(2, 8)}, False),
        ({"attention_mask": torch.ones(2, 1, 8, 8)}, True),
        (SimpleNamespace(attention_mask=torch.ones(2, 8, 8)), True),
        ({"cu_seqlens": LONG}, True),
        ({"cu_seq_lens_q": LONG, "position_ids": LONG}, False),
        ((LONG, LONG), False),
    ],
)
def test_masks_of_pairs_and_lengths_without_positions_are_noticed(batch, own):
    assert has_pairs_of_its_own(batch) is own


def test_images_have_channels_and_tokens_are_whole_numbers():
    assert [is_images(each) for each in (IMAGES, IMAGES[0], IMAGES.long(), None)] == [True, False, False, False]
    assert [is_tokens(each) for each in (LONG, LONG.bool(), LONG.cfloat(), LONG[0], [1])] == [True, *[False] * 4]


@pytest.mark.parametrize(
    ("batch", "samples"),
    [
        ((LONG, IMAGES), 3),
        ({"x": LONG, "deep": [{"y": IMAGES}]}, 3),
        ((LONG, LONG[:2]), None),
        ((LONG, torch.tensor(7)), 3),  # a number has no first dimension
        ("text", None),
    ],
)
def test_samples_are_the_first_dimension_that_all_tensors_share(batch, samples):
    assert samples_of(batch) == samples


def test_a_signature_sees_attributes_and_no_deeper_than_eight_levels():
    def nested(tensor, levels):
        for _ in range(levels):
            tensor = [tensor]
        return tensor

    signatures = Signatures()
    assert signatures.of(SimpleNamespace(x=ONE)) != signatures.of(SimpleNamespace(x=TWO))
    assert signatures.of(Slotted(ONE)) != signatures.of(Slotted(TWO)), "slots are attributes, too"
    assert signatures.of(nested(ONE, 8)) != signatures.of(nested(TWO, 8))
    assert signatures.of(nested(ONE, 9)) == signatures.of(nested(TWO, 9)) == ()


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_nested_tensor_is_known_by_those_that_it_holds():
    def batch(*lengths):
        nested = torch.nested.nested_tensor([torch.ones(each) for each in lengths])
        return {"input_ids": torch.zeros(2, 16, dtype=torch.long), "rows": nested}

    signatures = Signatures()
    assert signatures.of(batch(2, 3)) == signatures.of(batch(2, 3))
    assert signatures.of(batch(2, 3)) != signatures.of(batch(3, 2))
    assert (samples_of(batch(2, 3)), samples_of(batch(2, 3, 4))) == (2, None)
