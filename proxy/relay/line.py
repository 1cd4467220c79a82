"""The way to Amplitude for one deployment: open or resting, and what that means for who asks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from proxy import logs
from proxy.errors import UpstreamError, UpstreamRefused
from proxy.relay.breaker import Breaker

OF_THE_KEY: Final = frozenset({401, 403})
OF_THE_REQUEST: Final = frozenset({400, 413, 414, 422, 431})
UNAVAILABLE: Final = 503
LOG_PAUSE_SECONDS: Final = 60.0

log = logs.get("relay")


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """Why there are no variants; `status` is what to answer who has nothing else to say.

    That is 401 when Amplitude refuses the key, its own word when it refuses the request, and else
    503; `seconds` is how long nobody will be asked.
    """

    outcome: Literal["failed", "refused", "open"]
    status: int = UNAVAILABLE
    seconds: int = 0


class Line:
    """A deployment's breaker, told how calls end, and what it was opened by."""

    def __init__(self, label: str, breaker: Breaker, now: Callable[[], float]) -> None:
        self.breaker = breaker
        self._label = label
        self._now = now
        self._reason = ""
        self._refusal = UNAVAILABLE
        self._is_told = False
        self._next_log_line = float("-inf")

    def rest(self) -> Trouble:
        """Return what is said while nobody is asked."""
        return Trouble(outcome="open", status=self._refusal, seconds=self._seconds_left())

    def succeeded(self, turn: int) -> None:
        """Take note of an answer."""
        if self.breaker.succeed(turn) and self._is_told:
            self._is_told = False
            log.info("remote evaluation is back", deployment=self._label)

    def gave_up(self, turn: int | None) -> None:
        """Take note of a call that was ended from our side."""
        if turn is not None:
            self.breaker.give_up(turn)

    def failed(self, turn: int | None, error: UpstreamError) -> Trouble:
        """Take note of a failure, and return what is said to who waited for that call.

        Without a turn nobody was asked, so that nothing was learnt.
        """
        refused = isinstance(error, UpstreamRefused)
        if refused and error.status in OF_THE_REQUEST:
            assert turn is not None, "somebody answered"
            self.succeeded(turn)
            return Trouble(outcome="refused", status=error.status)
        of_the_key = refused and error.status in OF_THE_KEY
        if turn is not None and self.breaker.fail(turn, 0.0 if of_the_key else error.retry_after):
            self._reason = error.reason
            self._refusal = 401 if of_the_key else UNAVAILABLE
            self._log()
        if of_the_key:
            return Trouble(outcome="refused", status=401)
        return Trouble(outcome="failed", seconds=self._seconds_left())

    def status(self) -> dict[str, Any]:
        """Return what is known of a line that rests."""
        left = round(self.breaker.seconds_left, 1)
        return {"deployment": self._label, "reason": self._reason, "seconds_left": left}

    def _seconds_left(self) -> int:
        return math.ceil(self.breaker.seconds_left)

    def _log(self) -> None:
        # One that fails and recovers all the time is not worth a line each time.
        if self._now() >= self._next_log_line:
            self._next_log_line = self._now() + LOG_PAUSE_SECONDS
            self._is_told = True
            log.warning(
                "remote evaluation rests",
                deployment=self._label,
                reason=self._reason,
                seconds=round(self.breaker.seconds_left, 1),
            )
