"""What of the clients' port changes without a restart, put in force in one turn of the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from proxy.settings.schema import Limits, Project, Settings

Change = Callable[["Settings", "Mapping[int, Project]"], None]
"""Put settings in force, with the projects by their index; it cannot fail."""


@final
class InForce:
    """The limits in force: whoever looks at a request reads them then, and keeps none of them.

    `changes` are told of everything that is put in force later.
    """

    __slots__ = ("changes", "limits")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.changes: list[Change] = []

    @property
    def patience(self) -> float:
        """How many seconds a request may take."""
        return self.limits.request_timeout_millis / 1000

    def apply(self, settings: Settings, projects: Mapping[int, Project]) -> None:
        """Put other settings in force, for the next request; those under way go on as they are."""
        self.limits = settings.limits
        for change in self.changes:
            change(settings, projects)
