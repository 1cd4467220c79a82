"""OpenFeature's official OFREP providers, unmodified, get what the vendor's own engine says."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import amplitude_experiment as official
import pytest
from amplitude_experiment.evaluation.engine import EvaluationEngine
from amplitude_experiment.evaluation.topological_sort import topological_sort
from amplitude_experiment.evaluation.types import EvaluationFlag
from amplitude_experiment.util.user import user_to_evaluation_context
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import FlagEvaluationDetails, Reason

from proxy.sandbox.server import CLIENT_KEY, SERVER_KEY
from tests.clients.people import users
from tests.clients.running import HERE, Variants, need_node, of_python, run
from tests.system.programs import Pair, get_json

pytestmark = [
    pytest.mark.system,
    # The vendor's package uses what its own dependencies will remove, and leaves sockets open.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]
PEOPLE = [
    {
        **user,
        "groups": {"org": [f"org-{number % 2}"]},
        "group_properties": {"org": {f"org-{number % 2}": {"tier": ["gold", "tin"][number % 2]}}},
        "user_properties": {"plan": ["pro", "free"][number % 3 == 0]},
    }
    for number, user in enumerate(users(24))
]
QUESTIONS: list[dict[str, Any]] = [
    *(
        {"key": key, "type": "boolean", "fallback": False}
        for key in ("everybody", "nobody", "half", "german", "paying", "company")
    ),
    {"key": "words", "type": "string", "fallback": "fallback"},
    {"key": "colours", "type": "object", "fallback": {"fell": "back"}},
    {"key": "ratio", "type": "number", "fallback": 0.5},
    {"key": "count", "type": "number", "fallback": 0},
    {"key": "text", "type": "string", "fallback": ""},
]
DISTRIBUTED = {"half", "words", "colours"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = Pair(tmp_path_factory.mktemp("openfeature"), HERE / "openfeature_flags.yaml")
    with pair.sandbox(), pair.serve():
        yield pair


@pytest.fixture(scope="module")
def expected(pair: Pair) -> list[Variants]:
    """What the vendor's Python engine answers for everybody."""
    flags = get_json(f"{pair.upstream}/sdk/v2/flags", {"Authorization": f"Api-Key {SERVER_KEY}"})
    loaded = EvaluationFlag.schema().load(flags, many=True)
    in_order = topological_sort({flag.key: flag for flag in loaded})
    return [
        of_python(
            EvaluationEngine().evaluate(user_to_evaluation_context(official.User(**user)), in_order)
        )
        for user in PEOPLE
    ]


def context_of(user: dict[str, Any]) -> dict[str, Any]:
    """The user as an application tells OpenFeature: properties beside fields, groups by name."""
    context: dict[str, Any] = {
        name: value
        for name, value in user.items()
        if name not in {"user_id", "user_properties", "groups"}
    }
    groups = {group_type: name for group_type, (name,) in user["groups"].items()}
    return {**context, **user["user_properties"], "groups": groups}


def wanted(question: dict[str, Any], variant: dict[str, Any]) -> Any:
    """The value that an application is to get for a variant of the engine's."""
    if not variant or variant.get("metadata", {}).get("default"):
        return question["fallback"]
    if question["type"] == "boolean":
        return variant["key"] == "on"
    if question["key"] == "words":
        return variant["value"]
    return variant.get("payload", question["fallback"])


def reason_of(question: dict[str, Any], variant: dict[str, Any]) -> str:
    if not variant or variant.get("metadata", {}).get("default"):
        return "DEFAULT"
    if question["key"] in DISTRIBUTED:
        return "SPLIT"
    return "TARGETING_MATCH" if question["key"] in {"german", "paying", "company"} else "STATIC"


def told(question: dict[str, Any], variants: Variants) -> tuple[Any, str, str]:
    variant = variants.get(question["key"], {})
    return wanted(question, variant), variant.get("key", ""), reason_of(question, variant)


@contextmanager
def python_client(pair: Pair, **headers: str) -> Iterator[OpenFeatureClient]:
    provider = OFREPProvider(pair.proxy, headers_factory=lambda: headers)
    api.set_provider(provider)
    try:
        yield api.get_client()
    finally:
        provider.session.close()
        api.clear_providers()


def asked(
    client: OpenFeatureClient, question: dict[str, Any], context: EvaluationContext
) -> FlagEvaluationDetails[Any]:
    kind = question["type"]
    if kind == "number":
        kind = "float" if isinstance(question["fallback"], float) else "integer"
    ask = getattr(client, f"get_{kind}_details")
    found: FlagEvaluationDetails[Any] = ask(question["key"], question["fallback"], context)
    return found


def test_the_flags_of_this_test_divide_its_people(expected: list[Variants]) -> None:
    for key in DISTRIBUTED | {"german", "paying", "company"}:
        assert len({variants.get(key, {}).get("key") for variants in expected}) > 1, key


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {SERVER_KEY}"},
        {"Authorization": f"Api-Key {CLIENT_KEY}"},
        {"X-API-Key": SERVER_KEY},
    ],
    ids=["bearer", "api-key", "x-api-key"],
)
def test_python(pair: Pair, expected: list[Variants], headers: dict[str, str]) -> None:
    with python_client(pair, **headers) as client:
        for user, variants in zip(PEOPLE, expected, strict=True):
            context = EvaluationContext(user["user_id"], context_of(user))
            for question in QUESTIONS:
                found = asked(client, question, context)
                assert found.error_code is None, (question, found)
                reason = Reason(str(found.reason)).value
                assert (found.value, found.variant, reason) == told(question, variants)


def test_python_hears_of_mistakes_and_goes_on_with_its_default(pair: Pair) -> None:
    somebody = EvaluationContext("user-1")
    with python_client(pair, Authorization=f"Bearer {SERVER_KEY}") as client:
        missing = client.get_boolean_details("no-such-flag", True, somebody)
        nobody = client.get_boolean_details("half", True, EvaluationContext())
        another_type = client.get_integer_details("text", 5, somebody)
        no_context = client.get_boolean_details("everybody", False)
    with python_client(pair, Authorization="Bearer nobody") as client:
        unknown_key = client.get_boolean_details("everybody", False, somebody)

    assert (missing.value, missing.error_code) == (True, "FLAG_NOT_FOUND")
    assert (nobody.value, nobody.error_code) == (True, "TARGETING_KEY_MISSING")
    assert (another_type.value, another_type.error_code) == (5, "TYPE_MISMATCH")
    assert (no_context.value, no_context.error_code) == (True, None)
    assert (unknown_key.value, unknown_key.error_code) == (False, "GENERAL")


def test_python_asks_for_a_key_with_a_slash(pair: Pair) -> None:
    with python_client(pair, Authorization=f"Bearer {SERVER_KEY}") as client:
        found = client.get_boolean_details("a/key with blanks", False, EvaluationContext("u1"))

    assert (found.value, found.error_code) == (True, None)


def job(pair: Pair, work: str, questions: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "work": work,
        "proxy": pair.proxy,
        "headers": [["Authorization", f"Bearer {CLIENT_KEY}"]],
        "contexts": [{"targetingKey": user["user_id"], **context_of(user)} for user in PEOPLE],
        "questions": questions,
        **more,
    }


def lines(output: bytes) -> list[Any]:
    return [json.loads(line) for line in output.splitlines()]


def test_node_server(pair: Pair, expected: list[Variants]) -> None:
    need_node()

    found = lines(run(["node", "openfeature_clients.js"], job(pair, "server", QUESTIONS)))

    assert len(found) == len(expected)
    for details, variants in zip(found, expected, strict=True):
        for question, detail in zip(QUESTIONS, details, strict=True):
            value, variant, reason = told(question, variants)
            assert detail["value"] == value
            if value == question["fallback"]:
                # This provider knows no answer without a value: it takes its default as an error.
                continue
            assert (detail["variant"], detail["reason"]) == (variant, reason)


def test_web(pair: Pair, expected: list[Variants]) -> None:
    need_node()

    found = lines(run(["node", "openfeature_clients.js"], job(pair, "web", QUESTIONS)))

    assert len(found) == len(expected)
    for details, variants in zip(found, expected, strict=True):
        for question, detail in zip(QUESTIONS, details, strict=True):
            assert "errorCode" not in detail, detail
            assert (detail["value"], detail["variant"], detail["reason"]) == told(
                question, variants
            )


def test_the_web_provider_hears_of_a_change_by_its_stream(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """No polling: it asks again because the stream says so, and only then."""
    need_node()
    pair = Pair(tmp_path_factory.mktemp("changing"), "flags:\n  it: {serve: off}\n")
    questions = [{"key": "it", "type": "boolean", "fallback": False}]
    work = job(pair, "web", questions, changes=1, contexts=[{"targetingKey": "u1"}])
    with pair.sandbox(), pair.serve(), node(work) as process:
        assert process.stdout is not None
        before = json.loads(process.stdout.readline())
        # What was said of the stream may come before the provider listens to it.
        pair.flag_file.write_text("flags:\n  it: {serve: on}\n")
        after = json.loads(process.stdout.readline())
        assert process.wait(30) == 0

    assert [each["value"] for each in before] == [False]
    assert after["changed"] == ["it"]
    assert [each["value"] for each in after["found"]] == [True]


@contextmanager
def node(work: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        ["node", "openfeature_clients.js"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=HERE,
    )
    with process:
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(work).encode())
            process.stdin.close()
            yield process
        finally:
            process.kill()
