"""How far a fit has come, in words for messages."""

from flopwatch.lightning.session.phase import Phase


def test_a_fit_goes_from_set_up_to_its_end():
    assert [each.value for each in Phase] == ["set up", "training", "stopping at a budget", "ended"]
