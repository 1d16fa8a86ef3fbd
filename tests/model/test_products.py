from hypothesis import given
from hypothesis import strategies as st

from flopwatch.model import products


def test_products():
    # 2 * 6 * 5 = 60
    assert products.product((2, 3), 5) == 60
    # 2 * 6 rows * 4 * 5 = 240, whichever side has the groups
    assert products.grouped_product((6, 4), (3, 4, 5)) == 240
    assert products.grouped_product((3, 6, 4), (4, 5)) == 240
    # 3 experts of 2 rows each: 3 * 2 * 2 * 4 * 5 = 240
    assert products.grouped_product((3, 2, 4), (3, 4, 5)) == 240


def test_convolution():
    # 2 * 1 * 16 positions * (8 * 3 * 9) = 6,912; transposed by the 25 input positions: 2 * 25 * (4 * 8 * 9) = 14,400
    assert products.convolution((1, 3, 6, 6), (8, 3, 3, 3), (1, 8, 4, 4), transposed=False) == 6_912
    assert products.convolution((1, 4, 5, 5), (4, 8, 3, 3), (1, 8, 11, 11), transposed=True) == 14_400


def test_attention():
    # 2 * (2 * 3) * 4 queries * 5 keys * (8 + 16) = 5,760
    assert products.attention((2, 3, 4, 8), (2, 3, 5, 8), (2, 3, 5, 16)) == 5_760


@given(st.integers(1, 40), st.integers(1, 40))
def test_causal_pairs_are_those_at_or_before_the_query(queries, keys):
    assert products.causal_pairs(queries, keys) == sum(key <= query for query in range(queries) for key in range(keys))
