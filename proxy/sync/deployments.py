"""The deployments loop: keeps the list of one project's deployments up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, final

import msgspec

from proxy import logs, tasks
from proxy.errors import UpstreamError
from proxy.secret import Secret
from proxy.sync.flags import kind_of
from proxy.sync.means import Means
from proxy.sync.plan import Owner, Plan, plan
from proxy.sync.roster import Roster
from proxy.sync.schedule import Backoff, jittered
from proxy.upstream.deployments import list_deployments

WHAT = "deployments"

log = logs.get("sync")


@final
class DeploymentsLoop:
    """Asks the management API; `known` once it ever answered; guarded like a flags loop."""

    def __init__(
        self,
        owner: Owner,
        management_key: Secret,
        roster: Roster,
        means: Means,
        on_known: Callable[[], None],
    ) -> None:
        self.owner = owner
        self.known = False
        self.deaths = 0
        self._management_key = management_key
        self._roster = roster
        self._means = means
        self._on_known = on_known
        self._journal = means.journal(owner.label)
        self._draw = means.draw(f"deployments/{owner.index}")
        self._notes: tuple[str, ...] = ()
        self._backoff = Backoff(
            self._draw,
            first=min(1.0, means.timings.deployments),
            longest=max(means.timings.deployments, means.timings.longest_retry),
        )

    async def run(self) -> None:
        """Keep the list up to date for ever, whatever happens."""
        await tasks.keep_alive(self._run, self._died)

    async def _run(self) -> None:
        if self.deaths:
            self._journal.note("loop", "restarted")
        while True:
            pause = await self._attempt()
            self._journal.expect(pause)
            await asyncio.sleep(pause)

    async def _attempt(self) -> float:
        """Ask once and return the pause until the next time."""
        counters = self._means.metrics.official
        counters["deployments_fetch"].inc()
        try:
            listing = await list_deployments(self._means.client, self._management_key)
        except UpstreamError as error:
            counters["deployments_fetch_failure"].inc()
            self._journal.failed(WHAT, error)
            return self._backoff.failed(error.retry_after)
        self._backoff.succeeded()
        decided = plan(listing, self._roster.held, self.owner)
        await self._carry_out(decided)
        timings = self._means.timings
        if decided.doubtful:
            self._journal.note(WHAT, "unconfirmed", "a removal waits for a second listing")
            return min(timings.deployments, timings.confirm)
        changed = decided.appear or decided.describe or decided.go
        self._journal.note(WHAT, "changed" if changed else "unchanged")
        return jittered(timings.deployments, self._draw)

    async def _carry_out(self, decided: Plan) -> None:
        self.owner = msgspec.structs.replace(self.owner, upstream_id=decided.upstream_id)
        for deployment in decided.appear:
            self._roster.add(deployment)
            log.info("deployment appeared", deployment=deployment.label, project=self.owner.label)
        for deployment in decided.describe:
            self._roster.describe(deployment)
        self._roster.note_absences(decided.absences)
        for key in decided.go:
            label = self._roster.held[key].deployment.label
            await self._roster.remove(key)
            log.info("deployment went", deployment=label, project=self.owner.label)
        for note in set(decided.notes) - set(self._notes):
            log.warning("deployments list passed over", project=self.owner.label, what=note)
        self._notes = decided.notes
        if not self.known:
            self.known = True
            self._on_known()

    def _died(self, error: BaseException | None, pause: float) -> None:
        self.deaths += 1
        self._means.metrics.loop_deaths.labels(WHAT).inc()
        name = kind_of(error)
        self._journal.note("loop", "died", name)
        self._journal.expect(pause)
        log.error("deployments loop died", project=self.owner.label, error=name, exc_info=error)

    def ready(self) -> tuple[str, bool, str]:
        """Return the label, whether the deployments are known, and what is the matter."""
        trouble = self._journal.trouble()
        if not self.known:
            return self.owner.label, False, f"no deployments list yet: {trouble or 'not asked yet'}"
        return self.owner.label, True, trouble

    def status(self) -> dict[str, Any]:
        """Return what an operator wants to know, as JSON."""
        return {
            "project": self.owner.label,
            "known": self.known,
            "passed_over": list(self._notes),
            "loop_deaths": self.deaths,
            "trouble": self._journal.trouble(),
            **self._journal.status(),
        }
