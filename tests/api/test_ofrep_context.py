"""OpenFeature's context becomes Amplitude's user."""

from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.api.ofrep_context import FIELDS, Mistake, read_user

KeyIs = Literal["user_id", "device_id"]


def user_of(context: Any, key_is: KeyIs = "user_id") -> Any:
    return read_user(msgspec.json.encode({"context": context}), 64, key_is)


@pytest.mark.parametrize(
    ("context", "user"),
    [
        ({}, {}),
        (None, {}),
        ({"targetingKey": "u1"}, {"user_id": "u1"}),
        ({"targetingKey": ""}, {}),
        ({"targetingKey": None}, {}),
        ({"targetingKey": 7}, {"user_id": 7}),
        ({"targetingKey": "key", "user_id": "own"}, {"user_id": "own"}),
        ({"targetingKey": "key", "user_id": ""}, {"user_id": "key"}),
        ({"targetingKey": "key", "user_id": None}, {"user_id": "key"}),
        (
            {"targetingKey": "key", "device_id": "d1", "country": "Chile", "plan": "pro"},
            {
                "user_id": "key",
                "device_id": "d1",
                "country": "Chile",
                "user_properties": {"plan": "pro"},
            },
        ),
        (
            {"plan": "pro", "age": 3, "user_properties": {"plan": "free", "nested": {"a": [1]}}},
            {"user_properties": {"plan": "free", "age": 3, "nested": {"a": [1]}}},
        ),
        ({"user_properties": None, "a": 1}, {"user_properties": {"a": 1}}),
        ({"groups": {"org": "acme"}}, {"groups": {"org": ["acme"]}}),
        ({"groups": {"org": ["acme", "b"]}}, {"groups": {"org": ["acme", "b"]}}),
        ({"groups": 5}, {"groups": 5}),
    ],
)
def test_a_context_is_a_user(context: Any, user: dict[str, Any]) -> None:
    assert user_of(context) == user


def test_the_targeting_key_may_be_the_device() -> None:
    assert user_of({"targetingKey": "d1"}, "device_id") == {"device_id": "d1"}
    assert user_of({"targetingKey": "d1", "user_id": "u1"}, "device_id") == {
        "device_id": "d1",
        "user_id": "u1",
    }


@pytest.mark.parametrize("body", [b"", b"  ", b"{}", b'{"context":null}', b'{"more":1}'])
def test_no_context_is_an_empty_one(body: bytes) -> None:
    assert read_user(body, 64, "user_id") == {}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"[]", 400, "PARSE_ERROR"),
        (b"5", 400, "PARSE_ERROR"),
        (b"{", 400, "PARSE_ERROR"),
        (b"\xff", 400, "PARSE_ERROR"),
        (b'{"context":' + b'{"a":' * 70 + b"1" + b"}" * 71, 400, "PARSE_ERROR"),
        (b'{"context":' + b'{"a":' * 9000 + b"1" + b"}" * 9001, 400, "PARSE_ERROR"),
        (b'{"context":{"a":[' + b"1," * 60_000 + b"1]}}", 413, "GENERAL"),
        (b'{"context":[]}', 400, "INVALID_CONTEXT"),
        (b'{"context":"u1"}', 400, "INVALID_CONTEXT"),
        (b'{"context":{"targetingKey":true}}', 400, "INVALID_CONTEXT"),
        (b'{"context":{"targetingKey":["a"]}}', 400, "INVALID_CONTEXT"),
        (b'{"context":{"targetingKey":{}}}', 400, "INVALID_CONTEXT"),
        (b'{"context":{"user_properties":[]}}', 400, "INVALID_CONTEXT"),
    ],
)
def test_a_mistake_has_a_code(body: bytes, status: int, code: str) -> None:
    mistake = read_user(body, 64, "user_id")

    assert isinstance(mistake, Mistake)
    assert (mistake.status, mistake.code) == (status, code)
    assert mistake.details


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from([*sorted(FIELDS), "targetingKey", "plan"]) | st.text()


@given(st.dictionaries(NAMES, VALUES))
def test_any_context_is_a_user_or_a_mistake_and_nothing_is_lost(context: dict[str, Any]) -> None:
    user = user_of(context)

    if isinstance(user, Mistake):
        assert user.status == 400
        return
    assert set(user) <= FIELDS
    properties = user.get("user_properties") or {}
    for name, value in context.items():
        if name not in FIELDS | {"targetingKey"}:
            own = context.get("user_properties") or {}
            assert properties[name] == own.get(name, value)
