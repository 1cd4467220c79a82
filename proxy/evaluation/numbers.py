"""Numbers as the reference engine reads, writes and orders them."""

from __future__ import annotations

import re
from math import copysign, inf, isinf, isnan, nan

_LONG_MIN, _LONG_MAX = -(1 << 63), (1 << 63) - 1
_LONG_DIGITS = 19
_SMALLEST_POWER_OF_TEN = -323  # 1e-323 is a double, 1e-324 is none

_JAVA_DOUBLE = re.compile(
    r"([+-]?)(?:(NaN)|Infinity"
    r"|((?:[0-9]++\.?+[0-9]*+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?+)[fFdD]?"
    r"|(0[xX](?:[0-9a-fA-F]++\.?+[0-9a-fA-F]*+|\.[0-9a-fA-F]++)[pP][+-]?[0-9]++)[fFdD]?)"
)
_TRIMMED = "".join(map(chr, range(0x21)))


def read_number(literal: str) -> int | float:
    """Read a number's own text: whole and within 64 bits gives an int, anything else a double.

    A point always makes a double (`1.0`), an exponent alone does not (`1e3` is 1000). The literal
    is a JSON number; leading zeros are allowed besides.
    """
    mantissa, _, exponent = literal.replace("E", "e").partition("e")
    if "." in mantissa:
        return float(literal)
    digits = mantissa.lstrip("-").lstrip("0")
    if not digits:
        return 0
    power = _power(exponent)
    significant = digits.rstrip("0")
    zeros = len(digits) - len(significant)
    if power >= -zeros and len(digits) + power <= _LONG_DIGITS:
        whole = int(significant + "0" * (power + zeros))
        signed = -whole if literal[0] == "-" else whole
        if _LONG_MIN <= signed <= _LONG_MAX:
            return signed
    elif power < _SMALLEST_POWER_OF_TEN and len(digits) < _LONG_DIGITS:
        # The reference multiplies by a power of ten that is no double any more, and sees a whole 0.
        return 0
    return float(literal)


def _power(exponent: str) -> int:
    """Read an exponent; one too long to matter stays too large to matter."""
    digits = exponent.lstrip("+-").lstrip("0")
    if not digits:
        return 0
    power = int(digits) if len(digits) < _LONG_DIGITS else _LONG_MAX
    return -power if exponent[0] == "-" else power


def java_double(text: str) -> float | None:
    """Read what `java.lang.Double.parseDouble` takes; None for what it refuses."""
    found = _JAVA_DOUBLE.fullmatch(text.strip(_TRIMMED))
    if found is None:
        return None
    sign, not_a_number, decimal, hexadecimal = found.groups()
    if decimal is not None:
        magnitude = float(decimal)
    elif hexadecimal is not None:
        magnitude = _hexadecimal(hexadecimal)
    else:
        magnitude = nan if not_a_number else inf
    return -magnitude if sign == "-" else magnitude


def _hexadecimal(text: str) -> float:
    try:
        return float.fromhex(text)
    except OverflowError:
        return inf


def double_text(number: float) -> str:
    """Write a double as Java does, in shortest digits: `1.0`, `1.0E7`, `9.0E-4`, `-Infinity`."""
    if isnan(number):
        return "NaN"
    if isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    if number == 0 or 0.001 <= abs(number) < 10_000_000:
        return repr(number)
    digits, exponent = _digits(abs(number))
    sign = "-" if number < 0 else ""
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{exponent}"


def _digits(magnitude: float) -> tuple[str, int]:
    """Split a positive double: its shortest digits, and the exponent of the first of them."""
    written = repr(magnitude)
    if magnitude < 1e-300:
        # Among the smallest doubles several pairs of digits read back; Java takes the nearest pair.
        pair = f"{magnitude:.1e}"
        if float(pair) == magnitude:
            written = pair
    mantissa, _, exponent = written.partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    leading_zeros = len(whole) + len(fraction) - len(digits)
    return digits.rstrip("0"), len(whole) - leading_zeros - 1 + int(exponent or "0")


def total_order(number: float) -> tuple[bool, float, float]:
    """Give the key by which doubles compare in total order: -0 below 0, NaN above everything."""
    if isnan(number):
        return True, 0.0, 0.0
    return False, number, copysign(1.0, number)
