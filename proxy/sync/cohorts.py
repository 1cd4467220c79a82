"""The cohorts loop: keeps every cohort that one project's flags target here and up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, Final, final

from proxy import logs, tasks
from proxy.cohorts.shelf import Cohort
from proxy.evaluation.cohorts import Target
from proxy.secret import Secret
from proxy.sync.chorus import Chorus
from proxy.sync.cohort_loading import Loader
from proxy.sync.cohort_records import CohortRecords, Found
from proxy.sync.cohort_showing import Showing
from proxy.sync.cohort_verdicts import FAILURES, OUR_TROUBLE, CohortTimings, Result
from proxy.sync.cohort_wanted import Load, Saved, Wanted
from proxy.sync.cohort_workshop import Workshop
from proxy.sync.flags import kind_of
from proxy.sync.schedule import Backoff, jittered
from proxy.upstream.cohorts import Credentials

LOOP: Final = "cohorts"
LEAST_WAIT_SECONDS: Final = 0.001
FIRST_LOADS, OTHERS = 0, 1
"""Ranks: a cohort that was never tried goes before all refreshes and further tries."""

log = logs.get("sync")


@final
class CohortsLoop:
    """Loads the cohorts of one project as soon as deployments need them, and refreshes them.

    Each has a task of its own, guarded, so that one cohort's trouble is its own. A cohort is
    *here* when it can be looked up, and *given up* when no flag should wait for it any more.
    """

    def __init__(
        self, label: str, index: int, credentials: Credentials, workshop: Workshop
    ) -> None:
        self.label = label
        self.deaths = 0
        self._index = index
        self._workshop = workshop
        self._draw = workshop.draw(f"cohorts/{index}")
        self._records = CohortRecords(workshop.store, credentials.api_key.label, label)
        self._loader = Loader(label, index, credentials, self._records, workshop)
        self._needs: dict[Secret, frozenset[str]] = {}
        self._cohorts: dict[str, Wanted] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._voice = Chorus(label)
        self._running = False
        self._news = asyncio.Event()
        # Something that was missing is here, or the other way round.
        self._moves = asyncio.Event()
        self._showing = Showing(label, self._cohorts, workshop)

    @property
    def _timings(self) -> CohortTimings:
        return self._workshop.timings

    def use(self, credentials: Credentials) -> None:
        """Ask with these keys from now on, at once for what upstream did not give for others."""
        if not self._loader.use(credentials):
            return
        for wanted in self._cohorts.values():
            if wanted.last is not None and wanted.last.outcome in FAILURES:
                wanted.backoff.succeeded()
                wanted.hurry.set()

    def close(self) -> None:
        """Take away what is shown of a project that is not served any more."""
        self._showing.remove()

    def need(self, deployment: Secret, targets: AbstractSet[Target]) -> None:
        """Say all that a deployment's flags target now; replaces what was said of it before."""
        before = self._needs.pop(deployment, frozenset())
        after = frozenset(target.cohort_id for target in targets)
        if after:
            self._needs[deployment] = after
        now = _now()
        for cohort_id in sorted(after - before):
            wanted = self._cohorts.get(cohort_id)
            if wanted is None:
                wanted = self._add(cohort_id)
            wanted.need(deployment, now)
        for cohort_id in before - after:
            self._cohorts[cohort_id].leave(deployment, now)

    def pending(self, targets: AbstractSet[Target]) -> frozenset[Target]:
        """Return those worth waiting for: needed, and neither here nor given up."""
        now = _now()
        return frozenset(target for target in targets if self._is_pending(target.cohort_id, now))

    def rebuilding(self, targets: AbstractSet[Target]) -> frozenset[Target]:
        """Return the pending ones whose body is saved."""
        pending = self.pending(targets)
        return frozenset(one for one in pending if self._cohorts[one.cohort_id].saved is not None)

    async def settled(self, targets: AbstractSet[Target]) -> None:
        """Return as soon as nothing of `targets` is pending."""
        while pending := self.pending(targets):
            first = min(self._cohorts[target.cohort_id].since or 0.0 for target in pending)
            left = first + self._timings.wait - _now()
            # By an error of rounding, none may be left though the wait is not over.
            await tasks.wait_for_event(self._news, max(left, LEAST_WAIT_SECONDS))

    def missing(self, targets: AbstractSet[Target]) -> dict[Target, str]:
        """Return those that cannot be looked up, each with a reason fit for operators."""
        reasons = {target: self._lack(target) for target in sorted(targets)}
        return {target: reason for target, reason in reasons.items() if reason}

    async def moved(self, targets: AbstractSet[Target], missing: AbstractSet[Target]) -> None:
        """Return as soon as others of `targets` than those in `missing` are missing."""
        while self.missing(targets).keys() == missing:
            await self._moves.wait()

    def is_unknown(self, cohort_id: str) -> bool:
        """Tell whether a cohort is not here because upstream knows no such cohort."""
        wanted = self._cohorts.get(cohort_id)
        return wanted is not None and wanted.unknown

    def renew(self, cohort: Cohort) -> None:
        """Get a cohort anew whose packed body turned out damaged, unless it is replaced already."""
        wanted = self._cohorts.get(cohort.cohort_id)
        if wanted is not None:
            wanted.doubt(cohort, _now(), self._timings.period)

    async def restore(self) -> None:
        """Put the cohorts that the store kept on the shelf; await it before `run`."""
        for found in await self._records.restore():
            self._take(found)

    async def run(self) -> None:
        """Keep the cohorts up to date for ever, whatever happens."""
        self._running = True
        for wanted in self._cohorts.values():
            self._start(wanted)
        try:
            await tasks.keep_alive(self._keep_house, self._died)
        finally:
            self._running = False
            await tasks.stop(*self._tasks.values())
            self._tasks.clear()

    def status(self) -> dict[str, Any]:
        """Return what an operator wants to know, as JSON; no key is in it."""
        return {**self._showing.status(), "loop_deaths": self.deaths}

    def _is_pending(self, cohort_id: str, now: float) -> bool:
        wanted = self._cohorts.get(cohort_id)
        return wanted is not None and wanted.awaited(now, self._timings.wait)

    def _lack(self, target: Target) -> str:
        wanted = self._cohorts.get(target.cohort_id)
        if wanted is None:
            return "is not wanted by any flag"
        if wanted.here is None:
            return wanted.reason()
        is_type = wanted.here.group_type
        return "" if is_type == target.group_type else f"is of group type {is_type}"

    def _add(self, cohort_id: str) -> Wanted:
        timings = self._timings
        wanted = Wanted(
            cohort_id=cohort_id,
            journal=self._workshop.journal(f"{self.label}/{cohort_id}", self._voice),
            backoff=Backoff(self._draw, first=timings.first_retry, longest=timings.longest_pause),
            preparing=Backoff(
                self._draw,
                first=timings.first_retry,
                longest=timings.longest_preparing,
                low=1.0,
                high=1.5,
            ),
            left_at=_now(),
        )
        self._cohorts[cohort_id] = wanted
        if self._running:
            self._start(wanted)
        return wanted

    def _take(self, found: Found) -> None:
        wanted = self._add(found.kept.cohort_id)
        if found.cohort is not None:
            self._workshop.shelf.put(self._index, found.cohort)
            wanted.put(found.cohort, found.index_bytes, found.kept.confirmed_at)
            wanted.unsound = not found.sound
        elif found.body is not None:
            wanted.saved = Saved(found.body, found.kept.confirmed_at)

    def _start(self, wanted: Wanted) -> None:
        guarded = tasks.keep_alive(partial(self._tend, wanted), partial(self._lost, wanted))
        self._tasks[wanted.cohort_id] = tasks.start(f"cohort {wanted.cohort_id}", guarded)

    async def _tend(self, wanted: Wanted) -> None:
        """Try to have the newest version of one cohort, for as long as it is needed."""
        if wanted.journal.last("loop"):
            wanted.journal.note("loop", "restarted")
        while True:
            await wanted.needed.wait()
            wanted.hurry.clear()
            pause = await self._attempt(wanted)
            wanted.journal.expect(pause)
            await tasks.wait_for_event(wanted.hurry, pause)

    async def _attempt(self, wanted: Wanted) -> float:
        """Try once, in turn, and return the pause until the next time."""
        if wanted.saved is not None:
            await self._rebuild(wanted, wanted.saved)
        load = wanted.load = Load()
        try:
            rank = FIRST_LOADS if wanted.last is None and wanted.here is None else OTHERS
            async with self._workshop.turns.turn(rank):
                if not wanted.needed_by:
                    return 0.0
                load.began = _now()
                result = await self._loader.attempt(wanted, load)
        finally:
            wanted.load = None
        self._conclude(wanted, result)
        return wanted.pause(result, jittered(self._timings.period, self._draw))

    async def _rebuild(self, wanted: Wanted, saved: Saved) -> None:
        # Without a turn: who waits for upstream, and may do so for long, must not hold it up.
        load = wanted.load = Load(began=_now())
        try:
            result = await self._loader.rebuild(wanted, saved, load)
        finally:
            wanted.load = None
        if result.outcome not in OUR_TROUBLE:
            wanted.saved = None
        self._conclude(wanted, result)

    def _conclude(self, wanted: Wanted, result: Result) -> None:
        wanted.conclude(result)
        if wanted.gone:
            self._workshop.shelf.drop(self._index, wanted.cohort_id)
            self._records.forget(wanted.cohort_id)
            wanted.lose()
            log.warning("cohort is gone upstream", project=self.label, cohort=wanted.cohort_id)
        # All who wait look for themselves whether it concerns them.
        self._news.set()
        self._news = asyncio.Event()
        if wanted.moved():
            self._moves.set()
            self._moves = asyncio.Event()

    async def _keep_house(self) -> None:
        """Tell of long loads, get anew what was lost on the disk, and drop what nobody needs."""
        while True:
            await asyncio.sleep(self._timings.progress)
            self._voice.tell()
            self._showing.tell_progress(self._timings.progress)
            for cohort_id in self._records.lost() & self._cohorts.keys():
                self._cohorts[cohort_id].unsound = True
            await self._drop_unneeded()

    async def _drop_unneeded(self) -> None:
        # A flag that waits for its first cohorts may bring back those that seem unneeded.
        if any(one.load is not None and one.here is None for one in self._cohorts.values()):
            return
        latest = _now() - self._timings.grace
        unneeded = [
            one
            for one in self._cohorts.values()
            if one.left_at is not None and one.left_at <= latest and one.load is None
        ]
        for one in unneeded:
            del self._cohorts[one.cohort_id]
            self._workshop.shelf.drop(self._index, one.cohort_id)
            self._records.forget(one.cohort_id)
            log.info("cohort dropped", project=self.label, cohort=one.cohort_id)
        await tasks.stop(*(self._tasks.pop(one.cohort_id) for one in unneeded))

    def _lost(self, wanted: Wanted, error: BaseException | None, pause: float) -> None:
        """Note that the task of one cohort died."""
        wanted.journal.note("loop", "died", kind_of(error))
        wanted.journal.expect(pause)
        self._tell_death(error, cohort=wanted.cohort_id)

    def _died(self, error: BaseException | None, _pause: float) -> None:
        self._tell_death(error)

    def _tell_death(self, error: BaseException | None, **of: str) -> None:
        self.deaths += 1
        self._workshop.metrics.loop_deaths.labels(LOOP).inc()
        name = kind_of(error)
        log.error("cohorts loop died", project=self.label, error=name, exc_info=error, **of)


def _now() -> float:
    return asyncio.get_running_loop().time()
