"""The way to the collector for one signal: a request, what it came to, and what is said of it."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import aiohttp

from proxy import logs, tasks

if TYPE_CHECKING:
    from proxy.measures.telemetry import Telemetry

AGAIN: Final = frozenset({429, 502, 503, 504})
"""The statuses after which the same may be sent again; all others are final."""
GZIP_LEVEL: Final = 3
CONTENT_TYPE: Final = "application/x-protobuf"
MOST_ANSWER_BYTES: Final = 65_536
LONGEST_RETRY_SECONDS: Final = 60.0
LOG_PAUSE_SECONDS: Final = 60.0

Signal = Literal["traces", "metrics"]

log = logs.get("telemetry")


class Terms(NamedTuple):
    """How the collector is spoken to: headers that may be secret, seconds, packed or not."""

    headers: Mapping[str, str]
    seconds: float
    is_packed: bool


class Receipt(NamedTuple):
    """What became of a request: `taken`, `again` (it may be sent again) or `lost`, and why.

    `pause` is for how many seconds the collector asks to be left alone, 0 when it does not say.
    """

    outcome: Literal["taken", "again", "lost"]
    why: str = ""
    pause: float = 0.0
    answer: bytes = b""


class Collector:
    """Posts one signal to its URL, and says once when that begins to fail and when it works."""

    def __init__(
        self,
        signal: Signal,
        url: str,
        terms: Terms,
        session: aiohttp.ClientSession,
        metrics: Telemetry,
    ) -> None:
        self._signal = signal
        self._url = url
        self._terms = terms
        self._session = session
        self._counts = metrics.otel_exports
        self._now: Callable[[], float] = asyncio.get_running_loop().time
        self._trouble = ""
        self._is_told = False
        self._next_log_line = float("-inf")

    async def post(self, body: bytes) -> Receipt:
        """Send a body; never raises but for being cancelled."""
        receipt = await self._posted(body)
        is_taken = receipt.outcome == "taken"
        self._counts.labels(self._signal, "sent" if is_taken else "failed").inc()
        if is_taken:
            self._recovered()
        else:
            self._failed(receipt.why)
        return receipt

    def status(self) -> dict[str, Any]:
        """Return where it is sent to, and what is wrong; empty when nothing is."""
        return {"endpoint": self._url, "trouble": self._trouble}

    async def _posted(self, body: bytes) -> Receipt:
        headers = {"Content-Type": CONTENT_TYPE, **self._terms.headers}
        if self._terms.is_packed:
            body, headers["Content-Encoding"] = await tasks.in_thread(_packed, body), "gzip"
        try:
            async with (
                asyncio.timeout(self._terms.seconds),
                self._session.post(
                    self._url,
                    # A long body is written piece by piece.
                    data=BytesIO(body),
                    headers=headers,
                    # A redirect could carry them to another host.
                    allow_redirects=False,
                ) as response,
            ):
                answer = await response.content.read(MOST_ANSWER_BYTES)
                return _receipt(response, answer)
        except TimeoutError:
            return Receipt("again", "no answer in time")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Receipt("again", f"no answer: {type(error).__name__}")

    def _failed(self, why: str) -> None:
        self._trouble = why
        # A collector that comes and goes is not worth a line each time.
        if not self._is_told and self._now() >= self._next_log_line:
            self._next_log_line = self._now() + LOG_PAUSE_SECONDS
            self._is_told = True
            log.warning(
                "the collector takes nothing", signal=self._signal, url=self._url, reason=why
            )

    def _recovered(self) -> None:
        self._trouble = ""
        if self._is_told:
            self._is_told = False
            log.info("the collector takes it again", signal=self._signal, url=self._url)


def _packed(body: bytes) -> bytes:
    return gzip.compress(body, GZIP_LEVEL)


def _receipt(response: aiohttp.ClientResponse, answer: bytes) -> Receipt:
    status = response.status
    if 200 <= status <= 299:
        return Receipt("taken", answer=answer)
    if status in AGAIN:
        return Receipt("again", f"answered {status}", _pause(response.headers))
    return Receipt("lost", f"answered {status}")


def _pause(headers: Mapping[str, str]) -> float:
    given = headers.get("Retry-After", "")
    is_number = given.isascii() and given.isdigit() and len(given) < 10
    return min(float(given), LONGEST_RETRY_SECONDS) if is_number else 0.0
