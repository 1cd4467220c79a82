"""The board: which keys are ours, and what is in force for each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import final

import msgspec

from proxy.snapshots.snapshot import Deployment, Snapshot


class Slot(msgspec.Struct, kw_only=True, eq=False):
    """The place of one deployment; readers take `snapshot` once and keep to it.

    `snapshot` is None until its first flags came; `confirmed_at` is when upstream last said,
    in seconds since 1970, that they are still what it serves.
    """

    deployment: Deployment
    snapshot: Snapshot | None = None
    confirmed_at: float | None = None


@final
class Board:
    """Keys and their slots; owned by one event loop, read without locks.

    `pending` tells that a list of deployments has not come yet: a key that is not found may
    still be ours.
    """

    def __init__(self) -> None:
        self.pending = False
        self._slots: dict[str, Slot] = {}
        self._generation = 0
        self._news = asyncio.Event()

    def find(self, key: str) -> Slot | None:
        """Return the slot of a key, None when it is not authorised."""
        return self._slots.get(key)

    def slots(self) -> Iterable[Slot]:
        """Return all slots, in the order in which they were authorised."""
        return tuple(self._slots.values())

    def authorise(self, deployment: Deployment) -> Slot:
        """Give a deployment its slot; one that has a slot keeps it, with the new description."""
        slot = self._slots.get(deployment.key.reveal())
        if slot is None:
            slot = self._slots[deployment.key.reveal()] = Slot(deployment=deployment)
        slot.deployment = deployment
        if slot.snapshot is not None:
            slot.snapshot = msgspec.structs.replace(slot.snapshot, deployment=deployment)
        self._tell()
        return slot

    def revoke(self, key: str) -> None:
        """Take a key's slot away; one that has none does not matter."""
        if self._slots.pop(key, None) is not None:
            self._tell()

    def publish(self, key: str, snapshot: Snapshot, confirmed_at: float | None = None) -> bool:
        """Put a snapshot in force, in one step; False when the key is not authorised any more.

        `confirmed_at` is for flags that upstream confirmed at another time than they changed.
        """
        slot = self._slots.get(key)
        if slot is None:
            return False
        slot.snapshot = snapshot
        slot.confirmed_at = snapshot.changed_at if confirmed_at is None else confirmed_at
        self._tell()
        return True

    def confirm(self, key: str, at: float) -> None:
        """Note that upstream still serves what is in force, at a time in seconds since 1970."""
        slot = self._slots.get(key)
        if slot is not None:
            slot.confirmed_at = at

    @property
    def generation(self) -> int:
        """A number that grows with each change of a slot (confirmations are none)."""
        return self._generation

    async def changed(self, seen: int | None = None) -> int:
        """Wait until the generation is beyond `seen` (by default, the present one); return it."""
        known = self._generation if seen is None else seen
        while self._generation <= known:
            await self._news.wait()
        return self._generation

    def _tell(self) -> None:
        self._generation += 1
        # Whoever waits holds the old event; who comes later waits for the next.
        self._news.set()
        self._news = asyncio.Event()
