import pytest
import torch

from flopwatch.lightning.counting.batches import BatchReader, UnreadableBatchError
from flopwatch.model.batch import Batch

TOKENS = torch.zeros(2, 16, dtype=torch.long)


def test_without_a_function_shapes_tell():
    reader = BatchReader(None, "tokens")
    assert (reader.is_users, reader.shape((TOKENS, TOKENS)), reader.shape("text")) == (False, Batch(2, 16), None)
    assert [reader.is_sure(batch) for batch in ((TOKENS, TOKENS), TOKENS)] == [True, False]


@pytest.mark.parametrize(
    ("returned", "shape"),
    [
        ((4, 100), Batch(4, 100)),
        ([4.0, 100], Batch(4, 100)),
        (Batch(4, 100, 30), Batch(4, 100, 30)),
        (TOKENS.shape, Batch(2, 16)),
    ],
)
def test_the_users_function_decides_and_is_believed(returned, shape):
    reader = BatchReader(lambda batch: returned, "tokens")
    assert reader.shape("anything") == shape
    assert reader.is_sure("anything")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda batch: batch["missing"], "KeyError: 'missing'"),
        (lambda batch: 7, "it returned 7"),
        (lambda batch: (1, 2, 3), r"it returned \(1, 2, 3\)"),
        (lambda batch: (-1, 5), r"it returned \(-1, 5\)"),
        (lambda batch: ("a", "b"), r"it returned \('a', 'b'\)"),
    ],
)
def test_what_is_no_shape_says_what_was_expected_and_what_came(function, said):
    with pytest.raises(UnreadableBatchError, match=f"expected .sequences, tokens per sequence. or a Batch; {said}"):
        BatchReader(function, "tokens").shape({})
