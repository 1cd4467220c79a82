"""Serving without upstream: what lies in a data directory is in force, and followed as it changes.

A new state is read, verified and compiled as a whole before anything of it is in force; whatever
is wrong with it, the state of before stays, and it is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, final

from proxy import logs, tasks
from proxy.cohorts.shelf import Cohort
from proxy.errors import ArchiveError, Damaged, ProxyError, UpstreamGarbled
from proxy.evaluation.deployment import CompiledDeployment
from proxy.settings.schema import Project
from proxy.sync.content import is_empty
from proxy.sync.desk import Desk
from proxy.sync.flags import kind_of
from proxy.sync.kept import KeptFlags
from proxy.sync.means import Means
from proxy.sync.needs import ProjectCohorts
from proxy.sync.offline_cohorts import OfflineCohorts
from proxy.sync.offline_reading import State, read_state
from proxy.sync.offline_roster import add_listed, name_all, remove_unlisted
from proxy.sync.roster import Roster

FAULTS: Final = frozenset({"no_room", "unreadable"})
"""What may be over by itself: it is tried again."""
RETRY_SECONDS: Final = 30.0

log = logs.get("offline")

Mark = tuple[int, int, int]
"""What changes when somebody writes or replaces a file."""


class Supply(NamedTuple):
    """What is served: `directory` holds it; `watched` changes when there is something new.

    `refresh` brings the directory up to date and blocks; it raises a `ProxyError`. None where
    somebody else does that. Where `signers` are named, only what one of them signed is served.
    """

    kind: str
    path: Path
    directory: Path
    watched: Path
    refresh: Callable[[], None] | None
    pause: float
    signers: frozenset[str] | None = None


@final
class Offline:
    """Puts in force what a data directory holds, again whenever that changes."""

    def __init__(
        self,
        supply: Supply,
        means: Means,
        roster: Roster,
        cohorts: Mapping[int, ProjectCohorts],
        projects: Callable[[], Mapping[int, Project]],
    ) -> None:
        self.trouble = ""
        self._supply = supply
        self._projects = projects
        self._all_cohorts = cohorts
        self._means = means
        self._roster = roster
        self._state: State | None = None
        self._absent: list[str] = []
        self._seen: Mark | None = None
        self._taken: Mark | None = None
        self._retry_at = float("inf")
        self._changed_at: float | None = None
        self._is_well = means.metrics.offline_ok.labels(supply.kind)
        self._is_well.set(0)
        means.metrics.offline_age.labels(supply.kind).set_function(self.age)

    async def restore(self) -> None:
        """Put in force what is there; what cannot be used stops nothing else."""
        self._seen = await tasks.in_thread(self._mark)
        if self._supply.refresh is not None:
            # What an earlier life unpacked need not wait for a large file to be verified.
            await self._attempt(None, whole=False)
            if self._state is not None:
                return
        await self._attempt(self._seen)
        if self._state is None:
            # What was there before is better than nothing, and so is a part of it.
            await self._attempt(self._seen, whole=False)

    async def run(self) -> None:
        """Follow what is there for ever."""
        while True:
            await asyncio.sleep(self._supply.pause)
            before, self._seen = self._seen, await tasks.in_thread(self._mark)
            # Who writes in place is not done yet: it counts once it rests.
            if self._seen is None or self._seen != before:
                if self._seen is None:
                    self._fail("unreadable", f"{self._supply.watched} is not there")
                    self._taken = None
                continue
            if self._seen != self._taken or _now() >= self._retry_at:
                await self._attempt(self._seen)

    def again(self) -> None:
        """Look soon at what is there, though it has not changed: who is served has."""
        self._taken = None

    def age(self) -> float:
        """Return how many seconds ago upstream last confirmed something that is served."""
        # The clock of who asked Amplitude may be ahead of ours.
        return 0.0 if self._state is None else max(0.0, self._means.clock() - self._state.as_of)

    def ready(self) -> tuple[str, bool, str]:
        """Return how readiness tells of it: trouble takes nobody out of service."""
        if self._state is None:
            return "offline", False, f"nothing to serve: {self.trouble}"
        reasons = [f"{self._supply.kind}, {self.age():.0f} s old", self.trouble]
        if self._absent:
            reasons.append(f"not in it: {', '.join(self._absent)}")
        return "offline", True, "; ".join(filter(None, reasons))

    def status(self) -> dict[str, Any]:
        """Return what an operator wants to know, as JSON; no key is in it."""
        state = self._state
        made = None if state is None else state.imported
        return {
            "kind": self._supply.kind,
            "path": str(self._supply.path),
            "as_of": None if state is None else state.as_of,
            "age_seconds": None if state is None else round(self.age(), 3),
            "changed_at": self._changed_at,
            "trouble": self.trouble,
            "damaged": [] if state is None else list(state.troubles),
            "deployments_absent": self._absent,
            "snapshot": None
            if made is None
            else {
                "id": made.id,
                "made_at": made.made_at,
                "signer": made.signer,
                "program": made.program,
            },
        }

    @property
    def _cohorts(self) -> list[OfflineCohorts]:
        return [one for one in self._all_cohorts.values() if isinstance(one, OfflineCohorts)]

    async def _attempt(self, mark: Mark | None, *, whole: bool = True) -> None:
        """Put in force what is there, or tell why not."""
        self._taken, self._retry_at = mark, float("inf")
        try:
            await self._take(whole=whole)
        except (ProxyError, OSError) as error:
            # Of a part that cannot be used either, nothing more is to be told.
            if whole:
                self._fail(_reason(error), str(error))
        except Exception as error:
            log.exception("what is served offline cannot be read", error=kind_of(error))
            self._fail("unusable", kind_of(error))

    async def _take(self, *, whole: bool) -> None:
        # A part of what is there is only looked for after all of it was tried.
        if whole and self._supply.refresh is not None:
            await tasks.in_thread(self._supply.refresh)
        held = {one.record: one.held for one in self._cohorts}
        state = await asyncio.to_thread(read_state, self._supply.directory, held, whole=whole)
        self._check_signer(state)
        add_listed(self._roster, self._projects(), state)
        compiled = await self._compiled(state, whole=whole)
        changed = self._put_in_force(state, compiled)
        await remove_unlisted(self._roster, self._projects(), state)
        if whole:
            self._succeed(changed=changed)

    def _check_signer(self, state: State) -> None:
        signers = self._supply.signers
        if signers is None or (state.imported is not None and state.imported.signer in signers):
            return
        raise ArchiveError("unknown_signer", "what was unpacked is signed by nobody who is trusted")

    async def _compiled(
        self, state: State, *, whole: bool
    ) -> list[tuple[Desk, KeptFlags, CompiledDeployment | None]]:
        """Return what is to be in force; None for what is already."""
        done: list[tuple[Desk, KeptFlags, CompiledDeployment | None]] = []
        for loop in self._roster.loops():
            desk = loop.desk
            kept = state.flags.get(desk.key.label)
            if kept is None:
                continue
            if desk.intake.body == kept.body:
                done.append((desk, kept, None))
                continue
            why = "none of the flags can be used"
            try:
                compiled = await desk.intake.compile(kept.body)
            except UpstreamGarbled as error:
                why, compiled = error.reason, None
            if compiled is not None and (compiled.flags or is_empty(kept.body)):
                done.append((desk, kept, compiled))
            elif whole:
                raise Damaged(f"{desk.slot.deployment.label}: {why}")
        if not done:
            raise ArchiveError("empty", "it holds the flags of no deployment that is served")
        return done

    def _put_in_force(
        self, state: State, compiled: list[tuple[Desk, KeptFlags, CompiledDeployment | None]]
    ) -> bool:
        """Replace everything in one step; return whether something is new."""
        served = {desk.key for desk, _, _ in compiled}
        desks = [loop.desk for loop in self._roster.loops()]
        absent = [desk for desk in desks if desk.key not in served]
        for cohorts in self._cohorts:
            cohorts.take(state.cohorts.get(cohorts.record, {}), {desk.key for desk in absent})
        name_all(self._roster, self._projects(), state)
        for desk, kept, new in compiled:
            if new is not None:
                desk.intake.restore(kept, new, "offline")
            else:
                at = min(kept.confirmed_at, self._means.clock())
                self._means.board.confirm(desk.key.reveal(), at)
        before, self._state = self._state, state
        self._absent = [desk.slot.deployment.label for desk in absent]
        news = any(new is not None for _, _, new in compiled)
        return news or before is None or _versions(before) != _versions(state)

    def _succeed(self, *, changed: bool) -> None:
        self._means.metrics.offline_reads.labels("changed" if changed else "unchanged").inc()
        self._is_well.set(1)
        if changed:
            self._changed_at = self._means.clock()
        if changed or self.trouble:
            log.info(
                "serving offline",
                kind=self._supply.kind,
                path=str(self._supply.path),
                seconds_old=round(self.age()),
                deployments_absent=self._absent,
            )
        self.trouble = ""

    def _fail(self, reason: str, text: str) -> None:
        told, self.trouble = self.trouble, text
        self._is_well.set(0)
        if reason in FAULTS:
            self._retry_at = _now() + RETRY_SECONDS
        if told == text:
            return
        self._means.metrics.offline_reads.labels(reason).inc()
        log.error(
            "what was found is not served; what was served before stays",
            path=str(self._supply.path),
            reason=reason,
            why=text,
        )

    def _mark(self) -> Mark | None:
        try:
            found = self._supply.watched.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def _versions(state: State) -> dict[tuple[str, str], Cohort]:
    return {
        (project, cohort_id): one.cohort
        for project, cohorts in state.cohorts.items()
        for cohort_id, one in cohorts.items()
    }


def _reason(error: ProxyError | OSError) -> str:
    if isinstance(error, ArchiveError):
        return error.reason
    return "damaged" if isinstance(error, Damaged) else "unreadable"


def _now() -> float:
    return asyncio.get_running_loop().time()
