"""What operators see of one project's cohorts: gauges, status, lines about long loads."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, Literal, final

from proxy import logs
from proxy.sync.cohort_wanted import Wanted
from proxy.sync.cohort_workshop import Workshop

State = Literal["here", "loading", "missing"]
STATES: Final[tuple[State, ...]] = ("here", "loading", "missing")

log = logs.get("sync")


def state_of(wanted: Wanted, now: float, wait: float) -> State:
    """Return how a cohort stands; one that is here stays so while a new version loads.

    It is loading while flags wait for it, `wait` seconds at most, and whenever bytes of it come.
    """
    if wanted.here is not None:
        return "here"
    comes = wanted.load is not None and wanted.load.comes
    return "loading" if comes or wanted.awaited(now, wait) else "missing"


@final
class Showing:
    """Reads the cohorts of one project whenever somebody looks."""

    def __init__(self, label: str, cohorts: Mapping[str, Wanted], workshop: Workshop) -> None:
        self._label = label
        self._cohorts = cohorts
        self._clock = workshop.clock
        self._workshop = workshop
        metrics = workshop.metrics
        for state in STATES:
            metrics.cohorts.labels(label, state).set_function(partial(self._count, state))
        metrics.cohort_members.labels(label).set_function(self._members)
        metrics.cohort_oldest_age.labels(label).set_function(self._oldest_age)

    def status(self) -> dict[str, Any]:
        """Return the state of each cohort, as JSON; no key is in it."""
        now = _now()
        return {
            "project": self._label,
            **{state: self._count(state) for state in STATES},
            "members": self._members(),
            "oldest_age_seconds": round(self._oldest_age(), 3),
            "cohorts": [self._cohort(one, now) for one in self._cohorts.values()],
        }

    def remove(self) -> None:
        """Take every series of the project away."""
        metrics = self._workshop.metrics
        for state in STATES:
            metrics.cohorts.remove(self._label, state)
        metrics.cohort_members.remove(self._label)
        metrics.cohort_oldest_age.remove(self._label)

    def tell_progress(self, seconds: float) -> None:
        """Log how far each load is that has had its turn for so many seconds."""
        now = _now()
        for one in self._cohorts.values():
            load = one.load
            if load is not None and load.began is not None and now - load.began >= seconds:
                log.info(
                    "cohort loads",
                    project=self._label,
                    cohort=one.cohort_id,
                    seconds=round(now - load.began),
                    **load.progress(now),
                )

    def _cohort(self, wanted: Wanted, now: float) -> dict[str, Any]:
        here, load, journal = wanted.here, wanted.load, wanted.journal.status()
        # An id may hold what is no text; as such it cannot be written out.
        name = wanted.cohort_id.encode("utf-8", "replace").decode()
        told: dict[str, Any] = {
            "id": name,
            "state": state_of(wanted, now, self._workshop.timings.wait),
        }
        if here is None:
            told["reason"] = wanted.reason()
        else:
            told |= {
                "group_type": here.group_type,
                "size": here.size,
                "last_modified": here.last_modified,
                "age_seconds": round(self._clock() - wanted.confirmed_at, 3),
                "index_bytes": wanted.index_bytes,
                "packed_bytes": here.packed_bytes,
                "plain_bytes": here.plain_bytes,
                "packed_body_damaged": wanted.unsound,
            }
        return told | {
            "loading": None if load is None else load.progress(now),
            "needed_by": sorted(key.label for key in wanted.needed_by),
            "trouble": wanted.journal.trouble(),
            "last_outcome": next(iter(journal["last_outcomes"]), None),
            "next_attempt_in_seconds": journal["next_attempt_in_seconds"],
        }

    def _count(self, state: State) -> int:
        now = _now()
        return sum(
            state_of(one, now, self._workshop.timings.wait) == state
            for one in self._cohorts.values()
        )

    def _members(self) -> int:
        return sum(one.here.size for one in self._cohorts.values() if one.here is not None)

    def _oldest_age(self) -> float:
        # What nobody needs is not asked about, so its age says nothing.
        ages = [one.confirmed_at for one in self._cohorts.values() if one.here and one.needed_by]
        return self._clock() - min(ages) if ages else 0.0


def _now() -> float:
    return asyncio.get_running_loop().time()
