import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopwatch.model.batch import (
    SOURCE,
    TOKENS,
    Batch,
    Chunks,
    Lengthened,
    PerImage,
    Pixels,
    Sequences,
    Source,
    attended_pairs,
)

masks = st.one_of(
    st.fixed_dictionaries({"causal": st.just(True), "window": st.one_of(st.none(), st.integers(1, 50))}),
    st.fixed_dictionaries({"causal": st.just(True), "chunk": st.integers(1, 50)}),
    st.fixed_dictionaries({"causal": st.just(False), "radius": st.one_of(st.none(), st.integers(1, 50))}),
)


@given(st.integers(0, 40), masks)
def test_attended_pairs_are_those_of_the_mask_written_out(seq_len, mask):
    def keeps(query, key):
        if mask["causal"]:
            in_window = mask.get("window") is None or query - key < mask["window"]
            in_chunk = "chunk" not in mask or query // mask["chunk"] == key // mask["chunk"]
            return key <= query and in_window and in_chunk
        return mask["radius"] is None or abs(query - key) <= mask["radius"]

    kept = [1 for query in range(seq_len) for key in range(seq_len) if keeps(query, key)]
    assert attended_pairs(seq_len, **mask) == len(kept)


@pytest.mark.parametrize(
    ("rows", "batch", "spans"),
    [
        (TOKENS, Batch(2, 7), [(7, 2)]),
        (TOKENS, Batch(2, 7, documents=(3, 4, 7)), [(3, 1), (4, 1), (7, 1)]),
        (Lengthened(3), Batch(2, 7), [(10, 2)]),
        (Chunks(4, 1), Batch(2, 9), [(4, 2)]),
        (SOURCE, Batch(2, 7, 5), [(5, 2)]),
        (Source(2), Batch(2, 7, 5), [(3, 2)]),
        (Sequences(), Batch(2, 7), [(1, 2)]),
        (PerImage(4), Batch(2, 7, images=3), [(4, 3)]),
        # 224 / 16 = 14; 14 * 14 patches and a class token.
        (Pixels((224, 224), ((16, 16, 0),), 1), Batch(2), [(197, 2)]),
        (Pixels((224, 224), ((16, 16, 0),), 1), Batch(2, image_size=(32, 48)), [(7, 2)]),
        # ResNet's beginning: (224 + 6 - 7) / 2 + 1 = 112, then (112 + 2 - 3) / 2 + 1 = 56.
        (Pixels((224, 224), ((7, 2, 3),)).after((3, 2, 1)), Batch(1), [(56 * 56, 1)]),
        # 10 x 10 in windows of 4 is padded to 12 x 12: nine windows of 16.
        (Pixels((10, 10), window=4), Batch(2), [(16, 18)]),
        # A window is no wider than the map.
        (Pixels((3, 8), window=4), Batch(1), [(9, 3)]),
    ],
)
def test_spans_by_hand(rows, batch, spans):
    assert list(rows.spans(batch)) == spans
    assert rows.count(batch) == sum(length * count for length, count in spans)


def test_tokens_and_emptiness():
    assert Batch(2, 7, 5).tokens == 24
    assert Batch(0, 7).empty
    assert Batch(2).empty
    assert not Batch(2, image_size=(4, 4)).empty


@pytest.mark.parametrize(
    "make",
    [lambda: Batch(-1, 5), lambda: Batch(2, 5, -1), lambda: Batch(1, 5, documents=(2, 2)), lambda: Batch(1, images=-1)],
)
def test_impossible_batches_are_refused(make):
    with pytest.raises(ValueError, match="expected"):
        make()
