import pytest

from flopwatch.run import rates


def test_utilization_by_hand():
    # 4e15 FLOPs in 2 s are 2e15 FLOP/s; 4 devices of 1e15 could do 4e15.
    assert rates.utilization(4 * 10**15, 2.0, 4, 1e15) == 0.5
    assert rates.utilization(4 * 10**15, 1.0, 2, 1e15) == 2.0, "nothing is clamped"


@pytest.mark.parametrize("arguments", [(None, 1.0, 1, 1.0), (1, None, 1, 1.0), (1, 1.0, None, 1.0), (1, 1.0, 1, None)])
def test_unknown_stays_unknown(arguments):
    assert rates.utilization(*arguments) is None


def test_no_time_and_no_whole_give_no_rate():
    assert rates.per_second(5, 0.0) is None
    assert rates.per_second(5, -1.0) is None
    assert rates.fraction(5, 0) is None
    assert rates.fraction(None, 3) is None
    assert rates.fraction(1, 4) == 0.25


def test_of_less_than_nothing_and_beyond_all_numbers_there_is_no_rate():
    assert rates.fraction(1, -4) is None
    assert rates.fraction(4e15, 5e-324) is None
    assert rates.utilization(4 * 10**15, 2.0, 4, 1e-310) is None
    assert rates.utilization(4 * 10**15, 2.0, -4, 1e15) is None
