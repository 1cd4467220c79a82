"""What is done with what clients were told, and with what they tell themselves."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple, Protocol

from proxy.api.uploads import Desk
from proxy.evaluation.outcomes import Outcome

Track = Callable[[int, dict[str, Any], list[Outcome], float], None]
"""Offer one evaluation for reporting: project index, user, outcomes, seconds since 1970."""

Expose = Callable[[int, dict[str, Any], list[Outcome], Collection[str], float], None]
"""Offer one evaluation as an exposure: as above, and the flags asked for, none for all."""


def no_exposures(
    _project_index: int,
    _user: dict[str, Any],
    _outcomes: list[Outcome],
    _asked: Collection[str],
    _at: float,
) -> None:
    """Report nothing."""


class Retelling(Protocol):
    """What reports one answer each time that it is given again, at a second since 1970."""

    def track(self, at: float) -> None:
        """Offer it as an evaluation."""

    def expose(self, at: float) -> None:
        """Offer it as an exposure."""


Retell = Callable[[int, dict[str, Any], list[Outcome], Collection[str]], Retelling]
"""Give what reports an answer again: project index, user, outcomes, flags asked for."""


class Reports(NamedTuple):
    """Who reports evaluations and exposures; who takes uploads, None for nobody.

    `retell` knows a cheaper way to report the same again; without it, it is the same way.
    """

    track: Track
    expose: Expose = no_exposures
    desk: Desk | None = None
    retell: Retell | None = None

    def retelling(
        self,
        project_index: int,
        user: dict[str, Any],
        outcomes: list[Outcome],
        asked: Collection[str],
    ) -> Retelling:
        """Return what reports an answer each time that it is given again."""
        retell = self.retell
        if retell is not None:
            return retell(project_index, user, outcomes, asked)
        return Anew(self, project_index, user, outcomes, asked)


class Anew(NamedTuple):
    """Reports an answer that is given again as if it had been evaluated anew."""

    reports: Reports
    project_index: int
    user: dict[str, Any]
    outcomes: list[Outcome]
    asked: Collection[str]

    def track(self, at: float) -> None:
        """Offer it as an evaluation."""
        self.reports.track(self.project_index, self.user, self.outcomes, at)

    def expose(self, at: float) -> None:
        """Offer it as an exposure."""
        self.reports.expose(self.project_index, self.user, self.outcomes, self.asked, at)
