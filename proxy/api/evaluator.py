"""Evaluating one user from one snapshot, counted and reported: what every way of asking shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, final

from proxy.api.requests import wants_exposures, wants_tracking
from proxy.api.settling import KnownCohorts, MembershipsOf, no_memberships
from proxy.evaluation.outcomes import Outcome

if TYPE_CHECKING:
    from proxy.api.answers import Fresh
    from proxy.api.reports import Reports, Retelling
    from proxy.metrics import Metrics
    from proxy.settings.schema import Settings
    from proxy.snapshots.snapshot import Snapshot
    from proxy.tasks import Clock


@final
class Evaluator:
    """Evaluates users and hands what was answered to `reports`, after the answer is decided.

    `settle_cohorts` puts the known cohorts of a user into it, as before each evaluation.
    """

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
        known = KnownCohorts(memberships_of, trusts_claims=settings.trust_client_cohorts)
        self.settle_cohorts = known.settle
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
