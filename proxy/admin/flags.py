"""`/status/flags`: all flags of a deployment, as people read them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, final

import msgspec

from proxy import tasks
from proxy.admin.describing import describe
from proxy.admin.pages import Ask, Page
from proxy.admin.query import fields, slot_of

if TYPE_CHECKING:
    from proxy.evaluation.deployment import CompiledDeployment
    from proxy.snapshots.board import Board, Slot

MOST_KEPT: Final = 8

DeploymentStatus = Callable[[str], list[dict[str, Any]]]
"""Give what sync tells of the deployment whose key has a hash: `left_out` and `waiting`."""


@final
class FlagsPage:
    """Describes the flags in force; of the deployments looked at last the description is kept.

    That is a thread's work, one deployment at a time: requests of clients do not wait for it.
    """

    def __init__(self, board: Board, status: DeploymentStatus, clock: tasks.Clock) -> None:
        self._board = board
        self._status = status
        self._clock = clock
        self._turn = asyncio.Lock()
        self._described: OrderedDict[CompiledDeployment, msgspec.Raw] = OrderedDict()

    async def answer(self, ask: Ask) -> Page:
        """Answer the flags of `deployment`."""
        slot = slot_of(self._board, fields(ask).get("deployment"))
        snapshot = slot.snapshot
        flags = msgspec.Raw(b"[]")
        if snapshot is not None:
            flags = await self._flags(snapshot.compiled)
        confirmed = slot.confirmed_at
        body = {
            "deployment": slot.deployment.label,
            "version": None if snapshot is None else snapshot.compiled.version,
            "source": None if snapshot is None else snapshot.source,
            "changed_at": None if snapshot is None else snapshot.changed_at,
            "confirmed_age_seconds": None
            if confirmed is None
            else round(self._clock() - confirmed, 3),
            "flags": flags,
            **self._not_in_force(slot),
        }
        return Page(200, msgspec.json.encode(body))

    async def _flags(self, compiled: CompiledDeployment) -> msgspec.Raw:
        async with self._turn:
            self._forget_what_is_past()
            known = self._described.get(compiled)
            if known is None:
                known = await tasks.in_thread(_described, compiled)
                self._described[compiled] = known
                if len(self._described) > MOST_KEPT:
                    self._described.popitem(last=False)
            self._described.move_to_end(compiled)
        return known

    def _forget_what_is_past(self) -> None:
        in_force = {slot.snapshot.compiled for slot in self._board.slots() if slot.snapshot}
        for compiled in self._described.keys() - in_force:
            del self._described[compiled]

    def _not_in_force(self, slot: Slot) -> Mapping[str, Any]:
        """Return what is left out or waits, as sync tells it."""
        told = next(iter(self._status(slot.deployment.key.label)), None)
        if told is None:
            return {"left_out": [], "waiting": []}
        return {
            "left_out": [
                {
                    "key": one["flag"],
                    "reason": one["reason"],
                    "in_force": "earlier version" if one["in_force"] else "nothing",
                }
                for one in told["left_out"]
            ],
            "waiting": [{"key": one["flag"], "cohorts": one["cohorts"]} for one in told["waiting"]],
        }


def _described(compiled: CompiledDeployment) -> msgspec.Raw:
    flags = [describe(flag) for flag in compiled.flags.values()]
    return msgspec.Raw(msgspec.json.encode(flags))
