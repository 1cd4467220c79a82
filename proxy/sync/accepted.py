"""A body that was accepted as what upstream serves."""

from __future__ import annotations

from typing import final

import msgspec

from proxy.evaluation.cohorts import Target
from proxy.evaluation.deployment import CompiledDeployment
from proxy.snapshots.snapshot import Source
from proxy.sync.holding import NOTHING, Waiting


@final
class Accepted(msgspec.Struct, kw_only=True, eq=False):
    """A good body, compiled; `waiting` is what of it is not in force yet.

    Times are in seconds since 1970: upstream's last word for it, and, for what an earlier life
    left, when that put it in force.
    """

    body: bytes
    compiled: CompiledDeployment
    source: Source
    confirmed_at: float
    changed_at: float | None = None
    waiting: Waiting = NOTHING

    @property
    def targets(self) -> frozenset[Target]:
        """The cohorts that it waits for."""
        return frozenset[Target]().union(*self.waiting.values())
