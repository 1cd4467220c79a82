import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.errors import UpstreamGarbled, UpstreamRefused, UpstreamUnavailable
from proxy.secret import Secret
from proxy.settings.zones import Urls
from proxy.upstream.client import UpstreamClient, open_session
from proxy.upstream.flags import (
    PATH,
    STREAM_PATH,
    Fetched,
    FlagStream,
    Patience,
    fetch_flags,
    open_flag_stream,
)
from tests.fakes.upstream import FakeUpstream, Stream, answer

KEY = Secret("server-a")
EVER = float("inf")


@asynccontextmanager
async def followed(
    client: UpstreamClient, patience: Patience | None = None
) -> AsyncIterator[FlagStream]:
    stream = await open_flag_stream(client, KEY, patience or Patience())
    try:
        yield stream
    finally:
        stream.close()


async def test_flags_come_as_they_are(client: UpstreamClient, up: FakeUpstream) -> None:
    up.on("GET", PATH, answer(200, b" [ ]", ETag='"1"', Age="12"), answer(200, b"nonsense"))

    first = await fetch_flags(client, KEY)
    second = await fetch_flags(client, KEY)

    assert first == Fetched(body=b" [ ]", etag='"1"', age=12)
    assert second == Fetched(body=b"nonsense")
    assert up.requests[0].query == {"v": "0"}
    assert up.requests[0].headers["Authorization"] == "Api-Key server-a"
    assert "If-None-Match" not in up.requests[0].headers


async def test_an_etag_asks_whether_anything_changed(
    client: UpstreamClient, up: FakeUpstream
) -> None:
    up.on("GET", PATH, answer(304))

    assert (await fetch_flags(client, KEY, '"1"')).body is None
    assert up.requests[0].headers["If-None-Match"] == '"1"'


async def test_an_etag_that_cannot_be_sent_back_is_none() -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nETag: "a\x01b"\r\nContent-Length: 2\r\n\r\n[]')
        writer.close()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, open_session() as session:
        fetched = await fetch_flags(UpstreamClient(session, Urls(flags=url)), KEY)

    assert fetched == Fetched(body=b"[]")


@pytest.mark.parametrize(
    ("age", "seconds"), [("-1", 0), ("old", 0), ("9" * 30, 0), ("99999999", 3600)]
)
async def test_an_odd_age_does_no_harm(
    client: UpstreamClient, up: FakeUpstream, age: str, seconds: int
) -> None:
    up.on("GET", PATH, answer(200, b"[]", Age=age))

    assert (await fetch_flags(client, KEY)).age == seconds


async def test_a_stream_says_arrays_and_keep_alives(
    client: UpstreamClient, up: FakeUpstream
) -> None:
    script = Stream(b"[1]")
    up.on("GET", STREAM_PATH, script)
    async with followed(client) as stream:
        assert await stream.next(EVER) == b"[1]"
        assert await stream.next(0) is None
        script.keep_alive()
        assert await stream.next(EVER) == b""
        script.send(b"event: other\ndata: {}\n\n")
        assert await stream.next(EVER) == b""
        script.send(b": only a comment\n")
        script.say(b"[2]")
        assert await stream.next(EVER) == b"[2]"

    [request] = up.requests
    assert request.headers["Authorization"] == "Api-Key server-a"
    assert request.headers["Accept"] == "text/event-stream"
    assert request.headers["Accept-Encoding"] == "identity"


async def test_of_messages_that_arrive_together_the_last_counts(
    client: UpstreamClient, up: FakeUpstream
) -> None:
    script = Stream(None)
    up.on("GET", STREAM_PATH, script)
    async with followed(client) as stream:
        script.send(b"data: [1]\n\ndata: [2]\n\ndata:  \n\n")

        assert await stream.next(EVER) == b"[2]"


async def test_a_message_may_come_in_pieces(client: UpstreamClient, up: FakeUpstream) -> None:
    script = Stream(None)
    up.on("GET", STREAM_PATH, script)
    async with followed(client) as stream:
        script.send(b"data: [")
        assert await stream.next(asyncio.get_running_loop().time() + 0.05) is None
        script.send(b"1]\n\n")

        assert await stream.next(EVER) == b"[1]"


@pytest.mark.parametrize("data", [b"{}", b"null", b"<html>", b"x"])
async def test_a_message_that_is_no_array_is_garbled(
    client: UpstreamClient, up: FakeUpstream, data: bytes
) -> None:
    up.on("GET", STREAM_PATH, Stream(data))
    async with followed(client) as stream:
        with pytest.raises(UpstreamGarbled):
            await stream.next(EVER)


async def test_an_answer_that_is_no_event_stream_is_garbled(
    client: UpstreamClient, up: FakeUpstream
) -> None:
    up.on("GET", STREAM_PATH, Stream(b"[]", content_type="text/html"), answer(401))

    with pytest.raises(UpstreamGarbled):
        await open_flag_stream(client, KEY)
    with pytest.raises(UpstreamRefused):
        await open_flag_stream(client, KEY)


@pytest.mark.parametrize("piece", [b"data:  \n\n", b": ping\n", b""])
async def test_a_stream_that_does_not_begin_with_flags_is_given_up(
    client: UpstreamClient, up: FakeUpstream, piece: bytes
) -> None:
    script = Stream(None)
    up.on("GET", STREAM_PATH, script)
    async with followed(client, Patience(first_data=0.1, silence=60)) as stream:
        # Blanks without end are no flags: they must not keep the stream alive.
        chatter = asyncio.get_running_loop().create_task(poll_chatter(script, piece))
        with pytest.raises(UpstreamUnavailable, match=r"no message for 0\.1 seconds"):
            await last_of(stream)
        chatter.cancel()


async def last_of(stream: FlagStream) -> None:
    while await stream.next(EVER) is not None:
        pass


async def poll_chatter(script: Stream, piece: bytes) -> None:
    while True:
        script.send(piece)
        await asyncio.sleep(0.01)


async def test_a_stream_that_falls_silent_is_given_up(
    client: UpstreamClient, up: FakeUpstream
) -> None:
    up.on("GET", STREAM_PATH, Stream(b"[]"))
    async with followed(client, Patience(first_data=60, silence=0.1)) as stream:
        assert await stream.next(EVER) == b"[]"
        with pytest.raises(UpstreamUnavailable, match="no message"):
            await stream.next(EVER)


async def test_keep_alives_keep_a_stream_alive(client: UpstreamClient, up: FakeUpstream) -> None:
    script = Stream(b"[]")
    up.on("GET", STREAM_PATH, script)
    loop = asyncio.get_running_loop()
    async with followed(client, Patience(silence=0.2)) as stream:
        await stream.next(EVER)
        chatter = loop.create_task(poll_chatter(script, b"data:  \n\n"))
        end = loop.time() + 0.5
        while loop.time() < end:
            assert await stream.next(end) in (b"", None)
        chatter.cancel()
