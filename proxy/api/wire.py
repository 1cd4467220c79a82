"""Answers as the bytes of HTTP/1.1."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

from proxy.api.messages import Response

if TYPE_CHECKING:
    from proxy.tasks import Clock

BODILESS = frozenset({204, 304})
CLOSE = b"Connection: close\r\n\r\n"
STAY = b"Connection: keep-alive\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def _opening(status: int, content_type: str) -> bytes:
    """Return the lines that all answers of a kind begin with.

    Any page may read any answer, errors too, or an SDK in a browser sees no status at all; no
    credentials are ever allowed with it.
    """
    lines = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nAccess-Control-Allow-Origin: *\r\n"
    if status in BODILESS:
        return lines.encode()
    return f"{lines}Content-Type: {content_type}\r\nContent-Length: ".encode()


class Wire:
    """Writes answers; keeps the parts that answers have in common."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = -1
        self._date = b""
        self._openings: dict[tuple[int, str], bytes] = {}

    def encode(
        self, response: Response, *, with_body: bool = True, connection: bytes = b"\r\n"
    ) -> bytes:
        """Return the whole answer; `connection` is the last header line, or only the blank line."""
        opening = self._opening(response)
        body = response.body
        extra = self._extra(response) if response.headers else b""
        if response.status in BODILESS:
            return b"%b%bDate: %b\r\n%b" % (opening, extra, self._now(), connection)
        return b"%b%d\r\n%bDate: %b\r\n%b%b" % (
            opening,
            len(body),
            extra,
            self._now(),
            connection,
            body if with_body else b"",
        )

    def head(self, response: Response, length: int, *, connection: bytes = b"\r\n") -> bytes:
        """Return all of an answer but its body of `length` bytes, which is sent apart."""
        opening, extra = self._opening(response), self._extra(response)
        return b"%b%d\r\n%bDate: %b\r\n%b" % (opening, length, extra, self._now(), connection)

    def stream_head(
        self, response: Response, *, is_chunked: bool, connection: bytes = b"\r\n"
    ) -> bytes:
        """Return all of an answer but its body, whose length nobody knows yet."""
        opening = self._opening(response).removesuffix(b"Content-Length: ")
        extra = self._extra(response)
        framing = b"Transfer-Encoding: chunked\r\n" if is_chunked else b""
        return b"%b%b%bDate: %b\r\n%b" % (opening, framing, extra, self._now(), connection)

    def _opening(self, response: Response) -> bytes:
        kind = (response.status, response.content_type)
        opening = self._openings.get(kind)
        if opening is None:
            opening = self._openings[kind] = _opening(*kind)
        return opening

    def _extra(self, response: Response) -> bytes:
        return "".join(f"{name}: {value}\r\n" for name, value in response.headers).encode()

    def _now(self) -> bytes:
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self._date = formatdate(second, usegmt=True).encode()
        return self._date
