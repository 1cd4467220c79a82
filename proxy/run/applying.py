"""Who is told when other settings come into force, and in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from proxy import logs
from proxy.events.destinations import destinations
from proxy.run.offline import asking_nobody

if TYPE_CHECKING:
    from proxy.api.in_force import InForce
    from proxy.events.tracker import Tracker
    from proxy.run.house import House
    from proxy.run.keeping import Keeping
    from proxy.secret import Secret
    from proxy.settings.schema import Project, Settings
    from proxy.upstream.client import UpstreamClient


@final
class Places:
    """Gives each project its index: the same one whenever it is served, and nobody else's ever."""

    def __init__(self) -> None:
        self._of: dict[Secret, int] = {}

    def of(self, settings: Settings) -> dict[int, Project]:
        """Return the projects of some settings by their index; new ones come at the end."""
        return {
            self._of.setdefault(project.api_key, len(self._of)): project
            for project in settings.projects
        }


@final
class Applying:
    """Puts settings in force that were found good; no step of it can be refused."""

    def __init__(
        self,
        settings: Settings,
        client: UpstreamClient,
        *,
        kept: Keeping,
        tracker: Tracker,
        in_force: InForce,
        house: House,
    ) -> None:
        self._places = Places()
        self._places.of(settings)
        self._before = settings
        self._in_force = in_force
        self._client = client
        self._kept = kept
        self._tracker = tracker
        self._house = house

    async def apply(self, settings: Settings) -> None:
        """Do what clients notice in one turn of the loop; then end and begin what takes time."""
        # What an earlier life knew is put in its place first.
        await self._kept.syncer.restored.wait()
        settings = asking_nobody(settings)
        before, self._before = self._before, settings
        projects = self._places.of(settings)
        ways = destinations(settings, self._client)
        if settings.log != before.log:
            logs.configure(level=settings.log.level, style=settings.log.format)
        self._tracker.serve(dict(zip(projects, ways, strict=True)))
        self._kept.change(settings, projects)
        self._in_force.apply(settings, projects)
        self._house.settings = settings
        await self._kept.settle()
