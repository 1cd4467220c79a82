import json
from typing import Any

import msgspec
import pytest

from proxy.evaluation.decode import decode_flag
from proxy.evaluation.interpreter import interpret
from proxy.evaluation.partial import partially_evaluate
from proxy.evaluation.results import result_json

CONDITIONS = [
    [
        {"selector": ["context", "user", "country"], "op": "is", "values": ["DE"]},
        {"selector": ["context", "user", "platform"], "op": "is", "values": ["iOS"]},
    ],
    [{"selector": ["context", "user", "plan"], "op": "is not", "values": ["free"]}],
]
BUCKET = {
    "selector": ["context", "user", "user_id"],
    "salt": "s",
    "allocations": [
        {
            "range": [0, 100],
            "distributions": [
                {"variant": "on", "range": [0, 21474837]},
                {"variant": "off", "range": [21474836, 42949673]},
            ],
        }
    ],
}
FLAG = json.dumps(
    {
        "key": "f",
        "dependencies": ["g"],
        "metadata": {"flagVersion": 1},
        "variants": {"on": {"key": "on", "payload": {"a": 1}}, "off": {"key": "off"}},
        "segments": [
            {"conditions": CONDITIONS, "bucket": BUCKET, "metadata": {"segmentName": "S"}},
            {"conditions": [], "variant": "on"},
            {"variant": "off"},
        ],
    }
).encode()


def equal(pattern: str, text: str) -> bool:
    return pattern == text


def partial(user: dict[str, Any]) -> bytes:
    flags = {"f": decode_flag(FLAG)}
    (flag,) = partially_evaluate(flags, user, match=equal)
    return msgspec.json.encode(flag)


def test_of_an_unknown_user_everything_stays() -> None:
    assert json.loads(partial({})) == json.loads(FLAG)


def test_known_conditions_go_and_a_known_bucket_becomes_its_variant() -> None:
    first = json.loads(partial({"user_id": "u", "country": "DE", "plan": "free"}))["segments"][0]

    assert first["conditions"] == [
        CONDITIONS[0][1:],
        [{"selector": [], "op": "is not", "values": ["(none)"]}],
    ]
    assert "bucket" not in first
    assert first["variant"] in ("on", "off")


def test_a_known_empty_value_gives_the_default_variant() -> None:
    first = json.loads(partial({"user_id": ""}))["segments"][0]

    assert "bucket" not in first
    assert "variant" not in first


@pytest.mark.parametrize("known", [{}, {"country": "DE"}, {"plan": "free"}, {"user_id": "u7"}])
@pytest.mark.parametrize("platform", ["iOS", "Android"])
def test_the_rest_of_the_user_decides_the_same(known: dict[str, Any], platform: str) -> None:
    user = {"user_id": "u7", "country": "DE", "plan": "free", "platform": platform}
    resolved = decode_flag(partial(known))

    result = interpret({"f": resolved}, user, match=equal)["f"]

    expected = interpret({"f": decode_flag(FLAG)}, user, match=equal)["f"]
    assert json.loads(result_json(result)) == json.loads(result_json(expected))
