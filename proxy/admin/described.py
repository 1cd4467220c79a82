"""The operators' port in OpenAPI's words: `/openapi.json`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from proxy.admin.pages import Ask, Page, Route
from proxy.openapi.description import PATH

if TYPE_CHECKING:
    from proxy.openapi.description import Description


def described(description: Description) -> dict[str, Route]:
    """Return the route of the document."""
    return {PATH: {"GET": partial(_document, description)}}


async def _document(description: Description, _ask: Ask) -> Page:
    made = description.made or await description.make()
    return Page(200, made.body)
