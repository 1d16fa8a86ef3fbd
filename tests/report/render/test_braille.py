import pytest

from flopwatch.report.render.braille import plot


def dots(lines):
    """The dots of a drawing, from the left, each column as the heights of its dots from the bottom."""
    bits = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
    height = 4 * len(lines)
    columns = [[] for _ in range(2 * len(lines[0]))]
    for number, line in enumerate(lines):
        for place, cell in enumerate(line):
            for side in (0, 1):
                for row in range(4):
                    if (ord(cell) - 0x2800) & bits[side][row]:
                        columns[2 * place + side].append(height - 1 - 4 * number - row)
    return [sorted(each) for each in columns]


def test_a_rising_line_goes_from_the_bottom_to_the_top():
    # Four columns of dots and four heights: one each.
    assert dots(plot([0, 1, 2, 3], 2, 1)) == [[0], [1], [2], [3]]
    assert dots(plot([3, 2, 1, 0], 2, 1)) == [[3], [2], [1], [0]]


def test_a_jump_is_a_line_without_a_gap():
    assert dots(plot([0, 0, 1, 1], 2, 2)) == [[0], [0], [1, 2, 3, 4, 5, 6, 7], [7]]


def test_few_values_are_stretched_and_many_averaged():
    assert dots(plot([0, 3], 2, 1)) == [[0], [1], [2], [3]]
    assert dots(plot([0, 0, 1, 1, 2, 2, 3, 3], 2, 1)) == [[0], [1], [2], [3]]


@pytest.mark.parametrize("values", [[5.0], [5.0, 5.0], [0.0] * 100])
def test_what_does_not_change_is_a_line_in_the_middle(values):
    assert dots(plot(values, 3, 2)) == [[4]] * 6


@pytest.mark.parametrize("count", [1, 2, 7, 100, 10_000])
def test_a_drawing_has_its_size_and_both_ends(count):
    lines = plot([float(each) for each in range(count)], 30, 4)
    assert [len(line) for line in lines] == [30] * 4
    drawn = dots(lines)
    assert all(drawn)
    if count > 1:
        assert 0 in drawn[0]
        assert 15 in drawn[-1]
