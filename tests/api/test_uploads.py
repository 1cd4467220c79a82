"""Uploads over HTTP: what reaches the desk that takes them, and what never does."""

import asyncio
import gzip
import io
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest

from proxy.api.uploads import LARGEST_INLINE, MOST_HELD_BYTES, client_address
from tests.builders import settings
from tests.serving import Served, read_answer, serving

BATCH, SINGLE = "/batch", "/2/httpapi"
HEAD = b"POST %b HTTP/1.1\r\nHost: proxy\r\n%b\r\n\r\n"


class Desk:
    """Remembers what came, and in which thread; answers as it is told to."""

    bounds: Mapping[str, int] = {BATCH: 8_000_000, SINGLE: 1000}

    def __init__(self) -> None:
        self.read_bodies: list[tuple[str, bytes, str | None]] = []
        self.threads: list[threading.Thread] = []
        self.answers: list[tuple[int, bytes] | Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def read(self, path: str, body: bytes, address: str | None) -> Any:
        self.read_bodies.append((path, body, address))
        self.threads.append(threading.current_thread())
        return len(body)

    async def keep(self, found: Any) -> tuple[int, bytes]:
        await self.gate.wait()
        answer = self.answers.pop(0) if self.answers else (200, b'{"taken":%d}' % found)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
async def served(desk: Desk) -> AsyncIterator[Served]:
    async with serving(desk=desk) as served:
        yield served


async def wait_until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("kind", ["application/json; charset=UTF-8", "text/plain", ""])
@pytest.mark.parametrize("path", [BATCH, SINGLE])
async def test_a_body_goes_to_the_desk_without_any_key_and_whatever_its_type(
    served: Served, desk: Desk, path: str, kind: str
) -> None:
    answer = await served.post(path, b"abc", Authorization="", Content_Type=kind)

    assert (answer.status, answer.json) == (200, {"taken": 3})
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert desk.read_bodies == [(path, b"abc", None)]
    assert not served.tracked
    assert not served.exposed


async def test_the_answer_is_the_desks(served: Served, desk: Desk) -> None:
    desk.answers = [(400, b'{"code":400}'), (503, b'{"code":503}')]

    refused = await served.post(BATCH, b"")
    busy = await served.post(BATCH, b"x")

    assert (refused.status, refused.json) == (400, {"code": 400})
    assert "retry-after" not in refused.headers
    assert busy.status == 503
    assert 2 <= int(busy.headers["retry-after"]) <= 5
    assert [body for _, body, _ in desk.read_bodies] == [b"", b"x"]


async def test_a_batch_may_be_larger_than_other_bodies(served: Served, desk: Desk) -> None:
    most = settings().limits.max_body_bytes
    body = bytes(5_000_000)
    assert len(body) > most

    assert (await served.post(BATCH, body)).json == {"taken": len(body)}
    assert (await served.post("/sdk/v2/vardata", body)).status == 413
    assert (await served.post(SINGLE, bytes(1001))).json == {"code": 413, "error": "Body too large"}
    assert len(desk.read_bodies) == 1


async def test_a_body_without_length_is_bounded_as_it_arrives(served: Served, desk: Desk) -> None:
    chunk = b"3e8\r\n" + bytes(1000) + b"\r\n"
    for chunks, expected in ((chunk, 200), (chunk + b"1\r\nx\r\n", 413)):
        async with served.connection() as (reader, writer):
            writer.write(HEAD % (SINGLE.encode(), b"Transfer-Encoding: chunked"))
            writer.write(chunks + b"0\r\n\r\n")
            assert (await read_answer(reader)).status == expected
    assert [len(body) for _, body, _ in desk.read_bodies] == [1000]


async def test_gzip_is_undone_within_the_bound(served: Served, desk: Desk) -> None:
    fits, bomb = gzip.compress(bytes(1000)), gzip.compress(bytes(1001))

    statuses = [
        (await served.post(SINGLE, body, Content_Encoding=coding)).status
        for body, coding in ((fits, "gzip"), (bomb, "gzip"), (b"x", "gzip"), (fits, "br"))
    ]

    assert statuses == [200, 413, 400, 415]
    assert [body for _, body, _ in desk.read_bodies] == [bytes(1000)]


async def test_what_is_refused_before_it_is_read_is_counted(served: Served) -> None:
    await served.post(SINGLE, bytes(1001))
    await served.post(SINGLE, b"no gzip", Content_Encoding="gzip")
    await served.post(SINGLE, b"x", Content_Encoding="br")

    for reason in ("body_too_large", "malformed", "content_encoding"):
        assert served.counted("rejected_requests_total", reason=reason) == 1


@pytest.mark.parametrize(("digits", "status"), [(b"0" * 5000 + b"1", 200), (b"9" * 17, 413)])
async def test_a_length_may_have_as_many_digits_as_it_likes(
    served: Served, digits: bytes, status: int
) -> None:
    async with served.connection() as (reader, writer):
        writer.write(HEAD % (BATCH.encode(), b"Content-Length: " + digits) + b"x")

        assert (await read_answer(reader)).status == status


async def test_what_takes_time_is_read_in_a_thread(served: Served, desk: Desk) -> None:
    await served.post(BATCH, b"x" * LARGEST_INLINE)
    await served.post(BATCH, b"x" * (LARGEST_INLINE + 1))
    await served.post(BATCH, gzip.compress(b"x"), Content_Encoding="gzip")

    inline = [thread is threading.current_thread() for thread in desk.threads]
    assert inline == [True, False, False]


async def test_a_body_that_comes_in_parts_is_awaited(served: Served, desk: Desk) -> None:
    async with served.connection() as (reader, writer):
        writer.write(HEAD % (SINGLE.encode(), b"Content-Length: 6\r\nExpect: 100-continue"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        await writer.drain()
        writer.write(b"def")
        assert (await read_answer(reader)).json == {"taken": 6}


async def test_requests_on_one_connection_are_answered_in_turn(served: Served) -> None:
    upload = HEAD % (BATCH.encode(), b"Content-Length: 2") + b"ab"
    status = b"GET /status HTTP/1.1\r\nHost: proxy\r\n\r\n"
    async with served.connection() as (reader, writer):
        writer.write(upload + status + upload)
        answers = [await read_answer(reader) for _ in range(3)]
        writer.write(upload)
        answers.append(await read_answer(reader))

    assert [answer.body for answer in answers] == [b'{"taken":2}', b"OK", *[b'{"taken":2}'] * 2]


@pytest.mark.parametrize("path", [BATCH, SINGLE])
async def test_only_posting_is_possible(served: Served, path: str) -> None:
    wrong = await served.get(path)
    preflight = await served.ask("OPTIONS", path, {})

    assert (wrong.status, wrong.headers["allow"]) == (405, "OPTIONS, POST")
    assert preflight.status == 204
    assert "Content-Encoding" in preflight.headers["access-control-allow-headers"]


async def test_where_nobody_takes_uploads_there_is_no_such_path() -> None:
    async with serving() as served:
        assert (await served.post(BATCH, b"{}")).status == 404


async def test_a_defect_of_the_desk_shows_nothing_of_its_inside(
    served: Served, desk: Desk, log_lines: io.StringIO
) -> None:
    desk.answers = [RuntimeError("secret")]

    answer = await served.post(BATCH, b"x")

    assert (answer.status, answer.json) == (500, {"code": 500, "error": "Internal error"})
    assert '"upload failed"' in log_lines.getvalue()


async def test_what_is_under_way_is_bounded() -> None:
    desk = Desk()
    desk.bounds = {BATCH: MOST_HELD_BYTES}
    desk.gate.clear()
    length = f"Content-Length: {MOST_HELD_BYTES - 10}".encode()
    async with serving(desk=desk) as served, served.connection() as (_, large):
        large.write(HEAD % (BATCH.encode(), length) + b"x")
        await wait_until(served.server.connections_busy)

        small = asyncio.ensure_future(served.post(BATCH, b"0123456789"))
        await wait_until(lambda: desk.read_bodies)
        refused = await served.post(BATCH, b"x")
        desk.gate.set()

        assert (await small).status == 200
        assert refused.status == 503
        assert 2 <= int(refused.headers["retry-after"]) <= 5
        assert refused.json == {"code": 503, "error": "Too many uploads at once"}
        assert served.counted("rejected_requests_total", reason="busy") == 1
        large.close()
        await wait_until(lambda: served.server.connections_open() == 0)
        assert (await served.post(BATCH, b"0123456789" * 2)).status == 200


@pytest.mark.parametrize(
    ("forwarded", "peer", "expected"),
    [
        (None, "8.8.4.4", "8.8.4.4"),
        (None, "::ffff:8.8.4.4", "8.8.4.4"),
        (None, "2001:4860:4860::8844", "2001:4860:4860::8844"),
        (None, "127.0.0.1", None),
        (None, "10.1.2.3", None),
        (None, None, None),
        ("1.1.1.1, 10.0.0.1", "10.1.2.3", "1.1.1.1"),
        (" 1.1.1.1 ", "8.8.4.4", "1.1.1.1"),
        ("10.0.0.1", "8.8.4.4", "8.8.4.4"),
        ("unknown", "8.8.4.4", "8.8.4.4"),
        ("", None, None),
    ],
)
def test_the_clients_address_is_the_first_that_says_where_it_is(
    forwarded: str | None, peer: str | None, expected: str | None
) -> None:
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}

    assert client_address(headers, peer) == expected


async def test_the_forwarded_address_reaches_the_desk(served: Served, desk: Desk) -> None:
    await served.post(BATCH, b"x", X_Forwarded_For="1.1.1.1, 10.0.0.1")

    assert desk.read_bodies == [(BATCH, b"x", "1.1.1.1")]


async def test_an_answer_can_wait_until_its_event_is_safe() -> None:
    waiting: list[asyncio.Future[bool]] = []

    def durable() -> asyncio.Future[bool]:
        waiting.append(asyncio.get_running_loop().create_future())
        return waiting[-1]

    async with serving(durable=durable) as served:
        asked = asyncio.ensure_future(served.post("/sdk/v2/vardata", b"{}"))
        await wait_until(lambda: waiting)
        assert len(served.tracked) == 1
        assert not asked.done()
        waiting[0].set_result(True)
        assert (await asked).status == 200
        assert served.counted("unsafe_answers_total") == 0

        hung = await served.get("/sdk/v2/vardata")
        assert hung.status == 200, "a disk that hangs silences nobody"
        assert set(msgspec.json.decode(hung.body)) >= {"plain"}
        assert len(waiting) == 2
        assert served.counted("unsafe_answers_total") == 1


async def test_an_answer_goes_at_once_when_nothing_is_to_be_written() -> None:
    async with serving(durable=lambda: None) as served:
        assert (await served.post("/sdk/v2/vardata", b"{}")).status == 200
