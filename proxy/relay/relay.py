"""Asking Amplitude: each question once at a time, within a deadline, and not while it is down."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from proxy import logs, tasks
from proxy.errors import UpstreamError, UpstreamUnavailable
from proxy.evaluation.results import encode
from proxy.relay.breaker import Breaker
from proxy.relay.cache import Cache
from proxy.relay.line import Line, Trouble
from proxy.relay.variants import Variants, read_variants
from proxy.upstream.remote import Question

if TYPE_CHECKING:
    from proxy.metrics import Metrics
    from proxy.secret import Secret
    from proxy.settings.remote import RemoteEvaluation
    from proxy.snapshots.board import Board
    from proxy.snapshots.snapshot import Deployment

SHARE_OF_QUEUING: Final = 0.25
"""Nobody waits for a turn longer than this part of the time: who begins late is answered too late,
and it would seem that Amplitude did not answer."""

Call = Callable[[Question], Awaitable[bytes]]
"""Give the body of Amplitude's answer, or raise an `UpstreamError`."""

Reply = Variants | Trouble

log = logs.get("relay")


class Flight:
    """A call under way, shared by all who ask the same meanwhile."""

    def __init__(self, task: asyncio.Task[Reply], count: Callable[[str], None]) -> None:
        self.task = task
        self._count = count
        self._is_shared = False

    async def landing(self) -> Reply:
        """Wait for its end; who stops waiting does not end it."""
        reply = await asyncio.shield(self.task)
        outcome = "joined" if self._is_shared else "miss"
        self._is_shared = True
        self._count(reply.outcome if isinstance(reply, Trouble) else outcome)
        return reply


class Relay:
    """Answers questions from what is kept, or by a call."""

    def __init__(
        self,
        call: Call,
        bounds: RemoteEvaluation,
        board: Board,
        metrics: Metrics,
        chance: Callable[[], float],
    ) -> None:
        self._call = call
        self._board = board
        self._chance = chance
        self._now = asyncio.get_running_loop().time
        self._timeout = bounds.timeout_millis / 1000
        self._cache = Cache(bounds.max_bytes, bounds.ttl_millis / 1000, self._now)
        self._slots = asyncio.Semaphore(bounds.max_calls)
        self._flights: dict[bytes, Flight] = {}
        self._lines: dict[Secret, Line] = {}
        self._outcomes = metrics.relay_requests
        self._took = metrics.relay_call_seconds
        metrics.relay_kept_bytes.set_function(lambda: self._cache.size)
        metrics.relay_resting.set_function(lambda: len(self._resting()))

    def ask(self, deployment: Deployment, question: Question, version: str) -> Reply | Flight:
        """Return what is known already, or the call that will tell; never waits.

        `version` names the deployment's flags: what was answered under another is forgotten.
        """
        name = _name(question, version)
        kept = self._cache.get(name)
        if kept is not None:
            self._count("hit")
            return kept
        if name in self._flights:
            return self._flights[name]
        line = self._line(deployment)
        if not line.breaker.lets_in():
            self._count("open")
            return line.rest()
        task = tasks.start("relay", self._fly(line, question, name))
        flight = self._flights[name] = Flight(task, self._count)
        return flight

    async def close(self) -> None:
        """End all calls."""
        await tasks.stop(*(flight.task for flight in self._flights.values()))

    def status(self) -> dict[str, Any]:
        """Return what is kept and under way, and which deployments rest, by label."""
        return {
            "answers_kept": len(self._cache),
            "bytes_kept": self._cache.size,
            "calls": len(self._flights),
            "resting": [line.status() for line in self._resting()],
        }

    async def _fly(self, line: Line, question: Question, name: bytes) -> Reply:
        try:
            reply = await self._called(line, question)
        finally:
            del self._flights[name]
        if not isinstance(reply, Trouble):
            self._cache.put(name, reply)
        return reply

    async def _called(self, line: Line, question: Question) -> Reply:
        turn: int | None = None
        try:
            async with asyncio.timeout(self._timeout), self._slot():
                turn = line.breaker.begin()
                if turn is None:
                    return line.rest()
                with self._took.time():
                    body = await self._call(question)
            variants = read_variants(body)
        except TimeoutError:
            return line.failed(turn, UpstreamUnavailable("no answer in time"))
        except UpstreamError as error:
            return line.failed(turn, error)
        except Exception as error:
            log.exception("relaying failed")
            return line.failed(turn, UpstreamUnavailable(f"failed: {type(error).__name__}"))
        except BaseException:
            line.gave_up(turn)
            raise
        line.succeeded(turn)
        return variants

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """Be one of the calls at once; raises TimeoutError when there are too many for long."""
        async with asyncio.timeout(SHARE_OF_QUEUING * self._timeout):
            await self._slots.acquire()
        try:
            yield
        finally:
            self._slots.release()

    def _line(self, deployment: Deployment) -> Line:
        line = self._lines.get(deployment.key)
        if line is None:
            for key in [key for key in self._lines if self._board.find(key.reveal()) is None]:
                del self._lines[key]
            breaker = Breaker(self._now, self._chance)
            line = self._lines[deployment.key] = Line(deployment.label, breaker, self._now)
        return line

    def _resting(self) -> list[Line]:
        return [line for line in self._lines.values() if line.breaker.is_open]

    def _count(self, outcome: str) -> None:
        self._outcomes.labels(outcome).inc()


def _name(question: Question, version: str) -> bytes:
    """Return a hash by which questions are told apart; users stay in memory no longer than that."""
    parts = (
        question.key.reveal().encode(),
        version.encode(),
        question.track.encode(),
        question.expose.encode(),
        encode(list(question.flag_keys)),
        question.user,
    )
    lengths = ",".join(str(len(part)) for part in parts)
    return hashlib.blake2b(b"".join((lengths.encode(), *parts)), digest_size=16).digest()
