from flopwatch.run.time_kinds import TIME_KINDS, TRAINING, USEFUL, kinds_at


def test_kinds_come_in_the_order_in_which_they_are_shown():
    assert kinds_at("between steps") == ("callbacks", "flopwatch")
    assert kinds_at("steps", "not booked") == ("data_wait", "interruption", "unknown", "training")
    assert list(TIME_KINDS)[-1] == USEFUL, "what it was all for is shown last"
    assert list(TIME_KINDS).index(TRAINING) < min(map(list(TIME_KINDS).index, kinds_at("part of steps")))


def test_every_kind_lies_in_one_place():
    places = ("outside", "between steps", "steps", "not booked", "part of steps")
    assert sorted(kinds_at(*places)) == sorted(TIME_KINDS)
    assert sum(len(kinds_at(place)) for place in places) == len(TIME_KINDS)


def test_no_two_kinds_are_called_the_same():
    for words in ("words", "short"):
        assert len({getattr(each, words) for each in TIME_KINDS.values()}) == len(TIME_KINDS)


def test_what_is_said_of_a_cost_has_its_share_and_what_helps():
    for each in TIME_KINDS.values():
        assert each.cost.count("{share}") == bool(each.cost), each.name
        assert bool(each.cost) == bool(each.advice), each.name


def test_the_table_cannot_be_changed():
    assert not hasattr(TIME_KINDS, "__setitem__")
