import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.evaluation.versions import Version, parse_version

NUMBERS = st.integers(0, 12).map(str)
IDENTIFIERS = st.from_regex(r"(0|[1-9][0-9]?|[0-9]?[a-b-][0-9a-b-]?)", fullmatch=True)
DOTTED = st.lists(IDENTIFIERS, min_size=1, max_size=3).map(".".join)
VERSIONS = st.builds(
    lambda major, minor, patch, prerelease, build: (
        f"{major}.{minor}.{patch}"
        + (f"-{prerelease}" if prerelease else "")
        + (f"+{build}" if build else "")
    ),
    NUMBERS,
    NUMBERS,
    NUMBERS,
    st.none() | DOTTED,
    st.none() | DOTTED,
)


def parsed(text: str) -> Version:
    version = parse_version(text)
    assert version is not None
    return version


@given(VERSIONS, VERSIONS, VERSIONS)
def test_versions_have_one_total_order(first: str, second: str, third: str) -> None:
    low, middle, high = sorted(map(parsed, (first, second, third)))

    assert low <= middle <= high
    assert low <= high
    assert (low < middle) + (low == middle) + (middle < low) == 1


@given(VERSIONS)
def test_the_build_counts_for_nothing(text: str) -> None:
    plain, _, _ = text.partition("+")

    assert parsed(text) == parsed(plain)


@given(st.text(alphabet="0123456789.-+ab\u0661\n ", max_size=12))
def test_reading_a_version_never_raises(text: str) -> None:
    version = parse_version(text)

    assert version is None or version.major >= 0


def test_a_prerelease_is_below_its_release_and_compares_as_text() -> None:
    ordered = ["1.2.3--", "1.2.3-10", "1.2.3-9", "1.2.3-a", "1.2.3-a.1", "1.2.3", "1.2.10", "1.10"]

    assert sorted(ordered, key=parsed) == ordered


@pytest.mark.parametrize("text", ["1.2.3-" + "1" * 100_000 + "!", "1.2.3-" + "a." * 50_000 + "_"])
def test_a_long_text_is_refused_at_once(text: str) -> None:
    assert parse_version(text) is None


def test_leading_zeros_of_any_number_are_read() -> None:
    assert parsed("0" * 5000 + "1.0") == parsed("1.0.0")
    assert parse_version("9" * 5000 + ".0") is None
    assert parsed("1.1." + "9" * 5000).patch == 0
