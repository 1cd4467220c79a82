"""The deployments loop: keeps the list of one project's deployments up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, final

import msgspec

from proxy import logs, tasks
from proxy.errors import UpstreamError
from proxy.secret import Secret
from proxy.snapshots.snapshot import Deployment
from proxy.sync.flags import kind_of
from proxy.sync.kept import KeptDeployment, KeptList, keep_list, kept_list, note_list
from proxy.sync.means import Means
from proxy.sync.plan import Owner, Plan, plan
from proxy.sync.roster import Roster
from proxy.sync.schedule import Backoff, jittered
from proxy.upstream.deployments import list_deployments

WHAT = "deployments"

log = logs.get("sync")


@final
class DeploymentsLoop:
    """Asks the management API; guarded like a flags loop.

    `listed` once upstream answered; `known` then, or when an earlier life knew the deployments.
    """

    def __init__(
        self,
        owner: Owner,
        management_key: Secret,
        roster: Roster,
        means: Means,
        on_listed: Callable[[], None],
    ) -> None:
        self.owner = owner
        self.listed = False
        self.confirmed_at: float | None = None
        self.deaths = 0
        self._management_key = management_key
        self._roster = roster
        self._means = means
        self._on_listed = on_listed
        self._journal = means.journal(owner.label)
        self._draw = means.draw(f"deployments/{owner.index}")
        self._hurry = asyncio.Event()
        self._notes: tuple[str, ...] = ()
        self._kept: KeptList | None = None
        self._backoff = Backoff(
            self._draw,
            first=min(1.0, means.timings.deployments),
            longest=max(means.timings.deployments, means.timings.longest_retry),
        )

    @property
    def known(self) -> bool:
        """Whether there is a list to go by."""
        return self.confirmed_at is not None

    def use(self, management_key: Secret, *, at_once: bool = False) -> None:
        """Ask with this key from now on, `at_once` if it is another; until then nothing changes."""
        if management_key != self._management_key:
            self._management_key = management_key
            # Another key may be of another project, as at a start.
            self.owner = msgspec.structs.replace(self.owner, upstream_id="")
            self._backoff.succeeded()
            at_once = True
        if at_once:
            self._hurry.set()

    async def restore(self) -> None:
        """Authorise the deployments that an earlier life knew."""
        found = await kept_list(self._means.store, self.owner.record)
        if found is None:
            return
        kept, confirmed_at = found
        if kept.management == self._management_key.label:
            # Another key may be of another project: all its deployments would be passed over.
            self.owner = msgspec.structs.replace(self.owner, upstream_id=kept.upstream_id)
        for row in kept.deployments:
            if row.key not in self._roster.held:
                self._roster.add(
                    Deployment(
                        key=row.key,
                        label=row.label,
                        project=self.owner.label,
                        project_index=self.owner.index,
                        type=row.type,
                    )
                )
        self._kept = kept
        self.confirmed_at = min(confirmed_at, self._means.clock())
        self._journal.note(WHAT, "restored")

    async def run(self) -> None:
        """Keep the list up to date for ever, whatever happens."""
        await tasks.keep_alive(self._run, self._died)

    async def _run(self) -> None:
        if self.deaths:
            self._journal.note("loop", "restarted")
        while True:
            self._hurry.clear()
            pause = await self._attempt()
            self._journal.expect(pause)
            await tasks.wait_for_event(self._hurry, pause)

    async def _attempt(self) -> float:
        """Ask once and return the pause until the next time."""
        counters = self._means.metrics.official
        counters["deployments_fetch"].inc()
        key = self._management_key
        try:
            listing = await list_deployments(self._means.client, key)
        except UpstreamError as error:
            counters["deployments_fetch_failure"].inc()
            if key != self._management_key:
                return 0.0
            self._journal.failed(WHAT, error)
            return self._backoff.failed(error.retry_after)
        self._backoff.succeeded()
        if key != self._management_key:
            # What the key of before was told may be of another project.
            return 0.0
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
            held = self._roster.held.get(key)
            # The operator may have taken or named it while another one went.
            if held is None or held.fixed:
                continue
            await self._roster.remove(key)
            log.info("deployment went", deployment=held.deployment.label, project=self.owner.label)
        for note in set(decided.notes) - set(self._notes):
            log.warning("deployments list passed over", project=self.owner.label, what=note)
        self._notes = decided.notes
        self._keep()
        if not self.listed:
            self.listed = True
            self._on_listed()

    def _keep(self) -> None:
        """Let what is held now outlive the process."""
        self.confirmed_at = self._means.clock()
        ours = [
            one.deployment
            for one in self._roster.held.values()
            if one.deployment.project_index == self.owner.index and not one.fixed
        ]
        kept = KeptList(
            management=self._management_key.label,
            upstream_id=self.owner.upstream_id,
            deployments=tuple(
                KeptDeployment(key=one.key, label=one.label, type=one.type) for one in ours
            ),
        )
        if kept == self._kept:
            note_list(self._means.store, self.owner.record, self.confirmed_at)
        else:
            keep_list(self._means.store, self.owner.record, kept, self.confirmed_at)
        self._kept = kept

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
        if self.confirmed_at is None:
            return self.owner.label, False, f"no deployments list yet: {trouble or 'not asked yet'}"
        if not self.listed:
            age = self._means.clock() - self.confirmed_at
            restored = f"restored from disk, {age:.0f} s old"
            return self.owner.label, True, "; ".join(filter(None, (restored, trouble)))
        return self.owner.label, True, trouble

    def status(self) -> dict[str, Any]:
        """Return what an operator wants to know, as JSON."""
        at = self.confirmed_at
        return {
            "project": self.owner.label,
            "known": self.known,
            "listed": self.listed,
            "age_seconds": None if at is None else round(self._means.clock() - at, 3),
            "passed_over": list(self._notes),
            "loop_deaths": self.deaths,
            "trouble": self._journal.trouble(),
            **self._journal.status(),
        }
