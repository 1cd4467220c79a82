"""The flag configs of one deployment: asked for once, or followed as a stream."""

from __future__ import annotations

import asyncio
from typing import final

import msgspec

from proxy.errors import UpstreamGarbled, UpstreamUnavailable
from proxy.secret import Secret
from proxy.upstream.client import ByteStream, UpstreamClient, join
from proxy.upstream.sse import Event, EventParser

PATH = "/sdk/v2/flags"
STREAM_PATH = "/sdk/stream/v1/flags"
OLDEST_COPY_SECONDS = 3600
BLANK = b" \t"


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """The flag configs as they came (None: as they were at `etag`).

    `age` is how many seconds a cache on the way says that it held them.
    """

    body: bytes | None
    etag: str = ""
    age: float = 0.0


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long a stream may keep us waiting, in seconds."""

    first_data: float = 5.0
    silence: float = 25.0


async def fetch_flags(client: UpstreamClient, key: Secret, etag: str = "") -> Fetched:
    """Ask for the flag configs, or whether they are still those of `etag`.

    Raises an `UpstreamError`; whether the body is a JSON array is left to who decodes it.
    """
    headers = _headers(key) | ({"If-None-Match": etag} if etag else {})
    answer = await client.get(join(client.urls.flags, PATH), headers=headers, query={"v": "0"})
    age = answer.headers.get("Age", "")
    told = answer.headers.get("ETag", "")
    seconds = int(age) if age.isascii() and age.isdigit() and len(age) < 10 else 0
    return Fetched(
        body=None if answer.status == 304 else answer.body,
        # What no header may carry could not be sent back: each later question would fail.
        etag=told if told.isascii() and told.isprintable() else "",
        age=min(seconds, OLDEST_COPY_SECONDS),
    )


async def open_flag_stream(
    client: UpstreamClient,
    key: Secret,
    patience: Patience = Patience(),  # noqa: B008  frozen
) -> FlagStream:
    """Open the stream of a deployment's flag configs; raise an `UpstreamError` if there is none."""
    headers = _headers(key) | {"Accept": "text/event-stream"}
    stream = await client.open_stream(join(client.urls.stream, STREAM_PATH), headers=headers)
    if stream.content_type != "text/event-stream":
        stream.close()
        raise UpstreamGarbled("the stream is not an event stream")
    return FlagStream(stream, patience)


@final
class FlagStream:
    """Says what each message brings, and gives up on a stream that falls silent."""

    def __init__(self, stream: ByteStream, patience: Patience) -> None:
        self._stream = stream
        self._patience = patience
        self._parser = EventParser()
        self._began = False
        self._now = asyncio.get_running_loop().time
        self._alive_at = self._now()

    async def next(self, until: float) -> bytes | None:
        """Return the newest flag configs, `b""` for a keep-alive, None when time passes `until`.

        `until` is a time of the loop's clock. Of several messages that arrived together the
        last counts. Raises an `UpstreamError` when the stream ends, is garbled, or falls silent.
        """
        while True:
            silent_at = self._alive_at + self._limit
            piece = await self._stream.read(min(silent_at, until))
            held = self._parser.pending
            events = self._parser.feed(piece or b"")
            bodies = [body for event in events if (body := _flags_of(event))]
            # A long message may take its time; comments and, at first, blanks are no sign of life.
            if bodies or self._parser.pending > held or (events and self._began):
                self._alive_at = self._now()
            elif self._now() >= silent_at:
                raise UpstreamUnavailable(f"no message for {self._limit:g} seconds")
            if piece is None:
                return None
            if bodies:
                self._began = True
                return bodies[-1]
            if events:
                return b""

    @property
    def _limit(self) -> float:
        return self._patience.silence if self._began else self._patience.first_data

    def close(self) -> None:
        """Close the connection; a second time does nothing."""
        self._stream.close()


def _flags_of(event: Event) -> bytes:
    """Return a message's array; nothing for keep-alives and for events of other names."""
    body = event.data.strip(BLANK)
    if not body or event.name != "message":
        return b""
    if not body.startswith(b"["):
        raise UpstreamGarbled("a message of the stream is not a JSON array")
    return event.data


def _headers(key: Secret) -> dict[str, str]:
    return {"Authorization": f"Api-Key {key.reveal()}"}
