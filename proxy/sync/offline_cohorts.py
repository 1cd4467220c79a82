"""The cohorts of one project while Amplitude is not asked: what is here is all there will be."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, final

from proxy.cohorts.shelf import Cohort, Shelf
from proxy.evaluation.cohorts import Target
from proxy.metrics import Metrics
from proxy.secret import Secret
from proxy.sync.offline_reading import HeldCohort
from proxy.tasks import Clock

ABSENT: Final = "is not in what is served offline"


@final
class OfflineCohorts:
    """Puts the cohorts of one project on the shelf; nobody ever waits for one.

    `record` is the hash of the project's API key, under which they are kept.
    """

    def __init__(
        self, label: str, index: int, record: str, shelf: Shelf, *, metrics: Metrics, clock: Clock
    ) -> None:
        self.label = label
        self.index = index
        self.record = record
        self.held: Mapping[str, HeldCohort] = {}
        self._shelf = shelf
        self._clock = clock
        self._needs: dict[Secret, frozenset[Target]] = {}
        self._damaged: set[str] = set()
        self._metrics = metrics
        metrics.cohorts.labels(label, "here").set_function(lambda: len(self.held))
        metrics.cohorts.labels(label, "loading").set(0)
        metrics.cohorts.labels(label, "missing").set_function(lambda: len(self._missing()))
        metrics.cohort_members.labels(label).set_function(self._members)
        metrics.cohort_oldest_age.labels(label).set_function(self._oldest_age)

    def take(self, held: Mapping[str, HeldCohort], absent: AbstractSet[Secret]) -> None:
        """Let these cohorts be in force, and of others those that `absent` deployments need.

        Their flags stay in force, and mean what they meant with their cohorts only.
        """
        needs = (self._needs.get(deployment, frozenset()) for deployment in absent)
        needed = {target.cohort_id for targets in needs for target in targets}
        held = {key: one for key, one in self.held.items() if key in needed} | dict(held)
        for cohort_id in self.held.keys() - held.keys():
            self._shelf.drop(self.index, cohort_id)
        for cohort_id, one in held.items():
            before = self.held.get(cohort_id)
            if before is None or before.cohort is not one.cohort:
                self._shelf.put(self.index, one.cohort)
                self._damaged.discard(cohort_id)
        self.held = held

    def close(self) -> None:
        """Take away what is shown of a project that is not served any more."""
        for state in ("here", "loading", "missing"):
            self._metrics.cohorts.remove(self.label, state)
        self._metrics.cohort_members.remove(self.label)
        self._metrics.cohort_oldest_age.remove(self.label)

    def need(self, deployment: Secret, targets: AbstractSet[Target]) -> None:
        """Say all that a deployment's flags target now."""
        self._needs.pop(deployment, None)
        if targets:
            self._needs[deployment] = frozenset(targets)

    def pending(self, targets: AbstractSet[Target]) -> frozenset[Target]:  # noqa: ARG002
        """Return none: nothing is on its way."""
        return frozenset()

    def rebuilding(self, targets: AbstractSet[Target]) -> frozenset[Target]:  # noqa: ARG002
        """Return none, likewise."""
        return frozenset()

    async def settled(self, targets: AbstractSet[Target]) -> None:
        """Return at once."""

    def missing(self, targets: AbstractSet[Target]) -> dict[Target, str]:
        """Return those that cannot be looked up, each with a reason fit for operators."""
        reasons = {target: self._lack(target) for target in sorted(targets)}
        return {target: reason for target, reason in reasons.items() if reason}

    async def moved(
        self,
        targets: AbstractSet[Target],  # noqa: ARG002
        missing: AbstractSet[Target],  # noqa: ARG002
    ) -> None:
        """Never return: what is served is replaced as a whole."""
        await asyncio.Event().wait()

    def is_unknown(self, cohort_id: str) -> bool:
        """Tell whether a cohort is not here: then it will not come."""
        return cohort_id not in self.held

    def renew(self, cohort: Cohort) -> None:
        """Note that the packed body of a cohort turned out damaged; nobody can be asked for it."""
        self._damaged.add(cohort.cohort_id)

    async def restore(self) -> None:
        """Return at once: `take` is told what is there."""

    async def run(self) -> None:
        """Do nothing for ever."""
        await asyncio.Event().wait()

    def status(self) -> dict[str, Any]:
        """Return the state of each cohort, as JSON; no key is in it."""
        missing = self._missing()
        return {
            "project": self.label,
            "here": len(self.held),
            "loading": 0,
            "missing": len(missing),
            "members": self._members(),
            "oldest_age_seconds": round(self._oldest_age(), 3),
            "cohorts": [
                *(self._shown(one) for one in self.held.values()),
                *(self._shown_missing(cohort_id) for cohort_id in sorted(missing)),
            ],
            "loop_deaths": 0,
        }

    def _shown(self, one: HeldCohort) -> dict[str, Any]:
        cohort = one.cohort
        return {
            "id": _text(cohort.cohort_id),
            "state": "here",
            "group_type": cohort.group_type,
            "size": cohort.size,
            "last_modified": cohort.last_modified,
            "age_seconds": round(self._clock() - one.kept.confirmed_at, 3),
            "index_bytes": one.index_bytes,
            "packed_bytes": cohort.packed_bytes,
            "plain_bytes": cohort.plain_bytes,
            "packed_body_damaged": cohort.cohort_id in self._damaged,
            **self._common(cohort.cohort_id),
        }

    def _shown_missing(self, cohort_id: str) -> dict[str, Any]:
        state = {"id": _text(cohort_id), "state": "missing", "reason": ABSENT}
        return {**state, **self._common(cohort_id)}

    def _common(self, cohort_id: str) -> dict[str, Any]:
        needed_by = sorted(
            key.label
            for key, targets in self._needs.items()
            if any(target.cohort_id == cohort_id for target in targets)
        )
        return {
            "loading": None,
            "needed_by": needed_by,
            "trouble": "",
            "last_outcome": None,
            "next_attempt_in_seconds": None,
        }

    def _lack(self, target: Target) -> str:
        one = self.held.get(target.cohort_id)
        if one is None:
            return ABSENT
        is_type = one.cohort.group_type
        return "" if is_type == target.group_type else f"is of group type {is_type}"

    def _missing(self) -> set[str]:
        wanted = {target.cohort_id for targets in self._needs.values() for target in targets}
        return wanted - self.held.keys()

    def _members(self) -> int:
        return sum(one.cohort.size for one in self.held.values())

    def _oldest_age(self) -> float:
        ages = [one.kept.confirmed_at for one in self.held.values()]
        return self._clock() - min(ages) if ages else 0.0


def _text(cohort_id: str) -> str:
    # An id may hold what is no text; as such it cannot be written out.
    return cohort_id.encode("utf-8", "replace").decode()
