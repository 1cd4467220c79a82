"""The door for uploads of analytics SDKs: read, checked, on disk, and only then answered 200."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from prometheus_client import Counter

from proxy import tasks
from proxy.events.ingest import (
    ENDPOINTS,
    TOO_LARGE,
    Ingested,
    Refusal,
    Upload,
    UploadRefused,
    ingested,
    read_upload,
)
from proxy.events.received import Arrival
from proxy.events.tracker import Tracker
from proxy.settings.schema import Project

PATIENCE_SECONDS: Final = 8.0
"""SDKs give up after ten seconds, and send again."""
FULL: Final = Refusal(code=503, error="Too many events are waiting")
UNSAFE: Final = Refusal(code=503, error="The events are not on disk yet")


class Uploads:
    """Takes the uploads for the projects that are configured."""

    bounds: Mapping[str, int] = {path: one.most_bytes for path, one in ENDPOINTS.items()}
    """The most that each path takes, in bytes, inflated."""

    def __init__(
        self,
        projects: Sequence[Project],
        tracker: Tracker,
        rejected: Counter,
        *,
        clock: tasks.Clock = tasks.wall_clock,
    ) -> None:
        self._tracker = tracker
        self._rejected = rejected
        self._clock = clock
        self._places: dict[str, int] = {}
        self.change(None, dict(enumerate(projects)))

    def change(self, _settings: Any, projects: Mapping[int, Project]) -> None:
        """Take uploads for these projects from now on, each by its index."""
        places: dict[str, int] = {}
        for place, project in projects.items():
            places.setdefault(project.api_key.reveal(), place)
        # Read by other threads.
        self._places = places

    def read(self, path: str, body: bytes, address: str | None) -> Upload | Refusal:
        """Return what came in a body, inflated, from an address; any thread may do this."""
        arrival = Arrival(round(self._clock() * 1000), address)
        most = self._tracker.most_event_bytes
        try:
            return read_upload(body, ENDPOINTS[path], self._places.get, arrival, most)
        except UploadRefused as refused:
            return refused.refusal

    async def keep(self, found: Upload | Refusal) -> tuple[int, bytes]:
        """Make what was read safe, if there is room; return status and body of the answer."""
        answer = found if isinstance(found, Refusal) else await self._kept(found)
        if isinstance(answer, Refusal):
            self._rejected.labels(answer.reason).inc()
        return answer.code, msgspec.json.encode(answer)

    async def _kept(self, upload: Upload) -> Ingested | Refusal:
        project, events, _, _ = upload
        count, size = len(events), sum(map(len, events))
        if not self._tracker.fits(count, size):
            return Refusal(code=413, error=TOO_LARGE)
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        if not self._tracker.has_room(project, count, size):
            await self._is_safe(deadline)
        if not self._tracker.has_room(project, count, size):
            return FULL
        if self._tracker.lacks_its_disk():
            return UNSAFE
        return await self._taken(upload, deadline)

    async def _taken(self, upload: Upload, deadline: float) -> Ingested | Refusal:
        project, events, options, _ = upload
        now = self._clock()
        numbers = self._tracker.take(project, events, options, now)
        is_safe = await self._is_safe(deadline)
        # A disk that fails leaves events in memory, unless they were promised to be on it.
        if is_safe is None or (not is_safe and self._tracker.lacks_its_disk()):
            # Their sender keeps them: what he sends again may get another insert_id here.
            self._tracker.withdraw(project, numbers)
            return UNSAFE
        return ingested(upload, round(now * 1000))

    async def _is_safe(self, deadline: float) -> bool | None:
        """Tell whether all is on disk that should be; None when nobody knows by the deadline."""
        waiting = self._tracker.committed()
        if waiting is None:
            return True
        try:
            async with asyncio.timeout_at(deadline):
                return await waiting
        except TimeoutError:
            return None
