"""`/status/changes`: which flags changed lately, and how. Told in the log, too: which, not how."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, final

import msgspec

from proxy import logs, tasks
from proxy.admin.changes import Change, changes
from proxy.admin.pages import Ask, Page
from proxy.admin.query import fields, number, slot_of

if TYPE_CHECKING:
    from proxy.evaluation.deployment import CompiledDeployment
    from proxy.secret import Secret
    from proxy.snapshots.board import Board
    from proxy.snapshots.snapshot import Snapshot

MOST_KEPT: Final = 500
MOST_AT_ONCE: Final = 100
MOST_LOGGED: Final = 10

log = logs.get("admin")


class Entry(msgspec.Struct, frozen=True):
    """One change of one flag of one deployment; `at` is in seconds since 1970."""

    at: float
    deployment: str
    source: str
    key: Secret
    change: Change

    def members(self) -> dict[str, Any]:
        """Return it as JSON, without the key."""
        told = {"at": self.at, "deployment": self.deployment, "source": self.source}
        return told | msgspec.structs.asdict(self.change)


@final
class Feed:
    """Watches what is in force, and keeps the last changes in memory.

    The first flags of a deployment are no change; those restored from the disk are its first.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._known: dict[Secret, CompiledDeployment] = {}
        self._entries: deque[Entry] = deque(maxlen=MOST_KEPT)

    async def watch(self) -> None:
        """Take note of every change, for ever."""
        seen = -1
        while True:
            seen = await self._board.changed(seen)
            await self._look()

    async def answer(self, ask: Ask) -> Page:
        """Answer the last `limit` changes, of all deployments or of `deployment`, newest first."""
        given = fields(ask)
        label = given.get("deployment")
        key = None if label is None else slot_of(self._board, label).deployment.key
        most = number(given.get("limit"), MOST_KEPT, MOST_KEPT)
        told = (one.members() for one in reversed(self._entries) if key in (None, one.key))
        return Page(200, msgspec.json.encode({"changes": list(islice(told, most))}))

    async def _look(self) -> None:
        known = self._known
        snapshots = [slot.snapshot for slot in self._board.slots() if slot.snapshot is not None]
        self._known = {one.deployment.key: one.compiled for one in snapshots}
        for snapshot in snapshots:
            before = known.get(snapshot.deployment.key)
            if before is not None and before is not snapshot.compiled:
                found = await tasks.in_thread(_changes, before, snapshot.compiled)
                self._entries.extend(_entry(snapshot, change) for change in found)
                if found:
                    _tell(snapshot, found)


def _tell(snapshot: Snapshot, found: Sequence[Change]) -> None:
    log.info(
        "flags changed",
        deployment=snapshot.deployment.label,
        source=snapshot.source,
        version=snapshot.compiled.version,
        flags=[change.flag for change in found[:MOST_LOGGED]],
        more=max(len(found) - MOST_LOGGED, 0),
    )


def _changes(old: CompiledDeployment, new: CompiledDeployment) -> list[Change]:
    """Return the first changes; where there are more, the last entry says how many."""
    every = changes(old.flags, new.flags)
    first = list(islice(every, MOST_AT_ONCE))
    more = sum(1 for _ in every)
    return [*first, _more(more)] if more else first


def _more(count: int) -> Change:
    return Change("", "changed", None, None, (f"{count} more flags changed at the same time",))


def _entry(snapshot: Snapshot, change: Change) -> Entry:
    deployment = snapshot.deployment
    # What was carried here changed here later than Amplitude changed it.
    at = tasks.wall_clock() if snapshot.source == "offline" else snapshot.changed_at
    return Entry(at, deployment.label, snapshot.source, deployment.key, change)
