"""The one gate between what upstream sends for a deployment and what is in force."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Literal, final

import msgspec

from proxy import tasks
from proxy.errors import UpstreamGarbled
from proxy.evaluation.cohorts import Target
from proxy.evaluation.deployment import CompiledDeployment
from proxy.evaluation.model import Problem
from proxy.snapshots.board import Slot
from proxy.snapshots.snapshot import Snapshot, Source
from proxy.sync.compiling import compile_beside, compile_meanwhile
from proxy.sync.content import is_empty, same_flags
from proxy.sync.gauges import Gauges
from proxy.sync.holding import NOTHING, Waiting
from proxy.sync.kept import KeptFlags, keep_flags, note_flags
from proxy.sync.means import Means
from proxy.sync.needs import Cohorts
from proxy.sync.telling import Teller

Verdict = Literal["changed", "unchanged", "waits", "unconfirmed", "stale", "broken"]
"""What became of a body: in force now, at least in part; in force already; waits for cohorts;
waits for a second answer; older than what was accepted; none of its flags can be used."""

ACCEPTED = frozenset({"changed", "unchanged", "waits"})
"""The verdicts on a body that says what upstream serves: `Intake.body` means the same."""

ANSWERS_TO_EMPTY = 2


@final
class Accepted(msgspec.Struct, kw_only=True, eq=False):
    """The newest good body, compiled; `waiting` is what of it is not in force yet."""

    body: bytes
    compiled: CompiledDeployment
    source: Source
    confirmed_at: float
    waiting: Waiting = NOTHING

    @property
    def targets(self) -> frozenset[Target]:
        """The cohorts that it waits for."""
        return frozenset[Target]().union(*self.waiting.values())


@final
class Intake:
    """Takes the bodies of one deployment one after another, and never one that is worse.

    Bodies are compared as they came, and by their flags when another source sends them. A body
    is accepted at once but for the flags that need cohorts which are on their way: these stay as
    they are until `run` sees that the cohorts are here or given up. `as_of` is the newest moment
    (of the loop's clock) that the accepted body stood for; `problems` are those of the last body
    that was compiled.
    """

    def __init__(self, slot: Slot, means: Means, gauges: Gauges, cohorts: Cohorts) -> None:
        self.as_of = float("-inf")
        self.problems: tuple[Problem, ...] = ()
        self.restored = False
        self._slot = slot
        self._means = means
        self._gauges = gauges
        self._cohorts = cohorts
        self._teller = Teller(slot)
        self._turn = asyncio.Lock()
        self._accepted: Accepted | None = None
        self._news = asyncio.Event()
        self._empty_answers = 0
        self._broken: bytes | None = None

    @property
    def body(self) -> bytes | None:
        """The accepted body as it came."""
        return None if self._accepted is None else self._accepted.body

    @property
    def waiting(self) -> Waiting:
        """The flags that wait, each with the cohorts that it waits for."""
        return NOTHING if self._accepted is None else self._accepted.waiting

    @property
    def targets(self) -> frozenset[Target] | None:
        """All cohorts that flags target, in force or waiting; None before the first flags."""
        if self._accepted is None:
            return None
        return self._accepted.compiled.targets | self._targets_in_force

    async def take(self, body: bytes, source: Source, as_of: float) -> Verdict:
        """Put a body in force, if it is upstream's word of `as_of` (the loop's clock) and good.

        Raises `UpstreamGarbled` when it is no JSON array.
        """
        async with self._turn:
            if await self._is_accepted(body, source):
                self.as_of = max(self.as_of, as_of)
                self._empty_answers = 0
                return self.confirm()
            if as_of < self.as_of:
                return "stale"
            if body == self._broken:
                return "broken"
            if self._empties(body):
                return "unconfirmed"
            compiled = await self.compile(body)
            if not compiled.flags and not is_empty(body):
                return self._refuse(body, compiled)
            verdict = await self._accept(body, compiled, source)
            self.as_of = as_of
            return verdict

    def confirm(self) -> Verdict:
        """Note that upstream still serves what was accepted."""
        accepted = self._accepted
        if accepted is None:
            return "unchanged"
        accepted.confirmed_at = self._means.clock()
        if accepted.waiting:
            # What is in force is not what upstream serves: it goes on ageing.
            return "waits"
        self.restored = False
        self._means.board.confirm(self._key, accepted.confirmed_at)
        note_flags(self._means.store, self._slot)
        self._tell_missing()
        return "unchanged"

    def doubt_empty(self) -> None:
        """Start over counting empty answers: another source has just said otherwise."""
        self._empty_answers = 0

    def restore(self, kept: KeptFlags, compiled: CompiledDeployment) -> None:
        """Put flags of an earlier life in force, whether all cohorts are here or not.

        They waited in that life for what they target; what is missing now is missing.
        """
        confirmed_at = min(kept.confirmed_at, self._means.clock())
        accepted = Accepted(
            body=kept.body, compiled=compiled, source="disk", confirmed_at=confirmed_at
        )
        self.restored = True
        self._put_in_force(compiled, accepted, changed_at=kept.changed_at)

    async def run(self) -> None:
        """Put what waits in force as soon as its cohorts settle; tell when others come or go."""
        while True:
            self._news.clear()
            accepted = self._accepted
            if accepted is None:
                await self._news.wait()
            elif accepted.waiting:
                if await self._comes_first(self._cohorts.settled(accepted.targets)):
                    await self._finish(accepted)
            elif await self._comes_first(self._missing_others()):
                self._tell_missing()

    def missing(self) -> dict[Target, str]:
        """Return the cohorts that flags in force target and that are not here, with reasons."""
        targets = self._targets_in_force
        return self._cohorts.missing(targets) if targets else {}

    @property
    def _targets_in_force(self) -> frozenset[Target]:
        snapshot = self._slot.snapshot
        return frozenset[Target]() if snapshot is None else snapshot.compiled.targets

    @property
    def _key(self) -> str:
        return self._slot.deployment.key.reveal()

    async def _is_accepted(self, body: bytes, source: Source) -> bool:
        accepted = self._accepted
        if accepted is None:
            return False
        if body == accepted.body or accepted.source == source:
            return body == accepted.body
        return await asyncio.to_thread(same_flags, body, accepted.body)

    def _empties(self, body: bytes) -> bool:
        """Tell whether the body would empty a deployment on one answer alone."""
        snapshot = self._slot.snapshot
        held = [] if snapshot is None else [snapshot.compiled]
        held += [] if self._accepted is None else [self._accepted.compiled]
        if not any(one.flags for one in held) or not is_empty(body):
            self._empty_answers = 0
            return False
        self._empty_answers += 1
        return self._empty_answers < ANSWERS_TO_EMPTY

    def _refuse(self, body: bytes, compiled: CompiledDeployment) -> Verdict:
        self._broken = body
        self.problems = compiled.problems
        self._gauges.show(left_out=len(compiled.problems))
        self._teller.problems(compiled)
        return "broken"

    async def _accept(self, body: bytes, compiled: CompiledDeployment, source: Source) -> Verdict:
        """Put in force what of the body need not wait."""
        snapshot = self._slot.snapshot
        in_force = None if snapshot is None else snapshot.compiled
        both = compiled.targets if in_force is None else compiled.targets | in_force.targets
        self._cohorts.need(self._slot.deployment.key, both)
        pending = self._cohorts.pending(compiled.targets)
        now, waiting = await asyncio.to_thread(
            compile_meanwhile, compiled, in_force, pending, self._regex_timeout
        )
        accepted = Accepted(
            body=body,
            compiled=compiled,
            source=source,
            confirmed_at=self._means.clock(),
            waiting=waiting,
        )
        if now is not None:
            self.restored = False
            self._put_in_force(now, accepted, changed_at=accepted.confirmed_at)
        else:
            self._accepted = accepted
        self._broken = None
        self.problems = compiled.problems
        self._teller.problems(compiled)
        self._news.set()
        if waiting:
            self._teller.waiting(waiting)
        return "waits" if now is None else "changed"

    def _put_in_force(
        self, compiled: CompiledDeployment, accepted: Accepted, *, changed_at: float
    ) -> None:
        deployment = self._slot.deployment
        snapshot = Snapshot(
            deployment=deployment, compiled=compiled, source=accepted.source, changed_at=changed_at
        )
        if not self._means.board.publish(self._key, snapshot, accepted.confirmed_at):
            return
        self._accepted = accepted
        self._gauges.show()
        if accepted.source == "disk":
            self._teller.in_force(self._means.clock() - accepted.confirmed_at)
            self._teller.problems(compiled)
        else:
            self._teller.in_force()
            keep_flags(self._means.store, self._slot)
        if not accepted.waiting:
            self._cohorts.need(deployment.key, compiled.targets)
        self._tell_missing()

    async def _missing_others(self) -> None:
        await self._cohorts.moved(self._targets_in_force, self._teller.told_missing)

    async def _comes_first(self, what: Coroutine[Any, Any, None]) -> bool:
        """Wait until `what` has happened; False when another body came into force meanwhile."""
        waiting = tasks.start("cohorts", what)
        news = tasks.start("news", _set(self._news))
        try:
            await asyncio.wait((waiting, news), return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                return False
            waiting.result()
            return True
        finally:
            await tasks.stop(waiting, news)

    async def _finish(self, accepted: Accepted) -> None:
        async with self._turn:
            if self._accepted is accepted:
                now = self._means.clock()
                accepted.waiting = NOTHING
                self.restored = False
                self._put_in_force(accepted.compiled, accepted, changed_at=now)

    def _tell_missing(self) -> None:
        self._teller.missing(self.missing())

    async def compile(self, body: bytes) -> CompiledDeployment:
        """Compile a body, given what is in force; raise `UpstreamGarbled` if it is no array."""
        snapshot = self._slot.snapshot
        before = snapshot.compiled if snapshot else None
        began = time.perf_counter()
        try:
            compiled = await asyncio.to_thread(compile_beside, body, before, self._regex_timeout)
        except ValueError as error:
            raise UpstreamGarbled("the flag configs are not a JSON array") from error
        self._means.metrics.compile_seconds.observe(time.perf_counter() - began)
        return compiled

    def _regex_timeout(self, flag_key: str) -> None:
        self._means.metrics.regex_timeouts.labels(flag_key).inc()


async def _set(event: asyncio.Event) -> None:
    await event.wait()
