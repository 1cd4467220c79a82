"""Copies of what upstream answers: given again while fresh, and longer when it does not answer.

Of each thing at most one call is under way, however many wait for it, and it is nobody's own: who
leaves takes nothing from the others. All copies are bounded in bytes, all calls in number.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import msgspec

from proxy import logs, tasks
from proxy.errors import UpstreamError, UpstreamRefused, UpstreamUnavailable
from proxy.relay.breaker import Breaker
from proxy.upstream.web import Document, Given

ENTRY_BYTES: Final = 1024
"""What is known of a thing costs so much beside its body, roughly: small ones count too."""
LONGEST_PAUSE_SECONDS: Final = 60.0
LOG_PAUSE_SECONDS: Final = 60.0
MANY_BREAKERS: Final = 1024
"""Keys come and go: at so many breakers, those that know of no failure are let go."""

Fetch = Callable[[Document | None], Awaitable[Document]]
"""Ask upstream, given the copy that is held if there is one; raises an `UpstreamError`."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How long copies are good for and what they may cost; times in seconds.

    A call may take `longest_call`, but nobody waits for it longer than `longest_wait`, or than
    `longest_wait_with_copy` if there is something to show. After a failure the same is not asked
    for during `pause`.
    """

    what: str
    most_bytes: int
    longest_wait: float
    longest_wait_with_copy: float
    longest_call: float = 5.0
    stale_for: float = 0.0
    pause: float = 1.0
    most_calls: int = 32


class Tally(NamedTuple):
    """Who hears how calls end, and how many bytes are held."""

    called: Callable[[str], None]
    holding: Callable[[int], None]


class _Entry:
    """What is known of a thing; `failure` is why the last call brought nothing."""

    __slots__ = ("document", "failure", "fresh_until", "retry_at", "size", "taken_at", "version")

    def __init__(self) -> None:
        self.document: Document | None = None
        self.failure: UpstreamError | None = None
        self.version = ""
        self.taken_at = self.fresh_until = self.retry_at = 0.0
        self.size = 0


class _Flight(NamedTuple):
    """A call under way, and when it began; it ends with what is known then, kept or not."""

    task: asyncio.Task[_Entry]
    began: float


class _Turn(NamedTuple):
    """A call's turn at a breaker."""

    breaker: Breaker
    number: int

    def succeed(self) -> None:
        """Take note of an answer."""
        self.breaker.succeed(self.number)

    def fail(self) -> None:
        """Take note of a failure."""
        self.breaker.fail(self.number)

    def give_up(self) -> None:
        """Take note that nothing was learnt."""
        self.breaker.give_up(self.number)


class Copies:
    """Documents by name; `freshness` says for how many seconds one may be given again."""

    def __init__(
        self,
        freshness: Callable[[Document], float],
        terms: Terms,
        tally: Tally,
        new_breaker: Callable[[], Breaker],
        now: Callable[[], float],
    ) -> None:
        self._freshness = freshness
        self._terms = terms
        self._tally = tally
        self._new_breaker = new_breaker
        self._breakers: dict[str, Breaker] = {}
        self._now = now
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._flights: dict[bytes, _Flight] = {}
        self._bytes = 0
        self._next_log_line = float("-inf")
        self._log = logs.get("relay")

    def status(self) -> dict[str, Any]:
        """Return what is kept and under way, and whether upstream is given a rest."""
        return {
            "kept": sum(entry.document is not None for entry in self._entries.values()),
            "bytes_kept": self._bytes,
            "calls": len(self._flights),
            "resting": any(breaker.is_open for breaker in self._breakers.values()),
        }

    async def get(self, name: bytes, fetch: Fetch, *, of: str = "", version: str = "") -> Given:
        """Return what is known by a name, fetching it when it is not fresh.

        What came under another version is not fresh. `of` is in whose name upstream is asked:
        when calls fail, those of others go on. Raises an `UpstreamError` when nothing came
        and nothing is held that may still be given.
        """
        entry = self._entries.get(name)
        if entry is not None:
            self._entries.move_to_end(name)
            if self._is_fresh(entry, version):
                return self._given(entry, "hit")
        flight = self._flights.get(name) or self._call(name, fetch, of, version)
        if flight is not None:
            await self._wait(flight, with_copy=self._may_be_given(entry))
            if flight.task.done() and not flight.task.cancelled():
                entry = flight.task.result()
                if entry.failure is None:
                    return self._given(entry, "miss")
        if entry is not None and self._may_be_given(entry):
            return self._given(entry, "stale")
        if flight is not None and not flight.task.done():
            raise UpstreamUnavailable("no answer in time")
        if entry is None or entry.failure is None:
            raise UpstreamUnavailable("not asked: too many calls, or all fail")
        raise _afresh(entry.failure)

    async def close(self) -> None:
        """End the calls under way."""
        await tasks.stop(*(flight.task for flight in self._flights.values()))

    def _is_fresh(self, entry: _Entry, version: str) -> bool:
        fresh = entry.document is not None and self._now() < entry.fresh_until
        return fresh and entry.version == version

    def _may_be_given(self, entry: _Entry | None) -> bool:
        if entry is None or entry.document is None:
            return False
        return self._now() < entry.fresh_until + self._terms.stale_for

    def _given(self, entry: _Entry, outcome: str) -> Given:
        assert entry.document is not None
        return Given(entry.document, self._now() - entry.taken_at, outcome)

    def _call(self, name: bytes, fetch: Fetch, of: str, version: str) -> _Flight | None:
        entry = self._entries.get(name)
        now = self._now()
        if entry is not None and now < entry.retry_at:
            return None
        breaker = self._breaker(of)
        turn = breaker.begin() if len(self._flights) < self._terms.most_calls else None
        if turn is None:
            self._tally.called("held_back")
            return None
        calling = self._fly(name, fetch, version, _Turn(breaker, turn))
        task = tasks.start(f"fetch {self._terms.what}", calling)
        flight = self._flights[name] = _Flight(task, now)
        return flight

    def _breaker(self, of: str) -> Breaker:
        breaker = self._breakers.get(of)
        if breaker is None:
            if len(self._breakers) >= MANY_BREAKERS:
                told = {each: one for each, one in self._breakers.items() if not one.is_as_new}
                self._breakers = told
            breaker = self._breakers[of] = self._new_breaker()
        return breaker

    async def _wait(self, flight: _Flight, *, with_copy: bool) -> None:
        terms = self._terms
        patience = terms.longest_wait_with_copy if with_copy else terms.longest_wait
        # Who comes later does not begin to wait anew: upstream has had its time.
        left = flight.began + patience - self._now()
        await asyncio.wait({flight.task}, timeout=max(left, 0.0))

    async def _fly(self, name: bytes, fetch: Fetch, version: str, turn: _Turn) -> _Entry:
        """Fetch, and keep what comes or why nothing did."""
        held = self._entries.get(name)
        copy = None if held is None else held.document
        try:
            async with asyncio.timeout(self._terms.longest_call):
                document = await fetch(copy)
        except TimeoutError:
            return self._note_failure(name, UpstreamUnavailable("no answer in time"), turn)
        except UpstreamError as error:
            return self._note_failure(name, error, turn)
        except Exception as error:  # noqa: BLE001  whoever waits has to be told
            self._log.exception("fetch failed", what=self._terms.what)
            broken = UpstreamUnavailable(f"failed: {type(error).__name__}")
            return self._note_failure(name, broken, turn)
        except BaseException:
            turn.give_up()
            raise
        finally:
            del self._flights[name]
        turn.succeed()
        came = copy is None or document.body is not copy.body
        self._tally.called("answered" if came else "unchanged")
        return self._note_answer(name, document, version)

    def _note_answer(self, name: bytes, document: Document, version: str) -> _Entry:
        now = self._now()
        entry = self._entries.get(name) or _Entry()
        entry.document, entry.failure, entry.version = document, None, version
        entry.taken_at, entry.retry_at = now, 0.0
        entry.fresh_until = now + self._freshness(document)
        return self._keep(name, entry)

    def _note_failure(self, name: bytes, error: UpstreamError, turn: _Turn) -> _Entry:
        now = self._now()
        if isinstance(error, UpstreamRefused):
            turn.succeed()  # that, too, is an answer
        else:
            # What `Retry-After` says is meant for this question, not for everybody's.
            turn.fail()
        self._tally.called("refused" if isinstance(error, UpstreamRefused) else "failed")
        if now >= self._next_log_line:
            self._next_log_line = now + LOG_PAUSE_SECONDS
            self._log.warning("not to be had", what=self._terms.what, reason=error.reason)
        entry = self._entries.get(name) or _Entry()
        asked_for = min(error.retry_after or 0.0, LONGEST_PAUSE_SECONDS)
        entry.failure, entry.retry_at = _afresh(error), now + max(self._terms.pause, asked_for)
        return self._keep(name, entry)

    def _keep(self, name: bytes, entry: _Entry) -> _Entry:
        """Count what an entry costs now, and let go of those that were asked for longest ago."""
        self._entries[name] = entry
        self._entries.move_to_end(name)
        body = b"" if entry.document is None else entry.document.body
        size = ENTRY_BYTES + len(name) + len(body)
        self._bytes += size - entry.size
        entry.size = size
        while self._bytes > self._terms.most_bytes:
            _, oldest = self._entries.popitem(last=False)
            self._bytes -= oldest.size
            oldest.size = 0
        self._tally.holding(self._bytes)
        return entry


def _afresh(error: UpstreamError) -> UpstreamError:
    """Return the same error without what hangs on one that was raised: frames, and all in them."""
    return type(error)(error.reason, status=error.status, retry_after=error.retry_after)
