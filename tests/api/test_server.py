import asyncio
import copy
import gzip
import io
from typing import Any, cast

import msgspec
import pytest
import uvloop
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from proxy.api.assembly import build_router
from proxy.api.messages import Response
from proxy.api.reports import Reports
from proxy.metrics import Metrics
from proxy.settings.schema import Limits
from proxy.snapshots.board import Board
from tests import builders
from tests.builders import KEY, flag
from tests.serving import FLAGS, Served, encoded, read_answer, serving

REQUEST = f"GET /sdk/v2/vardata HTTP/1.1\r\nHost: x\r\nAuthorization: Api-Key {KEY}\r\n".encode()


async def raw_answer(served: Served, raw: bytes) -> Any:
    async with served.connection() as (reader, writer):
        writer.write(raw)
        return await read_answer(reader)


async def test_a_connection_is_used_again_and_again(served: Served) -> None:
    async with served.connection() as (reader, writer):
        for _ in range(3):
            writer.write(REQUEST + b"\r\n")
            answer = await read_answer(reader)
            assert answer.status == 200
            assert "connection" not in answer.headers


async def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    async with served.connection() as (reader, writer):
        writer.write(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n" + REQUEST + b"\r\n")

        assert (await read_answer(reader)).body == b"OK"
        assert "plain" in (await read_answer(reader)).json


async def test_no_request_overtakes_another(served: Served) -> None:
    post = REQUEST.replace(b"GET", b"POST") + b"Content-Length: 16\r\n\r\n"
    status = b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n"
    async with served.connection() as (reader, writer):
        writer.write(post + b'{"user')
        while not served.server.connections_busy():
            await asyncio.sleep(0)
        writer.write(b'_id":"u1"}' + status)
        assert "targeted" in (await read_answer(reader)).json
        assert (await read_answer(reader)).body == b"OK"

        writer.write(status)
        assert (await read_answer(reader)).body == b"OK"


async def test_http_1_0_keeps_alive_only_when_asked(served: Served) -> None:
    asking = b"GET /status HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    async with served.connection() as (reader, writer):
        writer.write(asking)
        assert (await read_answer(reader)).headers["connection"] == "keep-alive"
        writer.write(b"GET /status HTTP/1.0\r\n\r\n")
        assert (await read_answer(reader)).headers["connection"] == "close"
        assert await reader.read() == b""


@pytest.mark.parametrize("host", [b"xn--a", b"a:1", b"[::1]"])
@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n", b"Accept-Encoding: gzip\r\n"])
async def test_the_host_in_a_target_does_not_matter(
    served: Served, host: bytes, more: bytes
) -> None:
    raw = b"GET http://" + host + b"/status HTTP/1.1\r\nHost: x\r\n" + more + b"\r\n"

    assert (await raw_answer(served, raw)).status == 200


async def test_close_is_heeded(served: Served) -> None:
    async with served.connection() as (reader, writer):
        writer.write(REQUEST + b"Connection: close\r\n\r\n")

        assert (await read_answer(reader)).headers["connection"] == "close"
        assert await reader.read() == b""


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"hello\r\n\r\n",
        b"GET /status HTTP/1.1\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost: x\r\nContent-Length: a\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"\r\n\r\n\x00\x00\x00",
        b"CONNECT \r\na: b\r\n\r\n",
        b"GET http://]b[@/status HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_garbage_is_answered_400_and_seen_off(
    served: Served, garbage: bytes, log_lines: io.StringIO
) -> None:
    async with served.connection() as (reader, writer):
        writer.write(garbage)
        answer = await read_answer(reader)

        assert answer.status == 400
        assert answer.json["code"] == 400
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["connection"] == "close"
        assert await reader.read() == b""
        writer.write(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
        await writer.drain()
        assert await reader.read() == b""
    assert "Traceback" not in log_lines.getvalue()
    assert served.counted("rejected_requests_total", reason="malformed") == 1
    assert served.counted("request_error_total") == 1


@pytest.mark.parametrize("where", ["line", "field", "name", "count", "total"])
async def test_heads_beyond_the_bound_are_431(served: Served, where: str) -> None:
    raw = {
        "line": b"GET /" + b"x" * 200_000,
        "field": REQUEST + b"X: " + b"x" * 200_000,
        "name": REQUEST + b"x" * 200_000,
        "count": REQUEST + b"X: y\r\n" * 400 + b"\r\n",
        "total": REQUEST + (b"X: " + b"x" * 100_000 + b"\r\n") * 5,
    }[where]

    async with served.connection() as (reader, writer):
        writer.write(raw)
        answer = await read_answer(reader)
        # The connection ends in good order: a reset could take the answer with it.
        assert await reader.read() == b""

    assert answer.status == 431
    assert served.counted("rejected_requests_total", reason="headers_too_large") >= 1


async def test_a_long_body_is_refused_without_being_read(served: Served) -> None:
    head = REQUEST.replace(b"GET", b"POST")
    async with served.connection() as (reader, writer):
        writer.write(head + b"Content-Length: 2000000\r\nExpect: 100-continue\r\n\r\n")
        answer = await read_answer(reader)
        assert (answer.status, answer.headers["connection"]) == (413, "close")

    async with served.connection() as (reader, writer):
        writer.write(head + b"Content-Length: 1048577\r\n\r\n" + bytes(1048577))
        assert (await read_answer(reader)).status == 413


async def test_a_long_body_in_chunks_is_refused(served: Served) -> None:
    head = REQUEST.replace(b"GET", b"POST") + b"Transfer-Encoding: chunked\r\n\r\n"
    chunk = b"40000\r\n" + bytes(0x40000) + b"\r\n"
    async with served.connection() as (reader, writer):
        writer.write(head + chunk * 5)

        assert (await read_answer(reader)).status == 413


async def test_a_whole_body_beyond_a_small_bound_is_refused() -> None:
    chosen = builders.settings(limits=Limits(max_body_bytes=1024))
    async with serving(settings=chosen) as served:
        assert (await served.post("/sdk/v2/vardata", b" " * 1025)).status == 413
        assert (await served.post("/sdk/v2/vardata", b" " * 1024)).status == 200


async def test_a_body_in_chunks_is_read(served: Served) -> None:
    head = REQUEST.replace(b"GET", b"POST") + b"Transfer-Encoding: chunked\r\n\r\n"
    async with served.connection() as (reader, writer):
        for part in (head, b'4\r\n{"us\r\n', b'c\r\ner_id":"u1"}\r\n', b"0\r\n\r\n"):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)

        assert (await read_answer(reader)).json["targeted"]["key"] == "on"


async def test_a_broken_chunk_is_the_clients_mistake(served: Served) -> None:
    head = REQUEST.replace(b"GET", b"POST") + b"Transfer-Encoding: chunked\r\n\r\n"
    async with served.connection() as (reader, writer):
        writer.write(head + b"4\r\n{}  \r\n")
        while not served.server.connections_busy():
            await asyncio.sleep(0)
        writer.write(b"zz\r\n")

        assert (await read_answer(reader)).status == 400


@pytest.mark.parametrize(
    "sent", [b"\r\n{", b"Expect: 100-continue\r\n\r\n", b"Expect: 100-continue\r\n\r\n{"]
)
async def test_a_client_that_leaves_in_the_middle_of_a_body_is_no_error_of_ours(
    served: Served, sent: bytes, log_lines: io.StringIO
) -> None:
    head = REQUEST.replace(b"GET", b"POST") + b"Content-Length: 10\r\n"
    async with served.connection() as (_, writer):
        writer.write(head + sent)
        while not served.server.connections_busy():
            await asyncio.sleep(0)
        writer.transport.abort()
    while served.server.connections_open():
        await asyncio.sleep(0)

    times = "http_request_duration_seconds_count"
    while not served.counted(times, route="/sdk/v2/vardata", status="4xx"):
        await asyncio.sleep(0)
    assert (await served.get("/status")).status == 200
    assert served.counted(times, route="other", status="5xx") == 0
    assert log_lines.getvalue() == ""


async def test_expect_100_continue(served: Served) -> None:
    head = REQUEST.replace(b"GET", b"POST")
    async with served.connection() as (reader, writer):
        writer.write(head + b"Content-Length: 16\r\nExpect: 100-continue\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b'{"user_id":"u1"}')
        assert (await read_answer(reader)).json["targeted"]["key"] == "on"

    old = head.replace(b"1.1", b"1.0") + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    async with served.connection() as (reader, writer):
        writer.write(old)
        while not served.server.connections_busy():
            await asyncio.sleep(0)
        writer.write(b"{}")
        assert (await read_answer(reader)).status == 200

    unknown = head + b"Content-Length: 2\r\nExpect: miracles\r\n\r\n"
    assert (await raw_answer(served, unknown)).status == 417


async def test_inflated_bodies_are_bounded(served: Served) -> None:
    bomb = gzip.compress(bytes(50 * 2**20))

    assert (await served.post("/sdk/v2/vardata", bomb, Content_Encoding="gzip")).status == 413
    assert (await served.post("/sdk/v2/vardata", b"{}", Content_Encoding="gzip")).status == 400
    assert (await served.post("/sdk/v2/vardata", b"{}", Content_Encoding="zstd")).status == 415
    assert served.counted("rejected_requests_total", reason="body_too_large") == 1


async def test_slow_heads_and_bodies_are_408_and_idle_connections_end() -> None:
    limits = Limits(request_timeout_millis=100, idle_timeout_millis=400)
    async with serving(settings=builders.settings(limits=limits)) as served:
        head = REQUEST.replace(b"GET", b"POST") + b"Content-Length: 10\r\n\r\n{"
        assert (await raw_answer(served, head)).status == 408
        assert (await raw_answer(served, REQUEST)).status == 408
        async with served.connection() as (reader, _):
            assert await reader.read() == b""
    assert served.counted("rejected_requests_total", reason="too_slow") == 2


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    limits = Limits(request_timeout_millis=100)
    flags = [flag(f"flag-{n}", payload="x" * 1000) for n in range(1000)]
    async with serving(flags, builders.settings(limits=limits)) as served:
        raw = REQUEST.replace(b"vardata", b"flags") + b"\r\n"
        async with served.connection() as (reader, writer):
            transport = cast("asyncio.Transport", writer.transport)
            transport.pause_reading()
            writer.write(raw * 30)
            for _ in range(400):
                if not served.server.connections_open():
                    break
                await wait_a_little()
            assert served.server.connections_open() == 0
            transport.resume_reading()
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await read_answers(reader, 30)


async def read_answers(reader: asyncio.StreamReader, count: int) -> None:
    for _ in range(count):
        await read_answer(reader)


async def wait_a_little() -> None:
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("target", ["/sdk/v2/flags", "/sdk/v2/vardata"])
async def test_gzip_is_negotiated_for_long_answers(target: str) -> None:
    async with serving([flag(f"flag-{n}", payload="x" * 100) for n in range(300)]) as served:
        plain = await served.get(target)
        packed = await served.get(target, Accept_Encoding="gzip;q=1.0,identity;q=0.3")
        refused = await served.get(target, Accept_Encoding="gzip;q=0")

    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == "Accept-Encoding"
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body == refused.body


async def test_short_answers_are_not_packed(served: Served) -> None:
    answer = await served.get("/sdk/v2/vardata", Accept_Encoding="gzip")

    assert "content-encoding" not in answer.headers


async def test_methods_and_paths_that_do_not_exist(served: Served) -> None:
    for method, target, allow in [
        ("PUT", "/sdk/v2/vardata", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/sdk/v2/flags", "GET, HEAD, OPTIONS"),
        ("DELETE", "/status", "GET, HEAD, OPTIONS"),
    ]:
        answer = await served.ask(method, target, {})
        assert (answer.status, answer.headers["allow"]) == (405, allow)
    for target in ("/nothing", "/sdk/v2/flags/", "/SDK/v2/flags", "/sdk//v2/flags"):
        answer = await served.get(target)
        assert (answer.status, answer.json["code"]) == (404, 404)
        assert answer.headers["access-control-allow-origin"] == "*"
    assert (await served.get("/sdk/v2/%66lags")).status == 200


async def test_a_declined_upgrade_is_an_ordinary_request(served: Served) -> None:
    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"

    assert (await raw_answer(served, REQUEST + upgrade)).status == 200


async def test_connect_and_trace_do_no_harm(served: Served) -> None:
    for raw in (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"):
        assert (await raw_answer(served, raw)).status in (400, 404, 405)


async def test_requests_are_counted_by_route_and_status(served: Served) -> None:
    await served.get("/sdk/v2/vardata")
    await served.get("/v1/vardata", Authorization="Api-Key nobody")
    await served.get("/sdk/v2/flags")
    for path in ("/a", "/b", "/c"):
        await served.get(path)

    assert served.counted("request_total") == 6
    assert served.counted("request_error_total") == 4
    assert served.counted("evaluation_request_total") == 2
    assert served.counted("evaluation_request_error_total") == 1
    assert served.counted("get_flags_request_total") == 1
    assert served.counted("get_flags_request_error_total") == 0
    assert served.counted("evaluation_total") == 1
    times = "http_request_duration_seconds_count"
    assert served.counted(times, route="/sdk/v2/vardata", status="2xx") == 1
    assert served.counted(times, route="/v1/vardata", status="4xx") == 1
    assert served.counted(times, route="other", status="4xx") == 3
    named = "http_server_requests_seconds"
    one = {"method": "GET", "route": "/v1/vardata", "status": "401"}
    assert served.counted(named + "_count", **one) == 1
    assert served.counted(named + "_sum", **one) == served.counted(named + "_max", **one) > 0
    assert served.counted(named, **one, quantile="0.99") > 0
    assert served.counted("http_server_requests_active") == 0


LINE = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40)
BODY = st.binary(max_size=60) | st.text(max_size=30).map(str.encode)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["user_id", "groups", "cohort_ids", "a"]), inner)
    ),
    max_leaves=8,
)
HEADER = LINE | JSON.map(encoded)


@hypothesis_settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_request_whatever_is_answered_5xx(data: st.DataObject) -> None:
    method = data.draw(st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "BREW"]))
    path = data.draw(
        st.sampled_from(["/sdk/v2/vardata", "/sdk/vardata", "/v1/vardata", "/v1/flags", "/"])
        | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)
    )
    query = data.draw(
        st.sampled_from(["", "?context={}&user_id=%00", "?flag_key=%ff", "?flag_keys=a,child"])
        | JSON.map(lambda value: "?context=" + encoded(value))
        | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)
    )
    names = ["X-Amp-Exp-User", "X-Amp-Exp-Flag-Keys", "X-Amp-Exp-Track", "Content-Encoding"]
    headers = data.draw(st.dictionaries(st.sampled_from([*names, "Accept-Encoding"]), HEADER))
    body = data.draw(BODY | JSON.map(msgspec.json.encode))

    status = asyncio.run(_status(method, path + query, headers, body))

    assert 200 <= status < 500


async def _status(method: str, target: str, headers: dict[str, str], body: bytes) -> int:
    async with serving(FLAGS[:1]) as served:
        return (await served.ask(method, target, headers, body)).status


async def test_an_error_of_ours_is_told_without_its_inside(
    log_lines: io.StringIO,
) -> None:
    async with serving() as served:
        slot = served.board.find(KEY)
        assert slot is not None
        assert slot.snapshot is not None
        broken = copy.copy(slot.snapshot.compiled)
        vars(broken)["evaluate"] = None
        slot.snapshot = msgspec.structs.replace(slot.snapshot, compiled=broken)

        answer = await served.get("/sdk/v2/vardata", X_Amp_Exp_User=encoded({"user_id": "secret"}))

    assert (answer.status, answer.json) == (500, {"code": 500, "error": "Internal error"})
    assert "handler failed" in log_lines.getvalue()
    assert "secret" not in log_lines.getvalue()
    assert served.counted("evaluation_failure_total") == 1


class Unreadable(dict[str, str]):
    def get(self, *_: object) -> str:
        raise RuntimeError("boom")


async def test_an_error_before_any_handler_is_told_the_same_way(log_lines: io.StringIO) -> None:
    router = build_router(
        Board(),
        Reports(lambda *_: None),
        builders.settings(),
        Metrics(),
        lambda: 0.0,
        is_ready=lambda: True,
    )

    route, answer = router.begin("GET", "/sdk/v2/vardata", Unreadable())

    assert isinstance(answer, Response)
    assert (route, answer.status) == ("other", 500)
    assert "boom" in log_lines.getvalue()


class Client:
    """Asks again and again on one connection, and reconnects when it is told to or refused."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answered = 0
        self.lost = 0
        self.turned_away = False

    async def run(self) -> None:
        while not self.turned_away:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                self.turned_away = True
                return
            await self._talk(reader, writer)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            try:
                writer.write(REQUEST + b"\r\n")
                answer = await read_answer(reader)
            except (ConnectionError, asyncio.IncompleteReadError):
                self.lost += 1
                return
            assert answer.status == 200
            self.answered += 1
            if answer.headers.get("connection") == "close":
                return


def test_no_request_is_lost_on_the_programs_own_loop() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_no_request_is_lost_while_the_server_leaves())


async def test_no_request_is_lost_while_the_server_leaves() -> None:
    async with serving(FLAGS[:1]) as served:
        clients = [Client(served.port) for _ in range(16)]
        running = [asyncio.ensure_future(client.run()) for client in clients]
        while min(client.answered for client in clients) < 3:
            await asyncio.sleep(0)
        before = sum(client.answered for client in clients)

        await served.server.drain(2.0, asyncio.Event())

        async with asyncio.timeout(5):
            await asyncio.gather(*running)
    assert [client.lost for client in clients] == [0] * 16
    assert sum(client.answered for client in clients) > before


async def test_an_idle_server_leaves_quickly_and_says_goodbye_to_idle_connections() -> None:
    async with serving() as served:
        began = asyncio.get_running_loop().time()
        async with served.connection() as (reader, _):
            await served.server.drain(30.0, asyncio.Event())

            assert await reader.read() == b""
        assert asyncio.get_running_loop().time() - began < 3


async def test_a_request_under_way_is_finished_while_leaving() -> None:
    async with serving() as served, served.connection() as (reader, writer):
        writer.write(REQUEST.replace(b"GET", b"POST") + b"Content-Length: 2\r\n\r\n{")
        await writer.drain()
        leaving = asyncio.ensure_future(served.server.drain(5.0, asyncio.Event()))
        while not await refused(served.port):
            await asyncio.sleep(0)
        writer.write(b"}")

        answer = await read_answer(reader)

        assert (answer.status, answer.headers["connection"]) == (200, "close")
        await leaving


async def refused(port: int) -> bool:
    try:
        async with asyncio.timeout(0.2):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except (OSError, TimeoutError):
        return True
    writer.close()
    return False


@pytest.mark.parametrize("hurried", [True, False])
async def test_a_stop_that_hurries_or_runs_out_of_time_cuts_off(
    log_lines: io.StringIO, *, hurried: bool
) -> None:
    hurry = asyncio.Event()
    async with serving() as served, served.connection() as (reader, writer):
        writer.write(REQUEST.replace(b"GET", b"POST") + b"Content-Length: 2\r\n\r\n{")
        while not served.server.connections_busy():
            await asyncio.sleep(0)
        if hurried:
            hurry.set()
        await served.server.drain(30.0 if hurried else 0.1, hurry)

        assert await reader.read() == b""
    assert "requests cut off" in log_lines.getvalue()
