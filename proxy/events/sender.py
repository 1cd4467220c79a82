"""One project's events on their way: take a batch, post it, act on the answer, again.

Whoever runs it decides when: the loop `run` waits for a full batch or the period; `flush` waits
for nothing it need not, and does not depend on the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from proxy import logs, tasks
from proxy.errors import UpstreamError
from proxy.events.answers import Verdict, judge
from proxy.events.batches import fits_alone, lowered
from proxy.events.buffer import RECORD_BYTES, Buffer, Event
from proxy.events.destinations import Destination
from proxy.events.tally import Tally
from proxy.upstream.analytics import Limits

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
SMALLER_BATCHES_SECONDS: Final = 600.0
EARLY_SECONDS: Final = 0.001  # a timer may end a little before its time

# Upstream pointed at the event itself: telling the same again would end in the same way.
FINAL: Final = frozenset({"invalid", "silenced", "quota", "too_large"})

log = logs.get("events")


class Sender:
    """Sends the events of one project; what is lost for good goes to `on_lost` by its key."""

    def __init__(
        self,
        destination: Destination,
        tally: Tally,
        *,
        on_lost: Callable[[int], None],
        clock: tasks.Clock,
        chance: Callable[[], float],
    ) -> None:
        self._project, way, self._post = destination
        self._way = way
        self._tally = tally
        self._on_lost = on_lost
        self._clock = clock
        self._chance = chance
        self._buffer = Buffer(way.max_bytes, period_seconds=way.period_seconds)
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()
        self._not_before = float("-inf")
        self._failures = 0
        self._limits = way.limits
        self._smaller_until = float("-inf")
        self._ends: list[int] = []  # where the next batches have to end, the nearest last
        self._last: dict[str, Any] | None = None

    def __len__(self) -> int:
        return len(self._buffer)

    @property
    def size(self) -> int:
        """Bytes of what is pending."""
        return self._buffer.size

    def offer(self, body: bytes, at: float, key: int) -> None:
        """Take over an encoded event of the second `at`; what has no room is counted as lost."""
        alone = Event(0, body, at, key)
        room = self._way.max_bytes - RECORD_BYTES
        if not fits_alone(len(body), self._way.limits) or len(body) > room:
            self._lose([alone], "too_large")
            return
        self._lose(self._buffer.append(body, at, key, _now()), "full")
        self._news.set()

    async def run(self) -> None:
        """Send whenever a batch is due; never returns."""
        while True:
            self._news.clear()
            due = self._due_at()
            wait = LONGEST_PAUSE if due is None else due - _now()
            if wait < EARLY_SECONDS:
                await self.send_batch()
            else:
                await tasks.wait_for_event(self._news, min(wait, LONGEST_PAUSE))
                self._expire()

    async def flush(self, deadline: float) -> int:
        """Send all that is pending until `deadline`, a second of the loop's clock.

        What is left then is dropped, counted and its number returned.
        """
        # Rather ask once too early than never.
        self._failures = 0
        self._not_before = float("-inf")
        self._buffer.release_held()
        try:
            async with asyncio.timeout_at(deadline):
                while len(self._buffer):
                    pause = max(self._not_before, self._buffer.held_until()) - _now()
                    if pause > 0 and _now() + pause >= deadline:
                        break
                    await asyncio.sleep(max(pause, 0))
                    await self.send_batch()
        except TimeoutError:
            pass
        return self.give_up()

    def give_up(self) -> int:
        """Drop and count what is pending; return how many events these are."""
        left = self._buffer.clear()
        self._lose(left, "stopped")
        return len(left)

    async def send_batch(self) -> None:
        """Post one batch, if there is anything to send, and do what the answer says."""
        async with self._turn:
            self._expire()
            now = _now() + EARLY_SECONDS
            batch = self._buffer.take(self._limits_now(), now, self._next_end())
            if not batch:
                return
            bodies = [event.body for event in batch]
            try:
                receipt = await self._post(bodies)
                verdict = judge(receipt, bodies, self._way.rest_seconds)
            except UpstreamError as error:
                self._act(batch, judge(None, bodies, self._way.rest_seconds), error.reason)
            except BaseException:
                # Cut short, or a defect of ours: it goes again with the same insert_ids.
                self._settle(batch, back=batch)
                raise
            else:
                self._act(batch, verdict, verdict.why, receipt.status)

    def status(self) -> dict[str, Any]:
        """Return what waits, what was answered last, when the next batch goes."""
        due = self._due_at()
        return {
            "pending": len(self._buffer),
            "pending_bytes": self._buffer.size,
            "oldest_age_seconds": self.oldest_age(),
            "batch_limit": self._limits_now().events,
            "failures_in_a_row": self._failures,
            "last_answer": self._last,
            "next_attempt_in_seconds": None if due is None else max(due - _now(), 0.0),
        }

    def oldest_age(self) -> float:
        """Return the age in seconds of the oldest pending event, 0 when there is none."""
        oldest = self._buffer.oldest_at()
        return 0.0 if oldest is None else max(self._clock() - oldest, 0.0)

    def _act(
        self, batch: Sequence[Event], verdict: Verdict, why: str, status: int | None = None
    ) -> None:
        if not self._buffer.is_taken(batch):
            return  # the flush gave up waiting and has counted these as lost
        self._remember(why, status, verdict)
        now = _now()
        until = now + verdict.hold_seconds
        back = [batch[place] for place in verdict.resent]
        held = [batch[place] for place in verdict.held]
        self._settle(batch, back=back, held=held, until=until)
        if verdict.halve:
            self._ends += batch[-1].number, batch[(len(batch) - 1) // 2].number
        if verdict.shrink:
            self._limits = lowered(self._limits, len(batch))
            self._smaller_until = now + SMALLER_BATCHES_SECONDS
        elif "too_large" in verdict.dropped.values():
            self._limits = self._way.limits  # it was this event, not how many there were
        self._tally.count("sent", len(verdict.accepted))
        self._tally.count("retried", len(back))
        self._tally.count("held", len(held))
        for place, reason in verdict.dropped.items():
            self._lose([batch[place]], reason)

    def _remember(self, why: str, status: int | None, verdict: Verdict) -> None:
        self._last = {"status": status, "said": why, "at": self._clock()}
        if verdict.accepted:
            if self._failures:
                log.info("events are accepted again", project=self._project)
            self._failures = 0
        self._not_before = _now() + verdict.wait
        if verdict.slower:
            self._failures += 1
            longest = min(FIRST_PAUSE * 2 ** min(self._failures - 1, 10), LONGEST_PAUSE)
            pause = max(verdict.wait, longest * self._chance())
            self._not_before = _now() + pause
            level = log.warning if self._failures == 1 else log.debug
            level("events not accepted", project=self._project, said=why, pause=round(pause, 3))

    def _settle(
        self,
        batch: Sequence[Event],
        *,
        back: Sequence[Event],
        held: Sequence[Event] = (),
        until: float = 0.0,
    ) -> None:
        if self._buffer.is_taken(batch):
            self._buffer.settle(back, held, until)

    def _expire(self) -> None:
        self._lose(self._buffer.expire(self._clock() - self._way.max_age_seconds), "too_old")

    def _lose(self, events: Sequence[Event], reason: str) -> None:
        if not events:
            return
        self._tally.drop(reason, len(events))
        if reason not in FINAL:
            for event in events:
                self._on_lost(event.key)

    def _due_at(self) -> float | None:
        due = self._buffer.due_at(min(self._way.threshold, self._limits_now().events))
        return None if due is None else max(due, self._not_before)

    def _limits_now(self) -> Limits:
        if self._smaller_until <= _now():
            self._limits = self._way.limits
        return self._limits

    def _next_end(self) -> int | None:
        first = self._buffer.first_number()
        while self._ends and (first is None or self._ends[-1] < first):
            self._ends.pop()
        return self._ends[-1] if self._ends else None


def _now() -> float:
    return asyncio.get_running_loop().time()
