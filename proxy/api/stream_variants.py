"""Variants of one user as they change: `/sdk/stream/v1/vardata`, experimental."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

from proxy.api.features import Offer
from proxy.api.in_force import InForce
from proxy.api.messages import Request, Response
from proxy.api.requests import flag_keys, user_from_base64, user_from_header
from proxy.api.routes import Route, with_head
from proxy.api.stream_readers import KEEP_ALIVE
from proxy.api.streams import AT_ONCE, EVENT_STREAM, HEADERS, event
from proxy.evaluation.outcomes import answer

if TYPE_CHECKING:
    from proxy.api.evaluator import Evaluator
    from proxy.api.features import Tools
    from proxy.api.standing import Standing
    from proxy.api.stream_readers import Reader, Readers
    from proxy.settings.schema import Settings
    from proxy.snapshots.board import Board, Slot
    from proxy.snapshots.snapshot import Snapshot

VARIANTS: Final = "/sdk/stream/v1/vardata"
PUSH: Final = b"push_data"
WISHES: Final = ("x-amp-exp-track", "x-amp-exp-exposure-track")


@final
class Person:
    """A user whose variants somebody follows; kept as the text that it came in, as it is small."""

    __slots__ = ("_deepest", "_evaluator", "_keys", "_streams", "_text", "_wishes", "seen", "slot")

    kind = "variants"
    keep_alive = KEEP_ALIVE

    def __init__(
        self, streams: VariantStreams, evaluator: Evaluator, request: Request, slot: Slot
    ) -> None:
        self.slot = slot
        self.seen: Snapshot | None = None
        self._streams = streams
        self._evaluator = evaluator
        self._deepest = streams.in_force.limits.max_json_depth
        self._text = request.headers.get("x-amp-exp-user", "")
        self._keys: Sequence[str] = streams.keys_of(request)
        headers = request.headers
        self._wishes: Mapping[str, str] = {
            name: headers[name] for name in WISHES if name in headers
        }

    @property
    def label(self) -> str:
        """The deployment's name in metrics."""
        return self.slot.deployment.label

    def newest(self, told: bytes | None) -> bytes | None:
        """Evaluate the user; return the message unless it says what `told` said."""
        snapshot = self.seen = self.slot.snapshot
        if snapshot is None:
            return None
        user = user_from_base64(self._text, self._deepest)
        outcomes, body = self._evaluator.evaluate(snapshot, user, self._keys, answer)
        message = event(body, PUSH)
        if message == told:
            return None
        self._evaluator.report(self._wishes, snapshot, user, outcomes, self._keys)
        return message

    def sent(self, _reader: Reader, *, first: bool) -> None:
        """Do nothing: it was reported when it was evaluated."""

    def left(self, _reader: Reader) -> None:
        """Be forgotten."""
        self._streams.people.pop(self, None)


@final
class VariantStreams:
    """Streams the variants of users to whoever follows them.

    What flags decide changes with them; whether a user is in a cohort is looked at as often as
    keep-alives are sent.
    """

    def __init__(self, board: Board, readers: Readers, settings: Settings) -> None:
        self.in_force = InForce(settings.limits)
        self.people: dict[Person, Reader] = {}
        self._board = board
        self._readers = readers
        self._pause = settings.streams.keep_alive_millis / 1000

    def offer(self, tools: Tools) -> Offer:
        """Return the route of the stream."""
        self.in_force = tools.in_force
        begin = partial(self._begin, tools.evaluator)
        return Offer({VARIANTS: Route(VARIANTS, guarded=with_head({"GET": begin}))})

    def keys_of(self, request: Request) -> list[str]:
        """Return the flag keys that a request asks for, none for all."""
        return flag_keys(request.headers, request.query, self.in_force.limits.max_flag_keys)

    def status(self) -> dict[str, Any]:
        """Return how many users are followed."""
        return {"open": len(self.people)}

    async def watch(self) -> None:
        """Evaluate anew whenever flags have changed, and all now and then, for ever."""
        seen = self._board.generation
        while True:
            everybody = False
            try:
                async with asyncio.timeout(self._pause):
                    seen = await self._board.changed(seen)
            except TimeoutError:
                everybody = True
            for number, (person, reader) in enumerate(tuple(self.people.items()), 1):
                self._look(person, reader, even_so=everybody)
                if number % AT_ONCE == 0:
                    await asyncio.sleep(0)

    def _look(self, person: Person, reader: Reader, *, even_so: bool) -> None:
        key = person.slot.deployment.key.reveal()
        if self._board.find(key) is not person.slot:
            reader.standing.end()
        elif even_so or person.slot.snapshot is not person.seen:
            self._readers.turns.add(reader)

    def _begin(self, evaluator: Evaluator, request: Request, snapshot: Snapshot) -> Response:
        slot = self._board.find(snapshot.deployment.key.reveal())
        assert slot is not None, "the gate has just found it"
        # What is wrong with the user is told now, not when it is its turn.
        user_from_header(request.headers, self.in_force.limits.max_json_depth)
        person = Person(self, evaluator, request, slot)
        refused = self._readers.refusal()
        if refused is not None:
            return refused
        join = partial(self._join, person)
        return Response(content_type=EVENT_STREAM, headers=HEADERS, standing=join)

    def _join(self, person: Person, standing: Standing) -> None:
        self.people[person] = self._readers.add(standing, person)
