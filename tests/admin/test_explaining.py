"""Why a user gets what it gets, over HTTP."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from proxy.admin.brevity import LONGEST, MORE
from proxy.admin.explaining import MOST_PARTS, Explanations
from proxy.api.settling import KnownCohorts
from proxy.evaluation.bucketing import bucket_hash
from proxy.evaluation.deployment import compile_deployment
from proxy.evaluation.outcomes import answer
from proxy.evaluation.users import parse_json
from proxy.settings.schema import Limits
from proxy.snapshots.board import Board
from proxy.snapshots.snapshot import Snapshot
from tests import builders
from tests.admin.port import Port, port
from tests.builders import KEY, condition, flag, segment
from tests.evaluation.strategies import as_json, asked_keys, flag_lists, users
from tests.serving import memberships

ALL = [0, 42949673]
BUCKET = {
    "selector": ["context", "user", "device_id"],
    "salt": "s",
    "allocations": [
        {"range": [0, 50], "distributions": [{"variant": "on", "range": ALL}]},
        {"range": [50, 60], "distributions": []},
    ],
}
BETA = {
    "bucket": BUCKET,
    "variant": "off",
    "conditions": [[condition(["context", "user", "user_properties", "plan"], "is", "gold")]],
    "metadata": {"segmentName": "Beta"},
}
MEMBERS = segment("on", condition(["context", "user", "cohort_ids"], "set contains any", "c1"))
FLAGS = [flag("beta", BETA), flag("members", MEMBERS, segment("off")), flag("plain")]


@asynccontextmanager
async def explaining(
    flags: Iterable[Any] | None = None,
    clock: Callable[[], float] = time.thread_time,
    **limits: int,
) -> AsyncIterator[Port]:
    """Answer questions on a deployment in which the user `ada` is in the cohort c1."""
    board = Board()
    deployment = builders.deployment()
    board.authorise(deployment)
    if flags is not None:
        compiled = compile_deployment(as_json(list(flags)))
        snapshot = Snapshot(deployment=deployment, compiled=compiled, source="poll", changed_at=1)
        board.publish(KEY, snapshot)
    cohorts = {("User", "ada"): ["c1"]}
    known = KnownCohorts(lambda _, *of: memberships(cohorts, of), trusts_claims=False)
    page = Explanations(board, known.settle, Limits(**limits), clock)
    async with port({"/explain": {"POST": page.answer}}) as served:
        yield served


def question(user: Any, *keys: str, deployment: Any = "test") -> bytes:
    asked = {"flag_keys": list(keys)} if keys else {}
    return as_json({"deployment": deployment, "user": user, **asked})


async def test_an_answer_tells_the_variant_and_every_step_that_led_to_it() -> None:
    user = {"user_id": "ada", "device_id": "d", "user_properties": {"plan": "gold"}}
    hashed = bucket_hash("s", "d")
    async with explaining(FLAGS) as served:
        status, told = await served.post("/explain", question(user))
        _, some = await served.post("/explain", question(user, "plain", "ghost", "plain"))

    assert status == 200
    assert told["deployment"] == "test"
    assert told["user"] == {**user, "cohort_ids": ["c1"]}
    assert [one["flagKey"] for one in told["traces"]] == ["beta", "members", "plain"]
    assert told["left_out"] == {}
    assert told["disagrees"] == []
    assert told["variants"]["members"]["key"] == "on"
    beta = told["traces"][0]
    (step,) = beta["steps"]
    assert (beta["matched"], beta["matchedSegment"], beta["variant"]) == (True, "Beta", "off")
    assert (step["segment"], step["bucketVariant"], step["matched"]) == ("Beta", "off", True)
    assert step["conditionResult"][0][0]["propValue"] == "gold"
    assert hashed % 100 >= 60
    assert step["bucketing"] == {
        "selector": BUCKET["selector"],
        "value": "d",
        "salt": "s",
        "hash": hashed,
        "bucket": hashed % 100,
        "point": hashed // 100,
        "allocation": None,
        "allocations": [[0, 50], [50, 60]],
        "distributions": [],
    }
    assert list(some["variants"]) == ["plain"]


async def test_a_bucket_tells_of_the_ranges_that_decide() -> None:
    devices = {bucket_hash("s", f"d{n}") % 100: f"d{n}" for n in range(2000)}
    plan = {"user_properties": {"plan": "gold"}}
    async with explaining(FLAGS) as served:
        steps = []
        for device in (devices[10], devices[55], ""):
            _, told = await served.post("/explain", question({**plan, "device_id": device}, "beta"))
            (step,) = told["traces"][0]["steps"]
            steps.append((step["bucketVariant"], step["bucketing"]))

    (on, inside), (off, empty), (nobody, unknown) = steps
    assert (on, off, nobody) == ("on", "off", "off")
    assert inside["allocation"] == [0, 50]
    assert inside["distributions"] == [{"variant": "on", "range": ALL}]
    assert (empty["allocation"], empty["distributions"]) == ([50, 60], [])
    assert unknown["value"] is None
    assert "hash" not in unknown


async def test_patterns_are_tried_as_they_are_for_clients() -> None:
    asks = condition(["context", "user", "user_id"], "regex match", "a.*", "b+", "[")
    async with explaining([flag("f", segment("on", asks), segment("off", asks))]) as served:
        for user_id, matched in (("ada", True), ("bb", True), ("eve", False)):
            _, told = await served.post("/explain", question({"user_id": user_id}))
            steps = told["traces"][0]["steps"]
            assert [step["conditionsPassed"] for step in steps] == [matched, matched]
            assert told["disagrees"] == []


async def test_what_is_left_out_is_told_with_the_reason() -> None:
    async with explaining([*FLAGS, {"key": "bad"}, {"key": "worse"}]) as served:
        _, told = await served.post("/explain", question({}))
        _, some = await served.post("/explain", question({}, "bad", "plain"))

    assert list(told["left_out"]) == ["bad", "worse"]
    assert list(some["left_out"]) == ["bad"]
    assert "variants" in some["left_out"]["bad"]


async def test_cohorts_that_somebody_claims_to_be_in_do_not_count() -> None:
    async with explaining(FLAGS) as served:
        user = {"user_id": "eve", "cohort_ids": ["c1"]}
        _, told = await served.post("/explain", question(user, "members"))

    assert told["user"]["cohort_ids"] == []
    assert told["variants"]["members"]["key"] == "off"


async def test_flags_that_are_not_here_yet_cannot_be_explained() -> None:
    async with explaining() as served:
        status, told = await served.post("/explain", question({}))

    assert (status, told["error"]) == (409, "The flags of this deployment are not here yet")


DEEP = b"[" * 60 + b"]" * 60


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "cannot be read"),
        (b"null", 400, "no JSON object"),
        (b"[1]", 400, "no JSON object"),
        (b'{"deployment":"test"', 400, "cannot be read"),
        (b"\xff\xfe", 400, "cannot be read"),
        (b'{"deployment":NaN}', 400, "cannot be read"),
        (b"{}", 400, "deployment is not a text"),
        (b'{"deployment":1,"user":{}}', 400, "deployment is not a text"),
        (b'{"deployment":"test","user":[]}', 400, "user is no JSON object"),
        (b'{"deployment":"test"}', 400, "user is no JSON object"),
        (b'{"deployment":"","user":{}}', 400, "deployment is missing"),
        (b'{"deployment":"nobody","user":{}}', 404, "No deployment"),
        (b'{"deployment":"\\ud800","user":{}}', 404, "No deployment"),
        (b'{"deployment":"test","user":{},"flag_keys":"a"}', 400, "flag_keys"),
        (b'{"deployment":"test","user":{},"flag_keys":[1]}', 400, "flag_keys"),
        (b'{"deployment":"test","user":{},"flagKeys":[]}', 400, "flagKeys is not known"),
        (b'{"deployment":"test","user":{"a":' + DEEP + b"}}", 400, "nested deeper than 50"),
        (b"[" * 40_000, 400, "nested deeper than 50"),
        (b"[" * 200_000, 400, "Too many values"),
        (b"[" + b"1," * MOST_PARTS + b"1]", 400, "Too many values"),
        (b'{"deployment":"test","user":{},"flag_keys":["a","b","c"]}', 400, "more than 2 keys"),
        (question({}, deployment=KEY), 404, "No deployment"),
    ],
)
async def test_bad_questions_are_refused_with_a_reason(
    body: bytes, status: int, reason: str, log_lines: io.StringIO
) -> None:
    async with explaining(FLAGS, max_json_depth=50, max_flag_keys=2) as served:
        code, told = await served.post("/explain", body)

    assert code == status
    assert reason in told["error"]
    assert len(json.dumps(told)) < 1000
    assert log_lines.getvalue() == ""


async def test_what_no_encoding_has_is_answered_all_the_same() -> None:
    user = {"user_id": "\ud800", "user_properties": {"plan": "\udfff", "n": 1e308, "\ud800": [{}]}}
    async with explaining(FLAGS) as served:
        raw = question(user).replace(b"1e+308", b"1e999")
        async with served.session.post("/explain", data=raw) as answered:
            assert answered.status == 200
            told = parse_json(await answered.read())

    assert told["user"]["user_id"] == "\ud800"


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(flag_lists, users, asked_keys)
def test_whatever_is_asked_is_explained_as_it_is_answered(
    flags: list[dict[str, Any]], user: dict[str, Any], keys: list[str]
) -> None:
    async def ask() -> Any:
        body = question(user, *keys)
        async with explaining(flags) as served, served.session.post("/explain", data=body) as made:
            assert made.status == 200
            return parse_json(await made.read())

    told = asyncio.run(ask())
    outcomes = compile_deployment(as_json(flags)).evaluate(told["user"], keys)
    assert told["disagrees"] == []
    assert told["variants"] == parse_json(answer(outcomes))
    matched = [one["flagKey"] for one in told["traces"] if one["matched"]]
    assert matched == list(told["variants"])


LOOKS = [
    {
        "conditions": [[condition(["context", "user", "user_properties", name], "is not", "x")]],
        "bucket": BUCKET,
    }
    for name in ("text", "items", "object")
]


async def test_long_values_are_told_in_short_wherever_conditions_look_at_them() -> None:
    properties = {"text": "é" * 900, "items": ["a" * 90] * 9, "object": {"a": "b" * 900}}
    user = {"device_id": "\ud800" * 900, "user_properties": properties}
    async with explaining([flag("many", *LOOKS)]) as served:
        status, told = await served.post("/explain", question(user))

    assert status == 200
    seen = [step["conditionResult"][0][0]["propValue"] for step in told["traces"][0]["steps"]]
    assert seen[0] == "é" * LONGEST + MORE
    assert seen[1] == ["a" * 90] * 2 + [MORE]
    assert seen[2].startswith('{"a":"bbb')
    assert len(seen[2]) == LONGEST + 1
    assert len(told["traces"][0]["steps"][0]["bucketing"]["value"]) <= LONGEST + 1
    assert told["user"]["user_properties"] == properties, "the user itself is whole"


async def test_an_explanation_that_is_too_long_is_refused() -> None:
    wanted = condition(["context", "user", "user_id"], "is", "a" * 2**20)
    flags = [flag(f"flag-{number}", segment("on", wanted)) for number in range(9)]
    async with explaining(flags) as served:
        status, refused = await served.post("/explain", question({"user_id": "u"}))
        assert (status, refused["error"]) == (
            400,
            "The explanation is too long: name fewer flags in flag_keys",
        )
        assert (await served.post("/explain", question({"user_id": "u"}, "flag-1")))[0] == 200


async def test_an_explanation_that_takes_too_long_is_refused() -> None:
    seconds = count()
    async with explaining(FLAGS, lambda: next(seconds)) as served:
        assert (await served.post("/explain", question({}, "plain")))[0] == 200
    many = [flag(f"flag-{number}") for number in range(9)]
    async with explaining(many, lambda: next(seconds)) as served:
        status, refused = await served.post("/explain", question({}))
        assert status == 400
        assert "takes too long" in refused["error"]
