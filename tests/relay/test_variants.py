"""Only an object of variants is an answer."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import UpstreamGarbled
from proxy.evaluation.deployment import compile_deployment
from proxy.relay.variants import as_v1, read_variants, whole
from tests.builders import flag, segment

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>busy</html>",
        b"null",
        b"[]",
        b'"text"',
        b'[{"key":"on"}]',
        b'{"a":null}',
        b'{"a":"on"}',
        b'{"a":{}}',
        b'{"a":{"key":null}}',
        b'{"a":{"key":7}}',
        b'{"a":{"key":"on","metadata":[]}}',
        b'{"a":{"key":"on"}',
        b'{"a":{"key":"on"}} and more',
        b'{"a":{"key":"on","payload":01}}',
        b'{"a":{"key":"on","payload":"\xff"}}',
        b'\xff\xfe{"a":{"key":"on"}}',
        b'{"code":503,"error":"busy"}',
        b'{"a":{"key":"on"},"error":"cut short"}',
        b'{"a":{"key":"on","payload":' + b"[" * 100_000 + b"}}",
    ],
)
def test_anything_else_is_garbled(body: bytes) -> None:
    with pytest.raises(UpstreamGarbled):
        read_variants(body)


def test_variants_pass_as_they_came() -> None:
    odd = b'{"key":"on", "new": [1.0 , 1e2], "payload":{"\\u00e9":"\xc3\xa9"}}'

    variants = read_variants(b' {"a" : %b, "b":{"key":""}}' % odd)

    assert whole(list(variants.values())) == b'{"a":%b,"b":{"key":""}}' % odd
    assert read_variants(b"{}") == {}


@settings(max_examples=100)
@given(
    st.dictionaries(
        st.text(max_size=6),
        st.fixed_dictionaries(
            {"key": st.text(max_size=6)},
            optional={
                "value": st.text(max_size=5),
                "payload": JSON,
                "metadata": st.none() | st.dictionaries(st.text(max_size=5), JSON, max_size=4),
                "other": JSON,
            },
        ),
        max_size=5,
    )
)
def test_every_object_of_variants_comes_out_whole(answer: dict[str, Any]) -> None:
    variants = read_variants(msgspec.json.encode(answer))

    assert msgspec.json.decode(whole(list(variants.values()))) == answer
    for member in variants.values():
        assert msgspec.json.decode(b"{%b}" % (as_v1(member) or b"")) is not None


def test_version_1_has_of_a_variant_what_it_has_of_our_own() -> None:
    flags = [
        flag("plain", payload=[1]),
        flag("experiment", experimentKey="exp-1"),
        flag("odd", experimentKey=None),
        flag("older", experimentKey=5),
        flag("off", segment("off")),
        flag("off of an experiment", segment("off"), experimentKey="exp-2"),
        flag("hidden", deployed=False),
    ]
    outcomes = compile_deployment(msgspec.json.encode(flags)).evaluate({})
    assert len(outcomes) == len(flags)

    for outcome in outcomes:
        assert as_v1(outcome.fragment) == outcome.fragment_v1


def test_version_1_leaves_an_experiment_key_that_is_there() -> None:
    member = b'"a":{"key":"on","expKey":"mine","metadata":{"experimentKey":"exp-1"}}'

    assert as_v1(member) == member
    assert as_v1(b'"a":{"key":"on","metadata":null}') == b'"a":{"key":"on","metadata":null}'
