import base64
from collections.abc import Callable
from urllib.parse import quote, unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.api import requests
from proxy.errors import BadRequest

STANDARD = "eyJ1c2VyX2lkIjoidXNlcl8xIiwidXNlcl9wcm9wZXJ0aWVzIjp7ImEiOiLDqT9+PiJ9fQ=="
URL_SAFE = "eyJ1c2VyX2lkIjoidXNlcl8xIiwidXNlcl9wcm9wZXJ0aWVzIjp7ImEiOiLDqT9-PiJ9fQ"


@pytest.mark.parametrize(
    "text",
    [STANDARD, URL_SAFE, STANDARD.rstrip("="), URL_SAFE + "==", f" {URL_SAFE[:9]}\t{URL_SAFE[9:]}"],
)
def test_all_forms_of_base64_say_the_same(text: str) -> None:
    user = requests.user_from_header({"x-amp-exp-user": text}, 64)

    assert user == {"user_id": "user_1", "user_properties": {"a": "é?~>"}}


@given(st.binary())
def test_whatever_was_encoded_is_decoded(raw: bytes) -> None:
    for text in (base64.b64encode(raw), base64.urlsafe_b64encode(raw)):
        assert requests.decode_base64(text.decode()) == raw
        assert requests.decode_base64(text.decode().rstrip("=")) == raw


def clients_mistake(read: Callable[[], object]) -> bool:
    """Whether reading either works or fails as the client's mistake."""
    try:
        read()
    except BadRequest as mistake:
        return mistake.status == 400
    return True


@given(st.text(st.characters(blacklist_categories=()), max_size=60))
def test_any_header_is_a_user_or_the_clients_mistake(text: str) -> None:
    assert clients_mistake(lambda: requests.user_from_header({"x-amp-exp-user": text}, 64))
    assert clients_mistake(lambda: requests.flag_keys({"x-amp-exp-flag-keys": text}, text, 10))
    assert requests.wants_tracking({"x-amp-exp-track": text}) in (True, False)


@given(st.text(st.characters(blacklist_categories=()), max_size=60))
def test_any_target_has_a_path_that_starts_with_one_slash(target: str) -> None:
    path, query = requests.split_target(target)

    assert path == "*" or (path.startswith("/") and not path.startswith("//")) or "%" in target
    assert clients_mistake(lambda: requests.query_fields(query))


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/a/b?c=d?e", "/a/b", "c=d?e"),
        ("/a?", "/a", ""),
        ("/a%20b/%2F?%41", "/a%20b/%2F", "%41"),
        ("////a//b", "/a//b", ""),
        ("*", "*", ""),
        ("/a#b?c", "/a", "c"),
        ("/a?b#c", "/a", "b"),
        ("http://host:1/a?b=http://x/y", "/a", "b=http://x/y"),
        ("http://host", "/", ""),
        ("http://host?a=/b", "/", "a=/b"),
        ("http://host//a", "/a", ""),
        ("host:443", "/", ""),
    ],
)
def test_targets_come_in_several_forms(target: str, path: str, query: str) -> None:
    assert requests.split_target(target) == (path, query)


def test_the_first_of_several_query_values_counts() -> None:
    assert requests.query_fields("a=1&a=2&b=&c=%C3%A9+x") == {"a": "1", "b": "", "c": "é x"}
    assert requests.query_fields("") == {}


@pytest.mark.parametrize("query", ["a=%ff", "a=\udcff", "&".join(["a=1"] * 1001)])
def test_a_query_that_cannot_be_read_is_the_clients_mistake(query: str) -> None:
    with pytest.raises(BadRequest):
        requests.query_fields(query)


def test_blank_headers_and_bodies_mean_the_empty_user() -> None:
    assert requests.user_from_header({"x-amp-exp-user": ""}, 64) == {}
    assert requests.user_from_header({}, 64) == {}
    assert requests.user_from_body(b"  \n", 64) == {}
    assert requests.user_from_query({"context": ""}, 64) == {}


@pytest.mark.parametrize("depth", [5, 400, 5000])
def test_nesting_is_bounded(depth: int) -> None:
    def body(levels: int) -> bytes:
        return b'{"a":' * levels + b"1" + b"}" * levels

    assert requests.user_from_body(body(4), 4)
    for levels in (depth, depth * 10):
        with pytest.raises(BadRequest):
            requests.user_from_body(body(levels), 4)
    with pytest.raises(BadRequest):
        requests.flag_keys({"x-amp-exp-flag-keys": base64.b64encode(b"[" * depth).decode()}, "", 9)


def test_many_keys_are_refused_and_few_are_told_once() -> None:
    assert requests.flag_keys({}, "flag_key=a,b,,a", 2) == ["a", "b"]
    with pytest.raises(BadRequest):
        requests.flag_keys({}, "flag_key=a,b,c", 2)
    header = base64.b64encode(msgspec.json.encode(["a", "b", "c"])).decode()
    with pytest.raises(BadRequest):
        requests.flag_keys({"x-amp-exp-flag-keys": header}, "", 2)


@pytest.mark.parametrize(
    ("wish", "tracked"),
    [("track", True), ("no-track", False), ("Read-Only", False), ("?", True), (" NO-TRACK", False)],
)
def test_tracking_wishes(wish: str, *, tracked: bool) -> None:
    assert requests.wants_tracking({"x-amp-exp-track": wish}) is tracked
    assert requests.wants_tracking({})


def test_a_user_of_countless_values_is_refused() -> None:
    body = b'{"user_properties":{"a":[' + b"[]," * 50_000 + b"1]}}"

    with pytest.raises(BadRequest) as caught:
        requests.user_from_body(body, 64)
    assert caught.value.status == 413


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("a", "a"),
        ("a%2Fb%20", "a/b "),
        ("%25%34%31", "%41"),
        ("+", "+"),
        ("%c3%A9é", "éé"),
        ("", ""),
    ],
)
def test_a_part_of_a_path_is_decoded_once(part: str, text: str) -> None:
    assert requests.decoded(part) == text


@pytest.mark.parametrize("part", ["%", "a%4", "%zz", "%ff", "%ED%A0%80", "\udcff", "%\udcff"])
def test_a_part_of_a_path_that_cannot_be_decoded_is_the_clients_mistake(part: str) -> None:
    with pytest.raises(BadRequest):
        requests.decoded(part)


@given(st.text())
def test_what_was_percent_encoded_is_decoded(text: str) -> None:
    assert requests.decoded(quote(text, safe="")) == text
    everything = "".join(f"%{byte:02x}" for byte in text.encode())
    assert requests.decoded(everything) == text
    assert requests.plainly_spelt(everything).casefold() == quote(text, safe="").casefold()


@given(st.text(st.characters(blacklist_categories=()), max_size=30))
def test_spelling_a_path_plainly_changes_no_slash_and_nothing_twice(path: str) -> None:
    plain = requests.plainly_spelt(path)

    assert plain.count("/") == path.count("/")
    assert unquote(plain) == unquote(path) or "%" in unquote(path)


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("/sdk/%762/%66lags", "/sdk/v2/flags"),
        ("/sdk%2Fv2", "/sdk%2Fv2"),
        ("/%2541", "/%2541"),
        ("/%7e%2E%5f%2d%40%5B%60%7B%3a%2f", "/~._-%40%5B%60%7B%3a%2f"),
        ("/%", "/%"),
    ],
)
def test_only_letters_digits_and_few_signs_are_spelt_plainly(path: str, plain: str) -> None:
    assert requests.plainly_spelt(path) == plain
