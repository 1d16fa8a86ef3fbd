"""Sections: which columns hold numbers."""

import pytest

from flopwatch import units
from flopwatch.report.render.section import Section


@pytest.mark.parametrize(
    ("cells", "numeric"),
    [(("1", "2.5 ms"), True), (("$3", "<0.1%"), True), (("", units.UNKNOWN), True), (("1", "data"), False)],
)
def test_a_column_of_numbers_is_told_from_one_of_words(cells, numeric):
    assert Section("Heading", rows=tuple(("7", cell) for cell in cells)).numeric == (False, numeric)


def test_a_section_of_sentences_has_no_columns():
    assert Section("Heading", sentences=("A sentence.",)).numeric == ()
