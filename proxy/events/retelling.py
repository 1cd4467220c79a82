"""What is told of an answer that is kept and given again and again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from proxy.evaluation.outcomes import Outcome
from proxy.events.event import ASSIGNMENT, EXPOSURE
from proxy.events.sieve import Memo, Sieve
from proxy.events.subject import group_names, id_text


# There may be tens of thousands of them: the garbage collector has no business with them.
class Retelling(msgspec.Struct, gc=False, eq=False):
    """Offers one answer each time that it is given; free of cost while it counts as told.

    Ids and groups are all that is told of the user; `asked` are the flags that were asked for,
    empty for all. `assigned` is None when assignments are not reported.
    """

    sieve: Sieve
    place: int
    user_id: str | None
    device_id: str | None
    groups: Mapping[str, list[str]] | None
    outcomes: tuple[Outcome, ...]
    asked: Collection[str]
    assigned: Memo | None
    exposed: Memo | None = None

    def track(self, at: float) -> None:
        """Take note of the answer, given at the second `at`; never raises."""
        memo = self.assigned
        if memo is not None and not memo.is_told(len(self.sieve.waiting), at):
            self.sieve.take((ASSIGNMENT, *self._answer(), (), at, memo))

    def expose(self, at: float) -> None:
        """Take note of the answer as an exposure, at the second `at`; never raises."""
        memo = self.exposed
        if memo is None:
            memo = self.exposed = Memo()
        if not memo.is_told(len(self.sieve.waiting), at):
            self.sieve.take((EXPOSURE, *self._answer(), self.asked, at, memo))

    def _answer(self) -> tuple[int, str | None, str | None, Any, tuple[Outcome, ...]]:
        return self.place, self.user_id, self.device_id, self.groups, self.outcomes


def retelling(
    sieve: Sieve,
    place: int,
    user: Mapping[str, Any],
    outcomes: Sequence[Outcome],
    asked: Collection[str],
    *,
    assigned: Memo | None,
) -> Retelling:
    """Make the retelling of an answer; of the user, it keeps what events tell and nothing else."""
    groups = user.get("groups")
    return Retelling(
        sieve,
        place,
        id_text(user.get("user_id")),
        id_text(user.get("device_id")),
        (group_names(groups) or None) if groups else None,
        tuple(outcomes),
        asked,
        assigned,
    )
