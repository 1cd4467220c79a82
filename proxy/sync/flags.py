"""The flags loop: keeps the flags of one deployment up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, final

from proxy import logs, tasks
from proxy.evaluation.cohorts import Target
from proxy.evaluation.model import Problem
from proxy.sync.desk import Desk
from proxy.sync.means import Means
from proxy.sync.needs import cohort_name
from proxy.sync.polling import Polling
from proxy.sync.readiness import Standing
from proxy.sync.streaming import Streaming

HOPELESS = frozenset({"refused", "broken"})
"""What waiting alone does not mend: the key is not taken, or no flag can be used."""

MOST_NAMED = 5

log = logs.get("sync")


@final
class FlagsLoop:
    """Polls, and beside it follows the stream; guarded, so that its death is its own."""

    def __init__(self, desk: Desk, means: Means) -> None:
        self.desk = desk
        self.deaths = 0
        self._means = means
        wake = asyncio.Event()
        self._streaming = Streaming(desk, means, wake.set)
        self._polling = Polling(desk, means, self._streaming, wake)

    async def run(self) -> None:
        """Keep the flags up to date for ever, whatever happens."""
        await tasks.keep_alive(self._run, self._died)

    async def _run(self) -> None:
        if self.deaths:
            self.desk.journal.note("loop", "restarted")
        async with asyncio.TaskGroup() as group:
            polling = self._polling.run()
            group.create_task(polling, name=f"poll {self.desk.journal.label}")
            waiting = self.desk.intake.run()
            group.create_task(waiting, name=f"wait {self.desk.journal.label}")
            if self._means.timings.streams:
                # The first poll goes ahead: it is the short way to flags where streams are not.
                await self._polling.tried.wait()
                streaming = self._streaming.run()
                group.create_task(streaming, name=f"stream {self.desk.journal.label}")

    def _died(self, error: BaseException | None, pause: float) -> None:
        self.deaths += 1
        self._means.metrics.loop_deaths.labels("flags").inc()
        name = kind_of(error)
        self.desk.journal.note("loop", "died", name)
        self.desk.journal.expect(pause)
        log.error("flags loop died", deployment=self.desk.journal.label, error=name, exc_info=error)

    def ready(self) -> tuple[str, bool, str]:
        """Return the label, whether there are flags to answer with, and what is the matter."""
        slot = self.desk.slot
        trouble = self.desk.journal.trouble()
        if slot.snapshot is None:
            why = self._waits() or trouble or "not asked yet"
            return slot.deployment.label, False, f"no flags yet: {why}"
        reasons = (self._restored(), trouble, self._missing())
        return slot.deployment.label, True, "; ".join(filter(None, reasons))

    def may_target(self, cohort_id: str) -> bool:
        """Tell whether the flags target a cohort; without flags they may, unless none will come."""
        targets = self.desk.intake.targets
        if targets is None:
            return not self.standing().hopeless
        return any(target.cohort_id == cohort_id for target in targets)

    def standing(self) -> Standing:
        """Return what readiness is decided by."""
        return Standing(
            project=self.desk.slot.deployment.project,
            has_flags=self.desk.slot.snapshot is not None,
            hopeless=self.desk.journal.last("flags") in HOPELESS,
        )

    def status(self) -> dict[str, Any]:
        """Return what an operator wants to know, as JSON."""
        slot = self.desk.slot
        return {
            "deployment": slot.deployment.label,
            "key": slot.deployment.key.label,
            "project": slot.deployment.project,
            "type": slot.deployment.type,
            **self._flags_status(),
            "waiting": [
                {"flag": key, "cohorts": sorted(map(cohort_name, targets))}
                for key, targets in sorted(self.desk.intake.waiting.items())
            ],
            "cohorts_missing": {
                cohort_name(target): why for target, why in self.desk.intake.missing().items()
            },
            "stream": self._streaming.state,
            "loop_deaths": self.deaths,
            "trouble": self.desk.journal.trouble(),
            **self.desk.journal.status(),
        }

    def _flags_status(self) -> dict[str, Any]:
        slot = self.desk.slot
        snapshot = slot.snapshot
        if snapshot is None or slot.confirmed_at is None:
            unknown = dict.fromkeys(("source", "age_seconds", "changed_at", "version"))
            left_out = [_problem(one) for one in self.desk.intake.problems]
            return {**unknown, "flags": 0, "left_out": left_out, "broken_patterns": []}
        compiled = snapshot.compiled
        return {
            "source": snapshot.source,
            "age_seconds": round(self._age(), 3),
            "changed_at": snapshot.changed_at,
            "version": compiled.version,
            "flags": len(compiled.flags),
            "left_out": [_problem(one) for one in compiled.problems],
            "broken_patterns": [_problem(one) for one in compiled.broken_patterns],
        }

    def _restored(self) -> str:
        snapshot = self.desk.slot.snapshot
        if snapshot is not None and snapshot.source == "offline":
            return f"offline, {self._age():.0f} s old"
        if not self.desk.intake.restored:
            return ""
        return f"restored from disk, {self._age():.0f} s old"

    def _age(self) -> float:
        return self._means.clock() - (self.desk.slot.confirmed_at or 0.0)

    def _waits(self) -> str:
        """Return which cohorts the first flags wait for."""
        targets = frozenset[Target]().union(*self.desk.intake.waiting.values())
        return f"waiting for cohorts {_few(targets)}" if targets else ""

    def _missing(self) -> str:
        missing = self.desk.intake.missing()
        return f"cohorts missing: {_few(missing)}" if missing else ""


def _few(targets: Collection[Target]) -> str:
    """Name some targets, and how many more there are."""
    names = sorted(map(cohort_name, targets))
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _problem(problem: Problem) -> dict[str, Any]:
    return {"flag": problem.flag_key, "reason": problem.reason, "in_force": problem.kept}


def kind_of(error: BaseException | None) -> str:
    """Name an error, or those of a group, by kind: their texts may hold anything."""
    if isinstance(error, BaseExceptionGroup):
        return ", ".join(kind_of(one) for one in error.exceptions)
    return type(error).__name__ if error is not None else "it returned"
