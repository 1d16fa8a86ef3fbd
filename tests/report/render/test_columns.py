from flopwatch.report.render.columns import table, table_width

ROWS = (("a name of several words", "1,234", "what it counts, in words"), ("b", "5", "little"))
COLUMNS, NUMERIC = ("", "number", "words"), (False, True, False)


def test_numbers_are_aligned_to_the_right_and_words_to_the_left():
    assert table(ROWS, COLUMNS, NUMERIC, 80) == [
        "                         number  words",
        "-----------------------  ------  ------------------------",
        "a name of several words   1,234  what it counts, in words",
        "b                             5  little",
    ]
    assert table_width(ROWS, COLUMNS) == 57


def test_words_are_wrapped_and_numbers_never():
    lines = table(ROWS, COLUMNS, NUMERIC, 40)
    assert max(map(len, lines)) <= 40
    assert lines[2:4] == ["a name of         1,234  what it counts,", "several words            in words"]


def test_columns_without_room_stand_below_with_the_names_again():
    rows = (("mfu", "41.7%", "39.2%", "20.6%"), ("step", "1.67s", "1.67s", "1.67s"))
    lines = table(rows, ("", "healthy", "throttled", "restarted"), (False, True, True, True), 27)
    assert lines == [
        "      healthy  throttled",
        "----  -------  ---------",
        "mfu     41.7%      39.2%",
        "step    1.67s      1.67s",
        "",
        "      restarted",
        "----  ---------",
        "mfu       20.6%",
        "step      1.67s",
    ]


def test_pairs_have_no_heading():
    assert table((("name", "value"), ("n", "v")), (), (False, False), 80) == ["name  value", "n     v"]


def test_names_of_columns_of_numbers_give_way():
    rows = [("loss", "2.36", "1.912"), ("cost", "$156.83", "$66.15")]
    # Two columns of 13 beside four letters and two gaps: 34 of 36.
    assert table(rows, ("", "lr 0.001, batch 512", "lr 0.003, batch 64"), (False, True, True), 34) == [
        "          lr 0.001,      lr 0.003,",
        "          batch 512       batch 64",
        "----  -------------  -------------",
        "loss           2.36          1.912",
        "cost        $156.83         $66.15",
    ]


def test_names_of_rows_have_room_where_columns_stand_below_each_other():
    name = "a run with a name of many words and letters"
    rows = [[name, *["1" * 12] * 6]]
    lines = table(rows, ["", *["b"] * 6], [False, *[True] * 6], 60)
    assert lines[2].startswith("a run with a name of many")  # 28 at most, and not 14
    assert max(map(len, lines)) <= 60
    assert sum("1" * 12 in line for line in lines) == 3  # two columns of numbers each time
