"""The spool's file beside the loop: opened when it can be, rested when it fails, said loudly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any, Final

from proxy import logs
from proxy.errors import SpoolDamaged, SpoolError
from proxy.events.event import Event
from proxy.events.spool_file import Change, Committed, Found, SpoolFile, faults
from proxy.events.spool_folder import set_aside
from proxy.events.worker import Hangs, OneThread, Worker
from proxy.metrics import Metrics
from proxy.upstream.analytics import Limits

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
EARLY_SECONDS: Final = 0.001  # a timer may end a little before its time
PATIENCE_SECONDS: Final = 5.0
"""A disk that takes longer for one piece of work hangs; nobody waits for it."""
NO_FOLDER: Final = "no data directory is configured"

log = logs.get("events")


class Disk:
    """The file of a spool, if there is one; whoever calls takes care that calls do not overlap.

    `why` says why it is not in use, None while it is. `on_damage` is told when all that was on
    disk is lost, `on_late` of a change that was done after it was said that it could not be.
    """

    def __init__(
        self,
        folder: Path | None,
        metrics: Metrics,
        executor: Executor | None = None,
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self.why: str | None = NO_FOLDER if folder is None else "it is not open yet"
        self.on_damage: Callable[[], None] = _nobody
        self.on_late: Callable[[Change, Committed], None] = _nobody
        self.used = 0
        self.seconds = 0.0
        self.folder = folder
        self._metrics = metrics
        # One thread: it alone works with the file.
        self._worker = Worker(executor or OneThread("spool"), patience)
        self._file: SpoolFile | None = None
        self._found: list[Found] = []
        self._retry_at = float("-inf")
        self._pause = FIRST_PAUSE
        self._was_damaged = False

    async def open(self) -> list[Found]:
        """Open the file if it is not open and may be tried; return what is found in it."""
        if self.folder is None or self.rests():
            return []
        for _ in range(2):  # once more when what was there is set aside
            if self._file is not None:
                break
            try:
                self._take_over(*await self._worker.do(partial(_opened, self.folder)))
            except SpoolError as error:
                if isinstance(error, Hangs) and error.late is not None:
                    error.late.add_done_callback(self._opened_late)
                await self._fail(error)
                if self.rests():
                    break
        found, self._found = self._found, []
        return found

    def is_open(self) -> bool:
        """Tell whether there is a file."""
        return self._file is not None

    def rests(self) -> bool:
        """Tell whether it failed a moment ago, or hangs."""
        return self._worker.is_stuck or _now() + EARLY_SECONDS < self._retry_at

    def retry_in(self) -> float:
        """Return in how many seconds it should be tried again: never if it is in use, or absent."""
        if self.why is None or self.folder is None:
            return float("inf")
        return self._pause if self._worker.is_stuck else max(self._retry_at - _now(), 0.0)

    def rest_no_longer(self) -> None:
        """Let the next call try, even if it failed a moment ago."""
        self._retry_at = float("-inf")

    def end_by(self, at: float) -> None:
        """Let nobody wait for the disk beyond a second of the loop's clock."""
        self._worker.end = at

    async def read(
        self, label: str, span: tuple[int, int], withheld: Iterable[int], limits: Limits
    ) -> tuple[list[Event], bool]:
        """Return the next batch that can be read, and whether it is full."""
        if self._file is None or self._worker.is_stuck:
            return [], False
        try:
            return await self._worker.do(partial(self._file.read, label, span, withheld, limits))
        except SpoolError as error:
            await self._fail(error)
            return [], False

    async def commit(self, change: Change) -> Committed | None:
        """Do all of a change and return what it came to; None when it could not be done."""
        if self._file is None:
            return None
        began = _now()
        try:
            done = await self._worker.do(partial(self._file.commit, change))
        except SpoolError as error:
            if isinstance(error, Hangs) and error.late is not None:
                error.late.add_done_callback(partial(self._committed_late, change))
            await self._fail(error)
            return None
        self.used = done.used
        self.seconds = _now() - began
        self._metrics.spool_commit_seconds.observe(self.seconds)
        self._restored()
        return done

    async def close(self) -> None:
        """Close the file and end the thread."""
        file, self._file = self._file, None
        if file is not None:
            try:
                await self._worker.do(file.close)
            except SpoolError as error:
                log.error("the spool cannot be closed", why=str(error))  # noqa: TRY400
        self._worker.close()

    async def _fail(self, error: SpoolError) -> None:
        is_damaged = isinstance(error, SpoolDamaged)
        kind = "hangs" if isinstance(error, Hangs) else "damaged" if is_damaged else "unusable"
        self._metrics.spool_failures.labels(kind).inc()
        if str(error) != self.why:
            log.error("events are kept in memory only", why=str(error), folder=str(self.folder))
        self.why = str(error)
        if is_damaged and await self._set_aside() and not self._was_damaged:
            # A new file may be of use at once; if it is not, there is no hurry.
            self._was_damaged = True
            return
        self._retry_at = _now() + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    async def _set_aside(self) -> bool:
        """Make room for a new file; return whether that worked."""
        assert self.folder is not None, "a file was there"
        file, self._file = self._file, None
        self.on_damage()
        try:
            if file is not None:
                await self._worker.do(file.close)
            await self._worker.do(partial(_set_aside, self.folder))
        except SpoolError as error:
            log.error("the damaged spool cannot be set aside", why=str(error))  # noqa: TRY400
            return False
        return True

    def _restored(self) -> None:
        if self.why is not None:
            log.info("events are written to disk", folder=str(self.folder))
        self.why = None
        self._pause = FIRST_PAUSE
        self._was_damaged = False

    def _take_over(self, file: SpoolFile, found: list[Found]) -> None:
        self._file, self._found = file, found
        log.info("events are kept on disk", found=sum(one.events for one in found))

    def _opened_late(self, work: asyncio.Future[Any]) -> None:
        if not work.exception():
            self._take_over(*work.result())

    def _committed_late(self, change: Change, work: asyncio.Future[Any]) -> None:
        if not work.exception():
            self.used = work.result().used
            self.on_late(change, work.result())


def _opened(folder: Path) -> tuple[SpoolFile, list[Found]]:
    file = SpoolFile.open(folder)
    return file, file.found()


def _set_aside(folder: Path) -> None:
    with faults():
        set_aside(folder)


def _nobody(*_: object) -> None:
    pass


def _now() -> float:
    return asyncio.get_running_loop().time()
