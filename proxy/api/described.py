"""The clients' port in OpenAPI's words: `/openapi.json`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, final

from proxy.api.features import Offer, Tools
from proxy.api.messages import JSON, Request, Response
from proxy.api.requests import names_tag
from proxy.api.routes import Route
from proxy.openapi.description import PATH, Description

if TYPE_CHECKING:
    from proxy.openapi.description import Document

CACHE: Final = ("Cache-Control", "public, max-age=300")


def described(tools: Tools) -> Offer:
    """Offer the document, unless it is switched off."""
    if not tools.settings.openapi.enabled:
        return Offer()
    description = Description("clients", tools.settings)
    tools.in_force.changes.append(lambda settings, _projects: description.take(settings))
    answer = Described(description).answer
    return Offer({PATH: Route(PATH, open={"GET": answer, "HEAD": answer})})


@final
class Described:
    """Answers the document, the same to all, or 304 to who holds it."""

    def __init__(self, description: Description) -> None:
        self._description = description

    def answer(self, request: Request) -> Response:
        """Answer the document."""
        made = self._description.made
        if made is None:
            return Response(later=partial(self._later, request))
        return _answer(request, made)

    async def _later(self, request: Request) -> Response:
        return _answer(request, await self._description.make())


def _answer(request: Request, made: Document) -> Response:
    headers = (("ETag", f'W/"{made.tag}"'), CACHE)
    if names_tag(request.headers.get("if-none-match"), made.tag):
        return Response(304, b"", JSON, headers)
    return Response(200, made.body, JSON, headers, lasting=True)
