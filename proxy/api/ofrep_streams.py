"""Event streams of OFREP: they tell a client to ask anew, and nothing else.

A browser's `EventSource` sends no headers, so the URL has to say which deployment it means. It
names a channel: a hash that only who knows the deployment's key can make, and that tells nothing
of it. Who hears of a channel learns when flags change.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

import msgspec

from proxy.api.messages import Request, Response, failure, unavailable
from proxy.api.standing import chunk
from proxy.api.streams import AT_ONCE, EVENT_STREAM, HEADERS

if TYPE_CHECKING:
    from proxy.api.editions import Holdings
    from proxy.api.standing import Standing
    from proxy.api.stream_readers import Reader, Readers
    from proxy.settings.ofrep import Ofrep
    from proxy.snapshots.board import Board, Slot
    from proxy.snapshots.snapshot import Snapshot
    from proxy.tasks import Clock

STREAMS: Final = "/ofrep/v1/streams/"
PURPOSE: Final = b"ofrep event stream"
NAME_BYTES: Final = 16
INACTIVITY_SECONDS: Final = 120
RECENT_SECONDS: Final = 60.0
"""Who connects so soon after a change may have asked for its flags just before it."""
LOOK_SECONDS: Final = 10.0
LONGEST_STATE: Final = 64
"""No state is that long; what a client says that it heard is kept as long as it listens."""
UNKNOWN: Final = failure(404, "Not found")
PENDING: Final = "The flags of this deployment are not here yet"
KEEP_ALIVE: Final = chunk(b":\n\n")


def channel_name(key: str) -> str:
    """Return what names a deployment's channel: the same on every instance, no way back."""
    made = hmac.digest(key.encode("utf-8", "surrogatepass"), PURPOSE, hashlib.sha256)
    return made[:NAME_BYTES].hex()


@final
class Channel:
    """What the clients of one deployment are told: `greeting` to who is up to date, else `news`.

    `state` stands for the flags and cohorts that it tells of, the same on every instance.
    """

    def __init__(self, snapshot: Snapshot, state: str) -> None:
        self.label = snapshot.deployment.label
        self.listeners: dict[Listener, Reader] = {}
        self.take(snapshot, state)

    def take(self, snapshot: Snapshot, state: str) -> None:
        """Tell from now on of a new state."""
        told = {
            "type": "refetchEvaluation",
            "etag": snapshot.compiled.version,
            "lastModified": int(snapshot.changed_at),
        }
        name = state.encode()
        self.state = state
        self.greeting = chunk(b"id: %b\n\n" % name)
        self.news = chunk(
            b"id: %b\nevent: message\ndata: %b\n\n" % (name, msgspec.json.encode(told))
        )


@final
class Listener:
    """One client of a channel; `held` is the state that it heard of last."""

    __slots__ = ("_channel", "_held")

    kind = "ofrep"
    keep_alive = KEEP_ALIVE

    def __init__(self, channel: Channel, held: str) -> None:
        self._channel = channel
        self._held = held

    @property
    def label(self) -> str:
        """The deployment's name in metrics."""
        return self._channel.label

    def newest(self, told: bytes | None) -> bytes | None:
        """Return what the client is to hear now; None when it heard that."""
        channel = self._channel
        if told is None:
            return channel.greeting if self._held == channel.state else channel.news
        return None if told is channel.greeting or told is channel.news else channel.news

    def sent(self, _reader: Reader, *, first: bool) -> None:
        """Do nothing: nobody waits for it."""

    def left(self, _reader: Reader) -> None:
        """Be forgotten."""
        self._channel.listeners.pop(self, None)


@final
class OfrepStreams:
    """Tells the clients of each deployment when its flags or its cohorts have changed.

    Cohorts are looked at every few seconds: there may be many of them, and each client asks anew.
    """

    def __init__(
        self,
        board: Board,
        holdings: Holdings,
        readers: Readers,
        settings: Ofrep,
        *,
        clock: Clock,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._board = board
        self._holdings = holdings
        self._readers = readers
        self._public_url = settings.public_url
        self._clock = clock
        self._look_seconds = look_seconds
        self._channels: dict[str, Channel] = {}
        self._names: dict[str, str] = {}
        self._keys: dict[str, str] = {}
        self._generation = -1

    def announce(self, snapshot: Snapshot) -> bytes:
        """Return the member of a bulk answer that names the stream."""
        path = STREAMS + self._name(snapshot.deployment.key.reveal())
        where: dict[str, Any] = {"endpoint": {"requestUri": path}}
        if self._public_url is not None:
            where = {"url": self._public_url.rstrip("/") + path}
        stream = {"type": "sse", **where, "inactivityDelaySec": INACTIVITY_SECONDS}
        return b',"eventStreams":[%b]' % msgspec.json.encode(stream)

    def begin(self, request: Request) -> Response:
        """Begin the stream of the channel that the path names."""
        key = self._key(request.rest)
        slot = None if key is None else self._board.find(key)
        if slot is None:
            return UNKNOWN
        if slot.snapshot is None:
            return unavailable(PENDING)
        refused = self._readers.refusal()
        if refused is not None:
            return refused
        join = partial(self._join, slot, request.headers.get("last-event-id", ""))
        return Response(content_type=EVENT_STREAM, headers=HEADERS, standing=join)

    def status(self) -> dict[str, Any]:
        """Return how many clients listen, by deployment."""
        channels = self._channels.values()
        return {"listeners": {channel.label: len(channel.listeners) for channel in channels}}

    async def watch(self) -> None:
        """Tell all clients of each change, for ever; end the streams of keys that are revoked."""
        while True:
            seen, cohorts_seen = self._board.generation, self._holdings.changes
            for key in tuple(self._channels):
                await self._look(key)
            while self._board.generation == seen and self._holdings.changes == cohorts_seen:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._look_seconds):
                        await self._board.changed(seen)

    async def _look(self, key: str) -> None:
        channel, slot = self._channels[key], self._board.find(key)
        if not channel.listeners:
            del self._channels[key]
        elif slot is None or slot.snapshot is None:
            await self._end(self._channels.pop(key))
        else:
            self._tell(channel, slot.snapshot)

    def _tell(self, channel: Channel, snapshot: Snapshot) -> None:
        state = self._state(snapshot)
        if channel.state != state:
            channel.take(snapshot, state)
            for reader in channel.listeners.values():
                self._readers.turns.add(reader)

    async def _end(self, channel: Channel) -> None:
        for number, reader in enumerate(tuple(channel.listeners.values())):
            reader.standing.end()
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)

    def _join(self, slot: Slot, held: str, standing: Standing) -> None:
        snapshot = slot.snapshot
        assert snapshot is not None
        key = snapshot.deployment.key.reveal()
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = Channel(snapshot, self._state(snapshot))
        self._tell(channel, snapshot)
        if not held and self._clock() - snapshot.changed_at >= RECENT_SECONDS:
            held = channel.state
        listener = Listener(channel, held[:LONGEST_STATE])
        channel.listeners[listener] = self._readers.add(standing, listener)

    def _state(self, snapshot: Snapshot) -> str:
        if not snapshot.compiled.targeted_types:
            return snapshot.compiled.version
        content = self._holdings.holding(snapshot.deployment.project_index).content
        return f"{snapshot.compiled.version}-{content:032x}"

    def _name(self, key: str) -> str:
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = channel_name(key)
        return name

    def _key(self, name: str) -> str | None:
        """Return the key of the deployment whose channel has a name."""
        if self._generation != self._board.generation:
            self._generation = self._board.generation
            keys = [slot.deployment.key.reveal() for slot in self._board.slots()]
            self._names = {key: self._name(key) for key in keys}
            self._keys = {name: key for key, name in self._names.items()}
        return self._keys.get(name)
