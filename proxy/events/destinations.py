"""Where each project's events go, and within which bounds they travel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

import msgspec

from proxy.events.batches import without
from proxy.events.event import EXPOSURE
from proxy.settings.reporting import Assignment, Exposure
from proxy.settings.schema import Settings
from proxy.upstream.analytics import Limits, Receipt, endpoint, payload, post_events
from proxy.upstream.client import UpstreamClient

MOST_OPTION_BYTES: Final = 256
"""The room that a batch leaves for the options of its request."""

Post = Callable[[Sequence[bytes], bytes], Awaitable[Receipt]]
"""Posts encoded events with options; raises an `UpstreamError` when no answer came."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """When a batch goes: when so many events wait, or the first has waited for so long."""

    threshold: int = 100
    period_seconds: float = 10.0


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """How one project's events travel; what upstream throttles rests for `rest_seconds`.

    Each kind of event has a pace of its own, or the one that is usual.
    """

    limits: Limits
    rest_seconds: float = 15.0
    pace: Pace = Pace()
    paces: Mapping[str, Pace] = {}

    def pace_of(self, kind: str) -> Pace:
        """Return how fast events of a kind go."""
        return self.paces.get(kind, self.pace)


class Destination(NamedTuple):
    """One project's analytics: a label for people, one for the spool, the way, how to post.

    The spool's label follows from the API key alone, so that events outlive another name.
    """

    label: str
    origin: str
    way: Way
    post: Post


def destinations(settings: Settings, client: UpstreamClient) -> list[Destination]:
    """Return where the events of each configured project go, in the order of the projects."""
    there = endpoint(settings.urls.analytics)
    pace = _pace(settings.assignment)
    found = []
    for project in settings.projects:
        envelope = len(payload(project.api_key, [], b"")) + MOST_OPTION_BYTES
        way = Way(
            limits=without(there.limits, envelope),
            rest_seconds=there.rest_seconds,
            pace=pace,
            paces={EXPOSURE: _pace(settings.exposure)},
        )
        post = partial(post_events, client, there.url, project.api_key)
        found.append(Destination(project.label, project.api_key.label, way, post))
    return found


def _pace(given: Assignment | Exposure) -> Pace:
    return Pace(
        threshold=given.event_upload_threshold,
        period_seconds=given.event_upload_period_millis / 1000,
    )
