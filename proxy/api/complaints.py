"""Lines about what clients do again and again: one now and then, however many there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy import logs

if TYPE_CHECKING:
    from proxy.tasks import Clock

LOG_PAUSE_SECONDS = 10.0


class Complaints:
    """Logs one kind of trouble, at most once in `LOG_PAUSE_SECONDS`, with how often it occurred."""

    def __init__(self, event: str, clock: Clock) -> None:
        self._event = event
        self._clock = clock
        self._log = logs.get("api")
        self._next_line = 0.0
        self._unsaid = 0

    def tell(self, **fields: Any) -> None:
        """Take note of one more; `fields` are shown if it is this one's turn to be logged."""
        now = self._clock()
        self._unsaid += 1
        if now >= self._next_line:
            self._log.warning(self._event, **fields, refused=self._unsaid)
            self._next_line = now + LOG_PAUSE_SECONDS
            self._unsaid = 0
