"""Which deployment a request speaks for, and what it hears when it speaks for none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from proxy import logs
from proxy.api.messages import TEXT, Response, unavailable
from proxy.secret import Secret

if TYPE_CHECKING:
    from prometheus_client import Counter

    from proxy.snapshots.board import Board
    from proxy.snapshots.snapshot import Snapshot
    from proxy.tasks import Clock

SCHEME = "api-key"
LOG_PAUSE_SECONDS = 10.0
INVALID = Response(401, b"Invalid deployment", TEXT)


def deployment_key(headers: Mapping[str, str]) -> str:
    """Return the key of `Authorization: Api-Key <key>`; empty when there is none."""
    scheme, _, key = headers.get("authorization", "").strip().partition(" ")
    return key.strip() if scheme.lower() == SCHEME else ""


class Gate:
    """Lets in requests that carry a deployment's key, with the snapshot they are answered from."""

    def __init__(
        self,
        board: Board,
        *,
        rejected: Counter,
        clock: Clock,
    ) -> None:
        self._board = board
        self._unknown = rejected.labels("unknown_deployment")
        self._pending = rejected.labels("pending")
        self._clock = clock
        self._log = logs.get("api")
        self._next_line = 0.0
        self._unsaid = 0

    def admit(self, headers: Mapping[str, str]) -> Snapshot | Response:
        """Return the snapshot in force, or why there is none: 401 unknown, 503 not synced yet."""
        key = deployment_key(headers)
        slot = self._board.find(key)
        if slot is not None:
            if slot.snapshot is not None:
                return slot.snapshot
            self._pending.inc()
            return unavailable("The flags of this deployment are not here yet")
        if key and self._board.pending:
            # It may well be a key that upstream would have listed: 401 would be final for an SDK.
            self._pending.inc()
            return unavailable("The deployments are not known yet")
        self._unknown.inc()
        self._say(key)
        return INVALID

    def _say(self, key: str) -> None:
        now = self._clock()
        self._unsaid += 1
        if now >= self._next_line:
            label = Secret(key).label if key else "none"
            self._log.warning("unknown deployment key refused", key=label, refused=self._unsaid)
            self._next_line = now + LOG_PAUSE_SECONDS
            self._unsaid = 0
