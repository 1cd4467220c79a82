"""Web experiments: the features whose answers come from Amplitude."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from proxy.api.scripts import freshness, scripted
from proxy.api.web_forward import forwarded, previewed
from proxy.relay.breaker import Breaker
from proxy.relay.copies import Copies, Tally, Terms

if TYPE_CHECKING:
    from proxy.api.features import Feature
    from proxy.metrics import Metrics
    from proxy.settings.schema import Settings
    from proxy.settings.web import WebExperiment
    from proxy.upstream.client import UpstreamClient
    from proxy.upstream.web import Document

HOUR: Final = 3600.0
SCRIPTS: Final = Terms(
    what="scripts",
    most_bytes=64 * 2**20,
    longest_wait=5.0,
    longest_wait_with_copy=1.0,
    longest_call=20.0,
    stale_for=7 * 24 * HOUR,
    pause=5.0,
    most_calls=16,
)
PREVIEWS: Final = Terms(
    what="previews",
    most_bytes=32 * 2**20,
    longest_wait=8.0,
    longest_wait_with_copy=8.0,
    longest_call=8.0,
    pause=0.0,
    most_calls=8,
)
PREVIEW_SECONDS: Final = 1.0


class Web:
    """Makes these features, each with copies of its own, which age by the clock `now`."""

    def __init__(
        self,
        settings: Settings,
        client: UpstreamClient,
        metrics: Metrics,
        now: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._client = client
        self._metrics = metrics
        self._now = now
        self._copies: dict[str, Copies] = {}

    def open(self, opened: AsyncExitStack) -> list[Feature]:
        """Return what the settings switch on; calls under way end with the stack."""
        settings, features = self._settings, []
        if settings.web_experiment.mode == "forward":
            seconds = settings.web_experiment.ttl_millis / 1000
            copies = self._open(_of_flags(settings.web_experiment), lambda _: seconds, opened)
            features.append(forwarded(self._client, copies))
        if settings.web_experiment.previews:
            copies = self._open(PREVIEWS, lambda _: PREVIEW_SECONDS, opened)
            features.append(previewed(self._client, copies))
        if settings.scripts.enabled:
            features.append(scripted(self._client, self._open(SCRIPTS, freshness, opened)))
        return features

    def status(self) -> dict[str, Any]:
        """Return the mode of web flags, and what is kept of Amplitude's answers."""
        kept = {what: copies.status() for what, copies in self._copies.items()}
        return {"mode": self._settings.web_experiment.mode, **kept}

    def _open(
        self, terms: Terms, freshness: Callable[[Document], float], opened: AsyncExitStack
    ) -> Copies:
        calls, kept = self._metrics.web_calls, self._metrics.web_kept_bytes.labels(terms.what)
        tally = Tally(lambda outcome: calls.labels(terms.what, outcome).inc(), kept.set)
        new_breaker = partial(Breaker, self._now, random.random)
        copies = Copies(freshness, terms, tally, new_breaker, self._now)
        opened.push_async_callback(copies.close)
        self._copies[terms.what] = copies
        return copies


def _of_flags(given: WebExperiment) -> Terms:
    seconds = given.timeout_millis / 1000
    return Terms(
        what="flags",
        most_bytes=given.max_bytes,
        longest_wait=seconds,
        longest_wait_with_copy=seconds,
        longest_call=max(seconds, 5.0),
        stale_for=HOUR,
        most_calls=64,
    )
