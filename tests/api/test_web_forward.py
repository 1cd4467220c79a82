"""Web flags and previews from Amplitude, and what pages get when it does not answer."""

import asyncio
from typing import Any

import msgspec
import pytest

from proxy.snapshots.snapshot import Deployment
from tests import builders
from tests.api.pages import FORWARD, paged
from tests.builders import API_KEY, KEY, condition, flag, segment
from tests.fakes.upstream import (
    FakeUpstream,
    Step,
    answer,
    by_request,
    cut,
    hang,
    json_answer,
    truncated,
)
from tests.serving import encoded

PATH, PREVIEWS = "/sdk/v2/flags", "/web/v1/configs"
WEB = PATH + "?delivery_method=web"
SECRET_RULE = condition(["context", "user", "user_id"], "is", "ada")
HERE = [flag("local", segment("on", SECRET_RULE), deliveryMethod="web", evaluationMode="remote")]
THERE = [flag("resolved", deliveryMethod="web", evaluationMode="local")]
ADA, BOB = encoded({"user_id": "ada"}), encoded({"user_id": "bob"})
FAILURES = [
    pytest.param(answer(500), id="500"),
    pytest.param(answer(429), id="429"),
    pytest.param(answer(403), id="403"),
    pytest.param(answer(404), id="404"),
    pytest.param(answer(302, Location="http://elsewhere.example/"), id="redirect"),
    pytest.param(cut(), id="cut"),
    pytest.param(truncated(b"[]"), id="truncated"),
    pytest.param(answer(200, b"<html>"), id="garbage"),
    pytest.param(answer(200, b"{}"), id="an object"),
    pytest.param(answer(200, b"[]" + b" " * 5_000_000), id="huge"),
]


async def test_pages_get_amplitudes_answer_unchanged(up: FakeUpstream) -> None:
    body = b'[ {"key" : "resolved"} ]'
    up.on("GET", PATH, answer(200, body, Set_Cookie="a=b", X_Other="c"))
    async with paged(up, HERE) as pages:
        told = await pages.served.get(WEB, X_Amp_Exp_User=ADA)
        again = await pages.served.get(WEB, X_Amp_Exp_User=ADA, If_None_Match=told.headers["etag"])

        assert (told.status, told.body) == (200, body)
        assert not {"set-cookie", "x-other"} & set(told.headers)
        assert again.status == 304
        assert (pages.answers("flags", "miss"), pages.answers("flags", "hit")) == (1, 1)
    (request,) = up.requests
    assert request.key == KEY
    assert request.headers["X-Amp-Exp-User"] == ADA
    assert dict(request.query) == {"delivery_method": "web"}


async def test_each_user_and_each_key_has_an_answer_of_its_own(up: FakeUpstream) -> None:
    def echo(request: Any) -> Step:
        key = f"{request.key} {request.headers.get('X-Amp-Exp-User')}"
        return json_answer([{"key": key}])

    up.on("GET", PATH, by_request(echo))
    async with paged(up, HERE) as pages:
        for _ in range(2):
            for key in (KEY, API_KEY):
                for user in (ADA, BOB, ""):
                    told = await pages.served.get(
                        WEB, X_Amp_Exp_User=user, Authorization=f"Api-Key {key}"
                    )
                    assert told.json == [{"key": f"{key} {user or None}"}]
    assert len(up.requests) == 6


async def test_a_crowd_with_one_user_asks_once(up: FakeUpstream) -> None:
    may_go = asyncio.Event()

    async def when_all_are_here(_request: Any, _raw: Any) -> Any:
        await may_go.wait()
        return await json_answer(THERE)(_request, _raw)

    up.on("GET", PATH, when_all_are_here)
    async with paged(up, HERE) as pages:
        asked = [
            asyncio.ensure_future(pages.served.get(WEB, X_Amp_Exp_User=ADA)) for _ in range(20)
        ]
        await up.received(1, PATH)
        may_go.set()
        assert [(await one).json for one in asked] == [THERE] * 20
    assert len(up.requests) == 1


async def test_a_change_of_flags_is_asked_for(up: FakeUpstream) -> None:
    up.on("GET", PATH, json_answer(THERE), json_answer([flag("newer")]))
    async with paged(up, HERE) as pages:
        assert (await pages.served.get(WEB)).json == THERE
        pages.served.board.publish(KEY, builders.snapshot([flag("changed")]))
        assert (await pages.served.get(WEB)).json[0]["key"] == "newer"


@pytest.mark.parametrize("failure", FAILURES)
async def test_without_amplitude_and_a_copy_flags_are_resolved_here(
    up: FakeUpstream, failure: Step
) -> None:
    up.on("GET", PATH, failure)
    async with paged(up, HERE) as pages:
        told = await pages.served.get(WEB, X_Amp_Exp_User=BOB)

        assert told.status == 200
        (only,) = told.json
        assert only["key"] == "local"
        assert only["metadata"]["evaluationMode"] == "local"
        assert b'"ada"' not in told.body
        assert pages.answers("flags", "fallback") == 1
    assert {request.path for request in up.requests} == {PATH}


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_copy_outlives_amplitudes_failures(up: FakeUpstream, failure: Step) -> None:
    up.on("GET", PATH, json_answer(THERE), failure)
    async with paged(up, HERE, forward={**FORWARD, "ttl_millis": 0}) as pages:
        first = await pages.served.get(WEB, X_Amp_Exp_User=ADA)
        second = await pages.served.get(WEB, X_Amp_Exp_User=ADA)

        assert first.body == second.body == msgspec.json.encode(THERE)
        assert pages.answers("flags", "stale") == 1


async def test_who_hangs_is_not_waited_for(up: FakeUpstream) -> None:
    up.on("GET", PATH, hang())
    async with paged(up, HERE, forward={"mode": "forward", "timeout_millis": 50}) as pages:
        told = await pages.served.get(WEB)

        assert told.json[0]["key"] == "local"
        assert pages.answers("flags", "fallback") == 1


async def test_without_any_web_flag_here_pages_are_told_to_keep_theirs(up: FakeUpstream) -> None:
    up.on("GET", PATH, answer(500))
    async with paged(up, [flag("for the server")]) as pages:
        told = await pages.served.get(WEB)

        assert told.status == 503
        assert int(told.headers["retry-after"]) > 0
        assert pages.answers("flags", "failed") == 1


@pytest.mark.parametrize(("status", "expected"), [(401, 401), (403, 403), (499, 503), (418, 503)])
async def test_refusals_of_a_key_without_flags_are_passed_on(
    up: FakeUpstream, status: int, expected: int
) -> None:
    up.on("GET", PATH, answer(status, "<html>who are you?</html>"))
    async with paged(up, HERE) as pages:
        told = await pages.served.get(WEB, Authorization=f"Api-Key {API_KEY}")

        assert told.status == expected
        assert b"html" not in told.body


async def test_a_projects_key_opens_web_flags_only(up: FakeUpstream) -> None:
    up.on("GET", PATH, json_answer(THERE))
    async with paged(up, HERE) as pages:
        as_page = {"Authorization": f"Api-Key {API_KEY}"}

        assert (await pages.served.get(WEB, **as_page)).json == THERE
        assert (await pages.served.get(PATH, **as_page)).status == 401
        assert (await pages.served.get("/v1/flags", **as_page)).status == 401
        assert (await pages.served.get(WEB, Authorization="Api-Key unknown")).status == 401
        assert (await pages.served.get(PATH)).json == HERE
    assert len(up.requests) == 1


async def test_a_deployment_whose_flags_have_not_come_is_served_from_amplitude(
    up: FakeUpstream,
) -> None:
    up.on("GET", PATH, json_answer(THERE))
    async with paged(up, HERE) as pages:
        pages.served.board.authorise(new := builders.deployment("client-new-key"))
        headers = {"Authorization": f"Api-Key {of(new)}"}

        assert (await pages.served.get(WEB, **headers)).json == THERE
        assert (await pages.served.get(PATH, **headers)).status == 503


def of(deployment: Deployment) -> str:
    return deployment.key.reveal()


async def test_broken_users_go_no_further(up: FakeUpstream) -> None:
    async with paged(up, HERE) as pages:
        assert (await pages.served.get(WEB, X_Amp_Exp_User="not base64!")).status == 400
    assert up.requests == []


async def test_the_room_for_copies_is_bounded(up: FakeUpstream) -> None:
    up.on("GET", PATH, json_answer([{"key": "x" * 3000}]))
    async with paged(up, HERE, forward={**FORWARD, "max_bytes": 20_000}) as pages:
        for number in range(30):
            user = encoded({"user_id": f"u{number}"})
            assert (await pages.served.get(WEB, X_Amp_Exp_User=user)).status == 200

        flags = pages.status()["flags"]
        assert 0 < flags["bytes_kept"] <= 20_000
        assert flags["kept"] < 10


async def test_previews_are_amplitudes_and_fresh(up: FakeUpstream) -> None:
    body = b'{"flags": [], "pageObjects": {}, "behavioralTargetingRules": {}}'
    up.on("GET", PREVIEWS, answer(200, body))
    async with paged(up, HERE) as pages:
        for key in (KEY, API_KEY):
            told = await pages.served.get(PREVIEWS, Authorization=f"Api-Key {key}")
            assert (told.status, told.body) == (200, body)
            assert told.headers["cache-control"] == "no-store"
        assert (await pages.served.get(PREVIEWS, Authorization="Api-Key other")).status == 401
        assert (await pages.served.get(PREVIEWS, Authorization="")).status == 401
        assert (await pages.served.post(PREVIEWS, b"{}")).status == 405
    assert [request.key for request in up.at(PREVIEWS)] == [KEY, API_KEY]


@pytest.mark.parametrize(
    ("step", "expected"), [(answer(500), 503), (answer(401), 401), (answer(200, b"[]"), 503)]
)
async def test_previews_have_no_substitute(up: FakeUpstream, step: Step, expected: int) -> None:
    up.on("GET", PREVIEWS, step)
    async with paged(up, HERE) as pages:
        assert (await pages.served.get(PREVIEWS)).status == expected
        assert pages.answers("previews", "failed") == 1


async def test_previews_can_be_switched_off(up: FakeUpstream) -> None:
    async with paged(up, HERE, forward={"previews": False}) as pages:
        assert (await pages.served.get(PREVIEWS)).status == 404
        assert (await pages.served.get(WEB)).json[0]["key"] == "local"
    assert up.requests == []


async def test_nothing_that_identifies_anybody_is_shown(up: FakeUpstream) -> None:
    up.on("GET", PATH, json_answer(THERE), answer(500))
    async with paged(up, HERE) as pages:
        await pages.served.get(WEB, X_Amp_Exp_User=ADA)
        await pages.served.get(WEB, X_Amp_Exp_User=BOB)
        shown = str(pages.status())

        assert pages.status()["mode"] == "forward"
        for private in (KEY, API_KEY, "ada", ADA, BOB):
            assert private not in shown
