"""The one gate between what upstream sends for a deployment and what is in force."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Literal, final

from proxy import logs
from proxy.errors import UpstreamGarbled
from proxy.evaluation.deployment import CompiledDeployment, compile_in_steps
from proxy.evaluation.model import Problem
from proxy.metrics import Metrics
from proxy.snapshots.board import Board, Slot
from proxy.snapshots.snapshot import Snapshot, Source
from proxy.sync.content import is_empty, same_flags
from proxy.sync.gauges import Gauges
from proxy.tasks import Clock

Verdict = Literal["changed", "unchanged", "unconfirmed", "stale", "broken"]
"""What became of a body: in force now; in force already; waits for a second answer; older than
what is in force; none of its flags can be used."""

ANSWERS_TO_EMPTY = 2
MOST_LINES_LOGGED = 20

log = logs.get("sync")


@final
class Intake:
    """Takes the bodies of one deployment one after another, and never one that is worse.

    Bodies are compared as they came, and by their flags when another source sends them. `body`
    is what is in force as it came, `as_of` the newest moment (of the loop's clock) it stood for;
    `problems` are those of the last body that was compiled.
    """

    def __init__(
        self, slot: Slot, board: Board, gauges: Gauges, metrics: Metrics, clock: Clock
    ) -> None:
        self.body: bytes | None = None
        self._slot = slot
        self._board = board
        self._gauges = gauges
        self._metrics = metrics
        self._clock = clock
        self._turn = asyncio.Lock()
        self.as_of = float("-inf")
        self._empty_answers = 0
        self._broken: bytes | None = None
        self.problems: tuple[Problem, ...] = ()
        self._said: frozenset[tuple[str, str]] = frozenset()

    async def take(self, body: bytes, source: Source, as_of: float) -> Verdict:
        """Put a body in force, if it is upstream's word of `as_of` (the loop's clock) and good.

        Raises `UpstreamGarbled` when it is no JSON array.
        """
        async with self._turn:
            if await self._is_in_force(body, source):
                self.as_of = max(self.as_of, as_of)
                self._empty_answers = 0
                self.confirm()
                return "unchanged"
            if as_of < self.as_of:
                return "stale"
            if body == self._broken:
                return "broken"
            if self._empties(body):
                return "unconfirmed"
            compiled = await self._compile(body)
            if not compiled.flags and not is_empty(body):
                self._broken = body
                self.problems = compiled.problems
                self._gauges.show(left_out=len(compiled.problems))
                self._tell_problems(compiled)
                return "broken"
            self._publish(body, compiled, source)
            self.as_of = as_of
            return "changed"

    def confirm(self) -> None:
        """Note that upstream still serves what is in force."""
        self._board.confirm(self._slot.deployment.key.reveal(), self._clock())

    def doubt_empty(self) -> None:
        """Start over counting empty answers: another source has just said otherwise."""
        self._empty_answers = 0

    async def _is_in_force(self, body: bytes, source: Source) -> bool:
        snapshot = self._slot.snapshot
        if self.body is None or snapshot is None:
            return False
        if body == self.body or snapshot.source == source:
            return body == self.body
        return await asyncio.to_thread(same_flags, body, self.body)

    def _empties(self, body: bytes) -> bool:
        """Tell whether the body would empty a deployment on one answer alone."""
        snapshot = self._slot.snapshot
        if snapshot is None or not snapshot.compiled.flags or not is_empty(body):
            self._empty_answers = 0
            return False
        self._empty_answers += 1
        return self._empty_answers < ANSWERS_TO_EMPTY

    async def _compile(self, body: bytes) -> CompiledDeployment:
        snapshot = self._slot.snapshot
        before = snapshot.compiled if snapshot else None
        began = time.perf_counter()
        try:
            compiled = await asyncio.to_thread(compile_beside, body, before, self._regex_timeout)
        except ValueError as error:
            raise UpstreamGarbled("the flag configs are not a JSON array") from error
        self._metrics.compile_seconds.observe(time.perf_counter() - began)
        return compiled

    def _publish(self, body: bytes, compiled: CompiledDeployment, source: Source) -> None:
        deployment = self._slot.deployment
        snapshot = Snapshot(
            deployment=deployment, compiled=compiled, source=source, changed_at=self._clock()
        )
        if not self._board.publish(deployment.key.reveal(), snapshot):
            return
        self.body = body
        self._broken = None
        self.problems = compiled.problems
        self._gauges.show()
        log.info(
            "flags in force",
            deployment=deployment.label,
            source=source,
            version=compiled.version,
            flags=len(compiled.flags),
            left_out=len(compiled.problems),
        )
        if not compiled.flags:
            log.warning("deployment has no flags any more", deployment=deployment.label)
        self._tell_problems(compiled)

    def _tell_problems(self, compiled: CompiledDeployment) -> None:
        """Log what cannot be used and was not told before for the same reason."""
        found = [("flag cannot be used as it came", one) for one in compiled.problems]
        found += [("pattern of a flag matches nothing", one) for one in compiled.broken_patterns]
        new = [(what, one) for what, one in found if (one.flag_key, one.reason) not in self._said]
        self._said = frozenset((one.flag_key, one.reason) for _, one in found)
        label = self._slot.deployment.label
        for what, one in new[:MOST_LINES_LOGGED]:
            log.warning(
                what, deployment=label, flag=one.flag_key, why=one.reason, in_force=one.kept
            )
        if len(new) > MOST_LINES_LOGGED:
            log.warning(
                "more flags cannot be used", deployment=label, count=len(new) - MOST_LINES_LOGGED
            )

    def _regex_timeout(self, flag_key: str) -> None:
        self._metrics.regex_timeouts.labels(flag_key).inc()


def compile_beside(
    body: bytes, before: CompiledDeployment | None, on_regex_timeout: Callable[[str], None]
) -> CompiledDeployment:
    """Compile in a worker thread, giving the event loop a chance between the steps.

    Raises ValueError when the body is no JSON array.
    """
    steps = compile_in_steps(body, before, on_regex_timeout)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            compiled: CompiledDeployment = end.value
            return compiled
        time.sleep(0)
