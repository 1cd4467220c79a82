"""Answers that come piece by piece, and answers that come later."""

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from proxy.api.features import Offer, Tools
from proxy.api.messages import Outflow, Request, Response, refuse
from proxy.api.routes import Route
from tests.serving import serving

PIECES = [b"one", b"", b"two" * 40_000, b"three"]


async def pieces(outflow: Outflow) -> None:
    for piece in PIECES:
        await outflow.write(piece)


def offering(response: Response) -> Callable[[Tools], Offer]:
    def answer(_request: Request) -> Response:
        return response

    return lambda _tools: Offer({"/it": Route("/it", open={"GET": answer, "HEAD": answer})})


async def raw_answer(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


async def test_a_stream_is_chunked_and_the_connection_goes_on() -> None:
    async with (
        serving(features=[offering(Response(stream=pieces))]) as served,
        aiohttp.ClientSession(f"http://127.0.0.1:{served.port}") as client,
    ):
        for _ in range(3):
            async with client.get("/it") as answer:
                assert answer.status == 200
                assert answer.headers["Transfer-Encoding"] == "chunked"
                assert "Content-Length" not in answer.headers
                assert await answer.read() == b"".join(PIECES)
        assert served.server.connections_open() == 1


async def test_a_stream_ends_the_connection_of_http_1_0() -> None:
    async with serving(features=[offering(Response(stream=pieces))]) as served:
        answer = await raw_answer(
            served.port, b"GET /it HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        )

    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == b"".join(PIECES)
    assert b"chunked" not in head
    assert b"Connection: close" in head


async def test_head_of_a_stream_has_no_body() -> None:
    async with (
        serving(features=[offering(Response(stream=pieces))]) as served,
        aiohttp.ClientSession(f"http://127.0.0.1:{served.port}") as client,
    ):
        async with client.head("/it") as answer:
            assert answer.status == 200
        async with client.get("/it") as answer:
            assert await answer.read() == b"".join(PIECES)


async def test_a_stream_learns_that_its_client_is_gone() -> None:
    ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def until_gone(outflow: Outflow) -> None:
        await outflow.write(b"hello")
        await outflow.gone()
        ended.set_result(outflow.is_open)

    async with serving(features=[offering(Response(stream=until_gone))]) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"GET /it HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"hello")
        writer.close()
        async with asyncio.timeout(30):
            assert await ended is False


async def test_a_stream_that_breaks_off_is_no_whole_answer() -> None:
    async def broken(outflow: Outflow) -> None:
        await outflow.write(b"part")
        raise ValueError("secret")

    async with (
        serving(features=[offering(Response(stream=broken))]) as served,
        aiohttp.ClientSession(f"http://127.0.0.1:{served.port}") as client,
    ):
        with pytest.raises(aiohttp.ClientError):
            async with client.get("/it") as answer:
                await answer.read()


def later(answer: Callable[[], Awaitable[Response]]) -> Response:
    return Response(later=answer)


async def test_a_later_answer_takes_the_place() -> None:
    async def answer() -> Response:
        await asyncio.sleep(0)
        return Response(201, b'{"now":true}')

    async with (
        serving(features=[offering(later(answer))]) as served,
        aiohttp.ClientSession(f"http://127.0.0.1:{served.port}") as client,
        client.get("/it") as found,
    ):
        assert (found.status, await found.read()) == (201, b'{"now":true}')


async def test_a_later_refusal_says_why_and_a_bug_does_not() -> None:
    async def refused() -> Response:
        await asyncio.sleep(0)
        refuse("Too much")

    async def broken() -> Response:
        raise ValueError("secret")

    for answer, told in ((refused, b'{"code":400,"error":"Too much"}'), (broken, b"Internal")):
        async with (
            serving(features=[offering(later(answer))]) as served,
            aiohttp.ClientSession(f"http://127.0.0.1:{served.port}") as client,
            client.get("/it") as found,
        ):
            body = await found.read()
            assert told in body
            assert b"secret" not in body
