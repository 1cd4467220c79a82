"""What is done with what clients were told, and with what they tell themselves."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

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


class Reports(NamedTuple):
    """Who reports evaluations and exposures; who takes uploads, None for nobody."""

    track: Track
    expose: Expose = no_exposures
    desk: Desk | None = None
