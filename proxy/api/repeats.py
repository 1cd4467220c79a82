"""Answers that are given again, without reading or evaluating anything."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from proxy.api.messages import JSON, Response
from proxy.api.packing import SMALL, SMALLEST, SMALLEST_FLEETING, accepts_gzip, pack
from proxy.api.requests import names_tag, wants_exposures, wants_tracking

if TYPE_CHECKING:
    from proxy.api.answers import Answer, Answers
    from proxy.api.evaluator import Evaluator
    from proxy.api.messages import Request

# The client may hold an answer and ask whether it still is the one; nobody between may.
PRIVATE: Final = b"Cache-Control: private, no-cache\r\n"
OPENING: Final = PRIVATE + b'ETag: W/"'
ENDING: Final = b'"\r\n'
VARIES: Final = b"Vary: Accept-Encoding\r\n"
PACKED: Final = VARIES + b"Content-Encoding: gzip\r\n"


def tagged(tag: bytes) -> bytes:
    """Return the headers that go with an answer."""
    return OPENING + tag + ENDING


def unchanged(tag: bytes) -> Response:
    """Return what a client is told that holds the answer."""
    return Response(304, b"", JSON, lines=tagged(tag))


class Repeats:
    """Gives answers again, in the form that suits the client, and reports them."""

    def __init__(self, evaluator: Evaluator, answers: Answers) -> None:
        self._clock = evaluator.clock
        self._keep_packed = answers.keep_packed
        self._found = answers.found

    def give(self, request: Request, answer: Answer) -> Response:
        """Return an answer that is kept, or 304 to who holds it."""
        headers = request.headers
        self._found(answer)
        if wants_tracking(headers):
            answer.retelling.track(self._clock())
        if wants_exposures(headers):
            answer.retelling.expose(self._clock())
        told = b""
        if request.method != "POST":
            asked = headers.get("if-none-match")
            if asked is not None and names_tag(asked, answer.tag.decode()):
                return unchanged(answer.tag)
            told = tagged(answer.tag)
        body = answer.body
        if len(body) < SMALLEST:
            return Response(200, body, lines=told, is_final=True)
        if not accepts_gzip(headers.get("accept-encoding")):
            return Response(200, body, lines=told + VARIES, is_final=True)
        packed = answer.packed
        if not packed:
            if len(body) > SMALLEST_FLEETING:
                return Response(later=partial(self._give_later, answer, told))
            packed = pack(body, SMALL)
            self._keep_packed(answer, packed)
        return Response(200, packed, lines=told + PACKED, is_final=True)

    async def _give_later(self, answer: Answer, told: bytes) -> Response:
        packed = answer.packed or await asyncio.to_thread(pack, answer.body, SMALL)
        self._keep_packed(answer, packed)
        return Response(200, packed, lines=told + PACKED, is_final=True)
