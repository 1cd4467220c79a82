"""The spool as the settings want it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from proxy.events.bounds import Bounds
from proxy.events.disk import Disk
from proxy.events.spool import Spool
from proxy.metrics import Metrics
from proxy.settings.schema import Settings

KEPT: Final = 8
"""Such a part of the most memory again holds events that are on disk, too."""


@asynccontextmanager
async def open_spool(settings: Settings, metrics: Metrics) -> AsyncIterator[Spool]:
    """Open the spool in the data directory, or in memory; what is left on disk stays there."""
    bounds = Bounds(
        commit_seconds=settings.events.commit_millis / 1000,
        max_bytes=settings.events.max_bytes,
        max_age_seconds=settings.events.max_age_millis / 1000,
        max_memory=settings.assignment.max_pending_bytes,
        max_kept=settings.assignment.max_pending_bytes // KEPT,
    )
    folder = Path(settings.data_dir, "events") if settings.data_dir else None
    spool = Spool(Disk(folder, metrics), bounds, metrics)
    await spool.open()
    try:
        yield spool
    finally:
        await spool.close()
