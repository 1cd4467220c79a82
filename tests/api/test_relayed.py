"""Remote evaluation with Amplitude's help, over HTTP on both sides."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.api.carrier import Durable
from proxy.api.features import Feature, Offer, Tools
from proxy.api.relayed import relayed
from proxy.relay.breaker import MOST_FAILURES
from proxy.relay.others import Others
from proxy.relay.relay import Relay
from proxy.settings.remote import RemoteEvaluation
from proxy.upstream.client import UpstreamClient, open_session
from proxy.upstream.remote import LONGEST_IN_HEADER, PATH, evaluate_remotely
from tests import builders
from tests.builders import KEY, condition, flag, segment
from tests.fakes.upstream import (
    FakeUpstream,
    Request,
    Step,
    answer,
    by_request,
    cut,
    drip,
    hang,
    json_answer,
    truncated,
)
from tests.serving import Answer, Served, encoded, serving
from tests.upstream.conftest import urls_of

EARLY_KEY = "server-early-key"
EARLY = {"Authorization": f"Api-Key {EARLY_KEY}"}
# Whoever rests does so for longer than any test takes.
LONG_REST = 600.0
NONE: Mapping[str, str] = {}
USER = {"user_id": "u1", "user_properties": {"é": "?~>"}}
FLAGS = [
    flag("local", evaluationMode="local"),
    flag("plain"),
    flag("remote", segment("off"), evaluationMode="remote", experimentKey="exp-9"),
    flag("hidden", deployed=False, evaluationMode="remote"),
    flag("child", dependencies=["hidden"]),
    {"key": "broken", "segments": 5},
]
THEIRS: dict[str, dict[str, Any]] = {
    "remote": {"key": "theirs", "value": "theirs", "metadata": {"experimentKey": "exp-9"}},
    "broken": {"key": "whole", "payload": [1, 2.50]},
    "local": {"key": "wrong"},
    "hidden": {"key": "off", "metadata": {"default": True}},
    "new": {"key": "on"},
}


class Rig(NamedTuple):
    """A clients' port with a relay, and the upstream that the relay asks."""

    served: Served
    up: FakeUpstream
    relay: Relay

    async def vardata(
        self, keys: list[str] | None = None, headers: Mapping[str, str] = NONE
    ) -> Answer:
        given = {"X-Amp-Exp-User": encoded(USER)}
        if keys is not None:
            given["X-Amp-Exp-Flag-Keys"] = encoded(keys)
        return await self.served.ask("GET", "/sdk/v2/vardata", {**given, **headers})

    def outcomes(self, *names: str) -> list[float]:
        return [self.served.counted("relay_requests_total", outcome=name) for name in names]


@asynccontextmanager
async def rigged(
    mode: str,
    *steps: Step,
    flags: list[dict[str, Any]] | None = None,
    durable: Durable | None = None,
    **bounds: Any,
) -> AsyncIterator[Rig]:
    """Serve with a relay; beside the usual deployment there is one whose flags have not come."""
    relays: list[Relay] = []
    chosen = RemoteEvaluation(**{"mode": mode, "timeout_millis": 60_000, **bounds})
    async with FakeUpstream() as up, open_session() as session:
        for method in ("GET", "POST"):
            up.on(method, PATH, *(steps or [by_request(as_asked)]))
        client = UpstreamClient(session, urls_of(up.url))

        def feature(tools: Tools) -> Offer:
            async def call(question: Any) -> bytes:
                return await evaluate_remotely(client, question)

            relay = Relay(call, chosen, tools.board, tools.metrics, lambda: LONG_REST)
            relays.append(relay)
            return relayed(relay, Others(chosen.mode))(tools)

        features: list[Feature] = [] if mode == "off" else [feature]
        shown = FLAGS if flags is None else flags
        async with serving(shown, durable=durable, features=features) as served:
            served.board.authorise(builders.deployment(EARLY_KEY, label="early"))
            try:
                yield Rig(served, up, relays[0] if relays else None)  # type: ignore[arg-type]
            finally:
                for relay in relays:
                    await relay.close()


def as_asked(request: Request) -> Step:
    """Give what is asked for, all of it when nothing is; `new` is what the others depend on."""
    text = request.headers.get("X-Amp-Exp-Flag-Keys")
    keys = [*msgspec.json.decode(decoded(text)), "new"] if text else THEIRS
    return json_answer({key: variant for key, variant in THEIRS.items() if key in keys})


def asked_for(up: FakeUpstream) -> list[list[str] | None]:
    """The flag keys of each question that upstream was asked; None for all flags."""
    keys = [request.headers.get("X-Amp-Exp-Flag-Keys") for request in up.at(PATH)]
    return [None if text is None else msgspec.json.decode(decoded(text)) for text in keys]


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def keys_told(served: Served) -> list[list[str]]:
    return [[one.flag_key for one in tracked.outcomes] for tracked in served.tracked]


# What is answered here, and what is asked for.


async def test_merging_puts_amplitudes_word_where_it_was_asked_for_it() -> None:
    async with rigged("merge", json_answer(THEIRS)) as rig:
        found = (await rig.vardata()).json

        assert {key: variant["key"] for key, variant in found.items()} == {
            "local": "on",
            "plain": "on",
            "child": "on",
            "remote": "theirs",
            "hidden": "off",
            "broken": "whole",
            "new": "on",
        }
        assert {key: found[key] for key in ("remote", "broken", "hidden", "new")} == {
            key: THEIRS[key] for key in ("remote", "broken", "hidden", "new")
        }
        assert asked_for(rig.up) == [["remote", "hidden", "broken"]]
        assert decoded(rig.up.requests[0].headers["X-Amp-Exp-User"]) == msgspec.json.encode(USER)


@pytest.mark.parametrize("headers", [NONE, EARLY], ids=["flags", "no flags yet"])
async def test_what_amplitude_has_a_part_in_is_for_one_client_alone(
    headers: Mapping[str, str],
) -> None:
    async with rigged("merge") as rig:
        found = await rig.vardata(headers=headers)
        posted = await rig.served.ask("POST", "/sdk/v2/vardata", dict(headers), b"{}")

        assert found.headers["cache-control"] == "private, no-cache"
        assert "cache-control" not in posted.headers


async def test_what_amplitude_does_not_mention_stays_as_it_is_here() -> None:
    async with rigged("merge", json_answer({})) as rig, rigged("off") as alone:
        assert (await rig.vardata()).json == (await alone.vardata()).json


@pytest.mark.parametrize(
    ("mode", "keys", "asked", "expected"),
    [
        ("merge", ["plain", "local"], None, {"plain", "local"}),
        ("merge", ["plain", "remote"], ["remote"], {"plain", "remote", "new"}),
        ("merge", ["child", "elsewhere"], ["elsewhere"], {"hidden", "child", "new"}),
        ("merge", ["broken"], ["broken"], {"broken", "new"}),
        ("fallback", ["plain", "remote"], None, {"plain", "remote"}),
        ("fallback", ["plain", "broken", "nowhere"], ["broken", "nowhere"], None),
    ],
)
async def test_of_the_flags_asked_for_amplitude_is_asked_for_the_others(
    mode: str, keys: list[str], asked: list[str] | None, expected: set[str] | None
) -> None:
    async with rigged(mode) as rig:
        found = await rig.vardata(keys)

        assert asked_for(rig.up) == ([] if asked is None else [asked])
        assert set(found.json) == (expected or {"plain", "broken", "new"})


async def test_a_dependency_has_the_variant_that_was_reckoned_with() -> None:
    async with rigged("merge") as rig:
        found = (await rig.vardata(["child", "remote"])).json

        assert found["hidden"]["key"] == "on"
        assert found["remote"]["key"] == "theirs"


async def test_falling_back_leaves_all_flags_alone_while_there_are_flags() -> None:
    async with rigged("fallback") as rig, rigged("off") as alone:
        assert (await rig.vardata()).body == (await alone.vardata()).body
        assert rig.up.requests == []


async def test_many_flags_are_asked_for_without_their_names() -> None:
    flags = [flag(f"remote-{n:03}-{'x' * 40}", evaluationMode="remote") for n in range(200)]
    async with rigged("merge", json_answer({flags[7]["key"]: {"key": "t"}}), flags=flags) as rig:
        found = (await rig.vardata()).json

        assert asked_for(rig.up) == [None]
        assert len(found) == 200
        assert found[flags[7]["key"]]["key"] == "t"


@pytest.mark.parametrize("name", ["r{}", "é{}", '"{}'])
async def test_the_names_of_flags_never_make_a_header_that_is_too_long(name: str) -> None:
    for count in (500, 700, 900):
        flags = [flag(name.format(n), evaluationMode="remote") for n in range(count)]
        async with rigged("merge", flags=flags) as rig:
            assert (await rig.vardata()).status == 200
            (question,) = rig.up.at(PATH)
            assert max(map(len, question.headers.values())) < 8160
            assert rig.outcomes("miss", "refused") == [1, 0]


# The older paths, and every form of user.


@pytest.mark.parametrize("form", ["v2 header", "v2 body", "header", "body", "query", "large"])
async def test_every_form_of_a_user_is_passed_on(form: str) -> None:
    user = {**USER, "text": "x" * LONGEST_IN_HEADER} if form == "large" else USER
    header, body = {"X_Amp_Exp_User": encoded(user)}, msgspec.json.encode(user)
    async with rigged("merge") as rig:
        match form:
            case "v2 header" | "large":
                found = await rig.served.get("/sdk/v2/vardata?v=0", **header)
            case "v2 body":
                found = await rig.served.post("/sdk/v2/vardata", body)
            case "header":
                found = await rig.served.get("/sdk/vardata", **header)
            case "body":
                found = await rig.served.post("/v1/vardata", body)
            case _:
                found = await rig.served.get(
                    "/v1/vardata?user_id=u1&context=%7B%22user_properties%22:%7B%22%C3%A9%22:%22?~%3E%22%7D%7D"
                )

        (request,) = rig.up.at(PATH)
        sent = request.headers.get("X-Amp-Exp-User")
        assert msgspec.json.decode(decoded(sent) if sent else request.body) == user
        assert (request.method == "POST") == (form == "large")
        is_v1 = form in {"header", "body", "query"}
        assert found.json["remote"] == THEIRS["remote"] | ({"expKey": "exp-9"} if is_v1 else {})
        assert ("hidden" in found.json) != is_v1
        assert ("off" in str(found.json)) != is_v1


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_user_is_the_empty_one(method: str) -> None:
    async with rigged("merge") as rig:
        body = b"" if method == "POST" else None
        assert (await rig.served.ask(method, "/sdk/v2/vardata", {}, body)).status == 200

        assert decoded(rig.up.requests[0].headers["X-Amp-Exp-User"]) == b"{}"


@pytest.mark.parametrize("key", [KEY, EARLY_KEY])
async def test_what_cannot_be_read_is_not_passed_on(key: str) -> None:
    async with rigged("merge") as rig:
        for given in (
            {"X-Amp-Exp-User": "%%"},
            {"X-Amp-Exp-User": encoded([1])},
            {"X-Amp-Exp-User": encoded(b"[" * 5000)},
            {"X-Amp-Exp-Flag-Keys": encoded({"a": 1})},
        ):
            headers = {**given, "Authorization": f"Api-Key {key}"}
            assert (await rig.served.ask("GET", "/sdk/v2/vardata", headers)).status == 400
        post = await rig.served.ask(
            "POST", "/sdk/vardata", {"Authorization": f"Api-Key {key}"}, b"{"
        )

        assert post.status == 400
        assert rig.up.requests == []


async def test_keys_that_no_text_can_hold_do_no_harm() -> None:
    async with rigged("merge", json_answer({"new": THEIRS["new"]})) as rig:
        keys = encoded(b'["\\ud800","plain"]')
        found = await rig.served.get("/sdk/v2/vardata", X_Amp_Exp_Flag_Keys=keys)

        assert found.status == 200
        assert set(found.json) == {"plain", "new"}


# What is reported, by whom.


async def test_of_a_merged_answer_our_own_part_is_reported_here() -> None:
    async with rigged("merge") as rig:
        for _ in range(2):
            await rig.vardata(headers={"X-Amp-Exp-Exposure-Track": "track"})

        assert keys_told(rig.served) == [["local", "plain", "child"]] * 2
        assert [[one.flag_key for one in shown.outcomes] for shown in rig.served.exposed] == [
            ["local", "plain", "child"]
        ] * 2
        # The second answer was kept: Amplitude heard of neither assignment nor exposure.
        assert len(rig.up.requests) == 1
        assert rig.up.requests[0].headers["X-Amp-Exp-Exposure-Track"] == "track"
        assert rig.outcomes("miss", "hit") == [1, 1]


async def test_what_amplitude_did_not_tell_is_reported_here() -> None:
    async with rigged("merge", answer(500)) as rig:
        await rig.vardata()

        assert [set(told) for told in keys_told(rig.served)] == [
            {"local", "plain", "remote", "hidden", "child"}
        ]


@pytest.mark.parametrize("step", [json_answer(THEIRS), answer(500)])
async def test_an_answer_waits_until_what_it_tells_of_is_safe(step: Step) -> None:
    told: list[int] = []
    rigs: list[Rig] = []

    async def safe() -> bool:
        told.append(len(rigs[0].served.tracked))
        return True

    async with rigged("merge", step, durable=safe) as rig:
        rigs.append(rig)
        assert (await rig.vardata()).status == 200

    assert told[-1] == 1


async def test_an_answer_that_is_all_amplitudes_is_not_reported_here() -> None:
    flags = [flag("remote", evaluationMode="remote")]
    async with rigged("merge", flags=flags) as rig:
        await rig.vardata()
        await rig.vardata(headers=EARLY)

        assert rig.served.tracked == []


@pytest.mark.parametrize(
    ("wishes", "sent"),
    [
        ({}, {}),
        ({"X-Amp-Exp-Track": "no-track"}, {"x-amp-exp-track": "no-track"}),
        ({"X-Amp-Exp-Track": " Read-Only "}, {"x-amp-exp-track": "read-only"}),
        ({"X-Amp-Exp-Track": "whatever"}, {}),
        (
            {"X-Amp-Exp-Track": "track", "X-Amp-Exp-Exposure-Track": "Track"},
            {"x-amp-exp-track": "track", "x-amp-exp-exposure-track": "track"},
        ),
    ],
)
async def test_only_the_headers_of_the_contract_are_passed_on(
    wishes: dict[str, str], sent: dict[str, str]
) -> None:
    others = {
        "Cookie": "session=1",
        "X-Forwarded-For": "192.0.2.1",
        "X-Amp-Exp-Library": "some-sdk/1",
        "User-Agent": "browser",
        "Accept-Language": "de-AT",
        "Origin": "https://example.com",
    }
    async with rigged("merge") as rig:
        await rig.vardata(headers={**wishes, **others})

        (request,) = rig.up.requests
        headers = {name.lower(): value for name, value in request.headers.items()}
        assert headers["authorization"] == f"Api-Key {KEY}"
        tracking = {name for name in headers if name.endswith("-track")}
        assert {name: headers[name] for name in tracking} == sent
        seen = " ".join(headers.values())
        for value in others.values():
            assert value not in seen


# Failures.

FAILING = [
    answer(500),
    answer(503, Retry_After="1"),
    answer(401),
    answer(400),
    answer(302, Location="http://elsewhere"),
    answer(200, b"<html>maintenance</html>"),
    answer(200, b'{"remote":"theirs"}'),
    json_answer([THEIRS]),
    truncated(b'{"remote":{"key":"theirs"}}'),
    cut(),
    answer(204),
]


@pytest.mark.parametrize("step", FAILING)
async def test_no_failure_of_amplitude_changes_the_local_answer(step: Step) -> None:
    async with rigged("merge", step) as rig, rigged("off") as alone:
        for _ in range(MOST_FAILURES + 2):
            found, expected = await rig.vardata(), await alone.vardata()
            assert (found.status, found.body) == (200, expected.body)

        assert len(rig.served.tracked) == MOST_FAILURES + 2
        assert rig.served.counted("relay_kept_bytes") == 0


@pytest.mark.parametrize("step", [hang(), drip(b'{"remote":{"key":"late"}}', 20, 1.0)])
async def test_a_slow_amplitude_is_not_waited_for(step: Step) -> None:
    async with rigged("merge", step, timeout_millis=50) as rig, rigged("off") as alone:
        for _ in range(MOST_FAILURES + 3):
            assert (await rig.vardata()).body == (await alone.vardata()).body

        # Then it was not asked at all.
        assert len(rig.up.at(PATH)) <= MOST_FAILURES
        assert rig.outcomes("failed", "open") == [MOST_FAILURES, 3]


async def test_amplitude_out_of_reach_is_not_waited_for() -> None:
    async with rigged("merge") as rig, rigged("off") as alone:
        await rig.up.close()

        assert (await rig.vardata()).body == (await alone.vardata()).body


async def test_a_stampede_of_one_request_is_one_call() -> None:
    gate = asyncio.Event()

    async def slow(request: Any, raw: Any) -> Any:
        await gate.wait()
        return await json_answer(THEIRS)(request, raw)

    async with rigged("merge", slow) as rig:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

            async def one() -> bytes:
                url = f"http://127.0.0.1:{rig.served.port}/sdk/v2/vardata"
                headers = {"Authorization": f"Api-Key {KEY}", "X-Amp-Exp-User": encoded(USER)}
                async with http.get(url, headers=headers) as found:
                    return await found.read()

            crowd = [asyncio.ensure_future(one()) for _ in range(200)]
            async with asyncio.timeout(30):
                while rig.served.server.connections_busy() < 200:
                    await asyncio.sleep(0)
            gate.set()
            answers = await asyncio.gather(*crowd)

        assert len(set(answers)) == 1
        assert msgspec.json.decode(answers[0])["remote"]["key"] == "theirs"
        assert len(rig.up.at(PATH)) == 1
        assert rig.outcomes("miss", "joined") == [1, 199]


async def test_a_client_that_leaves_takes_nothing_from_the_others() -> None:
    gate = asyncio.Event()

    async def slow(request: Any, raw: Any) -> Any:
        await gate.wait()
        return await json_answer(THEIRS)(request, raw)

    async with rigged("merge", slow) as rig:
        async with rig.served.connection() as (_, writer):
            head = f"GET /sdk/v2/vardata HTTP/1.1\r\nHost: x\r\nAuthorization: Api-Key {KEY}\r\n"
            writer.write(f"{head}X-Amp-Exp-User: {encoded(USER)}\r\n\r\n".encode())
            await rig.up.received(1, PATH)
        patient = asyncio.ensure_future(rig.vardata())
        gate.set()

        assert (await patient).json["remote"]["key"] == "theirs"
        assert len(rig.up.at(PATH)) == 1


async def test_a_change_of_the_flags_drops_what_was_kept() -> None:
    async with rigged("merge") as rig:
        for _ in range(2):
            await rig.vardata()
        assert len(rig.up.requests) == 1

        changed = [*FLAGS, flag("another")]
        rig.served.board.publish(KEY, builders.snapshot(changed))
        assert "another" in (await rig.vardata()).json
        assert len(rig.up.requests) == 2

        # The flags are as they were, but what upstream said then may have been of another time.
        again = msgspec.structs.replace(builders.snapshot(FLAGS), changed_at=2000.0)
        rig.served.board.publish(KEY, again)
        await rig.vardata()
        assert len(rig.up.requests) == 3


async def test_a_merged_answer_is_never_taken_for_the_local_one() -> None:
    async with rigged("merge", answer(500), json_answer(THEIRS)) as rig:
        local = await rig.vardata()
        held = {"If-None-Match": local.headers["etag"]}
        merged = [await rig.vardata(headers=held) for _ in range(2)]

        assert local.json["remote"]["key"] == "off"
        for one in merged:
            assert (one.status, one.json["remote"]["key"]) == (200, "theirs")
            assert "etag" not in one.headers


# A deployment whose flags have not come yet.


@pytest.mark.parametrize("mode", ["fallback", "merge"])
async def test_without_flags_the_whole_question_is_passed_on(mode: str) -> None:
    async with rigged(mode) as rig:
        everything = await rig.vardata(headers=EARLY)
        some = await rig.vardata(["plain", "remote", "plain"], EARLY)
        old = await rig.served.get("/v1/vardata?user_id=u1", **EARLY)

        assert everything.json == THEIRS
        assert set(some.json) == {"remote", "new"}
        assert set(old.json) == {"remote", "broken", "local", "new"}
        assert asked_for(rig.up) == [None, ["plain", "remote", "plain"], None]
        assert {request.key for request in rig.up.requests} == {EARLY_KEY}
        assert rig.served.tracked == []

        for path in ("/sdk/v2/flags", "/v1/flags"):
            assert (await rig.served.get(path, **EARLY)).status == 503


async def test_when_the_flags_come_they_are_used() -> None:
    async with rigged("fallback") as rig:
        assert (await rig.vardata(headers=EARLY)).json == THEIRS

        deployment = builders.deployment(EARLY_KEY)
        rig.served.board.publish(EARLY_KEY, builders.snapshot([flag("mine")], deployment))

        assert set((await rig.vardata(headers=EARLY)).json) == {"mine"}
        assert len(rig.up.requests) == 1


@pytest.mark.parametrize(
    ("step", "status"),
    [
        (answer(400, b"no such user"), 400),
        (answer(413), 413),
        (answer(401), 401),
        (answer(403), 401),
        (answer(404), 503),
        (answer(429), 503),
        (answer(500), 503),
        (answer(301, Location="/"), 503),
        (answer(200, b"[]"), 503),
        (answer(200, b'{"a":null}'), 503),
        (truncated(b"{}"), 503),
        (cut(), 503),
        (hang(), 503),
    ],
)
async def test_without_flags_a_failure_is_told_for_what_it_is(step: Step, status: int) -> None:
    timeout = 50 if status == 503 else 60_000
    async with rigged("fallback", step, timeout_millis=timeout) as rig:
        found = await rig.vardata(headers=EARLY)

        assert found.status == status
        assert b"no such user" not in found.body
        assert ("retry-after" in found.headers) == (status == 503)
        assert rig.served.counted("rejected_requests_total", reason="pending") == (status == 503)


@pytest.mark.parametrize(
    "given", [{"Authorization": f"Bearer {EARLY_KEY}"}, {"X-API-Key": EARLY_KEY}]
)
async def test_a_key_without_flags_may_come_in_every_way(given: dict[str, str]) -> None:
    async with rigged("fallback") as rig:
        found = await rig.vardata(headers={"Authorization": "", **given})

        assert found.status == 200


async def test_a_wish_to_rest_is_passed_on_to_who_has_nothing_else() -> None:
    async with rigged("fallback", answer(429, Retry_After="900")) as rig:
        first, second = [await rig.vardata(headers=EARLY) for _ in range(2)]

        assert (first.status, first.headers["retry-after"]) == (503, "900")
        assert second.status == 503
        assert LONG_REST < int(second.headers["retry-after"]) <= 900
        assert len(rig.up.requests) == 1


async def test_a_refused_key_stays_refused_without_asking_again() -> None:
    async with rigged("fallback", answer(401)) as rig:
        found = [await rig.vardata(headers=EARLY) for _ in range(3)]

        assert [one.status for one in found] == [401] * 3
        assert len(rig.up.requests) == 1


@pytest.mark.parametrize("pending", [False, True])
async def test_keys_that_are_not_ours_are_never_passed_on(pending: bool) -> None:
    async with rigged("merge") as rig:
        rig.served.board.pending = pending
        for given in ("Api-Key somebody-elses", "Api-Key", "Bearer x", ""):
            found = await rig.vardata(headers={"Authorization": given})
            assert found.status in {401, 503}

        assert rig.up.requests == []


async def test_neither_users_nor_keys_are_logged(log_lines: io.StringIO) -> None:
    async with rigged("merge", *FAILING) as rig:
        user = {"user_id": "a-secret-user"}
        for step in range(len(FAILING) + 3):
            for more in ({}, EARLY):
                await rig.served.get(
                    "/sdk/v2/vardata", X_Amp_Exp_User=encoded({**user, "n": step}), **more
                )

    said = log_lines.getvalue()
    assert "remote evaluation rests" in said
    for secret in (KEY, EARLY_KEY, "a-secret-user", encoded(user)[:12]):
        assert secret not in said


# Laws.

MEMBERS = st.dictionaries(
    st.sampled_from([*(one["key"] for one in FLAGS), "new", "é"]),
    st.fixed_dictionaries(
        {"key": st.text(max_size=3)},
        optional={"payload": st.integers(), "metadata": st.just({"default": True})},
    ),
)
BODIES = st.one_of(
    MEMBERS.map(msgspec.json.encode), st.binary(max_size=20), st.sampled_from([b"[]", b"null"])
)
KEYS = st.lists(st.sampled_from([*(one["key"] for one in FLAGS), "new", "é"]), max_size=4)
TARGETED = [
    *FLAGS,
    flag("aimed", segment("on", condition(["context", "user", "user_id"], "is", "u1"))),
    flag("far", segment("on", condition(["context", "user", "user_id"], "is", "u2"))),
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    mode=st.sampled_from(["fallback", "merge"]),
    cases=st.lists(st.tuples(BODIES, st.sampled_from([200, 200, 200, 500, 401]), KEYS), max_size=6),
)
def test_our_own_part_of_every_answer_is_what_it_is_without_the_relay(
    mode: str, cases: list[tuple[bytes, int, list[str]]]
) -> None:
    async def check() -> None:
        async with (
            rigged(mode, flags=TARGETED, max_bytes=0) as rig,
            rigged("off", flags=TARGETED) as alone,
        ):
            for body, status, keys in cases:
                rig.up.on("GET", PATH, answer(status, body))
                ours, plain = await rig.vardata(keys), await alone.vardata(keys)
                assert ours.status == plain.status == 200
                own, alien = parts(plain.body), parts(ours.body)
                for key, member in own.items():
                    if key not in {"remote", "hidden"} or mode == "fallback":
                        assert alien[key] == member
                assert set(own) <= set(alien)

    asyncio.run(check())


def parts(body: bytes) -> dict[str, bytes]:
    return {
        key: bytes(raw)
        for key, raw in msgspec.json.decode(body, type=dict[str, msgspec.Raw]).items()
    }


async def test_each_user_gets_what_was_said_of_him() -> None:
    def choose(request: Any) -> Step:
        user = msgspec.json.decode(decoded(request.headers["X-Amp-Exp-User"]))
        return json_answer({"remote": {"key": user["user_id"]}})

    async with rigged("merge", by_request(choose)) as rig:
        for _ in range(2):
            for name in ("ada", "bob"):
                found = await rig.served.get(
                    "/sdk/v2/vardata", X_Amp_Exp_User=encoded({"user_id": name})
                )
                assert found.json["remote"]["key"] == name

        assert len(rig.up.requests) == 2
