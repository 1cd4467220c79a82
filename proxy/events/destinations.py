"""Where each project's events go, and within which bounds they travel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from proxy.events.batches import without
from proxy.settings.schema import Settings
from proxy.upstream.analytics import Limits, Receipt, endpoint, payload, post_events
from proxy.upstream.client import UpstreamClient

DAY_SECONDS = 86_400.0

Post = Callable[[Sequence[bytes]], Awaitable[Receipt]]
"""Posts encoded events; raises an `UpstreamError` when no answer came."""


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """How one project's events travel: bounds in events, bytes and seconds.

    A batch goes when `threshold` events wait or the first has waited for `period_seconds`; what
    upstream throttles rests for `rest_seconds`; `max_bytes` and `max_age_seconds` bound what waits.
    """

    limits: Limits
    rest_seconds: float = 15.0
    threshold: int = 100
    period_seconds: float = 10.0
    max_bytes: int = 64 * 1_048_576
    max_age_seconds: float = DAY_SECONDS


class Destination(NamedTuple):
    """One project's analytics: a label for people, the way there, and how to post."""

    label: str
    way: Way
    post: Post


def destinations(settings: Settings, client: UpstreamClient) -> list[Destination]:
    """Return where the events of each configured project go, in the order of the projects."""
    there = endpoint(settings.urls.analytics)
    assignment = settings.assignment
    found = []
    for project in settings.projects:
        way = Way(
            limits=without(there.limits, len(payload(project.api_key, []))),
            rest_seconds=there.rest_seconds,
            threshold=assignment.event_upload_threshold,
            period_seconds=assignment.event_upload_period_millis / 1000,
            max_bytes=assignment.max_pending_bytes,
        )
        post = partial(post_events, client, there.url, project.api_key)
        found.append(Destination(project.label, way, post))
    return found
