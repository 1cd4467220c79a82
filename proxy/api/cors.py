"""CORS: which web pages may read an answer, and what browsers are told that ask beforehand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, final

import msgspec

from proxy.api.credentials import any_key
from proxy.api.messages import TEXT, Grant, Response
from proxy.api.origins import Origins

if TYPE_CHECKING:
    from proxy.settings.cors import Cors as Given
    from proxy.snapshots.board import Board
    from proxy.snapshots.snapshot import Deployment

METHODS: Final = "GET, POST, OPTIONS"
# What the SDKs in browsers send, those of OpenFeature too, and trace contexts, which
# instrumented pages add to every call.
SENT_BY_PAGES: Final = (
    "Authorization, X-Amp-Exp-User, X-Amp-Exp-Flag-Keys, X-Amp-Exp-Track,"
    " X-Amp-Exp-Exposure-Track, X-Amp-Exp-Library, Content-Type, Accept, Content-Encoding,"
    " Cache-Control, Last-Event-ID, If-None-Match, X-API-Key, Traceparent, Tracestate, Baggage"
)
MAX_AGE_SECONDS: Final = "86400"
VARY_BY_ORIGIN: Final = b"Vary: Origin\r\n"
EXPOSE: Final = b"Access-Control-Expose-Headers: ETag, Retry-After\r\n"
MOST_REMEMBERED: Final = 1024


def granted(origin: str, *, varies: bool) -> Grant:
    """Return the lines that let the pages of an origin read an answer."""
    allow = f"Access-Control-Allow-Origin: {origin}\r\n".encode()
    return Grant(allow + VARY_BY_ORIGIN if varies else allow, allow + EXPOSE, varies)


ANYBODY: Final = granted("*", varies=False)
NOBODY: Final = Grant(b"", b"")
NOT_THIS_PAGE: Final = Grant(VARY_BY_ORIGIN, b"", varies=True)
# Without the header that would let a page send `Authorization`.
NO_BROWSERS: Final = Response(204, b"", TEXT, (("Allow", "GET, HEAD, OPTIONS"),), grant=NOBODY)


def preflight(more_headers: Iterable[str] = ()) -> Response:
    """Return what a browser is told that asks whether a page may call."""
    headers = (
        ("Access-Control-Allow-Methods", METHODS),
        ("Access-Control-Allow-Headers", ", ".join([SENT_BY_PAGES, *more_headers])),
        ("Access-Control-Max-Age", MAX_AGE_SECONDS),
    )
    return Response(204, b"", TEXT, headers)


@final
class Cors:
    """Decides by a request's origin and key what pages may read; `*` alone decides nothing.

    `otherwise` is for answers to what never became a request; `preflight` is what browsers are
    told whose pages may call.
    """

    def __init__(self, given: Given, board: Board) -> None:
        self._rules = [_rule(text) for text in given.deployments]
        named: dict[str, list[str]] = {}
        for name, texts in self._rules:
            named.setdefault(name, []).extend(texts)
        self._named = {name: Origins(texts) for name, texts in named.items()}
        self._default = Origins(given.origins)
        self._union = Origins([*given.origins, *chain.from_iterable(named.values())])
        self.preflight = preflight(given.allow_headers)
        self._board = board
        self._grants: dict[str, Grant] = {}
        self.is_selective = not self._default.is_any or bool(self._named)
        self.otherwise = ANYBODY
        if self.is_selective:
            only = self._union.only
            self.otherwise = NOT_THIS_PAGE if only is None else granted(only, varies=True)

    def decide(self, answer: Response, method: str, headers: Mapping[str, str]) -> Response:
        """Return the answer with what lets the page that asked read it, or with nothing.

        A page that may not is told nothing beforehand, either: so it sends nothing.
        """
        if answer.grant is not None:
            return answer
        origin = headers.get("origin", "")
        # A preflight names no key; nor does it matter where the key is not one of ours.
        allowed = self._union if method == "OPTIONS" else self._of_deployment(headers)
        if allowed.is_any:
            return msgspec.structs.replace(answer, grant=ANYBODY)
        if origin in allowed:
            return msgspec.structs.replace(answer, grant=self._granted(origin.lower()))
        answer = NO_BROWSERS if method == "OPTIONS" else answer
        return msgspec.structs.replace(answer, grant=NOT_THIS_PAGE)

    def status(self) -> dict[str, Any]:
        """Return how many rules there are, and which of them no deployment is known for."""
        known = {name for slot in self._board.slots() for name in _names(slot.deployment)}
        unused = [at for at, (name, _) in enumerate(self._rules) if name not in known]
        return {"any_origin": not self.is_selective, "rules": len(self._rules), "unused": unused}

    def _of_deployment(self, headers: Mapping[str, str]) -> Origins:
        if not self._named:
            return self._default
        slot = self._board.find(any_key(headers))
        if slot is None:
            return self._union
        for name in _names(slot.deployment):
            if (own := self._named.get(name)) is not None:
                return own
        return self._default

    def _granted(self, origin: str) -> Grant:
        if len(self._grants) > MOST_REMEMBERED:
            self._grants.clear()
        found = self._grants.get(origin)
        if found is None:
            found = self._grants[origin] = granted(origin, varies=True)
        return found


def _rule(text: str) -> tuple[str, list[str]]:
    name, _, origins = text.rpartition("=")
    return name.strip(), origins.split()


def _names(deployment: Deployment) -> tuple[str, ...]:
    """Return by what a rule may name a deployment; never by its key, as settings are shown."""
    return deployment.label, deployment.key.label
