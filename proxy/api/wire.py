"""Answers as the bytes of HTTP/1.1."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

from proxy.api.cors import ANYBODY, VARY_BY_ORIGIN
from proxy.api.messages import Grant, Response

if TYPE_CHECKING:
    from proxy.tasks import Clock

BODILESS = frozenset({204, 304})
CLOSE = b"Connection: close\r\n\r\n"
STAY = b"Connection: keep-alive\r\n\r\n"
EMPTY = b"\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


VARY = b"Vary: "
MOST_OPENINGS = 4096


def _opening(status: int, content_type: str, grant: bytes) -> bytes:
    """Return the lines that all answers of a kind begin with.

    Errors carry the grant, too, or an SDK in a browser sees no status at all; no credentials are
    ever allowed with it.
    """
    first = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
    if status in BODILESS:
        return first + grant
    return b"%b%bContent-Type: %b\r\nContent-Length: " % (first, grant, content_type.encode())


class Wire:
    """Writes answers; keeps the parts that answers have in common.

    `otherwise` is granted to pages where an answer says nothing else.
    """

    def __init__(self, clock: Clock, otherwise: Grant = ANYBODY) -> None:
        self._clock = clock
        self.otherwise = otherwise
        self._second = -1
        self._date = b""
        self._openings: dict[tuple[int, str, bytes], bytes] = {}

    def encode(
        self, response: Response, *, with_body: bool = True, connection: bytes = b"\r\n"
    ) -> bytes:
        """Return the whole answer; `connection` is the last header line, or only the blank line."""
        opening = self._opening(response)
        body = response.body
        extra = self._extra(response)
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
        grant = response.grant or self.otherwise
        lines = grant.exposing if response.headers or response.lines else grant.bare
        kind = (response.status, response.content_type, lines)
        opening = self._openings.get(kind)
        if opening is None:
            if len(self._openings) >= MOST_OPENINGS:
                self._openings.clear()
            opening = self._openings[kind] = _opening(*kind)
        return opening

    def _extra(self, response: Response) -> bytes:
        lines = response.lines
        if response.headers:
            lines += "".join(f"{name}: {value}\r\n" for name, value in response.headers).encode()
        elif not lines:
            return b""
        if not (response.grant or self.otherwise).varies:
            return lines
        # One line for all that it varies by: some caches read no second one.
        if VARY in lines:
            return lines.replace(VARY, b"Vary: Origin, ", 1)
        return lines + VARY_BY_ORIGIN

    def _now(self) -> bytes:
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self._date = formatdate(second, usegmt=True).encode()
        return self._date
