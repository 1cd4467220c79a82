"""The script of web experiments and the relay page beside it, from Amplitude's CDN through here."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final, final

from proxy.api.features import Feature, Offer, Tools
from proxy.api.messages import JSON, Request, Response, failure, unavailable
from proxy.api.pages import counting, refusal
from proxy.api.requests import names_tag, plainly_spelt, query_fields
from proxy.api.routes import Route
from proxy.errors import UpstreamError
from proxy.upstream.web import Document, ScriptName, fetch_script

if TYPE_CHECKING:
    from proxy.relay.copies import Copies
    from proxy.tasks import Clock
    from proxy.upstream.client import UpstreamClient
    from proxy.upstream.web import Given

BEGINNING: Final = "/script/"
ROUTE: Final = BEGINNING + "{apiKey}.experiment.js"
SHORTEST_SECONDS, LONGEST_SECONDS = 60, 300
MOST_INTEGRATIONS: Final = 8
FORGOTTEN_AFTER_SECONDS: Final = 600.0
DOCUMENTED: Final = frozenset({"", "segment"})
USUAL_CACHE_CONTROL: Final = "public, max-age=60"
NO_SNIFFING: Final = ("X-Content-Type-Options", "nosniff")
NO_SCRIPT: Final = failure(404, "No such script")
NOT_YET: Final = "The deployments are not known yet"

_NAME = re.compile(r"([A-Za-z0-9_-]{1,128})\.(experiment\.js|relay\.html)")
_INTEGRATION = re.compile(r"[A-Za-z0-9_-]{1,40}")


def freshness(document: Document) -> float:
    """Return for how many seconds a script may be given again: one minute to five."""
    told = document.max_age or 0
    return min(max(told - document.age, SHORTEST_SECONDS), LONGEST_SECONDS)


def scripted(client: UpstreamClient, copies: Copies) -> Feature:
    """Offer the scripts of our keys."""

    def offer(tools: Tools) -> Offer:
        answers = Scripts(tools, client, copies)
        route = Route(ROUTE, open={"GET": answers.script, "HEAD": answers.script})
        return Offer(beginnings=((BEGINNING, route),))

    return offer


@final
class Scripts:
    """Answers scripts of keys that are ours, so that nobody is relayed to anything else."""

    def __init__(self, tools: Tools, client: UpstreamClient, copies: Copies) -> None:
        self._keys = tools.page_keys
        self._client = client
        self._copies = copies
        self._count = counting(tools.metrics.web_answers, "scripts")
        self._unknown = tools.metrics.rejected.labels("unknown_script")
        self._integrations = Integrations(tools.clock)

    def script(self, request: Request) -> Response:
        """Answer a script or the relay page; of the query, `integration` alone counts."""
        found = _NAME.fullmatch(plainly_spelt(request.rest))
        if found is None or self._keys.find(found[1]) is None:
            if found is not None and self._keys.pending:
                return unavailable(NOT_YET)
            self._unknown.inc()
            return NO_SCRIPT
        integration = query_fields(request.query).get("integration", "")
        if not self._integrations.take(found[1], integration):
            self._unknown.inc()
            return NO_SCRIPT
        name = ScriptName(found[1], found[2], integration)
        return Response(later=partial(self._asked, request, name))

    async def _asked(self, request: Request, name: ScriptName) -> Response:
        try:
            given = await self._copies.get(
                " ".join(name).encode(),
                lambda held: fetch_script(self._client, name, held),
                of=name.key,
            )
        except UpstreamError as error:
            self._count("failed")
            return refusal(error)
        self._count(given.outcome)
        return _answer(request, given)


@final
class Integrations:
    """Which integrations each key is asked for with, so that they stay few."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked: dict[str, dict[str, float]] = {}

    def take(self, key: str, integration: str) -> bool:
        """Tell whether a key may be asked for with an integration now.

        Each key has a bounded number of places for other than the documented ones; a place is free
        again when nobody asked for long.
        """
        if integration in DOCUMENTED:
            return True
        if not _INTEGRATION.fullmatch(integration):
            return False
        now, asked = self._clock(), self._asked.setdefault(key, {})
        if integration not in asked and len(asked) >= MOST_INTEGRATIONS:
            for old in [old for old, at in asked.items() if now - at > FORGOTTEN_AFTER_SECONDS]:
                del asked[old]
        if integration not in asked and len(asked) >= MOST_INTEGRATIONS:
            return False
        asked[integration] = now
        return True


def _answer(request: Request, given: Given) -> Response:
    document = given.document
    if document.status != 200:
        return NO_SCRIPT
    headers: tuple[tuple[str, str], ...] = (
        ("Cache-Control", document.cache_control or USUAL_CACHE_CONTROL),
        # So that all caches together keep it no longer than the CDN allows.
        ("Age", str(document.age + int(given.seconds))),
        NO_SNIFFING,
    )
    if document.etag:
        headers = (("ETag", document.etag), *headers)
        tag = document.etag.removeprefix("W/").strip('"')
        if names_tag(request.headers.get("if-none-match"), tag):
            return Response(304, b"", JSON, headers)
    return Response(200, document.body, document.content_type, headers, lasting=True)
