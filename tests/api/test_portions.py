"""Portions: what is written to an encrypted connection arrives whole, and what waits is counted."""

import asyncio
import ssl
from typing import cast

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from proxy.api.portions import PORTION, Portions
from tests.api.streaming import NEW, Client, message, streaming
from tests.builders import KEY, flag

LONG = [flag(f"flag-{n}", payload="x" * 10_000) for n in range(400)]
ASKED = f"GET /sdk/stream/v1/flags HTTP/1.1\r\nHost: p\r\nAuthorization: Api-Key {KEY}\r\n\r\n"


class Pipe(asyncio.Transport):
    """A transport that holds a portion once there is no room below it, as that of TLS does."""

    def __init__(self) -> None:
        super().__init__()
        self.room = 0
        self.held = b""
        self.passed = b""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert (high, low) == (1, 0)

    def get_write_buffer_size(self) -> int:
        return len(self.held)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.room > 0 and not self.held:
            self.room -= len(data)
            self.passed += data
        else:
            self.held += data

    def make_room(self, size: int) -> None:
        self.room = size
        self.passed, self.held = self.passed + self.held, b""


PIECES = st.lists(st.tuples(st.integers(0, 5 * PORTION), st.integers(-1, 5 * PORTION)), max_size=8)


@given(PIECES, st.booleans())
def test_all_arrives_in_order_and_what_waits_is_counted(
    pieces: list[tuple[int, int]], is_finished: bool
) -> None:
    pipe = Pipe()
    portions, written = Portions(pipe), b""
    for number, (size, room) in enumerate(pieces):
        piece = bytes([number + 1]) * size
        portions.writelines((piece[:7], piece[7:]))
        written += piece
        if room >= 0:
            pipe.make_room(room)
            assert portions.go_on() is (portions.get_write_buffer_size() > 0)
        assert portions.get_write_buffer_size() == len(written) - len(pipe.passed)
        assert len(pipe.held) <= PORTION

    if is_finished:
        portions.finish()
    while pipe.held:
        pipe.make_room(PORTION)
        portions.go_on()
    assert pipe.passed == written


def both_ends() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(ours)
    authority.configure_trust(theirs)
    return ours, theirs


@pytest.mark.parametrize("reads_again", [True, False])
async def test_what_a_stream_over_tls_has_not_read_is_known(reads_again: bool) -> None:
    ours, theirs = both_ends()
    async with streaming(LONG, tls=ours) as streamed:
        served, unread = streamed.served, streamed.streams.readers.unread
        reader, writer = await asyncio.open_connection("localhost", served.port, ssl=theirs)
        transport = cast("asyncio.Transport", writer.transport)
        transport.pause_reading()
        writer.write(ASKED.encode())
        async with asyncio.timeout(30):
            while not unread.total:
                await asyncio.sleep(0)
        assert unread.total > 1_000_000

        served.board.publish(KEY, NEW)
        if reads_again:
            transport.resume_reading()
            client = Client(reader, writer)
            await client.head()
            assert len(await client.message()) > 4_000_000
            assert await client.message() == message(NEW.compiled.body)
        transport.abort()
        async with asyncio.timeout(30):
            while unread.total:
                await asyncio.sleep(0)
