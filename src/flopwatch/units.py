"""Text to base units and back: the one place where prefixes, percent and rounding exist."""

from __future__ import annotations

import re
from fractions import Fraction

from flopwatch.errors import QuantityError

SI_PREFIXES = {
    "": 1,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
    "E": 10**18,
    "Z": 10**21,
    "Y": 10**24,
    "R": 10**27,
}
COUNT_PREFIXES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12, "Q": 10**15}
SECONDS_PER_MINUTE, SECONDS_PER_HOUR, SECONDS_PER_DAY = 60, 3600, 86_400
DAYS_PER_YEAR = 365
JOULES_PER_KWH = 3_600_000
UNKNOWN = "n/a"

_NUMBER = re.compile(
    r"(?P<number>[+-]?(?:\d[\d_,]*)?\.?\d+(?:[eE](?P<exponent>[+-]?\d{1,3}))?)\s*(?P<word>[^\d\s].*)?",
    re.ASCII | re.DOTALL,
)
_LONGEST_NUMBER = 60
_LONGEST_QUANTITY, _LONGEST_QUOTED = 200, 100
LARGEST = 1e60  # no quantity of a training run is larger
SMALLEST = 1e-60  # or, where it is above zero, smaller; quotients of the two are numbers still


def printable(text: str, *, lines: bool = False) -> str:
    """Text without what moves a terminal's cursor or turns text around, on one line or, with `lines`, on several."""
    kept = "\n" if lines else ""
    return "".join(each if each.isprintable() or each == kept else "\N{REPLACEMENT CHARACTER}" for each in text)


def quoted(value: object) -> str:
    """A value from outside as messages show it: escaped, and not longer than can be read."""
    try:
        text = repr(value)
    except ValueError:  # whole numbers of more digits than Python prints
        text = "a number with too many digits to show"
    return text if len(text) <= _LONGEST_QUOTED else f"{text[:_LONGEST_QUOTED]}..."


def number(value: object) -> float | None:
    """A number that came from outside: finite, of a size that occurs, and neither a word nor a truth value."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < LARGEST:
        return None
    return float(value) if value == 0 or abs(value) >= SMALLEST else None


def amount(value: object) -> float | None:
    """A number that came from outside and is of something that there cannot be less than nothing of."""
    found = number(value)
    return None if found is None or found < 0 else found


def is_positive(value: float) -> bool:
    """Whether a number is above zero, and of a size that occurs."""
    return SMALLEST <= value < LARGEST


def split_number(text: str) -> tuple[Fraction, str]:
    """Split "1.4T tokens" into the exact number 1.4 and the word "T tokens".

    Raises:
        QuantityError: If the text does not start with a plain number of at most 60 digits.
    """
    if len(text) > _LONGEST_QUANTITY:
        raise QuantityError(f"expected a number with a unit, like '1.4T', got {len(text):,} characters")
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise QuantityError(f"expected a number with a unit, like '1.4T', got {quoted(text)}")
    if len(match["number"]) > _LONGEST_NUMBER or abs(int(match["exponent"] or 0)) > _LONGEST_NUMBER:
        raise QuantityError(f"expected a number of at most {_LONGEST_NUMBER} digits, got {quoted(text)}")
    return Fraction(re.sub("[_,]", "", match["number"])), (match["word"] or "").strip()


def parse_count(text: str, prefixes: dict[str, int] = COUNT_PREFIXES) -> int:
    """Read a positive whole count: "300B" is 300_000_000_000.

    Raises:
        QuantityError: If the text is not a positive whole number with at most one of the prefixes.
    """
    number, prefix = split_number(text)
    if prefix.upper() not in prefixes:
        known = ", ".join(name for name in prefixes if name)
        raise QuantityError(f"expected a number with one of the suffixes {known}, got {quoted(text)}")
    return positive_whole(number * prefixes[prefix.upper()], text)


def positive_whole(number: Fraction, text: str) -> int:
    """Turn an exact number into an int.

    Raises:
        QuantityError: If it is zero, negative or not whole.
    """
    if number <= 0 or number.denominator != 1:
        raise QuantityError(f"expected a positive whole amount, got {quoted(text)}")
    return int(number)


def _scaled(value: float, prefixes: dict[str, int]) -> tuple[str, str]:
    chosen = ""
    for prefix, factor in prefixes.items():
        if abs(float(f"{value:.3g}")) >= factor:
            chosen = prefix
    return format_plain(value / prefixes[chosen]), chosen


def format_plain(value: float | None, digits: int = 3) -> str:
    """Round to significant digits without an exponent where that stays readable: 0.4123 is "0.412"."""
    if value is None:
        return UNKNOWN
    text = f"{value:.{digits}g}"
    if "e" in text:
        return f"{value:.0f}" if 1 <= abs(value) < 1e6 else text
    return text


def format_loss(value: float | None) -> str:
    """Print a loss to four digits: 2.31449 is "2.314"."""
    return format_plain(value, 4)


def format_count(value: float | None) -> str:
    """Print a count the way the field writes it: 1.4e12 is "1.4T"."""
    if value is None:
        return UNKNOWN
    number, prefix = _scaled(value, COUNT_PREFIXES)
    return f"{number}{prefix}"


def format_si(value: float | None, unit: str) -> str:
    """Print an amount with its SI prefix: (3.14e23, "FLOPs") is "314 ZFLOPs"."""
    if value is None:
        return UNKNOWN
    number, prefix = _scaled(value, SI_PREFIXES)
    return f"{number} {prefix.replace('K', 'k')}{unit}"


def format_bytes(value: float | None) -> str:
    """Print an amount of memory in powers of 1024: 2**30 is "1 GiB"."""
    if value is None:
        return UNKNOWN
    unit, size = ("GiB", 2**30) if abs(value) >= 2**30 else ("MiB", 2**20)
    return f"{format_plain(value / size)} {unit}"


def format_percent(fraction: float | None) -> str:
    """Print a fraction as percent: 0.4123 is "41.2%"."""
    return UNKNOWN if fraction is None else f"{100 * fraction:.3g}%"


def format_share(fraction: float | None) -> str:
    """Print a part of a whole, to a tenth of a percent: 0.00003 is "<0.1%"."""
    if fraction is None:
        return UNKNOWN
    return "<0.1%" if 0 < fraction < 0.0005 else f"{round(100 * fraction, 1) + 0.0:.1f}%"  # without a minus before zero


def format_points(difference: float) -> str:
    """Print a difference of two fractions in points: 0.051 is "5.1 points"."""
    points = f"{100 * difference:.1f}"
    return f"{points} point{'' if points == '1.0' else 's'}" if points != "0.0" else "<0.1 points"


def format_duration(seconds: float | None) -> str:
    """Print a duration in its two largest units: 93_784 is "1d 2h"."""
    if seconds is None:
        return UNKNOWN
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    if seconds < SECONDS_PER_MINUTE:
        return f"{format_plain(seconds)}s" if seconds < 59.95 else "1m 00s"
    minutes, rest = divmod(round(seconds), SECONDS_PER_MINUTE)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    hours, minutes = divmod(round(seconds / SECONDS_PER_MINUTE), 60)
    if hours < 24:
        return f"{hours}h {minutes:02d}m"
    days, hours = divmod(round(seconds / SECONDS_PER_HOUR), 24)
    if days < DAYS_PER_YEAR:
        return f"{days}d {hours}h"
    years, days = divmod(round(seconds / SECONDS_PER_DAY), DAYS_PER_YEAR)
    return f"{years:,}y {days}d"


def format_milliseconds(seconds: float | None) -> str:
    """Print a time within a step: 0.0349 is "34.9 ms"."""
    return UNKNOWN if seconds is None else f"{format_plain(1000 * seconds)} ms"


def format_clock(hertz: float | None) -> str:
    """Print a clock in MHz, as drivers do."""
    return UNKNOWN if hertz is None else f"{hertz / SI_PREFIXES['M']:.0f} MHz"


def format_usd(amount: float | None) -> str:
    """Print an amount of money: 1234.5 is "$1,235"."""
    if amount is None:
        return UNKNOWN
    if 0 < amount < 0.01:
        return "<$0.01"
    return f"${amount:,.2f}" if amount < 1000 else f"${amount:,.0f}"
