"""A client that was told of flags by another instance, and asks this one before it has them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final, final

from proxy.api.requests import query_fields
from proxy.errors import BadRequest

if TYPE_CHECKING:
    from proxy.snapshots.board import Board
    from proxy.snapshots.snapshot import Snapshot

MOST_WAITING: Final = 256
LONGEST_SECONDS: Final = 1.5


@final
class CatchUp:
    """Lets a few such clients wait for a moment: old flags would stay with them for long."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._waiting = 0

    def is_worth_it(self, query: str, snapshot: Snapshot) -> bool:
        """Tell whether a query speaks of flags that are newer than ours."""
        if "flagConfigEtag=" not in query or self._waiting >= MOST_WAITING:
            return False
        try:
            fields = query_fields(query)
        except BadRequest:
            return False
        changed_at = fields.get("flagConfigLastModified", "")
        return (
            fields.get("flagConfigEtag") != snapshot.compiled.version
            and changed_at.isdecimal()
            and len(changed_at) < len("10000000000000")
            and int(changed_at) > snapshot.changed_at
        )

    async def wait(self, snapshot: Snapshot) -> Snapshot:
        """Return the next flags of the deployment, or the same if none come soon."""
        self._waiting += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_SECONDS):
                    return await self._next(snapshot)
        finally:
            self._waiting -= 1
        return snapshot

    async def _next(self, snapshot: Snapshot) -> Snapshot:
        seen = self._board.generation
        while True:
            slot = self._board.find(snapshot.deployment.key.reveal())
            if slot is None or slot.snapshot is None:
                return snapshot
            if slot.snapshot.compiled.version != snapshot.compiled.version:
                return slot.snapshot
            seen = await self._board.changed(seen)
