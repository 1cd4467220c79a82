"""How one project stands with upstream: what it said last, how long to rest, how much to send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from proxy import logs, tasks
from proxy.events.answers import Verdict
from proxy.events.backoff import Backoff, now
from proxy.events.batches import lowered
from proxy.upstream.analytics import Limits

SMALLER_BATCHES_SECONDS: Final = 600.0
LOG_SECONDS: Final = 60.0
"""Of trouble that comes and goes the log hears once in so long."""

log = logs.get("events")


class Standing:
    """Remembers answers; `backoff` says when the next batch may go."""

    def __init__(
        self, project: str, limits: Limits, clock: tasks.Clock, chance: Callable[[], float]
    ) -> None:
        self.backoff = Backoff(chance)
        self.last: dict[str, Any] | None = None
        self._project = project
        self._clock = clock
        self._usual = self._limits = limits
        self._smaller_until = float("-inf")
        self._told_trouble_at = float("-inf")
        self._is_told = False

    def limits(self) -> Limits:
        """Return how much a batch may hold now."""
        if self._smaller_until <= now():
            self._limits = self._usual
        return self._limits

    def note(self, verdict: Verdict, count: int, why: str, status: int | None) -> bool:
        """Remember what was said to a batch of `count`; return whether trouble ended with it."""
        self.last = {"status": status, "said": why, "at": self._clock()}
        if verdict.shrink:
            self._limits = lowered(self._limits, count)
            self._smaller_until = now() + SMALLER_BATCHES_SECONDS
        elif "too_large" in verdict.dropped.values():
            self._limits = self._usual  # it was this event, not how many there were
        is_well_again = bool(verdict.accepted) and self.backoff.succeed()
        if is_well_again:
            self._tell_end()
        if verdict.slower:
            self._tell_trouble(why, self.backoff.fail(verdict.wait))
        else:
            self.backoff.wait(verdict.wait)
        return is_well_again

    def _tell_trouble(self, why: str, pause: float) -> None:
        is_news = not self._is_told and now() - self._told_trouble_at >= LOG_SECONDS
        if is_news:
            self._told_trouble_at = now()
            self._is_told = True
        level = log.warning if is_news else log.debug
        level("events not accepted", project=self._project, said=why, pause=round(pause, 3))

    def _tell_end(self) -> None:
        level = log.info if self._is_told else log.debug
        self._is_told = False
        level("events are accepted again", project=self._project)
