"""What is not told while Amplitude is not asked: counted, so that nobody takes it for told."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, final

import msgspec

from proxy.evaluation.outcomes import Outcome
from proxy.events.ingest import ENDPOINTS, Refusal
from proxy.metrics import Metrics

REFUSED: Final = Refusal(code=503, error="This proxy is offline: it takes no events")


@final
class Untaken:
    """Counts answers and exposures, and refuses uploads, so that SDKs keep what they hold."""

    bounds: Mapping[str, int] = {path: one.most_bytes for path, one in ENDPOINTS.items()}
    """The most that each path takes, in bytes, inflated."""

    def __init__(self, metrics: Metrics) -> None:
        self._rejected = metrics.rejected
        counter = metrics.offline_untaken
        self._answers = counter.labels("answer")
        self._exposures = counter.labels("exposure")
        self._uploads = counter.labels("upload")

    def track(
        self,
        _project_index: int,
        _user: Mapping[str, Any],
        _outcomes: Sequence[Outcome],
        _at: float,
    ) -> None:
        """Count an answer that no assignment will tell of."""
        self._answers.inc()

    def expose(
        self,
        _project_index: int,
        _user: Mapping[str, Any],
        _outcomes: Sequence[Outcome],
        _asked: Collection[str],
        _at: float,
    ) -> None:
        """Count an answer that no exposure will tell of."""
        self._exposures.inc()

    def read(self, path: str, body: bytes, address: str | None) -> Refusal:  # noqa: ARG002  a desk
        """Return the refusal, whatever came."""
        return REFUSED

    async def keep(self, found: Refusal) -> tuple[int, bytes]:
        """Count an upload that is not taken; return status and body of the answer."""
        self._uploads.inc()
        self._rejected.labels(found.reason).inc()
        return found.code, msgspec.json.encode(found)
