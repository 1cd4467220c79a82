"""The operators' port among people who do not speak HTTP, or do not go."""

import asyncio
import io
from contextlib import AsyncExitStack
from functools import partial

import msgspec
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.admin.files import page_routes
from proxy.admin.pages import Ask, Page, Route
from proxy.admin.server import MOST_BODY_BYTES
from proxy.admin.visits import Visits
from tests.admin.port import port, rest

HOST = b"Host: localhost\r\n"


async def echo(ask: Ask) -> Page:
    told = {"path": ask.path, "query": ask.query, "size": len(ask.body)}
    return Page(200, msgspec.json.encode(told))


ROUTES: dict[str, Route] = {"/echo": {"POST": echo, "GET": echo}}


def status(answer: bytes) -> int:
    """The status of one answer, which says nothing of the inside."""
    first, _, _ = answer.partition(b"\r\n")
    assert b"Traceback" not in answer
    return int(first.split()[1])


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"GET http://xn--a/echo", 200),
        (b"GET http://proxy:9090/echo?a=b", 200),
        (b"GET http://proxy", 404),
        (b"GET //echo", 404),
        (b"GET /echo#x", 200),
        (b"GET /%65cho", 200),
        (b"GET /%ff%00", 404),
        (b"GET /" + b"a" * 8000, 404),
        (b"GET /" + b"a" * 9000, 400),
        (b"GET /echo?" + b"q=%ff&" * 1000, 200),
        (b"GET /..%2f..%2fetc/passwd", 404),
        (b"GET http://[::1/echo", 400),
        (b"GET http://]b[@/echo", 400),
        (b"GET :a", 400),
        (b"GET *", 400),
        (b"OPTIONS *", 404),
        (b"OPTIONS /echo", 405),
        (b"CONNECT ", 404),
        (b"CONNECT xn--a:80", 404),
        (b"GET /\xff", 400),
        (b"PATCH /echo", 405),
        (b"\x16\x03\x01\x00", 400),
    ],
)
async def test_every_target_is_answered_and_none_is_logged(
    target: bytes, expected: int, log_lines: io.StringIO
) -> None:
    async with port(ROUTES) as served:
        request = target + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
        answer = await served.send(request)

    assert status(answer) == expected
    assert log_lines.getvalue() == ""


async def test_wild_bytes_are_answered_and_none_is_logged(log_lines: io.StringIO) -> None:
    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.one_of(st.binary(max_size=40), st.just(b"GET / HTTP/1.1\r\n")), max_size=6))
    def send(parts: list[bytes]) -> None:
        raws.append(b"".join(parts))

    raws: list[bytes] = []
    send()
    async with port(ROUTES) as served, asyncio.timeout(60):
        sent = [asyncio.create_task(served.send(raw + b"\r\n\r\n")) for raw in raws]
        await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(sent, timeout=0.3)
        assert await served.get("/echo") == (200, {"path": "/echo", "query": "", "size": 0})
    # Who still waited for an answer was sent away.
    answers = await asyncio.gather(*sent)
    assert all(not answer or status(answer) < 500 for answer in answers)
    assert any(answers)
    assert log_lines.getvalue() == ""


async def test_a_body_is_bounded_and_must_come_whole() -> None:
    def post(head: bytes, body: bytes) -> bytes:
        return b"POST /echo HTTP/1.1\r\nConnection: close\r\n" + HOST + head + b"\r\n\r\n" + body

    async with port(ROUTES) as served:
        largest = await served.post("/echo", b"a" * MOST_BODY_BYTES)
        assert largest == (200, {"path": "/echo", "query": "", "size": MOST_BODY_BYTES})
        code, refused = await served.post("/echo", b"a" * (MOST_BODY_BYTES + 1))
        assert (code, refused["most_bytes"]) == (413, MOST_BODY_BYTES)
        chunk = b"20000\r\n" + b"a" * 0x20000 + b"\r\n"
        endless = await served.send(post(b"Transfer-Encoding: chunked", chunk * 4 + b"0\r\n\r\n"))
        assert status(endless) == 413
        packed = await served.send(post(b"Content-Encoding: gzip\r\nContent-Length: 2", b"ab"))
        assert status(packed) == 415
        broken = await served.send(post(b"Transfer-Encoding: chunked", b"1\r\na\r\nzz\r\n"))
        assert status(broken) == 400


async def test_who_leaves_in_the_middle_is_not_talked_about(log_lines: io.StringIO) -> None:
    async with port(ROUTES) as served:
        async with served.connection() as (_, writer):
            writer.write(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\nabc")
            await writer.drain()
        assert (await served.get("/echo"))[0] == 200
    assert log_lines.getvalue() == ""


async def test_when_there_are_too_many_who_idles_longest_goes() -> None:
    ask = b"GET /livez HTTP/1.1\r\n" + HOST
    async with port(ROUTES, partial(Visits, most=3)) as served, AsyncExitStack() as opened:
        first, *others = [await opened.enter_async_context(served.connection()) for _ in range(3)]
        for reader, writer in (first, *others):
            writer.write(ask + b"\r\n")
            assert await reader.readuntil(b"\r\n\r\nOK")
        others.append(await opened.enter_async_context(served.connection()))
        async with asyncio.timeout(60):
            assert await rest(first[0]) == b""
            for reader, writer in others:
                writer.write(ask + b"Connection: close\r\n\r\n")
                assert (await rest(reader)).endswith(b"OK")


async def test_nobody_works_for_who_has_left() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def work(_ask: Ask) -> Page:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return Page(200, b"")

    async with port({"/work": {"GET": work}}) as served, asyncio.timeout(60):
        async with served.connection() as (_, writer):
            writer.write(b"GET /work HTTP/1.1\r\n" + HOST + b"\r\n")
            await began.wait()
        await ended.wait()


async def test_who_never_finishes_asking_keeps_nobody_out() -> None:
    begun = b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\n{"
    ask = b"GET /livez HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    busy = asyncio.Semaphore(0)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            busy.release()
            await request.read()
        return web.Response(text="OK")

    async with (
        port(visits=lambda _: Visits(answer, most=3)) as served,
        AsyncExitStack() as opened,
        asyncio.timeout(60),
    ):
        slow = [await opened.enter_async_context(served.connection()) for _ in range(3)]
        for _, writer in slow:
            writer.write(begun)
            await busy.acquire()
        for _ in range(4):
            assert (await served.send(ask)).endswith(b"OK")
        assert await rest(slow[0][0]) == b"", "who took longest had to go"


async def test_who_asks_nothing_is_sent_away_and_who_takes_too_long_too() -> None:
    never = asyncio.Event()

    async def wait(_ask: Ask) -> Page:
        await never.wait()
        return Page(200, b"")

    routes: dict[str, Route] = {"/wait": {"GET": wait}}
    async with port(routes, partial(Visits, most_seconds=0.05)) as served, asyncio.timeout(60):
        for raw in (b"", b"GET /wait HTTP/1.1\r\nHo", b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n"):
            assert await served.send(raw) == b""
        never.set()


async def test_the_page_comes_with_its_files_and_nothing_else() -> None:
    async with port(page_routes()) as served:
        for path, kind in (
            ("/", "text/html"),
            ("/page.css", "text/css"),
            ("/page.js", "text/javascript"),
        ):
            async with served.session.get(path) as answer:
                assert answer.status == 200
                assert answer.content_type == kind
                body = await answer.read()
            async with served.session.head(path) as head:
                assert head.headers["Content-Length"] == str(len(body))
        for path in ("/index.html", "/page", "/../pages.py", "/__init__.py"):
            assert (await served.get(path))[0] == 404


@pytest.mark.parametrize("path", ["/", "/livez", "/nothing", "/status"])
async def test_every_answer_binds_the_browser(path: str) -> None:
    async with port(page_routes()) as served, served.session.get(path) as answer:
        policy = answer.headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= {*policy}
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "ython" not in answer.headers["Server"]
        assert "Access-Control-Allow-Origin" not in answer.headers
