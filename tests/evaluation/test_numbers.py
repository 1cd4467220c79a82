import itertools
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.evaluation.numbers import double_text, java_double, read_number, total_order

WRITTEN = st.from_regex(r"-?[0-9]{1,25}([eE][+-]?[0-9]{1,3})?", fullmatch=True)


def same_double(one: float, other: float) -> bool:
    return struct.pack(">d", one) == struct.pack(">d", other)


@given(st.floats(allow_nan=False))
def test_what_is_written_of_a_double_reads_back_as_it(number: float) -> None:
    written = double_text(number)

    read = java_double(written)

    assert read is not None
    assert same_double(read, number)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_is_plain_in_the_middle_and_scientific_outside(number: float) -> None:
    whole, point, rest = double_text(number).removeprefix("-").partition(".")

    assert point
    if number == 0 or 0.001 <= abs(number) < 10_000_000:
        assert whole.isdigit()
        assert rest.isdigit()
    else:
        digits, e, exponent = rest.partition("E")
        assert e
        assert len(whole) == 1
        assert whole != "0"
        assert digits == "0" or not digits.endswith("0")
        assert exponent == str(int(exponent))


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (5e-324, "4.9E-324"),
        (1e-323, "9.9E-324"),
        (3e-323, "3.0E-323"),
        (2e23, "2.0E23"),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
        (-1e-7, "-1.0E-7"),
        (1.7976931348623157e308, "1.7976931348623157E308"),
    ],
)
def test_doubles_at_the_edges_are_written_as_java_writes_them(number: float, written: str) -> None:
    assert double_text(number) == written


@given(WRITTEN)
def test_a_number_without_a_point_is_whole_whenever_it_can_be(written: str) -> None:
    mantissa, _, exponent = written.lower().partition("e")
    power = int(exponent or "0")
    scaled = int(mantissa) * 10 ** max(power, 0)
    whole = scaled if power >= 0 else scaled // 10**-power
    exact = power >= 0 or scaled % 10**-power == 0

    number = read_number(written)

    if exact and -(2**63) <= whole < 2**63:
        assert number == whole
        assert isinstance(number, int)
    elif isinstance(number, int):
        assert (number, power < -323) == (0, True)
    else:
        assert same_double(number, float(written))


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("1.0", 1.0),
        ("9" * 5000, math.inf),
        ("1" + "0" * 5000 + "e-5000", 1),
        ("1e" + "9" * 5000, math.inf),
        ("1e-" + "9" * 5000, 0),
        ("-1e+" + "0" * 5000 + "2", -100),
        ("0e999999999999999999999", 0),
        ("000000000000000000000000000012", 12),
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775808", 2.0**63),
        ("18446744073709551616", 2.0**64),
        ("1234567890123456789012e-330", 1.234567890123457e-309),
    ],
)
def test_long_numbers_are_read_without_effort(written: str, number: float) -> None:
    read = read_number(written)

    assert read == number
    assert type(read) is type(number)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (" 5\x00\n", 5.0),
        ("5.", 5.0),
        (".5", 0.5),
        ("+1e2f", 100.0),
        ("40D", 40.0),
        ("0x1p3", 8.0),
        ("-0X.8P1d", -1.0),
        ("0x1p99999999999", math.inf),
        ("-0x1p99999999999", -math.inf),
        ("0x1p-99999999999", 0.0),
        ("-Infinity", -math.inf),
        ("9" * 5000, math.inf),
    ],
)
def test_a_double_is_what_java_s_parser_takes(text: str, number: float) -> None:
    assert java_double(text) == number


def test_nan_is_a_double() -> None:
    read = java_double("-NaN")

    assert read is not None
    assert math.isnan(read)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ".",
        "inf",
        "infinity",
        "nan",
        "1_000",
        "1,000",
        "0x10",
        "0x.p1",
        "0xp1",
        "1e",
        "1ff",
        "١",
        "１",
        "\xa05",
        "5\xa0",
        "5\u2003",
        "--1",
        "+-1",
        "1 2",
        "f",
        "e5",
        "0x1p",
    ],
)
def test_other_texts_are_no_doubles(text: str) -> None:
    assert java_double(text) is None


@given(st.text(alphabet="0123456789.eE+-xXpPfdDaNIinity _ ", max_size=12))
def test_a_text_that_is_a_double_is_one_for_python_too(text: str) -> None:
    number = java_double(text)

    if number is not None:
        plain = text.strip().rstrip("fFdD") if "x" not in text.lower() else text.strip()
        if "x" in text.lower():
            plain = plain[:-1] if plain[-1] in "fFdD" else plain
            assert same_double(number, float.fromhex(plain))
        elif not math.isnan(number):
            assert same_double(number, float(plain))


@given(st.lists(st.floats(), max_size=5))
def test_doubles_have_one_total_order(numbers: list[float]) -> None:
    ordered = sorted(numbers, key=total_order)

    for lower, upper in itertools.pairwise(ordered):
        if math.isnan(lower):
            assert math.isnan(upper)
        elif not math.isnan(upper):
            assert lower <= upper
            assert (
                (lower, upper) != (0.0, -0.0)
                or same_double(lower, upper)
                or (math.copysign(1, lower) <= math.copysign(1, upper))
            )


def test_minus_zero_is_below_zero_and_nan_above_all() -> None:
    ordered = sorted([math.nan, 0.0, math.inf, -0.0, -math.inf], key=total_order)

    assert [double_text(number) for number in ordered] == [
        "-Infinity",
        "-0.0",
        "0.0",
        "Infinity",
        "NaN",
    ]
    assert total_order(math.nan) == total_order(-math.nan)
