"""Which flags Amplitude is asked for."""

from typing import Any

import msgspec
import pytest

from proxy.evaluation.deployment import compile_deployment
from proxy.relay.others import Mode, Others
from tests.builders import flag

FLAGS: list[Any] = [
    flag("local", evaluationMode="local"),
    flag("plain"),
    flag("remote", evaluationMode="remote"),
    flag("far", evaluationMode="remote"),
    {"key": "broken", "segments": 5},
    {"segments": 5},
    flag("a", dependencies=["b"]),
    flag("b", dependencies=["a"]),
]
COMPILED = compile_deployment(msgspec.json.encode(FLAGS))


@pytest.mark.parametrize(
    ("mode", "keys", "expected"),
    [
        ("fallback", [], []),
        ("fallback", ["plain", "remote", "local"], []),
        ("fallback", ["plain", "broken", "unknown", "unknown", "a"], ["broken", "unknown", "a"]),
        ("merge", [], ["remote", "far", "broken", "a", "b"]),
        ("merge", ["local", "plain"], []),
        ("merge", ["plain", "far", "unknown", "far", "broken"], ["far", "unknown", "broken"]),
    ],
)
def test_those_that_are_not_answered_here(mode: Mode, keys: list[str], expected: list[str]) -> None:
    assert sorted(Others(mode).among(COMPILED, keys)) == sorted(expected)


def test_a_flag_whose_last_good_version_stays_is_answered_here() -> None:
    changed = [{"key": "plain", "segments": 5}, flag("new", evaluationMode="remote")]
    compiled = compile_deployment(msgspec.json.encode(changed), COMPILED)

    others = Others("merge")

    assert others.among(COMPILED, []) != others.among(compiled, []) == ("new",)
    assert others.among(compiled, ["plain"]) == ()
