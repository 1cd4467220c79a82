"""Which cohorts count for a user: those that are known, and what a client may claim."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, final

from proxy.evaluation.cohorts import USER
from proxy.evaluation.lists import members
from proxy.evaluation.text import text
from proxy.evaluation.users import first_names, of_group

if TYPE_CHECKING:
    from proxy.evaluation.memberships import Memberships
    from proxy.snapshots.snapshot import Deployment, Snapshot

MembershipsOf = Callable[["Deployment", str, str], "Memberships | None"]
"""Give what is known of the member of a group type (`User` for users) with a name.

None says that the deployment has no cohorts of this type at all.
"""


def no_memberships(_deployment: Deployment, _group_type: str, _name: str) -> None:
    """Know of no cohort."""


@final
class KnownCohorts:
    """Settles users' cohorts before they are evaluated."""

    def __init__(self, memberships_of: MembershipsOf, *, trusts_claims: bool) -> None:
        self._memberships_of = memberships_of
        self._trust = trusts_claims

    def settle(self, user: dict[str, Any], snapshot: Snapshot) -> None:
        """Put the known cohorts of a user and its groups where a client may have claimed some.

        What a client claims counts only where it is trusted, and then beside what is known.
        """
        claimed = user.pop("cohort_ids", None)
        claimed_of_groups = user.pop("group_cohort_ids", None)
        if not self._trust:
            claimed = claimed_of_groups = None
        name = _name(user.get("user_id"))
        if name is not None or _is_claim(claimed):
            user["cohort_ids"] = self._cohorts(snapshot, USER, name, claimed)
        for group_type, group_name in first_names(user) if user.get("groups") else ():
            claimed = of_group(claimed_of_groups, group_type, group_name)
            ids = self._cohorts(snapshot, group_type, group_name, claimed)
            if ids:
                user.setdefault("group_cohort_ids", {})[group_type] = {group_name: ids}

    def _cohorts(
        self, snapshot: Snapshot, group_type: str, name: str | None, claimed: Any
    ) -> Memberships | list[str]:
        """Return what is known and what is claimed together; types nobody targets are unknown."""
        ids = _claimed(claimed) if claimed else []
        if name is None or group_type not in snapshot.compiled.targeted_types:
            return ids
        known = self._memberships_of(snapshot.deployment, group_type, name)
        if known is None:
            return ids
        return known.joined(ids) if ids else known


def _is_claim(claimed: Any) -> bool:
    return isinstance(claimed, dict | list)


def _claimed(claimed: Any) -> list[str]:
    """Return the ids that a client names; the Go SDK sends an object whose names they are."""
    if not _is_claim(claimed):
        return []
    return list(members(list(claimed)) or ())


def _name(user_id: Any) -> str | None:
    """Return the text by which a user is looked up: numbers count, other types do not."""
    if isinstance(user_id, str):
        return user_id
    if isinstance(user_id, int | float) and not isinstance(user_id, bool):
        return text(user_id)
    return None
