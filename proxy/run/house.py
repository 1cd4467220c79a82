"""Everything that is open while the proxy serves, as probes and the status page see it."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

from proxy import __version__, tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.events.tracker import Tracker
    from proxy.run.edge import Edge
    from proxy.run.loops import Loops
    from proxy.run.stop import Stop
    from proxy.settings.schema import Settings
    from proxy.store.store import Store
    from proxy.sync.syncer import Syncer


class House:
    """What is open; trouble with the data directory is shown but takes nobody out of service.

    `settings` are those in force.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        syncer: Syncer,
        tracker: Tracker,
        edge: Edge,
        loops: Loops,
        stop: Stop,
    ) -> None:
        self.settings = settings
        self._store = store
        self._syncer = syncer
        self._tracker = tracker
        self._edge = edge
        self._loops = loops
        self._stop = stop
        self._since = tasks.wall_clock()
        self._more: dict[str, Callable[[], dict[str, Any]]] = {}

    def show(self, **parts: Callable[[], dict[str, Any]]) -> None:
        """Add parts to the status."""
        self._more.update(parts)

    def readiness(self) -> list[tuple[str, bool, str]]:
        """Return each part's label, whether it is ready, and why or why not."""
        stopping = self._stop.asked.is_set()
        process = ("process", not stopping, "stopping" if stopping else "serving")
        return [process, *self._loops.down(), *self._kept(), *self._syncer.ready()]

    def is_ready(self) -> bool:
        """Tell whether requests should come here."""
        process = not self._stop.asked.is_set() and self._loops.are_up()
        return process and self._syncer.is_ready()

    def status(self) -> dict[str, Any]:
        """Return the whole state, without any key."""
        return {
            "version": __version__,
            "python": platform.python_version(),
            "started_at": self._since,
            "uptime_seconds": round(tasks.wall_clock() - self._since, 1),
            "ready": self.is_ready(),
            "stopping": self._stop.asked.is_set(),
            "notices": list(self.settings.notices),
            "loops_down": [name for name, _, _ in self._loops.down()],
            "offline": None if self._syncer.offline is None else self._syncer.offline.status(),
            "projects": self._syncer.project_status(),
            "deployments": self._syncer.status(),
            "cohorts": self._syncer.cohort_status(),
            "store": self._store.status(),
            "events": self._tracker.status(),
            "spool": self._tracker.spool_status(),
            "edge": self._edge.status(),
            **{name: part() for name, part in self._more.items()},
        }

    def _kept(self) -> list[tuple[str, bool, str]]:
        """Return how the data directory does, and whether all that it kept is in force again."""
        parts = []
        if self.settings.data_dir is not None:
            parts.append(("data directory", True, self._store.trouble))
        if not self._syncer.restored.is_set():
            parts.append(("warm start", False, "restoring what the data directory kept"))
        return parts
