"""What is asked and what is answered, as plain values free of any HTTP library."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn, Protocol

import msgspec

from proxy.errors import BadRequest

if TYPE_CHECKING:
    from proxy.api.standing import Standing

JSON = "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
RETRY_AFTER_SECONDS = (2, 5)


class Request(msgspec.Struct, frozen=True):
    """One request, `path` decoded once, `query` as it came.

    `rest` is what follows the beginning of a path that the route is known by, still encoded.
    `headers` is looked up without regard to case, or holds lower-case names.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""
    rest: str = ""


class StoredBody(msgspec.Struct, frozen=True):
    """A body that lies on disk as gzip, with its length packed and plain; `name` is for logs.

    `on_damaged` is called when it turns out to be broken, or gone.
    """

    path: Path
    packed_bytes: int
    plain_bytes: int
    name: str
    on_damaged: Callable[[], None] = lambda: None


class Outflow(Protocol):
    """Where the body of an endless or long answer goes, piece by piece."""

    @property
    def is_open(self) -> bool:
        """Tell whether the client is still there."""

    @property
    def unread_bytes(self) -> int:
        """How much was written that the client has not taken yet."""

    def frame(self, data: bytes) -> bytes:
        """Return `data` as it goes on the wire; the same for all answers that frame alike."""

    def put(self, framed: bytes) -> None:
        """Write what is framed already, at once and without waiting; nothing when it is closed."""

    async def write(self, data: bytes) -> None:
        """Frame and write `data`, waiting while the client does not read.

        Raises ConnectionError when it is gone.
        """

    async def gone(self) -> None:
        """Wait until the client is gone."""

    def abort(self) -> None:
        """Cut the connection; what is unread is lost."""


class Grant(NamedTuple):
    """Header lines that let web pages read an answer, without further headers and with some.

    `varies` tells that another page would get other lines.
    """

    bare: bytes
    exposing: bytes
    varies: bool = False


class Response(msgspec.Struct, frozen=True):
    """One answer; `lasting` tells that the same body object will be sent many times.

    `closes` tells that the connection ends with it; `stored` takes the place of `body`, and so does
    `stream`, which writes it after the head was sent and ends when the answer does. `later` gives
    another answer in place of this one; whoever waits for it has no other deadline than its own.
    `standing` is given the connection, on which nothing is answered yet, and keeps it from then on.
    `grant` is for pages; without one, they get what the listener grants to all. `lines` are further
    headers, written already; `is_final` tells that the body's encoding is decided.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    lasting: bool = False
    closes: bool = False
    stored: StoredBody | None = None
    stream: Callable[[Outflow], Awaitable[None]] | None = None
    later: Callable[[], Awaitable[Response]] | None = None
    standing: Callable[[Standing], None] | None = None
    grant: Grant | None = None
    lines: bytes = b""
    is_final: bool = False

    @property
    def needs_its_turn(self) -> bool:
        """Tell whether it takes more than one write to answer."""
        return (
            self.closes
            or self.stored is not None
            or self.stream is not None
            or self.later is not None
            or self.standing is not None
        )


class ErrorBody(msgspec.Struct, frozen=True):
    """The JSON object that tells an error: never an array, never null."""

    code: int
    error: str


def failure(status: int, reason: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """Return an error as a JSON object with its code and a reason fit for the client."""
    return Response(status, msgspec.json.encode(ErrorBody(status, reason)), JSON, headers)


def unavailable(reason: str, least_seconds: int = 0) -> Response:
    """Return a 503 that says when to ask again."""
    seconds = max(soon(), least_seconds)
    return failure(503, reason, (("Retry-After", str(seconds)),))


def soon() -> int:
    """Return after how many seconds to ask again; who was refused at once does not return so."""
    return random.randint(*RETRY_AFTER_SECONDS)  # noqa: S311  spreads load, no secret


def refuse(reason: str, status: int = 400) -> NoReturn:
    """Give up on a request that is the client's mistake."""
    raise BadRequest(status, reason)
