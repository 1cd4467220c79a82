"""What was tried and how it ended: counted always, logged when it changes, shown on the status."""

from __future__ import annotations

from collections import deque
from typing import Any, Final, Literal, Protocol, final

from proxy import logs
from proxy.errors import UpstreamError, UpstreamGarbled, UpstreamRefused
from proxy.metrics import Metrics
from proxy.tasks import Clock

REMEMBERED = 8
CALM = frozenset(
    {"changed", "unchanged", "renewed", "connected", "stale", "restarted", "waits", "restored"}
    | {"preparing", "rebuilt"}
)
DETAILS = {
    "unconfirmed": "an empty answer waits for a second one",
    "disagrees": "not what the stream said",
    "broken": "none of the flags can be used",
    "waits": "flags wait for cohorts",
}
KEY_REFUSED = frozenset({401, 403})
KEY_HINT = ": upstream does not take this key"

log = logs.get("sync")


class Voice(Protocol):
    """How trouble is told of, and its end."""

    def trouble(self, of: str, what: str, outcome: str, why: str) -> None:
        """Tell that there is trouble, or another one than before."""

    def well(self, of: str, what: str, outcome: str) -> None:
        """Tell that trouble is over."""


@final
class Plain:
    """Logs every line."""

    def trouble(self, of: str, what: str, outcome: str, why: str) -> None:
        """Log a warning."""
        log.warning("sync has trouble", of=of, what=what, outcome=outcome, why=why)

    def well(self, of: str, what: str, outcome: str) -> None:
        """Log that it goes well."""
        log.info("sync goes well", of=of, what=what, outcome=outcome)


PLAIN: Final[Voice] = Plain()


@final
class Journal:
    """The attempts on behalf of one deployment or project; `label` is fit for logs."""

    def __init__(self, label: str, metrics: Metrics, clock: Clock, voice: Voice = PLAIN) -> None:
        self.label = label
        self._voice = voice
        self.next_attempt_at: float | None = None
        self._metrics = metrics
        self._clock = clock
        self._entries: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)
        self._last: dict[str, tuple[str, str]] = {}

    def note(self, what: str, outcome: str, detail: str = "") -> None:
        """Keep an outcome of a closed set; `detail` holds no secret."""
        self._metrics.sync_outcomes.labels(what=what, outcome=outcome).inc()
        entry = {"at": self._clock(), "what": what, "outcome": outcome}
        self._entries.append(entry | ({"detail": detail} if detail else {}))
        before, self._last[what] = self._last.get(what), (outcome, detail)
        if outcome in CALM:
            if before is not None and before[0] not in CALM:
                self._voice.well(self.label, what, outcome)
        elif before != (outcome, detail):
            self._voice.trouble(self.label, what, outcome, detail)

    def failed(self, what: str, error: UpstreamError) -> None:
        """Keep a failure."""
        hint = KEY_HINT if error.status in KEY_REFUSED else ""
        self.note(what, outcome_of(error), error.reason + hint)

    def last(self, what: str) -> str:
        """Return how the last attempt of a kind ended; empty when there was none."""
        return self._last.get(what, ("", ""))[0]

    def trouble(self) -> str:
        """Return why the last attempts of each kind failed, empty when all went well."""
        return "; ".join(
            f"{what}: {detail or outcome}"
            for what, (outcome, detail) in sorted(self._last.items())
            if outcome not in CALM
        )

    def status(self) -> dict[str, Any]:
        """Return the last outcomes, newest first, and when the next attempt is due."""
        waiting = self.next_attempt_at
        return {
            "last_outcomes": list(reversed(self._entries)),
            "next_attempt_in_seconds": None
            if waiting is None
            else round(max(waiting - self._clock(), 0.0), 3),
        }

    def expect(self, pause: float) -> None:
        """Note that the next attempt is due after `pause` seconds."""
        self.next_attempt_at = self._clock() + pause


def outcome_of(error: UpstreamError) -> Literal["garbled", "refused", "unavailable"]:
    """Return the word for a failure."""
    if isinstance(error, UpstreamGarbled):
        return "garbled"
    return "refused" if isinstance(error, UpstreamRefused) else "unavailable"
