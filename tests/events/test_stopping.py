"""A stop takes as long as it may, whatever the disk and upstream do, and knows what it loses."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from proxy import tasks
from proxy.events.destinations import Destination, Pace, Way
from proxy.events.spool import CLOSE_SECONDS
from proxy.events.spool_folder import NAME
from proxy.events.tracker import LEAST_COMMIT_SECONDS, Tracker
from proxy.metrics import Metrics
from proxy.settings.reporting import Assignment, Exposure
from proxy.upstream.analytics import Limits, Receipt
from tests.events.builders import AtOnce, clock, outcome, receipt, spool_in

NEVER = 1e9
OUTCOMES = [outcome("a")]
EVENTS = 4500  # three chunks


class Tardy(Executor):
    """Does each piece of work after so many seconds, one after the other."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._free_at = 0.0

    def submit(self, job: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if not self.seconds:
            return AtOnce().submit(job, *args, **kwargs)
        loop = asyncio.get_running_loop()
        self._free_at = max(self._free_at, loop.time()) + self.seconds
        future: Future[Any] = Future()

        def do() -> None:
            done = AtOnce().submit(job, *args, **kwargs)
            if error := done.exception():
                future.set_exception(error)
            else:
                future.set_result(done.result())

        loop.call_at(self._free_at, do)
        return future


class Stopping:
    """A proxy's events at the moment when it is asked to stop."""

    def __init__(self, folder: Path, upstream_seconds: float) -> None:
        self.disk = Tardy()
        self.sent = 0
        self._folder = folder
        self._seconds = upstream_seconds
        self.spool = spool_in(folder, executor=self.disk)
        way = Way(
            limits=Limits(events=2000, size=16_000_000),
            pace=Pace(threshold=10**6, period_seconds=1e6),
        )
        self.tracker = Tracker(
            [Destination("p", "p", way, self._post)],
            Assignment(),
            Exposure(),
            Metrics(),
            self.spool,
            clock=clock,
            chance=lambda: 1.0,
        )

    async def _post(self, bodies: object, _options: bytes) -> Receipt:
        await asyncio.sleep(self._seconds)
        self.sent += len(bodies)  # type: ignore[arg-type]
        return receipt(200)

    async def stop(self, seconds: float) -> tuple[float, float]:
        """Flush and close; return how long each took."""
        began = now()
        self.lost = await self.tracker.flush(seconds)
        flushed = now()
        await self.spool.close()
        return flushed - began, now() - flushed

    def rows(self) -> int:
        """Look into a copy: who hangs still holds the file."""
        copy = self._folder.with_name("copy")
        shutil.copytree(self._folder, copy, ignore=lambda *_: [f"{NAME}-shm"])
        with closing(sqlite3.connect(copy / NAME)) as file:
            return int(file.execute("SELECT count(*) FROM event").fetchone()[0])


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.looptime
@pytest.mark.parametrize("seconds", [0.0, 1.0, 4.0, 10.0])
@pytest.mark.parametrize("disk", [0.0, 0.3, 1.9, 4.9, NEVER])
@pytest.mark.parametrize("upstream", [0.01, NEVER])
async def test_a_stop_stays_within_its_time(
    tmp_path: Path, seconds: float, disk: float, upstream: float
) -> None:
    stopping = Stopping(tmp_path / "events", upstream)
    await stopping.spool.open()
    committing = tasks.start("spool", stopping.spool.run())
    stopping.disk.seconds = disk
    for number in range(EVENTS):
        stopping.tracker.track(0, {"user_id": f"user-{number}"}, OUTCOMES, clock())
        if number == 2000:
            await asyncio.sleep(0.1)  # a commit is under way
    await tasks.stop(committing)

    flushing, closing_it = await stopping.stop(seconds)

    assert flushing <= max(seconds, LEAST_COMMIT_SECONDS) + 1e-6
    assert closing_it <= CLOSE_SECONDS + 1e-6
    left = stopping.rows()
    assert stopping.lost + stopping.sent + left >= EVENTS, "nothing is lost in silence"
    if disk < 1.0 and seconds >= 4.0:
        assert stopping.lost == 0


@pytest.mark.looptime
async def test_what_the_disk_takes_after_it_was_given_up_is_there_at_the_next_start(
    tmp_path: Path,
) -> None:
    stopping = Stopping(tmp_path / "events", NEVER)
    await stopping.spool.open()
    stopping.disk.seconds = 3.0
    for number in range(10):
        stopping.tracker.track(0, {"user_id": f"user-{number}"}, OUTCOMES, clock())

    await stopping.stop(0.0)
    await asyncio.sleep(3.0)

    assert stopping.lost == 10
    assert stopping.rows() == 10
