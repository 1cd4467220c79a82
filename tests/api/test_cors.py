import asyncio
from typing import Any

import pytest

from proxy.api.cors import MOST_REMEMBERED, Cors
from proxy.api.features import Offer, Tools
from proxy.api.messages import Response
from proxy.api.routes import Route
from proxy.secret import Secret
from proxy.settings.cors import Cors as Given
from proxy.settings.schema import Limits, Settings
from proxy.snapshots.board import Board
from tests import builders
from tests.builders import KEY, flag
from tests.serving import Answer, Served, read_answer, serving

SHOP, EVIL = "https://shop.example", "https://evil.example"
VARDATA, FLAGS = "/sdk/v2/vardata", "/sdk/v2/flags"
ASKING = {"Access-Control-Request-Method": "GET", "Authorization": ""}
SENT_BY_SDKS = (
    "authorization,x-amp-exp-user,x-amp-exp-flag-keys,x-amp-exp-track,x-amp-exp-exposure-track,"
    "x-amp-exp-library,content-type,accept,content-encoding,cache-control,last-event-id,"
    "if-none-match,x-api-key,traceparent,tracestate,baggage"
)


def restricted(*origins: str, **more: Any) -> Settings:
    return builders.settings(cors=Given(origins=origins, **more))


def allowed(answer: Answer) -> str | None:
    return answer.headers.get("access-control-allow-origin")


async def raw(served: Served, text: bytes) -> Answer:
    async with served.connection() as (reader, writer):
        writer.write(text)
        return await read_answer(reader)


async def errors(served: Served, origin: str) -> dict[int, Answer]:
    """One answer for each status that a request with a readable head can get."""
    held = served.board.find(KEY)
    assert held is not None
    post = f"POST {VARDATA} HTTP/1.1\r\nHost: x\r\nAuthorization: Api-Key {KEY}\r\nOrigin: {origin}"
    found = {
        200: await served.get(VARDATA, Origin=origin),
        304: await served.get(FLAGS, Origin=origin, If_None_Match="*"),
        400: await served.post(VARDATA, b"[]", Origin=origin),
        401: await served.get(VARDATA, Origin=origin, Authorization="Api-Key nobody"),
        404: await served.get("/nothing", Origin=origin),
        405: await served.ask("PUT", VARDATA, {"Origin": origin}),
        408: await raw(served, f"{post}\r\nContent-Length: 9\r\n\r\n{{".encode()),
        413: await served.post(VARDATA, b"{}", Origin=origin, Content_Length="9000000"),
        415: await served.post(VARDATA, b"{}", Origin=origin, Content_Encoding="zstd"),
        417: await raw(served, f"{post}\r\nContent-Length: 9\r\nExpect: x\r\n\r\n{{".encode()),
    }
    held.snapshot = None
    found[503] = await served.get(VARDATA, Origin=origin)
    assert {status: answer.status for status, answer in found.items()} == {s: s for s in found}
    return found


async def test_any_page_reads_any_answer_by_default() -> None:
    limits = Limits(request_timeout_millis=200)
    async with serving(settings=builders.settings(limits=limits)) as served:
        found = await errors(served, SHOP)
        found[431] = await raw(served, b"GET /" + b"x" * 200_000)
        found[400] = await raw(served, b"\x16\x03\x01\r\n\r\n")

    assert {allowed(answer) for answer in found.values()} == {"*"}
    assert {"vary" in answer.headers for answer in found.values()} == {False}
    exposed = "access-control-expose-headers"
    for status in (304, 405, 503):
        assert found[status].headers[exposed] == "ETag, Retry-After"
    assert exposed not in found[200].headers or "etag" in found[200].headers


async def test_a_page_of_a_listed_origin_reads_any_answer_and_no_other_page_does() -> None:
    limits = Limits(request_timeout_millis=200)
    settings = restricted(SHOP, "https://*.b.example")
    settings = builders.settings(limits=limits, cors=settings.cors)
    for origin, seen in (
        (SHOP, SHOP),
        ("https://a.b.example", "https://a.b.example"),
        (EVIL, None),
    ):
        async with serving(settings=settings) as served:
            found = await errors(served, origin)
        assert {allowed(answer) for answer in found.values()} == {seen}
        assert {answer.headers["vary"] for answer in found.values()} == {"Origin"}
        assert ("access-control-expose-headers" in found[503].headers) == (seen is not None)


async def test_answers_without_an_origin_vary_by_it_too() -> None:
    async with serving(settings=restricted(SHOP)) as served:
        answer = await served.get(VARDATA)

    assert (allowed(answer), answer.headers["vary"]) == (None, "Origin")


async def test_what_an_answer_varies_by_is_one_line() -> None:
    flags = [flag(f"flag-{number}", payload="x" * 100) for number in range(300)]
    async with serving(flags, restricted(SHOP)) as served:
        for target in (FLAGS, VARDATA):
            for coding in ("gzip", "identity"):
                answer = await served.get(target, Origin=SHOP, Accept_Encoding=coding)
                names = {name.strip() for name in answer.headers["vary"].split(",")}
                assert names == {"Origin", "Accept-Encoding"}
                assert allowed(answer) == SHOP


async def test_a_preflight_of_a_listed_origin_is_answered_without_a_key_and_kept() -> None:
    async with serving(settings=restricted(SHOP, allow_headers=("X-Tenant",))) as served:
        for target in (VARDATA, FLAGS, "/v1/vardata", "/nothing", "*"):
            answer = await served.ask("OPTIONS", target, {**ASKING, "Origin": SHOP})

            assert (answer.status, allowed(answer)) == (204, SHOP)
            assert answer.headers["access-control-max-age"] == "86400"
            assert answer.headers["access-control-allow-methods"] == "GET, POST, OPTIONS"
            headers = answer.headers["access-control-allow-headers"].lower().replace(" ", "")
            assert headers == f"{SENT_BY_SDKS},x-tenant"
            assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origins", [(SHOP,), (), ("none",)])
async def test_a_preflight_of_another_origin_gives_no_permission(origins: tuple[str, ...]) -> None:
    async with serving(settings=restricted(*origins)) as served:
        for target in (VARDATA, "/nothing"):
            answer = await served.ask("OPTIONS", target, {**ASKING, "Origin": EVIL})

            assert answer.status == 204
            assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_no_page_reads_what_is_for_servers_only() -> None:
    for settings in (builders.settings(), restricted(SHOP)):
        async with serving(settings=settings) as served:
            for target in ("/sdk/v1/cohort/c1", "/sdk/v2/memberships/User/u1"):
                preflight = await served.ask("OPTIONS", target, {**ASKING, "Origin": SHOP})
                found = await served.get(target, Origin=SHOP)
                for answer in (preflight, found):
                    assert not [name for name in answer.headers if name.startswith("access-con")]


async def test_garbage_is_readable_where_only_one_origin_can_be_meant() -> None:
    for settings, seen in ((restricted(SHOP), SHOP), (restricted(SHOP, EVIL), None)):
        async with serving(settings=settings) as served:
            for text in (b"GET /" + b"x" * 200_000, b"hello\r\n\r\n"):
                assert allowed(await raw(served, text)) == seen


async def test_deployments_have_origins_of_their_own() -> None:
    own = (f"{Secret('client-b').label} = {EVIL}", "label-c = none", "d = *")
    async with serving(settings=restricted(SHOP, deployments=own)) as served:
        for key, label in (("client-b", "b"), ("client-c", "label-c"), ("client-d", "d")):
            of = builders.deployment(key, label=label)
            served.board.authorise(of)
            served.board.publish(key, builders.snapshot([flag("plain")], of))

        async def seen(key: str, origin: str) -> str | None:
            return allowed(await served.get(VARDATA, Origin=origin, Authorization=f"Api-Key {key}"))

        assert [await seen(KEY, SHOP), await seen(KEY, EVIL)] == [SHOP, None]
        assert [await seen("client-b", SHOP), await seen("client-b", EVIL)] == [None, EVIL]
        assert [await seen("client-c", SHOP), await seen("client-c", EVIL)] == [None, None]
        assert await seen("client-d", "https://c.example") == "*"
        # With `*` for one of them, every page may ask, and read that its key is wrong.
        assert await seen("nobody", "https://c.example") == "*"
        preflight = await served.ask("OPTIONS", VARDATA, {**ASKING, "Origin": "https://c.example"})
        assert allowed(preflight) == "*"


async def test_a_rule_for_a_deployment_leaves_all_others_open() -> None:
    async with serving(settings=restricted("*", deployments=(f"test = {SHOP}",))) as served:
        of = builders.deployment("client-b", label="b")
        served.board.authorise(of)
        served.board.publish("client-b", builders.snapshot([], of))
        mine = await served.get(VARDATA, Origin=EVIL)
        other = await served.get(VARDATA, Origin=EVIL, Authorization="Api-Key client-b")
        found = await served.get(VARDATA, Origin=SHOP)

    assert [allowed(mine), allowed(other), allowed(found)] == [None, "*", SHOP]


async def test_simple_requests_of_other_pages_are_answered_without_letting_them_read() -> None:
    async with serving(settings=restricted(SHOP)) as served:
        answer = await served.ask("GET", "/status", {"Origin": EVIL, "Authorization": ""})

    assert (answer.status, allowed(answer)) == (200, None)


def test_rules_without_a_deployment_are_told_by_number() -> None:
    board = Board()
    board.authorise(builders.deployment("client-a", label="web"))
    # A key is no name: settings are shown.
    rules = ("web = *", "wbe = *", f"{Secret('client-a').label} = *", "client-a = *")
    cors = Cors(Given(deployments=rules), board)

    assert cors.status() == {"any_origin": False, "rules": 4, "unused": [1, 3]}
    assert Cors(Given(), board).status() == {"any_origin": True, "rules": 0, "unused": []}


def test_rules_for_one_deployment_add_up() -> None:
    board = Board()
    board.authorise(builders.deployment("client-a", label="web"))
    cors = Cors(Given(deployments=(f"web = {SHOP}", f"web={EVIL}")), board)
    key = {"authorization": "Api-Key client-a"}

    for origin, is_granted in ((SHOP, True), (EVIL, True), ("https://other.example", False)):
        answer = cors.decide(Response(), "GET", {**key, "origin": origin})
        assert answer.grant is not None
        assert (origin.encode() in answer.grant.bare) == is_granted


def test_granted_origins_do_not_pile_up() -> None:
    cors = Cors(Given(origins=("https://*.example",)), Board())

    for number in range(3 * MOST_REMEMBERED):
        answer = cors.decide(Response(), "GET", {"origin": f"https://a{number}.example"})
        assert answer.grant is not None
        assert f"a{number}.".encode() in answer.grant.bare
    assert len(cors._grants) <= MOST_REMEMBERED + 1


async def test_streams_and_later_answers_are_granted_alike() -> None:
    async def later() -> Response:
        return Response(200, b"{}")

    async def pour(outflow: Any) -> None:
        await outflow.write(b"x")

    def feature(tools: Tools) -> Offer:
        answers = {"/later": Response(later=later), "/stream": Response(stream=pour)}

        def answering(answer: Response) -> Any:
            return lambda _request: answer

        return Offer({path: Route(path, open={"GET": answering(a)}) for path, a in answers.items()})

    async with serving(settings=restricted(SHOP), features=[feature]) as served:
        for path in ("/later", "/stream"):
            for origin, seen in ((SHOP, SHOP), (EVIL, None)):
                async with served.connection() as (reader, writer):
                    lines = f"GET {path} HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\n\r\n"
                    writer.write(lines.encode())
                    head = (await reader.readuntil(b"\r\n\r\n")).decode()
                assert (f"Access-Control-Allow-Origin: {seen}" in head) == (seen is not None)
                assert "Vary: Origin" in head


async def test_long_answers_are_whole_and_granted() -> None:
    flags = [flag(f"flag-{number}", payload="x" * 1000) for number in range(300)]
    async with serving(flags, restricted(SHOP)) as served:
        one, *others = await asyncio.gather(*(served.get(FLAGS, Origin=SHOP) for _ in range(5)))
        head = await served.ask("HEAD", FLAGS, {"Origin": SHOP})

    assert all(other.body == one.body for other in others)
    assert len(one.json) == 300
    assert (allowed(one), allowed(head)) == (SHOP, SHOP)
    assert head.headers["content-length"] == str(len(one.body))
