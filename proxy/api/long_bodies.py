"""Requests with longer bodies than usual, for handlers that know how to deal with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, final
from weakref import finalize

from proxy import logs
from proxy.api.holding import Holding
from proxy.api.limits import inflate
from proxy.api.messages import Request, Response, failure
from proxy.api.uploads import Upload, busy, declared
from proxy.errors import BadRequest
from proxy.snapshots.snapshot import Snapshot

if TYPE_CHECKING:
    from prometheus_client import Counter

    from proxy.api.routes import Guarded

MOST_HELD_BYTES: Final = 128 << 20
BROKEN: Final = failure(500, "Internal error")


class LongRequest(Request, frozen=True, weakref=True):
    """A request whose body counts as held for as long as anybody holds the request."""


class LongUpload(Upload, frozen=True):
    """A request that was let in, and who handles it when its long body is here."""

    handler: Guarded
    request: Request
    snapshot: Snapshot


@final
class LongBodies:
    """Takes bodies of at most so many bytes, as it is told then; inflates and hands them on."""

    def __init__(self, most_bytes: Callable[[], int], most_held: int, rejected: Counter) -> None:
        self._most_bytes = most_bytes
        self._holding = Holding(most_held)
        self._busy = rejected.labels("busy")
        self._log = logs.get("api")

    def to(self, handler: Guarded, request: Request, snapshot: Snapshot) -> LongUpload:
        """Return what waits for the body of a request."""
        most = self._most_bytes()
        held = most if "content-encoding" in request.headers else declared(request.headers, most)
        return LongUpload(self, request.path, most, held, handler, request, snapshot)

    @contextmanager
    def holding(self, size: int) -> Iterator[bool]:
        """Count so many bytes as held until the block is left; yield whether there is room."""
        with self._holding.during(size) as has_room:
            if not has_room:
                self._busy.inc()
            yield has_room

    async def answer(
        self, upload: Upload, body: bytes, headers: Mapping[str, str], _peer: str | None
    ) -> Response:
        """Return the handler's answer; BadRequest if the body is broken."""
        assert isinstance(upload, LongUpload)
        encoding = headers.get("content-encoding")
        if encoding and body:
            body = await asyncio.to_thread(inflate, body, encoding, upload.most_bytes)
        if not self._holding.take(len(body)):
            self._busy.inc()
            return busy()
        asked = upload.request
        request = LongRequest(
            asked.method, asked.path, asked.query, asked.headers, body, asked.rest
        )
        finalize(request, self._holding.give_back, len(body))
        try:
            return upload.handler(request, upload.snapshot)
        except BadRequest:
            raise
        except Exception as error:  # noqa: BLE001  no bug may show its inside to the asker
            self._log.error("handler failed", path=asked.path, exc_info=error)
            return BROKEN
