"""The stream of flag configs on the wire, as SDKs read it."""

import asyncio
import re
import socket
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import msgspec
import pytest
import trustme

from proxy.api.features import Offer, Tools
from proxy.api.messages import Request, Response
from proxy.api.routes import Route
from proxy.api.sockets import bind_local
from proxy.api.standing import Standing
from proxy.api.streams import PATH, event, switched_off
from proxy.evaluation.deployment import compile_deployment
from proxy.settings.schema import Admission
from tests import builders
from tests.api.streaming import KEEP_ALIVE, NEW, OLD, Client, message, settings, streaming
from tests.builders import KEY, flag
from tests.serving import serving

AUTHORISED = f"Authorization: Api-Key {KEY}\r\n"


async def test_the_flags_come_at_once_and_again_with_each_change() -> None:
    async with streaming() as ours, ours.stream() as client:
        first, *lines = (await client.head()).strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        assert first == "HTTP/1.1 200 OK"
        assert headers["Content-Type"] == "text/event-stream"
        assert headers["Cache-Control"] == "no-cache"
        assert headers["X-Accel-Buffering"] == "no"
        assert headers["Transfer-Encoding"] == "chunked"
        assert not {"Content-Encoding", "Content-Length", "Connection"} & set(headers)
        assert await client.chunk() == message(OLD.compiled.body)
        for snapshot in (NEW, OLD, NEW):
            ours.served.board.publish(KEY, snapshot)
            assert await client.message() == message(snapshot.compiled.body)


async def test_a_snapshot_with_the_same_flags_is_no_news() -> None:
    async with streaming() as ours, ours.stream() as client:
        await client.head()
        assert await client.chunk() == message(OLD.compiled.body)
        ours.served.board.publish(KEY, builders.snapshot([flag("old")]))
        ours.served.board.authorise(builders.deployment(label="another name"))
        ours.served.board.publish(KEY, NEW)
        assert await client.message() == message(NEW.compiled.body)


async def test_a_deployment_without_flags_streams_an_empty_array() -> None:
    async with streaming([]) as ours, ours.stream() as client:
        await client.head()
        assert await client.chunk() == b"data: []\n\n"


def test_an_array_of_many_lines_is_one_line_of_the_event() -> None:
    flags = [flag("a", payload={"text": "two\nlines\r\n"})]
    body = msgspec.json.format(msgspec.json.encode(flags), indent=2).replace(b"\n", b"\r\n")
    chunk = event(compile_deployment(body).body)

    size, _, rest = chunk.partition(b"\r\n")
    assert len(rest) == int(size, 16) + 2
    told = rest.removesuffix(b"\r\n")
    assert told.startswith(b"data: [")
    assert told.endswith(b"]\n\n")
    assert b"\n" not in told[:-2]
    assert b"\r" not in told
    assert msgspec.json.decode(told[6:]) == flags


async def test_silence_is_broken_by_exactly_the_keep_alive_that_resets_the_timers_of_sdks() -> None:
    async with streaming(settings=settings(keep_alive_millis=100)) as ours, ours.stream() as client:
        await client.head()
        await client.chunk()
        for _ in range(3):
            async with asyncio.timeout(30):
                assert await client.reader.readexactly(14) == b"9\r\n" + KEEP_ALIVE + b"\r\n"
        assert ours.served.counted("client_stream_messages_total", kind="keep_alive") >= 3


@pytest.mark.parametrize("accepted", ["gzip", "identity", "gzip, deflate, br", "*"])
async def test_a_stream_is_never_compressed(accepted: str) -> None:
    long = [flag("long", payload={"text": "x" * 50_000})]
    async with streaming(long) as ours, ours.stream(Accept_Encoding=accepted) as client:
        assert "Content-Encoding" not in await client.head()
        assert await client.chunk() == message(msgspec.json.encode(long))


@pytest.mark.parametrize("credentials", ["", "Bearer x", "Api-Key unknown", "Api-Key", KEY])
async def test_who_has_no_key_is_refused_before_anything_streams(credentials: str) -> None:
    async with streaming() as ours:
        answer = await ours.served.get(PATH, Authorization=credentials)

    assert (answer.status, answer.body) == (401, b"Invalid deployment")


async def test_flags_that_are_not_here_yet_are_no_empty_stream() -> None:
    async with streaming() as ours:
        ours.served.board.authorise(builders.deployment("server-new"))
        answer = await ours.served.get(PATH, Authorization="Api-Key server-new")

        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0


async def test_where_streams_are_off_sdks_are_told_so() -> None:
    async with serving(features=[switched_off]) as served:
        for method in ("GET", "HEAD"):
            assert (await served.ask(method, PATH, {})).status == 501


async def test_head_has_the_same_head_and_ends() -> None:
    async with streaming() as ours, ours.served.connection() as (reader, writer):
        request = f"{{}} {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Api-Key {KEY}\r\n\r\n"
        writer.write(request.format("HEAD").encode())
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(request.format("GET").encode())
        # Nothing lay between the two: a stream begins on the same connection.
        again = await reader.readuntil(b"\r\n\r\n")

    without_date = re.compile(rb"Date: [^\r]*")
    assert without_date.sub(b"", head) == without_date.sub(b"", again)
    assert b"text/event-stream" in head


async def test_a_client_of_http_1_0_gets_the_bare_events() -> None:
    async with streaming() as ours, ours.served.connection() as (reader, writer):
        writer.write(f"GET {PATH} HTTP/1.0\r\nAuthorization: Api-Key {KEY}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"chunked" not in head
        assert b"Connection: close" in head
        for snapshot in (OLD, NEW):
            ours.served.board.publish(KEY, snapshot)
            assert await reader.readuntil(b"\n\n") == message(snapshot.compiled.body)


async def test_a_request_with_a_body_begins_no_stream() -> None:
    async with streaming() as ours, ours.served.connection() as (reader, writer):
        writer.write(
            f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Api-Key {KEY}\r\n"
            "Content-Length: 10\r\n\r\nhalf".encode()
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")


async def test_what_a_client_sends_after_its_request_is_read_over() -> None:
    async with streaming() as ours, ours.stream() as client:
        await client.head()
        await client.chunk()
        client.writer.write(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        await client.writer.drain()
        ours.served.board.publish(KEY, NEW)
        assert await client.message() == message(NEW.compiled.body)


async def test_everybody_hears_of_a_change_and_nobody_of_anothers() -> None:
    other = builders.deployment("server-other", label="other")
    async with streaming() as ours, AsyncExitStack() as opened:
        ours.served.board.authorise(other)
        ours.served.board.publish("server-other", builders.snapshot([flag("theirs")], other))
        clients = [await opened.enter_async_context(ours.stream()) for _ in range(100)]
        theirs = await opened.enter_async_context(ours.stream(Authorization="Api-Key server-other"))
        for client in (*clients, theirs):
            await client.head()
            await client.chunk()
        status = ours.streams.status()
        assert (status["open"], status["deployments"]) == (101, {"test": 100, "other": 1})
        ours.served.board.publish(KEY, NEW)
        for client in clients:
            assert await client.message() == message(NEW.compiled.body)
        ours.served.board.publish("server-other", builders.snapshot([flag("last")], other))
        assert await theirs.message() == message(builders.snapshot([flag("last")]).compiled.body)
        assert ours.served.counted("client_stream_delay_seconds_count") == 101
        assert ours.served.counted("client_streams", deployment="test") == 100


async def test_the_streams_of_a_revoked_deployment_end() -> None:
    async with streaming() as ours, ours.stream() as client:
        await client.head()
        await client.chunk()
        ours.served.board.revoke(KEY)
        assert await client.chunk() == b""
        assert await client.reader.read() == b""
        assert (await ours.served.get(PATH)).status == 401
        assert ours.streams.status()["deployments"] == {}


async def test_flags_that_nobody_reads_any_more_are_not_held() -> None:
    async with streaming() as ours:
        async with ours.stream() as client:
            await client.head()
            await client.chunk()
        async with asyncio.timeout(30):
            while len(ours.streams.readers):
                await asyncio.sleep(0)
            ours.served.board.publish(KEY, NEW)
            while ours.streams.status()["deployments"]:
                await asyncio.sleep(0)


async def test_a_deployment_may_come_back() -> None:
    async with streaming() as ours, AsyncExitStack() as opened:
        for _ in range(2):
            client = await opened.enter_async_context(ours.stream())
            await client.head()
            assert await client.chunk() == message(OLD.compiled.body)
            ours.served.board.revoke(KEY)
            assert await client.chunk() == b""
            ours.served.board.authorise(OLD.deployment)
            ours.served.board.publish(KEY, OLD)


async def test_beyond_the_most_streams_further_ones_are_told_to_come_later() -> None:
    async with streaming(settings=settings(max_connections=2)) as ours, AsyncExitStack() as opened:
        clients = [await opened.enter_async_context(ours.stream()) for _ in range(2)]
        for client in clients:
            await client.head()
        answer = await ours.served.get(PATH)
        assert answer.status == 503
        assert 5 <= int(answer.headers["retry-after"]) <= 20
        assert ours.served.counted("client_streams_refused_total", reason="full") == 1

        clients[0].writer.close()
        async with asyncio.timeout(30):
            while len(ours.streams.readers) == 2:
                await asyncio.sleep(0)
        third = await opened.enter_async_context(ours.stream())
        assert (await third.head()).startswith("HTTP/1.1 200 ")


async def test_who_does_not_read_is_owed_only_the_newest_when_it_reads_again() -> None:
    texts = ["one", "two", "three", "four"]
    long = [builders.snapshot([flag(text, payload="x" * 8_000_000)]) for text in texts]
    lagging = socket.socket()
    # The kernel would take megabytes for it.
    lagging.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    async with streaming() as ours:
        lagging.setblocking(False)
        await asyncio.get_running_loop().sock_connect(lagging, ("127.0.0.1", ours.served.port))
        reader, writer = await asyncio.open_connection(sock=lagging, limit=65_536)
        client = Client(reader, writer)
        writer.write(f"GET {PATH} HTTP/1.1\r\nHost: x\r\n{AUTHORISED}\r\n".encode())
        await client.head()
        await client.chunk()
        for snapshot in long:
            ours.served.board.publish(KEY, snapshot)
            async with asyncio.timeout(30):
                while len(ours.streams.readers.turns) or not ours.streams.readers.unread.total:
                    await asyncio.sleep(0)
        assert ours.streams.readers.unread.total < 8_100_000
        for snapshot in (long[0], long[-1]):
            assert await client.message() == message(snapshot.compiled.body)
        writer.close()


async def test_streams_are_connections_as_all_others_to_the_doorman() -> None:
    chosen = builders.settings(admission=Admission(connections_per_address=2))
    async with streaming(settings=chosen) as ours, AsyncExitStack() as opened:
        clients = [await opened.enter_async_context(ours.stream()) for _ in range(2)]
        for client in clients:
            await client.head()
        assert (await ours.served.get("/sdk/v2/flags")).status in (429, 503)
        clients[0].writer.close()
        async with asyncio.timeout(30):
            while len(ours.streams.readers) == 2:
                await asyncio.sleep(0)
        assert (await ours.served.get("/sdk/v2/flags")).status == 200


async def test_a_stream_that_lasts_is_no_request_under_way() -> None:
    async with streaming() as ours, ours.stream() as client:
        await client.head()
        await client.chunk()
        server = ours.served.server
        assert (server.connections_busy(), server.connections_open()) == (0, 1)
        (sample,) = (
            sample
            for metric in ours.served.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == "amplitude_proxy_http_request_duration_seconds_count"
        )
        assert sample.labels["route"] == PATH
        assert sample.value == 1


async def test_a_drain_ends_the_streams_and_lets_no_new_one_begin() -> None:
    hurry = asyncio.Event()
    async with streaming() as ours, ours.stream() as client, ours.served.connection() as late:
        await client.head()
        await client.chunk()
        draining = asyncio.create_task(ours.served.server.drain(60.0, hurry))
        await asyncio.sleep(0)
        reader, writer = late
        writer.write(
            f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Api-Key {KEY}\r\n\r\n".encode()
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 503 ")
        assert b"Connection: close\r\n" in await reader.read()
        assert await client.message() == b""
        # The Node SDK takes its program down when nobody answers now.
        assert (await ours.served.get("/sdk/v2/flags")).body == OLD.compiled.body
        await draining
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", ours.served.port)
        assert ours.served.server.connections_open() == 0


async def test_the_python_sdk_is_left_by_a_reset_for_it_notices_no_other_end() -> None:
    library = "experiment-python-server/1.13.0"
    async with streaming() as ours, ours.stream(X_Amp_Exp_Library=library) as client:
        await client.head()
        await client.chunk()
        ours.served.board.revoke(KEY)
        with pytest.raises(ConnectionResetError):
            await client.message()


@pytest.mark.parametrize("is_local", [False, True], ids=["TLS", "Unix socket"])
async def test_a_stream_goes_over_whatever_is_listened_on(tmp_path: Path, is_local: bool) -> None:
    authority = trustme.CA()
    server, client = (
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        ssl.create_default_context(),
    )
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    local = bind_local(str(tmp_path / "it"), 0o600) if is_local else None
    connector = (
        aiohttp.UnixConnector(str(tmp_path / "it"))
        if is_local
        else aiohttp.TCPConnector(ssl=client)
    )
    long = builders.snapshot([flag("new", payload="x" * 3_000_000)])
    async with (
        streaming(tls=server, local=local) as ours,
        aiohttp.ClientSession(connector=connector, read_bufsize=2**23) as session,
    ):
        scheme = "http" if is_local else "https"
        url = f"{scheme}://localhost:{ours.served.port}{PATH}"
        async with session.get(url, headers={"Authorization": f"Api-Key {KEY}"}) as answer:
            for snapshot in (OLD, long, NEW):
                ours.served.board.publish(KEY, snapshot)
                async with asyncio.timeout(30):
                    assert await answer.content.readuntil(b"\n\n") == message(
                        snapshot.compiled.body
                    )
            ours.served.board.revoke(KEY)
            async with asyncio.timeout(30):
                assert await answer.content.read() == b""


async def test_a_client_of_an_http_library_reads_it_too() -> None:
    async with (
        streaming() as ours,
        aiohttp.ClientSession(f"http://127.0.0.1:{ours.served.port}") as session,
        session.get(PATH, headers={"Authorization": f"Api-Key {KEY}"}) as answer,
    ):
        for snapshot in (OLD, NEW):
            ours.served.board.publish(KEY, snapshot)
            async with asyncio.timeout(30):
                assert await answer.content.readuntil(b"\n\n") == message(snapshot.compiled.body)
        ours.served.board.revoke(KEY)
        async with asyncio.timeout(30):
            assert await answer.content.read() == b""


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_bug_while_a_stream_begins_is_a_500_and_shows_nothing(version: str) -> None:
    def broken(_standing: Standing) -> None:
        raise ValueError("secret")

    def answer(_request: Request) -> Response:
        return Response(standing=broken)

    def feature(_tools: Tools) -> Offer:
        return Offer({"/it": Route("/it", open={"GET": answer})})

    async with serving(features=[feature]) as served, served.connection() as (reader, writer):
        writer.write(f"GET /it HTTP/{version}\r\nHost: x\r\n\r\n".encode())
        whole = await reader.read()
        assert whole.startswith(b"HTTP/1.1 500 ")
        assert b"secret" not in whole
