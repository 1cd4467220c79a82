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
    wants_tracking,
)
from proxy.evaluation.outcomes import Outcome, answer, answer_v1
from proxy.evaluation.text import text

if TYPE_CHECKING:
    from proxy.metrics import Metrics
    from proxy.settings.schema import Settings
    from proxy.snapshots.snapshot import Deployment, Snapshot
    from proxy.tasks import Clock

Track = Callable[[int, dict[str, Any], list[Outcome], float], None]
"""Offer one evaluation for reporting: project index, user, outcomes, seconds since 1970."""

CohortsOf = Callable[["Deployment", str, str], list[str]]
"""Tell the cohorts that a deployment knows of a group type (`User` for users) and a name."""

USER = "User"


def no_cohorts(_deployment: Deployment, _group_type: str, _name: str) -> list[str]:
    """Know of no cohort."""
    return []


class Vardata:
    """Evaluates users and hands what was answered to `track`, after the answer is decided."""

    def __init__(
        self,
        track: Track,
        settings: Settings,
        metrics: Metrics,
        clock: Clock,
        cohorts_of: CohortsOf = no_cohorts,
    ) -> None:
        self._track = track
        self._cohorts_of = cohorts_of
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
        self.settle_cohorts(user, snapshot.deployment)
        began = perf_counter()
        try:
            outcomes = snapshot.compiled.evaluate(user, keys)
            body = encode(outcomes)
        except Exception:
            self._failed()
            raise
        self._took(perf_counter() - began)
        self._evaluated()
        if wants_tracking(request.headers):
            self._track(snapshot.deployment.project_index, user, outcomes, self._clock())
        return Response(200, body)

    def settle_cohorts(self, user: dict[str, Any], deployment: Deployment) -> None:
        """Replace the cohorts that a client claims by the known ones, or join trusted ones."""
        claimed = user.pop("cohort_ids", None)
        if not self._trust:
            user.pop("group_cohort_ids", None)
            claimed = None
        name = _name(user.get("user_id"))
        known = None if name is None else self._cohorts_of(deployment, USER, name)
        if isinstance(claimed, dict | list):
            # The Go SDK sends an object whose names are the cohorts.
            user["cohort_ids"] = list(dict.fromkeys([*map(str, claimed), *(known or ())]))
        elif known is not None:
            user["cohort_ids"] = known


def _name(user_id: Any) -> str | None:
    """Return the text by which a user is looked up: numbers count, other types do not."""
    if isinstance(user_id, str):
        return user_id
    if isinstance(user_id, int | float) and not isinstance(user_id, bool):
        return text(user_id)
    return None
