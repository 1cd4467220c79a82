"""What clients are told whose bytes never became a request."""

from __future__ import annotations

from typing import Final

from aiohttp.http_exceptions import LineTooLong

from proxy import logs
from proxy.api.messages import Response, failure

HEADERS_TOO_LARGE: Final = failure(431, "Request header fields too large")
NOT_HTTP: Final = failure(400, "Not a valid HTTP request")
TOO_SLOW: Final = failure(408, "The request took too long to arrive")
BROKEN: Final = failure(500, "Internal error")


def verdict(status: int, error: BaseException | None, message: str | None) -> Response:
    """Return the answer to what the parser refused; nothing of it is repeated or logged."""
    if status != 400:
        logs.get("api").error("request failed", exc_info=error)
        return BROKEN
    if isinstance(error, LineTooLong) or (message and "Too many headers" in message):
        return HEADERS_TOO_LARGE
    return NOT_HTTP
