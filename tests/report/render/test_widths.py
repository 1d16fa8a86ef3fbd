from flopwatch.report.render.widths import columns, facts


def test_the_terminals_width_within_bounds(monkeypatch):
    for asked, given in (("80", 80), ("200", 200), ("500", 200), ("7", 40)):
        monkeypatch.setenv("COLUMNS", asked)
        assert columns() == given


def test_long_words_are_wrapped_below_themselves():
    shown = facts([("a", "b"), ("name", "one two three four five six seven")], 27)
    assert shown.splitlines() == ["a     b", "name  one two three four", "      five six seven"]
    assert max(map(len, facts([("x", "word " * 50)], 80).splitlines())) <= 80
