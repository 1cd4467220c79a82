"""The one gate between what upstream sends for a deployment and what is in force."""

from __future__ import annotations

import asyncio
from typing import Literal, final

from proxy.evaluation.cohorts import Target
from proxy.evaluation.deployment import CompiledDeployment
from proxy.evaluation.model import Problem
from proxy.snapshots.board import Slot
from proxy.snapshots.snapshot import Snapshot, Source
from proxy.sync.accepted import Accepted
from proxy.sync.compiling import compile_body, compile_meanwhile
from proxy.sync.content import is_empty, same_flags
from proxy.sync.gauges import Gauges
from proxy.sync.holding import NOTHING, Waiting, held_back
from proxy.sync.kept import KeptFlags, keep_flags, note_flags
from proxy.sync.means import Means
from proxy.sync.needs import Cohorts
from proxy.sync.telling import Teller
from proxy.sync.waits import comes_first

Verdict = Literal["changed", "unchanged", "waits", "unconfirmed", "stale", "broken"]
"""What became of a body: in force now, at least in part; in force already; waits for cohorts;
waits for a second answer; older than what was accepted; none of its flags can be used."""

ACCEPTED = frozenset({"changed", "unchanged", "waits"})
"""The verdicts on a body that says what upstream serves: `Intake.body` means the same."""

ANSWERS_TO_EMPTY = 2


@final
class Intake:
    """Takes the bodies of one deployment one after another, and never one that is worse.

    Bodies are compared as they came, and by their flags when another source sends them. A body
    is accepted at once but for the flags that need cohorts which are on their way: these stay as
    they are until `run` sees that the cohorts are here or given up. `as_of` is the newest moment
    (of the loop's clock) that the accepted body stood for; `problems` are those of the last body
    that was compiled; `restored` says that upstream has not spoken since the flags were restored.
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
        # Restored flags that wait: they come into force before newer ones that wait for longer.
        self._held: Accepted | None = None
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
        before = self._before
        old = frozenset[Target]() if before is None else before.targets
        return self._accepted.compiled.targets | old

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
            now = self._means.clock()
            verdict = await self._accept(
                Accepted(body=body, compiled=compiled, source=source, confirmed_at=now)
            )
            # Polls that were asked for before a stream's word was in force know less than it.
            self.as_of = asyncio.get_running_loop().time() if source == "stream" else as_of
            return verdict

    def confirm(self) -> Verdict:
        """Note that upstream still serves what was accepted."""
        accepted = self._accepted
        if accepted is None:
            return "unchanged"
        accepted.confirmed_at = self._means.clock()
        if accepted is self._held:
            self.restored = False
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

    def restore(
        self, kept: KeptFlags, compiled: CompiledDeployment, source: Source = "disk"
    ) -> None:
        """Put flags of an earlier life in force, as soon as the cohorts that are rebuilt are here.

        They waited in that life for what they target; what is lost since is missing.
        """
        accepted = Accepted(
            body=kept.body,
            compiled=compiled,
            source=source,
            confirmed_at=min(kept.confirmed_at, self._means.clock()),
            changed_at=kept.changed_at,
        )
        self.restored = source == "disk"
        self._cohorts.need(self._slot.deployment.key, compiled.targets)
        rebuilding = self._cohorts.rebuilding(compiled.targets)
        accepted.waiting = held_back(compiled, None, rebuilding)
        if accepted.waiting:
            self._accepted = self._held = accepted
            self._news.set()
            self._teller.waiting(accepted.waiting)
        else:
            self._put_in_force(compiled, accepted)

    async def run(self) -> None:
        """Put what waits in force as soon as its cohorts settle; tell when others come or go."""
        while True:
            self._news.clear()
            accepted = self._accepted
            if accepted is None:
                await self._news.wait()
            elif accepted.waiting:
                ahead = [accepted] if self._held is None else [accepted, self._held]
                settled = [self._cohorts.settled(one.targets) for one in ahead]
                if await comes_first(self._news, *settled):
                    await self._finish(accepted)
            else:
                told = self._teller.told_missing
                if await comes_first(self._news, self._cohorts.moved(self._targets_in_force, told)):
                    self._tell_missing()

    def missing(self) -> dict[Target, str]:
        """Return the cohorts that flags in force target and that are not here, with reasons."""
        targets = self._targets_in_force
        return self._cohorts.missing(targets) if targets else {}

    @property
    def _in_force(self) -> CompiledDeployment | None:
        return None if self._slot.snapshot is None else self._slot.snapshot.compiled

    @property
    def _before(self) -> CompiledDeployment | None:
        """What a newer body takes the place of."""
        return self._in_force if self._held is None else self._held.compiled

    @property
    def _targets_in_force(self) -> frozenset[Target]:
        in_force = self._in_force
        return frozenset[Target]() if in_force is None else in_force.targets

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
        newest = None if self._accepted is None else self._accepted.compiled
        held = any(one is not None and one.flags for one in (self._before, newest))
        if not held or not is_empty(body):
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

    async def _accept(self, accepted: Accepted) -> Verdict:
        """Put in force what of a body need not wait."""
        whole, before = accepted.compiled, self._before
        both = whole.targets if before is None else whole.targets | before.targets
        self._cohorts.need(self._slot.deployment.key, both)
        pending = self._cohorts.pending(whole.targets)
        now, accepted.waiting = await asyncio.to_thread(
            compile_meanwhile, whole, self._in_force, pending, self._regex_timeout
        )
        if now is not None:
            self.restored = False
            self._put_in_force(now, accepted)
        else:
            self._accepted = accepted
        self._broken = None
        self.problems = whole.problems
        self._teller.problems(whole)
        self._news.set()
        if accepted.waiting:
            self._teller.waiting(accepted.waiting)
        return "waits" if now is None else "changed"

    def _put_in_force(self, compiled: CompiledDeployment, accepted: Accepted) -> None:
        deployment = self._slot.deployment
        changed_at = accepted.changed_at
        snapshot = Snapshot(
            deployment=deployment,
            compiled=compiled,
            source=accepted.source,
            changed_at=self._means.clock() if changed_at is None else changed_at,
        )
        self._held = None
        if not self._means.board.publish(self._key, snapshot, accepted.confirmed_at):
            return
        self._accepted = accepted
        self._gauges.show()
        if accepted.source in ("disk", "offline"):
            self._teller.in_force(self._means.clock() - accepted.confirmed_at)
            self._teller.problems(compiled)
        else:
            self._teller.in_force()
            keep_flags(self._means.store, self._slot)
        if not accepted.waiting:
            self._cohorts.need(deployment.key, compiled.targets)
        self._tell_missing()

    async def _finish(self, accepted: Accepted) -> None:
        """Put in force what need not wait any more."""
        async with self._turn:
            if self._accepted is not accepted:
                return
            held = self._held
            if held not in (None, accepted) and self._cohorts.pending(accepted.targets):
                assert held is not None
                # It goes on waiting in name, so that nothing that the newer body needs is let go.
                self._put_in_force(held.compiled, held)
                await self._accept(accepted)
                return
            accepted.waiting = NOTHING
            self.restored = self.restored and held is accepted
            self._put_in_force(accepted.compiled, accepted)

    def _tell_missing(self) -> None:
        self._teller.missing(self.missing())

    async def compile(self, body: bytes) -> CompiledDeployment:
        """Compile a body, given what it follows; raise `UpstreamGarbled` if it is no array."""
        metrics = self._means.metrics
        return await compile_body(body, self._before, metrics.compile_seconds, self._regex_timeout)

    def _regex_timeout(self, flag_key: str) -> None:
        self._means.metrics.regex_timeouts.labels(flag_key).inc()
