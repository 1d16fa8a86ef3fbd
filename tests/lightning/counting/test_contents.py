"""Tokens and samples beside FLOPs that come from elsewhere."""

import pytest
import torch
from torch import nn

from flopwatch.lightning.counting.batches import BatchReader
from flopwatch.lightning.counting.contents import Contents
from flopwatch.lightning.counting.counter import Cost, Subject, Warnings
from flopwatch.lightning.counting.lengths import LateLengths
from flopwatch.model.batch import Batch
from flopwatch.run.counts import Counts

TOKENS = torch.zeros(2, 16, dtype=torch.long)


def subject(module=None, batch_shape=None, *, sharded=False, inputs="tokens"):
    reader = BatchReader(batch_shape, inputs)
    return Subject(module or nn.Linear(3, 4), "causal", reader, LateLengths(), sharded, Warnings())


def test_tokens_and_samples_of_a_batch_that_the_model_is_sure_to_be_fed():
    assert Contents(subject(), (TOKENS, TOKENS)).amounts((TOKENS, TOKENS), 5, 6) == Counts(5, 32, 2, 6, None)


@pytest.mark.parametrize(
    ("inputs", "batch", "tokens"),
    [
        # Frames of sounds and patches of images are no tokens, words that an encoder reads are.
        ("sounds and tokens", {"input_ids": TOKENS, "input_features": torch.zeros(2, 128, 3000)}, 32),
        (
            "grids and tokens",
            {"input_ids": TOKENS, "pixel_values": torch.zeros(2, 1024, 768), "spatial_shapes": TOKENS[:, :2]},
            32,
        ),
        ("frames and tokens", {"input_features": torch.zeros(2, 80, 3000), "labels": TOKENS}, None),
        ("source and tokens", {"input_ids": TOKENS, "labels": TOKENS[:, :5]}, 2 * (16 + 5)),
    ],
)
def test_frames_and_patches_are_no_tokens(inputs, batch, tokens):
    contents = Contents(subject(inputs=inputs), batch)
    assert contents.amounts(batch, 5, 6).tokens == tokens
    assert contents.described(batch, Cost(5, 6)).tokens == tokens


def test_what_the_users_function_says_of_an_unknown_model_is_all_tokens():
    contents = Contents(subject(batch_shape=lambda batch: Batch(2, 5, 16), inputs=None), TOKENS)
    assert contents.amounts(TOKENS, 5, 6).tokens == 42


def test_padding_is_no_useful_token():
    batch = {"input_ids": TOKENS, "attention_mask": torch.ones(2, 16).tril()}
    # A row with one token and a row with two.
    assert Contents(subject(), batch).amounts(batch, 5, None) == Counts(5, 32, 2, None, 3)


def test_where_it_is_not_sure_that_the_model_is_fed_it_tokens_are_unknown_and_stay_so():
    contents = Contents(subject(), TOKENS)
    for batch in (TOKENS, (TOKENS, TOKENS)):
        assert contents.amounts(batch, 5, 6) == Counts(5, None, 2, 6, None)


def test_a_batch_without_tokens_has_samples_alone():
    images = torch.zeros(3, 3, 8, 8)
    assert Contents(subject(), (images, images)).amounts((images, images), 5, 6) == Counts(5, None, 3, 6, None)


def test_a_function_that_fails_on_a_batch_is_told_once(caplog):
    contents = Contents(subject(batch_shape=lambda batch: 1 / 0), TOKENS)
    for _ in range(2):
        assert contents.amounts(TOKENS, 5, 6) == Counts(5, None, 2, 6, None)
    assert caplog.text.count("batch_shape failed") == 1


def test_the_module_and_its_first_batch_are_described():
    work = Contents(subject(), (TOKENS, TOKENS)).described((TOKENS, TOKENS), Cost(24_000, None))
    # 3 x 4 and 4.
    assert (work.model_type, work.parameters, work.trainable_parameters) == ("Linear", 16, 16)
    assert (work.sequences, work.seq_len, work.tokens, work.attention) == (2, 16, 32, "causal")
    assert (work.training_flops, work.hardware_flops, work.method) == (24_000, None, "measured")


def test_of_a_strange_batch_only_its_samples_are_described():
    work = Contents(subject(), TOKENS).described(TOKENS, Cost(1, 1))
    assert (work.sequences, work.seq_len, work.tokens) == (2, None, None)
