"""Answers that are sent together still arrive, in their order, and before anything else."""

import asyncio
import io
import socket

from proxy.api.outbox import MOST_WAITING
from tests.builders import KEY
from tests.serving import Served, read_answer

ASK = f"GET /sdk/v2/vardata HTTP/1.1\r\nHost: x\r\nAuthorization: Api-Key {KEY}\r\n\r\n".encode()
STATUS = b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_a_client_that_ends_its_side_at_once_is_answered(served: Served) -> None:
    async with served.connection() as (reader, writer):
        writer.write(ASK)
        writer.write_eof()

        assert (await read_answer(reader)).status == 200
        assert await reader.read() == b""


async def test_what_is_answered_otherwise_does_not_overtake(served: Served) -> None:
    head = ASK.replace(b"GET", b"POST")[:-2]
    post = head + b"Content-Length: 2\r\n\r\n"
    async with served.connection() as (reader, writer):
        # Segments of their own, so that one turn of the loop may find several of them.
        for part in (STATUS, ASK + STATUS, post, b"{}" + STATUS, ASK):
            writer.write(part)

        answers = [await read_answer(reader) for _ in range(6)]

    assert [answer.body[:2] for answer in answers] == [b"OK", b'{"', b"OK", b'{"', b"OK", b'{"']


async def test_more_clients_than_wait_together_are_all_answered(served: Served) -> None:
    connections = [
        await asyncio.open_connection("127.0.0.1", served.port) for _ in range(3 * MOST_WAITING)
    ]
    for _ in range(3):
        for _, writer in connections:
            writer.write(ASK)
        for reader, _ in connections:
            assert (await read_answer(reader)).status == 200
    for _, writer in connections:
        writer.close()
        await writer.wait_closed()


async def test_an_answer_to_a_client_that_has_gone_is_no_trouble(
    served: Served, log_lines: io.StringIO
) -> None:
    for _ in range(50):
        gone = socket.create_connection(("127.0.0.1", served.port))
        gone.sendall(ASK)
        # A reset, not an orderly end.
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        gone.close()

    assert (await served.get("/status")).status == 200
    assert log_lines.getvalue() == ""
