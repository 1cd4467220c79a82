"""Memberships: the cohorts of one user or group, looked up when a condition asks for them.

They stand in a user where a list of cohort ids would stand, and every condition answers as it
would for that list. Which cohorts there are and who is in them is for the caller to know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import final

Holds = Callable[[str], bool]
Known = Callable[[], Iterable[str]]


@final
class Memberships:
    """The cohorts of one user or group; each is looked up at most once.

    `holds` tells whether a cohort has this member, `known` names the cohorts there are, and
    `claimed` are cohorts that count whatever `holds` says.
    """

    __slots__ = ("_answers", "_claimed", "_holds", "_known", "_of_group")

    def __init__(self, holds: Holds, known: Known, claimed: Sequence[str] = ()) -> None:
        self._holds = holds
        self._known = known
        self._answers: dict[str, bool] = dict.fromkeys(claimed, True) if claimed else {}
        self._claimed = tuple(self._answers)
        self._of_group = False

    def any_of(self, ids: Iterable[str]) -> bool:
        """Tell whether one of the cohorts holds, looking up these only, up to the first."""
        answers = self._answers
        for cohort_id in ids:
            held = answers.get(cohort_id)
            if held is None:
                held = answers[cohort_id] = self._holds(cohort_id)
            if held:
                return True
        return False

    def any_of_or_null(self, ids: Iterable[str]) -> bool:
        """Tell whether one of the cohorts holds or a selector finds nothing here."""
        return self.any_of(ids) or self.selected() is None

    def are_null(self) -> bool:
        """Tell whether a selector finds nothing here, as for a group that is in no cohort."""
        return self._of_group and not self.listed()

    def listed(self) -> list[str]:
        """Return the ids of all cohorts that hold: those claimed, then the others in order."""
        held = [cohort_id for cohort_id in sorted(set(self._known())) if self.any_of((cohort_id,))]
        return list(dict.fromkeys([*self._claimed, *held]))

    def selected(self) -> list[str] | None:
        """Return what a selector finds: the list; None for a group that is in no cohort."""
        return self.listed() or (None if self._of_group else [])

    def of_group(self) -> Memberships:
        """Return the same memberships as a group has them: where there are none, they are null."""
        if self._of_group:
            return self
        same = Memberships(self._holds, self._known, self._claimed)
        same._answers = self._answers
        same._of_group = True
        return same

    def joined(self, claimed: Sequence[str]) -> Memberships:
        """Return these and the claimed cohorts together."""
        return Memberships(self._holds, self._known, [*self._claimed, *claimed])
