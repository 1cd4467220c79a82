"""aiohttp's parser of requests, watched: what it finds, and what it chokes on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from yarl import URL  # aiohttp brings it along

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp import StreamReader
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http_parser import RawRequestMessage

    from proxy.api.connection import Connection

    Fed = tuple[Sequence[tuple[RawRequestMessage, StreamReader]], bool, bytes]

READ_AT_ONCE = 262_144
NOTHING: Fed = ((), False, b"")
ROOT = URL("/")


class WatchedParser:
    """aiohttp's parser, whose findings the connection sees before they are queued."""

    def __init__(self, parser: Any, connection: Connection) -> None:
        self._feed = parser.feed_data
        self._connection = connection
        self.message_consumed = parser.message_consumed
        self.pause_reading = parser.pause_reading
        self.set_upgraded = parser.set_upgraded
        self.feed_eof = parser.feed_eof

    def feed_data(self, data: bytes) -> Fed:
        """Parse; what is answered at once is found no more. Raises HttpProcessingError only."""
        try:
            fed: Fed = self._feed(data)
        except HttpProcessingError:
            self._connection.found_garbage()
            raise
        except Exception as error:  # some targets are too much for the parser
            self._connection.found_garbage()
            raise BadHttpMessage("unreadable") from error
        messages = fed[0]
        if not messages:
            self._connection.found_nothing(len(data))
        elif self._connection.found(messages):
            self.message_consumed()
            return NOTHING
        elif not all(message.path for message, _ in messages):
            raise BadHttpMessage("no target")  # `CONNECT`, and nothing more
        return fed


def parser_for(
    connection: Connection,
    loop: asyncio.AbstractEventLoop,
    most_ahead: int,
    options: Mapping[str, Any],
) -> WatchedParser:
    """Return a connection's parser, which stops when `most_ahead` requests are not answered."""
    bounds = ("max_line_size", "max_field_size", "max_headers", "auto_decompress")
    parser = HttpRequestParser(
        connection,
        loop,
        READ_AT_ONCE,
        **{name: options[name] for name in bounds},
        payload_exception=web.RequestPayloadError,
        max_msg_queue_size=most_ahead,
    )
    return WatchedParser(parser, connection)


def request_of(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: Connection,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    """Make the request that the carrier is handed; of its target only the raw text counts.

    aiohttp takes URLs apart, which raises an error for some hosts, where nobody answers it.
    """
    readable = message._replace(url=ROOT)
    loop = asyncio.get_running_loop()
    return web.BaseRequest(readable, payload, protocol, writer, task, loop)
