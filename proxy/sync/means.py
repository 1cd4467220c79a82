"""What the loops work with: the same for all."""

from __future__ import annotations

import asyncio
import random
import resource
import secrets
from typing import final

import msgspec

from proxy.metrics import Metrics
from proxy.snapshots.board import Board
from proxy.store.store import Store
from proxy.sync.gate import Gate
from proxy.sync.journal import Journal
from proxy.sync.schedule import Draw, Timings
from proxy.tasks import Clock, wall_clock
from proxy.upstream.client import UpstreamClient

UNLIMITED = 1_000_000


@final
class Means(msgspec.Struct, kw_only=True):
    """What every loop needs; `seed` makes this instance's chance its own, and repeatable.

    Of all this only the timings ever change: they count from the next pause on.
    """

    client: UpstreamClient
    board: Board
    store: Store
    metrics: Metrics
    timings: Timings
    gate: Gate
    """Whose turn it is to fetch its first flags."""
    confirmations: Gate
    """Whose turn it is to ask whether restored flags still stand; first flags never wait for it."""
    openings: Gate
    """Whose turn it is to open a stream; streams that hang must not hold up first flags."""
    seats: asyncio.Semaphore
    """Held by each stream; the rest of the files is for clients, polls and events."""
    clock: Clock
    seed: str

    def draw(self, name: str) -> Draw:
        """Return a source of chance for the loop called `name`."""
        return random.Random(f"{self.seed}/{name}").random  # noqa: S311  spreads load, no secret

    def journal(self, label: str) -> Journal:
        """Return a new journal."""
        return Journal(label, self.metrics, self.clock)


def means_for(
    timings: Timings,
    client: UpstreamClient,
    board: Board,
    store: Store,
    metrics: Metrics,
    *,
    clock: Clock = wall_clock,
    seed: str = "",
) -> Means:
    """Return what loops need; give each instance of a fleet its own `seed` (none: by chance)."""
    return Means(
        client=client,
        board=board,
        store=store,
        metrics=metrics,
        timings=timings,
        gate=Gate(timings.parallel),
        confirmations=Gate(timings.parallel),
        openings=Gate(timings.parallel),
        seats=seats_for(timings.most_streams),
        clock=clock,
        seed=seed or secrets.token_hex(8),
    )


def seats_for(most_streams: int | None) -> asyncio.Semaphore:
    """Return the seats for so many streams; for None as `Timings.most_streams` says."""
    if most_streams is None:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        most_streams = UNLIMITED if files == resource.RLIM_INFINITY else files // 2
    return asyncio.Semaphore(most_streams)
