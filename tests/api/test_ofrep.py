"""OFREP over HTTP: one flag, all flags, and what is no question at all."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.api.ofrep import ofrep
from proxy.settings.ofrep import Ofrep
from tests import builders
from tests.builders import KEY, condition, flag, segment
from tests.serving import FLAGS, Answer, Served, encoded, serving

BULK = "/ofrep/v1/evaluate/flags"
ONE = BULK + "/"
HALF = {
    "selector": ["context", "user", "user_id"],
    "salt": "s",
    "allocations": [
        {"range": [0, 50], "distributions": [{"variant": "on", "range": [0, 42_949_673]}]}
    ],
}
SPLIT = {**flag("split"), "segments": [{"variant": "off", "bucket": HALF}]}
NOBODYS = flag("nobodys", segment("on", condition(["context", "user", "user_id"], "is", "-")))
OURS = [*FLAGS, SPLIT, NOBODYS, flag("a/b c"), flag("é:?#")]


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(OURS, features=[ofrep]) as served:
        yield served


def asking(**context: Any) -> bytes:
    return msgspec.json.encode({"context": context})


async def ask(served: Served, path: str, /, **context: Any) -> Answer:
    return await served.post(path, asking(**context))


async def test_a_flag_is_evaluated_for_the_targeting_key(served: Served) -> None:
    answer = await ask(served, ONE + "targeted", targetingKey="u1")
    other = await ask(served, ONE + "targeted", targetingKey="u2")

    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.json == {
        "key": "targeted",
        "reason": "TARGETING_MATCH",
        "variant": "on",
        "value": True,
        "metadata": {"flagVersion": 1, "deployed": True},
    }
    assert other.json == {"key": "targeted", "reason": "DEFAULT", "variant": ""}


async def test_a_flag_that_depends_on_others_is_answered_alone(served: Served) -> None:
    assert (await ask(served, ONE + "child", targetingKey="u1")).json["key"] == "child"


async def test_cohorts_count_and_those_that_clients_claim_do_not(served: Served) -> None:
    served.cohorts["User", "u1"] = ["c1"]

    member = await ask(served, ONE + "members", targetingKey="u1")
    claimed = await ask(served, ONE + "members", targetingKey="u2", cohort_ids=["c1"])

    assert (member.json["variant"], claimed.json["variant"]) == ("on", "off")


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("a%2Fb%20c", "a/b c"),
        ("a/b%20c", "a/b c"),
        ("%C3%A9%3A%3F%23", "é:?#"),
        ("%70lain", "plain"),
    ],
)
async def test_a_key_may_hold_anything(served: Served, path: str, key: str) -> None:
    answer = await ask(served, ONE + path, targetingKey="u1")

    assert (answer.status, answer.json["key"]) == (200, key)


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("nowhere", "nowhere"),
        ("", ""),
        ("plain/", "plain/"),
        ("plain/more", "plain/more"),
        ("%70lain%2f", "plain/"),
        ("parent", "parent"),
        ("%22%5C%0A", '"\\\n'),
    ],
)
async def test_an_unknown_or_undeployed_flag_is_not_found(
    served: Served, path: str, key: str
) -> None:
    answer = await ask(served, ONE + path, targetingKey="u1")

    assert answer.status == 404
    assert answer.json == {
        "key": key,
        "errorCode": "FLAG_NOT_FOUND",
        "errorDetails": "There is no such flag",
    }
    assert served.tracked == []


@settings(max_examples=30, deadline=None)
@given(keys=st.lists(st.text(min_size=1, max_size=20), max_size=10))
def test_any_key_survives_the_way_to_the_answer(keys: list[str]) -> None:
    async def ask_all() -> None:
        async with serving(
            [flag("f"), *map(flag, dict.fromkeys(keys[::2]))], features=[ofrep]
        ) as ours:
            for key in keys:
                answer = await ask(ours, ONE + quote(key, safe=""), targetingKey="u1")
                assert answer.status == (200 if key in keys[::2] or key == "f" else 404)
                assert answer.json["key"] == key

    asyncio.run(ask_all())


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["context", "targetingKey", "groups", "a"]), inner)
    ),
    max_leaves=8,
)
BODIES = st.binary(max_size=40) | JSON_VALUES.map(msgspec.json.encode)


@settings(max_examples=30, deadline=None)
@given(bodies=st.lists(BODIES, max_size=10))
def test_no_body_is_too_much_for_it(bodies: list[bytes]) -> None:
    async def ask_all() -> None:
        async with serving(OURS, features=[ofrep]) as ours:
            for body in bodies:
                for path in (BULK, ONE + "plain", ONE + "split"):
                    answer = await ours.post(path, body)
                    assert answer.status in (200, 400)
                    assert isinstance(answer.json, dict)

    asyncio.run(ask_all())


@pytest.mark.parametrize("path", ["%", "%zz", "%ff", "a%c3"])
async def test_a_key_that_cannot_be_read_is_a_mistake(served: Served, path: str) -> None:
    answer = await ask(served, ONE + path, targetingKey="u1")

    assert (answer.status, answer.json["errorCode"]) == (400, "GENERAL")


@pytest.mark.parametrize("path", [BULK, ONE + "plain"])
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"[1]", 400, "PARSE_ERROR"),
        (b"{", 400, "PARSE_ERROR"),
        (b'{"context":' + b'{"a":' * 5000 + b"1" + b"}" * 5001, 400, "PARSE_ERROR"),
        (b'{"context":7}', 400, "INVALID_CONTEXT"),
        (b'{"context":{"targetingKey":{}}}', 400, "INVALID_CONTEXT"),
        (b'{"context":{"a":[' + b"1," * 60_000 + b"1]}}", 413, "GENERAL"),
    ],
)
async def test_a_broken_question_is_told_in_the_protocols_words(
    served: Served, path: str, body: bytes, status: int, code: str
) -> None:
    answer = await served.post(path, body)

    assert (answer.status, answer.json["errorCode"]) == (status, code)
    assert answer.json["errorDetails"]
    assert ("key" in answer.json) is (path != BULK)
    assert served.counted("rejected_requests_total", reason="bad_request") == 1


async def test_too_many_keys_are_a_mistake(served: Served) -> None:
    answer = await served.post(
        BULK, b"{}", X_Amp_Exp_Flag_Keys=encoded([str(number) for number in range(1001)])
    )

    assert (answer.status, answer.json["errorCode"]) == (400, "GENERAL")


async def test_without_any_id_only_flags_that_divide_users_fail(served: Served) -> None:
    fails = await ask(served, ONE + "split", country="Chile")
    answers = await ask(served, ONE + "plain", country="Chile")
    by_device = await ask(served, ONE + "split", device_id="d1")
    every = await ask(served, BULK)

    assert fails.status == 400
    assert fails.json["errorCode"] == "TARGETING_KEY_MISSING"
    assert (answers.status, by_device.status, every.status) == (200, 200, 200)
    failed = [each["key"] for each in every.json["flags"] if "errorCode" in each]
    assert failed == ["split"]


async def test_all_flags_for_clients_are_in_a_bulk_answer(served: Served) -> None:
    answer = await ask(served, BULK, targetingKey="u1")

    found = {each["key"]: each for each in answer.json["flags"]}
    assert list(found) == [each["key"] for each in OURS if each["key"] != "parent"]
    assert found["plain"]["value"] == {"colour": "blue"}
    assert found["nobodys"] == {"key": "nobodys", "reason": "DEFAULT", "variant": ""}
    assert set(answer.json) == {"flags"}


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        (BULK + "?flag_keys=child,plain,nowhere,parent", {}),
        (BULK, {"X-Amp-Exp-Flag-Keys": encoded(["child", "plain", "child", "nowhere", "parent"])}),
    ],
)
async def test_a_bulk_answer_may_be_restricted(
    served: Served, target: str, headers: dict[str, str]
) -> None:
    answer = await served.post(target, asking(targetingKey="u1"), **headers)

    assert [each["key"] for each in answer.json["flags"]] == ["child", "plain"]


async def test_what_is_the_same_is_not_sent_again(served: Served) -> None:
    first = await ask(served, BULK, targetingKey="u1")
    tag = first.headers["etag"]
    body = asking(targetingKey="u1")

    for given_tag in (tag, tag.removeprefix("W/"), "*", f'"x", {tag}'):
        again = await served.post(BULK, body, If_None_Match=given_tag)
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    other = await served.post(BULK, asking(targetingKey="u2"), If_None_Match=tag)
    assert other.status == 200
    assert other.headers["etag"] != tag


async def test_what_changes_an_answer_changes_its_tag(served: Served) -> None:
    body = asking(targetingKey="u1")
    tag = (await served.post(BULK, body)).headers["etag"]

    served.cohorts["User", "u1"] = ["c1"]
    joined = await served.post(BULK, body, If_None_Match=tag)
    served.board.publish(KEY, builders.snapshot([*OURS, flag("new")]))
    changed = await served.post(BULK, body, If_None_Match=joined.headers["etag"])

    assert (joined.status, changed.status) == (200, 200)
    assert len({tag, joined.headers["etag"], changed.headers["etag"]}) == 3


async def test_a_change_that_does_not_concern_a_user_changes_no_tag(served: Served) -> None:
    body = asking(targetingKey="u1")
    tag = (await served.post(BULK, body)).headers["etag"]

    less = [condition(["context", "user", "user_id"], "is", "u1", "u3")]
    other = [
        flag("targeted", segment("on", *less)) if each["key"] == "targeted" else each
        for each in OURS
    ]
    served.board.publish(KEY, builders.snapshot(other))

    assert (await served.post(BULK, body, If_None_Match=tag)).status == 304


CONTEXTS = st.fixed_dictionaries(
    {},
    optional={
        "targetingKey": st.sampled_from(["u1", "u2", "u3", ""]),
        "device_id": st.sampled_from(["d1", "d2"]),
        "plan": st.sampled_from(["pro", "free"]),
    },
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(st.tuples(CONTEXTS, st.booleans()), min_size=2, max_size=6))
def test_equal_tags_mean_equal_bodies(asked: list[tuple[dict[str, str], bool]]) -> None:
    async def answers() -> list[Answer]:
        async with serving(OURS, features=[ofrep]) as served:
            found: list[Answer] = []
            for context, is_changed in asked:
                if is_changed:
                    served.board.publish(KEY, builders.snapshot(OURS[len(found) :]))
                found.append(await ask(served, BULK, **context))
            return found

    by_tag: dict[str, bytes] = {}
    for answer in asyncio.run(answers()):
        assert by_tag.setdefault(answer.headers["etag"], answer.body) == answer.body


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Api-Key {KEY}"},
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer  {KEY} "},
        {"Authorization": "", "X-API-Key": KEY},
        {"Authorization": "Basic YTpi", "X-API-Key": f" {KEY} "},
    ],
)
async def test_a_key_comes_in_every_way_that_providers_know(
    served: Served, headers: dict[str, str]
) -> None:
    assert (await served.post(BULK, b"{}", **headers)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": ""},
        {"Authorization": "Bearer nobodys"},
        {"Authorization": "Bearer"},
        {"Authorization": "", "X-API-Key": "nobodys"},
        {"Authorization": "Api-Key nobodys", "X-API-Key": KEY},
    ],
)
@pytest.mark.parametrize("path", [BULK, ONE + "plain"])
async def test_no_key_that_is_known_no_answer(
    served: Served, path: str, headers: dict[str, str]
) -> None:
    assert (await served.post(path, b"{}", **headers)).status == 401


async def test_evaluations_are_tracked_like_all_others(served: Served) -> None:
    await ask(served, ONE + "targeted", targetingKey="u1")
    await ask(served, BULK, targetingKey="u1")
    await served.post(BULK, asking(targetingKey="u1"), X_Amp_Exp_Track="no-track")
    await served.post(ONE + "plain", asking(targetingKey="u1"), X_Amp_Exp_Track="read-only")

    assert [tracked.user["user_id"] for tracked in served.tracked] == ["u1", "u1"]
    assert served.counted("evaluation_total") == 4
    assert served.counted("evaluation_request_total") == 4


async def test_a_flag_that_was_asked_for_alone_is_an_exposure_if_so_wished(
    served: Served,
) -> None:
    body = asking(targetingKey="u1")

    await served.post(ONE + "child", body, X_Amp_Exp_Exposure_Track="track")
    await served.post(ONE + "child", body)
    await served.post(BULK, body, X_Amp_Exp_Exposure_Track="track")

    (exposed,) = served.exposed
    assert set(exposed.asked) == {"child"}


async def test_only_post_is_allowed(served: Served) -> None:
    for path in (BULK, ONE + "plain"):
        answer = await served.get(path)
        assert (answer.status, answer.headers["allow"]) == (405, "OPTIONS, POST")


async def test_it_can_be_switched_off_and_its_words_mean_what_settings_say() -> None:
    off = builders.settings(ofrep=Ofrep(enabled=False))
    async with serving(OURS, off, features=[ofrep]) as served:
        assert (await ask(served, BULK)).status == 404
        assert (await ask(served, ONE + "plain")).status == 404
    own = builders.settings(ofrep=Ofrep(targeting_key="device_id", value="variant"))
    async with serving(OURS, own, features=[ofrep]) as served:
        assert (await ask(served, ONE + "plain", targetingKey="d1")).json["value"] is True
        assert served.tracked[0].user == {"device_id": "d1"}


async def test_flags_that_another_instance_told_of_are_waited_for(served: Served) -> None:
    new = builders.snapshot([flag("new")])
    target = f"{BULK}?flagConfigEtag={new.compiled.version}&flagConfigLastModified=1001"

    waiting = asyncio.ensure_future(served.post(target, asking(targetingKey="u1")))
    while served.server.connections_busy() == 0:
        await asyncio.sleep(0)
    served.board.publish(KEY, new)

    assert [each["key"] for each in (await waiting).json["flags"]] == ["new"]


@pytest.mark.parametrize(
    "hint",
    [
        "flagConfigEtag=another",
        "flagConfigEtag=another&flagConfigLastModified=999",
        "flagConfigEtag=another&flagConfigLastModified=never",
        "flagConfigEtag=another&flagConfigLastModified=" + "9" * 5000,
        "flagConfigEtag=%ff&flagConfigLastModified=9999",
        "flagConfigEtag={version}&flagConfigLastModified=9999",
    ],
)
async def test_other_hints_hold_nobody_up(served: Served, hint: str) -> None:
    slot = served.board.find(KEY)
    assert slot is not None
    assert slot.snapshot is not None
    target = f"{BULK}?{hint.format(version=slot.snapshot.compiled.version)}"

    assert (await served.post(target, b"{}")).status in (200, 400)


async def test_a_wait_for_flags_that_never_come_ends(served: Served) -> None:
    target = f"{BULK}?flagConfigEtag=another&flagConfigLastModified=99999999999"

    answers = await asyncio.gather(*(served.post(target, b"{}") for _ in range(300)))

    assert {answer.status for answer in answers} == {200}
