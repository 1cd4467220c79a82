"""Remote evaluation: `/sdk/v2/vardata`, and the older `/sdk/vardata` and `/v1/vardata`."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

from proxy.api.messages import Request, Response
from proxy.api.requests import (
    flag_keys,
    query_fields,
    user_from_body,
    user_from_header,
    user_from_query,
    wants_exposures,
    wants_tracking,
)
from proxy.evaluation.cohorts import USER
from proxy.evaluation.lists import members
from proxy.evaluation.outcomes import Outcome, answer, answer_v1
from proxy.evaluation.text import text
from proxy.evaluation.users import first_names, of_group

if TYPE_CHECKING:
    from proxy.api.reports import Reports
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


class Vardata:
    """Evaluates users and hands what was answered to `reports`, after the answer is decided."""

    def __init__(
        self,
        reports: Reports,
        settings: Settings,
        metrics: Metrics,
        clock: Clock,
        memberships_of: MembershipsOf = no_memberships,
    ) -> None:
        self._track = reports.track
        self._expose = reports.expose
        self._memberships_of = memberships_of
        self._trust = settings.trust_client_cohorts
        self._deepest = settings.limits.max_json_depth
        self._most_keys = settings.limits.max_flag_keys
        self._clock = clock
        self._evaluated = metrics.official["evaluation"].inc
        self._failed = metrics.official["evaluation_failure"].inc
        self._took = metrics.evaluation_seconds.observe

    def by_header(self, request: Request, snapshot: Snapshot) -> Response:
        """Evaluate the user of `X-Amp-Exp-User`; the answer holds all that the engine returned."""
        user = user_from_header(request.headers, self._deepest)
        return self._evaluate(request, snapshot, user, answer)

    def by_body(self, request: Request, snapshot: Snapshot) -> Response:
        """Evaluate the user that the body is; the answer holds all that the engine returned."""
        user = user_from_body(request.body, self._deepest)
        return self._evaluate(request, snapshot, user, answer)

    def by_header_v1(self, request: Request, snapshot: Snapshot) -> Response:
        """Evaluate the user of `X-Amp-Exp-User`, without default and undeployed variants."""
        user = user_from_header(request.headers, self._deepest)
        return self._evaluate(request, snapshot, user, answer_v1)

    def by_body_v1(self, request: Request, snapshot: Snapshot) -> Response:
        """Evaluate the user that the body is, without default and undeployed variants."""
        user = user_from_body(request.body, self._deepest)
        return self._evaluate(request, snapshot, user, answer_v1)

    def by_query_v1(self, request: Request, snapshot: Snapshot) -> Response:
        """Evaluate the user of the query, without default and undeployed variants."""
        user = user_from_query(query_fields(request.query), self._deepest)
        return self._evaluate(request, snapshot, user, answer_v1)

    def _evaluate(
        self,
        request: Request,
        snapshot: Snapshot,
        user: dict[str, Any],
        encode: Callable[[list[Outcome]], bytes],
    ) -> Response:
        keys = flag_keys(request.headers, request.query, self._most_keys)
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
        if wants_tracking(request.headers):
            self._track(snapshot.deployment.project_index, user, outcomes, self._clock())
        if wants_exposures(request.headers):
            asked, project = frozenset(keys), snapshot.deployment.project_index
            self._expose(project, user, outcomes, asked, self._clock())
        return Response(200, body)

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
