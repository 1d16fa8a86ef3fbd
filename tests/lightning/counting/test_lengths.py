"""Real lengths of batches; a device that is late is played by readings that are not ready, since CI has no GPU."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flopwatch.lightning.counting.lengths import LateLengths, LengthReading, Lengths, documents_of, reading_of
from flopwatch.lightning.counting.picking import Counting
from flopwatch.run.counts import UNKNOWN, Counts
from tests.lightning.models import FLOPS_PER_BATCH, TinyGPT

TOKENS = torch.zeros(2, 16, dtype=torch.long)


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=3))
def test_documents_begin_where_positions_do(rows):
    length = sum(rows[0])
    rows = [row for row in rows if sum(row) == length]
    positions = torch.stack([torch.cat([torch.arange(each) for each in row]) for row in rows])
    expected = [each for row in rows for each in row]
    found = documents_of(positions)
    assert found == (tuple(expected) if len(expected) > len(rows) else None)


def test_positions_that_go_on_are_no_documents():
    assert documents_of(torch.arange(40)[None] + 100) is None


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        ({"input_ids": TOKENS}, None),
        ((TOKENS, TOKENS), None),
        ({"input_ids": TOKENS, "attention_mask": torch.ones(2, 16)}, Lengths(32, None)),
        ({"input_ids": TOKENS, "attention_mask": torch.ones(2, 16).tril()}, Lengths(3, None)),
        ({"input_ids": TOKENS, "attention_mask": torch.ones(2, 1, 16, 16)}, None),
        ({"input_ids": TOKENS, "position_ids": torch.arange(16).repeat(2, 1)}, Lengths(None, None)),
        ({"input_ids": TOKENS, "position_ids": torch.arange(16)}, None),
        ({"input_ids": TOKENS, "position_ids": (torch.arange(32) % 8).view(2, 16)}, Lengths(None, (8, 8, 8, 8))),
    ],
)
def test_what_a_batch_says_of_its_lengths(batch, expected):
    reading = reading_of(batch, packed=True)
    assert (None if reading is None else reading.lengths()) == expected


def test_positions_mean_nothing_where_a_mask_is_given_or_nothing_is_packed():
    packed = (torch.arange(32) % 8).view(2, 16)
    both = {"input_ids": TOKENS, "position_ids": packed, "attention_mask": torch.ones(2, 16)}
    assert reading_of(both, packed=True).lengths() == Lengths(32, None)
    assert reading_of({"input_ids": TOKENS, "position_ids": packed}, packed=False) is None


@pytest.fixture
def counter(monkeypatch):
    model = TinyGPT()
    one = Counting(model, config=None, attention="causal", batch_shape=None, strategy="SingleDeviceStrategy")
    one.plan({"input_ids": TOKENS})
    one.batch_begins()
    model._loss((TOKENS, TOKENS)).backward()
    one.batch_ends()
    assert one.count({"input_ids": TOKENS}) == Counts(FLOPS_PER_BATCH, 32, 2, FLOPS_PER_BATCH, None)
    assert one.news().verification == "verified"
    return one


class Late(LengthReading):
    """Ready when told to be."""

    arrived = 0

    def __init__(self, mask, positions, told=None):
        super().__init__(mask, positions, told)
        Late.made = self.number = getattr(Late, "made", 0) + 1

    def ready(self, wait=False):
        return self.number <= Late.arrived


BATCH = {"input_ids": TOKENS, "attention_mask": torch.ones(2, 16).tril()}
COUNTED = Counts(FLOPS_PER_BATCH, 32, 2, FLOPS_PER_BATCH, 3)


def test_work_whose_lengths_are_late_is_booked_when_they_arrive_and_nobody_waits(counter, monkeypatch):
    monkeypatch.setattr("flopwatch.lightning.counting.lengths.LengthReading", Late)
    monkeypatch.setattr(Late, "made", 0, raising=False)
    monkeypatch.setattr(Late, "arrived", 0)
    assert [counter.count(BATCH) for _ in range(3)] == [Counts()] * 3
    assert counter.settle() == []
    Late.arrived = 2
    assert counter.settle() == [COUNTED] * 2
    Late.arrived = 4
    assert counter.count(BATCH) == Counts(), "it comes after the third, which is still owed"
    assert counter.settle() == [COUNTED] * 2
    assert counter.count(BATCH) == Counts()
    assert counter.settle() == []
    assert counter.settle(last=True) == [UNKNOWN], "a length that never came is not guessed"


def test_a_tensor_on_the_cpu_is_read_at_once(counter):
    assert counter.count(BATCH) == COUNTED


def test_lengths_that_cannot_be_read_cost_what_depends_on_them(counter, monkeypatch, caplog):
    def fail(reading):
        raise RuntimeError("no values")

    monkeypatch.setattr(LengthReading, "lengths", fail)
    for _ in range(2):
        amounts = counter.count({"input_ids": TOKENS, "attention_mask": torch.ones(2, 16)})
        assert amounts == Counts(None, 32, 2, None, None)
    assert caplog.text.count("reading the lengths in a batch failed") == 1


def test_a_batch_that_cannot_be_counted_takes_no_other_one_with_it(monkeypatch, caplog):
    monkeypatch.setattr("flopwatch.lightning.counting.lengths.LengthReading", Late)
    monkeypatch.setattr(Late, "made", 0, raising=False)
    monkeypatch.setattr(Late, "arrived", 0)
    late = LateLengths()

    def fails(lengths):
        raise ZeroDivisionError

    for amounts_of in (lambda lengths: Counts(1), fails, lambda lengths: Counts(3)):
        assert late.amounts(BATCH, amounts_of, packed=False) == Counts()
    Late.arrived = 3
    assert late.settle(last=False) == [Counts(1), UNKNOWN, Counts(3)]
    assert caplog.text.count("counting a batch by its lengths failed") == 1


def test_a_device_that_cannot_be_asked_without_waiting_is_not_read():
    tokens = torch.zeros(2, 16, dtype=torch.long, device="meta")
    assert reading_of({"input_ids": tokens, "attention_mask": tokens}, packed=False) is None


def test_values_that_tell_of_images_are_read_of_masks_the_first_pixel():
    tokens = torch.zeros(2, 5, dtype=torch.long)
    masks = torch.zeros(2, 3, 4, 4, dtype=torch.long)
    masks[0, :2], masks[1, 0] = 1, 1
    grids = torch.tensor([[1, 4, 6]])
    batch = {"input_ids": tokens, "image_grid_thw": grids, "pixel_attention_mask": masks}
    reading = reading_of(batch, packed=False, told=("image_grid_thw", "video_grid_thw", "pixel_attention_mask"))
    assert reading.lengths().told == {"image_grid_thw": [[1, 4, 6]], "pixel_attention_mask": [1, 1, 0, 1, 0, 0]}
    deeper = reading_of({**batch, "image_grid_thw": grids[None]}, packed=False, told=("image_grid_thw",))
    assert deeper.lengths().told == {"image_grid_thw": [[[1, 4, 6]]]}, "grids are no masks, whatever their shape"
    assert reading_of(batch, packed=False) is None
    assert reading_of({"input_ids": tokens}, packed=False, told=("image_grid_thw",)).lengths().told == {}


def test_values_on_a_device_that_would_make_wait_are_not_read():
    tokens, far = torch.zeros(2, 5, dtype=torch.long), torch.zeros(1, 3, device="meta")
    reading = reading_of({"input_ids": tokens, "image_grid_thw": far}, packed=False, told=("image_grid_thw",))
    assert reading.lengths().told is None


def test_of_the_places_of_patches_only_the_last_ones_are_copied():
    places = torch.tensor([[[0, 0], [1, 0], [0, 1], [1, 1], [0, 2], [1, 2]], [[0, 0], [1, 0], *[[-1, -1]] * 4]])
    batch = {"input_ids": TOKENS, "image_position_ids": places, "mm_token_type_ids": TOKENS}
    told = reading_of(batch, packed=False, told=("image_position_ids", "mm_token_type_ids")).lengths().told
    assert told == {"image_position_ids": [[1, 2], [1, 0]], "mm_token_type_ids": [[0]]}


def test_of_a_mask_of_tiles_the_sums_of_every_second_row_are_copied():
    mask = torch.zeros(1, 2, 4, 4)
    mask[0, 0], mask[0, 1, :3, :2] = 1, 1
    batch = {"input_ids": TOKENS, "image_attention_mask": mask}
    told = reading_of(batch, packed=False, told=("image_sizes", "image_attention_mask")).lengths().told
    assert told == {"image_attention_mask": [[[2, 2], [1, 1]]]}
