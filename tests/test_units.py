import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopwatch import units
from flopwatch.errors import QuantityError


@pytest.mark.parametrize(
    ("text", "value"),
    [("300B", 300 * 10**9), ("1.4T", 1_400_000_000_000), ("15t", 15 * 10**12), ("4096", 4096), ("2e3", 2000)]
    + [("1_000_000", 10**6), ("1,024", 1024), (" 7 K ", 7000), ("0.5K", 500), ("3.14e23", 314 * 10**21)],
)
def test_counts_are_exact(text, value):
    assert units.parse_count(text) == value


@pytest.mark.parametrize(
    "text", ["", "B", "-3B", "0", "1.5", "3X", "1.4T apples", "nan", "inf", "1e99", "--2", "1..2", "٣"]
)
def test_what_is_no_count_is_refused_with_the_text_in_the_message(text):
    with pytest.raises(QuantityError) as error:
        units.parse_count(text)
    assert repr(text) in str(error.value)


@given(st.integers(1, 10**30))
def test_every_whole_number_is_read_back_exactly(value):
    assert units.parse_count(str(value)) == value


@given(st.integers(1, 999), st.sampled_from([prefix for prefix in units.COUNT_PREFIXES if prefix]))
def test_what_is_printed_with_a_suffix_is_read_back(number, prefix):
    value = number * units.COUNT_PREFIXES[prefix]
    assert units.parse_count(units.format_count(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [(3.14e23, "314 ZFLOPs"), (999.9e12, "1 PFLOPs"), (989.4e12, "989 TFLOPs"), (0, "0 FLOPs"), (1500, "1.5 kFLOPs")],
)
def test_si_prefixes(value, text):
    assert units.format_si(value, "FLOPs") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "0.0123s"), (59.99, "1m 00s"), (61, "1m 01s"), (3600, "1h 00m"), (93_784, "1d 2h"), (-61, "-1m 01s")]
    + [(3599.6, "1h 00m"), (121_932, "1d 10h"), (86_399, "1d 0h"), (86_369, "23h 59m")],
)
def test_durations(seconds, text):
    assert units.format_duration(seconds) == text


@pytest.mark.parametrize(
    "formatted",
    [units.format_count, units.format_percent, units.format_share, units.format_duration, units.format_clock]
    + [units.format_usd, units.format_plain, lambda value: units.format_si(value, "FLOPs")],
)
def test_unknown_is_never_a_number(formatted):
    assert formatted(None) == "n/a"


def test_percent_is_not_clamped():
    assert units.format_percent(1.13) == "113%"
    assert units.format_share(0.00001) == "<0.1%"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.034892, "34.9 ms"), (1.5, "1500 ms"), (2e-6, "0.002 ms"), (None, "n/a")]
)
def test_milliseconds(seconds, text):
    assert units.format_milliseconds(seconds) == text


def test_memory_is_in_powers_of_1024():
    assert units.format_bytes(80 * 2**30) == "80 GiB"
    assert units.format_bytes(1.5 * 2**20) == "1.5 MiB"
    assert units.format_bytes(None) == units.UNKNOWN


@pytest.mark.parametrize("dust", [-0.0, -1e-17, -1e-5])
def test_a_share_of_nothing_has_no_sign(dust):
    assert units.format_share(dust) == "0.0%"
