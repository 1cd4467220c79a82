"""Evaluating one user from one snapshot, counted and reported: what every way of asking shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, final

from proxy.api.requests import wants_exposures, wants_tracking
from proxy.evaluation.cohorts import USER
from proxy.evaluation.lists import members
from proxy.evaluation.outcomes import Outcome
from proxy.evaluation.text import text
from proxy.evaluation.users import first_names, of_group

if TYPE_CHECKING:
    from proxy.api.answers import Fresh
    from proxy.api.reports import Reports, Retelling
    from proxy.evaluation.memberships import Memberships
    from proxy.metrics import Metrics
    from proxy.settings.schema import Settings
    from proxy.snapshots.snapshot import Deployment, Snapshot
    from proxy.tasks import Clock

MembershipsOf = Callable[["Deployment", str, str], "Memberships | None"]
"""Give what is known of the member of a group type (`User` for users) with a name.

None says that the deployment has no cohorts of this type at all.
"""


def no_memberships(_deployment: Deployment, _group_type: str, _name: str) -> None:
    """Know of no cohort."""


@final
class Evaluator:
    """Evaluates users and hands what was answered to `reports`, after the answer is decided."""

    def __init__(
        self,
        reports: Reports,
        settings: Settings,
        metrics: Metrics,
        clock: Clock,
        memberships_of: MembershipsOf = no_memberships,
    ) -> None:
        self._reports = reports
        self._track = reports.track
        self._expose = reports.expose
        self._memberships_of = memberships_of
        self._trust = settings.trust_client_cohorts
        self.clock = clock
        self._evaluated = metrics.official["evaluation"].inc
        self._failed = metrics.official["evaluation_failure"].inc
        self._took = metrics.evaluation_seconds.observe

    def evaluate(
        self,
        snapshot: Snapshot,
        user: dict[str, Any],
        keys: Sequence[str],
        encode: Callable[[list[Outcome]], bytes],
    ) -> tuple[list[Outcome], bytes]:
        """Return the outcomes of `keys` (none for all) for a user, and their encoded answer.

        The user's cohorts are settled in place.
        """
        began = perf_counter()
        try:
            self.settle_cohorts(user, snapshot)
            outcomes = snapshot.compiled.evaluate(user, keys)
            body = encode(outcomes)
        except Exception:
            self._failed()
            raise
        self._took(perf_counter() - began)
        self._evaluated()
        return outcomes, body

    def report(
        self,
        headers: Mapping[str, str],
        snapshot: Snapshot,
        user: dict[str, Any],
        outcomes: list[Outcome],
        keys: Sequence[str],
    ) -> None:
        """Offer an evaluation for reporting, as far as the request's headers wish it."""
        if wants_tracking(headers):
            self._track(snapshot.deployment.project_index, user, outcomes, self.clock())
        if wants_exposures(headers):
            asked, project = frozenset(keys), snapshot.deployment.project_index
            self._expose(project, user, outcomes, asked, self.clock())

    def retelling(self, fresh: Fresh) -> Retelling:
        """Return what reports an evaluation when its answer is given again."""
        _, _, _, project, user, outcomes, keys = fresh
        return self._reports.retelling(project, user, outcomes, frozenset(keys))

    def settle_cohorts(self, user: dict[str, Any], snapshot: Snapshot) -> None:
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
