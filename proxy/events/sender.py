"""One project's events on their way: take a batch, post it, act on the answer, again.

Two loops run beside each other. One sends what comes in; the other drains the backlog that an
outage or an earlier process left, at a bounded rate, so that live events do not wait for it.
`flush` waits for nothing it need not, and does not depend on the loops.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from proxy import tasks
from proxy.errors import UpstreamError
from proxy.events.answers import Verdict, judge
from proxy.events.backoff import LONGEST_PAUSE, now
from proxy.events.destinations import Destination
from proxy.events.due import Drain, Due
from proxy.events.event import RECORD_BYTES, Event, Slip
from proxy.events.lane import Lane
from proxy.events.spool import Spool
from proxy.events.standing import Standing
from proxy.events.tally import Tally

EARLY_SECONDS: Final = 0.001  # a timer may end a little before its time
MOST_LIVE_BATCHES: Final = 4
"""When more than so many full batches wait, they are a backlog, and what comes next is live."""
BACKLOG_SECONDS: Final = 0.25
UNREADABLE_SECONDS: Final = 1.0

# Upstream pointed at the event itself: telling the same again would end in the same way.
FINAL: Final = frozenset({"invalid", "silenced", "quota", "too_large"})


class Sender:
    """Sends the events of one project; `on_lost` gets kind and key of what is lost for good."""

    def __init__(
        self,
        destination: Destination,
        spool: Spool,
        tally: Tally,
        *,
        on_lost: Callable[[str, int], None],
        clock: tasks.Clock,
        chance: Callable[[], float],
    ) -> None:
        label, origin, self._way, self._post = destination
        self._spool = spool
        self._tally = tally
        self._on_lost = on_lost
        self._clock = clock
        self._queue = spool.queue(origin, self._lose)
        self._queue.on_written = partial(tally.count, "spooled")
        self._queue.on_found = partial(tally.count, "found")
        tally.count("found", self._queue.count)
        self._live = Drain()
        self._backlog = Drain(BACKLOG_SECONDS)
        self._due = Due(self._queue, self._way)
        self._standing = Standing(label, self._way.limits, clock, chance)
        self._backoff = self._standing.backoff
        self._alone = asyncio.Lock()
        room = min(spool.bounds.max_memory, spool.bounds.max_bytes) - RECORD_BYTES
        self._most_bytes = min(room, self._way.limits.size)

    def __len__(self) -> int:
        return self._queue.count

    @property
    def size(self) -> int:
        """Bytes of what is pending."""
        return self._queue.size

    def offer(self, event: Event) -> None:
        """Take over an encoded event; what can never be sent is counted as lost."""
        self._tally.accepted += 1
        if len(event.body) > self._most_bytes:
            self._lose("too_large", [event.slip])
            return
        self._due.begin(event.kind)
        self._spool.offer(self._queue, event)
        if self._queue.set_back(MOST_LIVE_BATCHES, self._way.limits):
            self._backlog.ends, self._live.ends = self._live.ends + self._backlog.ends, []
            self._backlog.news.set()
        self._live.news.set()

    def withdraw(self, numbers: Iterable[int]) -> None:
        """Give back events that are in memory only and not on their way."""
        self._tally.count("withdrawn", self._queue.withdraw(numbers))

    async def run(self) -> None:
        """Send live events whenever a batch of them is due; never returns."""
        await self._keep_sending(self._live, self._live_due_at)

    async def run_backlog(self) -> None:
        """Drain the backlog, a batch now and then; never returns."""
        await self._keep_sending(self._backlog, self._backlog_due_at)

    async def flush(self, deadline: float) -> None:
        """Send what is pending until `deadline`, a second of the loop's clock.

        What is safe on disk is tried once: the next process sends it too. Nobody stops for the
        backlog on disk.
        """
        # Rather ask once too early than never.
        self._backoff.forget()
        self._release_held(float("inf"))
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while (drain := self._unsent()) is not None:
                    pause = self._flush_at(drain) - now()
                    if pause > 0 and (self._is_safe() or now() + pause >= deadline):
                        break
                    await asyncio.sleep(max(pause, 0))
                    await self.send_batch(drain)

    def give_up(self) -> int:
        """Drop and count what is in memory only; return how many events these are."""
        return self._queue.give_up()

    async def send_batch(self, drain: Drain | None = None) -> bool:
        """Post one batch and do what the answer says; return whether there was one to send."""
        drain = drain or self._live
        async with drain.turn:
            if not self._backoff.failures:
                return await self._send(drain)
            # In trouble, one asks for all.
            async with self._alone:
                return now() + EARLY_SECONDS >= self._backoff.not_before and await self._send(drain)

    def status(self) -> dict[str, Any]:
        """Return what waits, what was answered last, when the next batch goes."""
        times = [at for at in (self._live_due_at(), self._backlog_due_at()) if at is not None]
        return {
            "pending": len(self),
            "pending_bytes": self.size,
            "backlog": self._queue.backlog.count,
            "in_memory": self._queue.in_memory(),
            "oldest_age_seconds": self.oldest_age(),
            "batch_limit": self._standing.limits().events,
            "failures_in_a_row": self._backoff.failures,
            "last_answer": self._standing.last,
            "next_attempt_in_seconds": max(min(times) - now(), 0.0) if times else None,
        }

    def oldest_age(self) -> float:
        """Return the age in seconds of the oldest pending event, 0 when there is none."""
        oldest = self._queue.oldest_at()
        return 0.0 if oldest is None else max(self._clock() - oldest, 0.0)

    async def _keep_sending(self, drain: Drain, due_at: Callable[[], float | None]) -> None:
        while True:
            drain.news.clear()
            self._release_held(now() + EARLY_SECONDS)
            due = due_at()
            wait = LONGEST_PAUSE if due is None else due - now()
            if wait >= EARLY_SECONDS:
                await tasks.wait_for_event(drain.news, min(wait, LONGEST_PAUSE))
                continue
            drain.not_before = now() + drain.pause
            if not await self.send_batch(drain):
                # What waits cannot be read at the moment.
                await asyncio.sleep(UNREADABLE_SECONDS)

    async def _send(self, drain: Drain) -> bool:
        self._release_held(now() + EARLY_SECONDS)
        batch = await self._take(drain)
        if not batch:
            return False
        bodies = [event.body for event in batch]
        try:
            receipt = await self._post(bodies, batch[0].options)
            verdict = judge(receipt, bodies, self._way.rest_seconds)
        except UpstreamError as error:
            no_answer = judge(None, bodies, self._way.rest_seconds)
            self._act(drain, batch, no_answer, error.reason)
        except BaseException:
            # Cut short, or a defect of ours: it goes again with the same insert_ids.
            self._release(event.number for event in batch)
            raise
        else:
            self._act(drain, batch, verdict, verdict.why, receipt.status)
        return True

    async def _take(self, drain: Drain) -> Sequence[Event]:
        lane, limits = self._waiting(drain), self._standing.limits()
        while drain.ends:
            end = drain.ends[-1]
            batch = await self._spool.take(self._queue, lane, limits, end)
            if batch:
                return batch
            # They may have been set back meanwhile.
            if drain.ends and drain.ends[-1] == end:
                drain.ends.pop()
        return await self._spool.take(self._queue, lane, limits)

    def _act(
        self,
        drain: Drain,
        batch: Sequence[Event],
        verdict: Verdict,
        why: str,
        status: int | None = None,
    ) -> None:
        if self._standing.note(verdict, len(batch), why, status):
            self._backlog.news.set()
        if verdict.halve:
            drain.ends += batch[-1].number, batch[(len(batch) - 1) // 2].number
        accepted = self._ours(batch, verdict.accepted)
        for kind, count in Counter(event.kind for event in accepted).items():
            self._tally.count("sent", count, kind)
        self._spool.settle(self._queue, accepted)
        for place, reason in verdict.dropped.items():
            lost = self._ours(batch, [place])
            self._spool.settle(self._queue, lost)
            self._lose(reason, [event.slip for event in lost])
        held = [event.number for event in self._ours(batch, verdict.held)]
        self._due.hold(now() + verdict.hold_seconds, held)
        self._tally.count("held", len(held))
        back = [event.number for event in self._ours(batch, verdict.resent)]
        self._tally.count("retried", len(back))
        self._release(back)

    def _ours(self, batch: Sequence[Event], places: Iterable[int]) -> list[Event]:
        # What was given up meanwhile is counted as lost already.
        return [batch[place] for place in places if self._queue.is_lent(batch[place])]

    def _release(self, numbers: Iterable[int]) -> None:
        self._due.release(numbers)
        self._wake()

    def _release_held(self, until: float) -> None:
        if self._due.release_held(until):
            self._wake()

    def _wake(self) -> None:
        self._live.news.set()
        self._backlog.news.set()

    def _lose(self, reason: str, slips: Sequence[Slip]) -> None:
        for kind, count in Counter(slip.kind for slip in slips).items():
            self._tally.drop(reason, count, kind)
        if reason not in FINAL:
            for slip in slips:
                self._on_lost(slip.kind, slip.key)

    def _live_due_at(self) -> float | None:
        due = self._due.live_at(self._standing.limits().events)
        return None if due is None else max(due, self._may_at())

    def _backlog_due_at(self) -> float | None:
        if not self._queue.backlog.count:
            return None
        return max(self._backlog.not_before, self._may_at())

    def _may_at(self) -> float:
        return max(self._backoff.not_before, self._due.room_at())

    def _unsent(self) -> Drain | None:
        """Return the lane that a flush has to see to next, None when it is done."""
        if self._queue.live.count or self._live.turn.locked():
            return self._live
        if self._is_safe():
            return None
        if self._queue.backlog.count or self._backlog.turn.locked():
            return self._backlog
        return self._live if self._due.held_until() is not None else None

    def _flush_at(self, drain: Drain) -> float:
        """Return when the next batch of a flush may go: what is held counts if nothing waits."""
        held_until = self._due.held_until()
        if self._waiting(drain).count or drain.turn.locked() or held_until is None:
            return self._backoff.not_before
        return max(self._backoff.not_before, held_until)

    def _waiting(self, drain: Drain) -> Lane:
        return self._queue.live if drain is self._live else self._queue.backlog

    def _is_safe(self) -> bool:
        return self._queue.in_memory() == 0
