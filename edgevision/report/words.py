"""How numbers are written: three significant digits, the unit, and the interval; the same in every format."""

from __future__ import annotations

from edgevision.profile.statistics import Interval


def milliseconds(value: float) -> str:
    """Three significant digits.

    >>> milliseconds(0.61234), milliseconds(12.345), milliseconds(1234.5)
    ('0.612', '12.3', '1230')
    """
    return digits(value)


def digits(value: float, significant: int = 3) -> str:
    """`value` with `significant` digits and no exponent.

    >>> digits(0), digits(99.96), digits(0.000123)
    ('0', '100', '0.000123')
    """
    if value == 0:
        return "0"
    text = f"{float(f'{value:.{significant}g}'):.12f}"
    places = max(0, significant - 1 - _exponent(float(text)))
    return f"{float(text):.{places}f}"


def _exponent(value: float) -> int:
    return int(f"{abs(value):e}".split("e")[1])


def between(interval: Interval) -> str:
    """The bounds of an interval.

    >>> between(Interval(0.61, 0.6012, 0.6234))
    '0.601–0.623'
    """
    return f"{digits(interval.low)}–{digits(interval.high)}"


def size(nbytes: int | None) -> str:
    """Bytes in the nearest decimal unit.

    >>> size(11_900_000), size(10_700), size(None)
    ('11.9 MB', '10.7 kB', '–')
    """
    if nbytes is None:
        return "–"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= scale:
            return f"{digits(nbytes / scale)} {unit}"
    return f"{nbytes} B"


def percent(value: float | None) -> str:
    """A percentage with one decimal.

    >>> percent(96.38), percent(None)
    ('96.4', '–')
    """
    return "–" if value is None else f"{value:.1f}"


def count(value: int) -> str:
    """Large counts in millions or thousands.

    >>> count(2_979_700), count(560_000_000), count(912)
    ('2.98 M', '560 M', '912')
    """
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{digits(value / scale)} {unit}"
    return str(value)


def speed(ratio: Interval) -> str:
    """A latency ratio as a person says it; an interval that holds 1 is no difference.

    >>> speed(Interval(0.5, 0.49, 0.51)), speed(Interval(1.5, 1.4, 1.6)), speed(Interval(1.0, 0.97, 1.02))
    ('2.00x faster than', '1.50x slower than', 'as fast, within the noise, as')
    """
    if ratio.low <= 1 <= ratio.high:
        return "as fast, within the noise, as"
    return f"{digits(1 / ratio.value)}x faster than" if ratio.value < 1 else f"{digits(ratio.value)}x slower than"
