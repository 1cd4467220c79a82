import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.events.canonical import (
    identity_prefix,
    insert_id,
    java_hash,
    joined_hash,
    partial_hash,
)

DAY = 86_400_000
any_text = st.text(st.sampled_from("a \ud800\udc00") | st.characters(), max_size=40)


def slow_java_hash(text: str) -> int:
    units = text.encode("utf-16-be", "surrogatepass")
    value = 0
    for at in range(0, len(units), 2):
        value = value * 31 + int.from_bytes(units[at : at + 2])
    value %= 2**32
    return value - 2**32 if value >= 2**31 else value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user device f on ", 2073810770),
        ("user device flag-key-1 on flag-key-2 off ", -1574689578),
        ("f user device f on ", -4518376),
        ("usér 😀 f on ", -297331037),
        ("user_1 None f1 on ", -869202959),
        ("f1 user_1 None f1 on ", -597092954),
        ("user_1  f1 on ", 138358985),
        ("", 0),
    ],
)
def test_the_hash_is_javas(text: str, expected: int) -> None:
    assert java_hash(text) == expected


@given(any_text)
def test_the_hash_is_the_polynomial_over_utf_16(text: str) -> None:
    assert java_hash(text) == slow_java_hash(text)


@given(st.lists(any_text))
def test_hashes_of_parts_join_to_the_hash_of_the_whole(parts: list[str]) -> None:
    assert joined_hash(map(partial_hash, parts)) == java_hash("".join(parts))


def test_the_insert_id_has_the_official_form() -> None:
    hashed = java_hash("user device flag-key-1 on flag-key-2 off ")

    assert insert_id("user", "device", hashed, 1_700_000_000_000) == (
        "user device -1574689578 19675"
    )


def test_a_missing_id_is_the_word_null() -> None:
    hashed = java_hash(identity_prefix("u", None) + "f on ")

    assert identity_prefix("u", None) == "u null "
    assert identity_prefix(None, "d") == "null d "
    assert insert_id("u", None, hashed, 0) == f"u null {java_hash('u null f on ')} 0"
    assert insert_id(None, "d", 1, 0) == "null d 1 0"


def test_ids_are_trimmed_in_the_canonical_text_only() -> None:
    assert identity_prefix(" u ", "\td\n") == "u d "
    assert insert_id(" u ", "\td\n", 1, 0) == " u  \td\n 1 0"


def test_the_day_changes_at_midnight_utc() -> None:
    assert insert_id("u", "d", 1, 3 * DAY - 1) == "u d 1 2"
    assert insert_id("u", "d", 1, 3 * DAY) == "u d 1 3"


def test_an_insert_id_is_never_longer_than_upstream_keeps() -> None:
    one = insert_id("u" * 1024, "d" * 1024, -(2**31), 10**15)
    other = insert_id("u" * 1024, "e" * 1024, -(2**31), 10**15)

    assert len(one) <= 1024
    assert one != other


def test_a_long_text_is_hashed_whole() -> None:
    text = "\u2603 long " * 500

    assert java_hash(text) == slow_java_hash(text)
