"""Commits what is kept, again and again, and falls back on a workspace of its own in trouble."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar, final

from proxy import logs, tasks
from proxy.errors import Hindered
from proxy.metrics import Metrics
from proxy.store.ledger import Ledger
from proxy.store.loading import Complaint, Found
from proxy.store.timing import Pace, Timing
from proxy.store.trouble import DAMAGED, FOREIGN_OWNER, NEWER_FORMAT, Alarm
from proxy.store.workspace import Workspace
from proxy.store.writer import Outcome, Writer

Given = ParamSpec("Given")
Done = TypeVar("Done")

SET_ASIDE = "its state is of a newer format; it was set aside, and a new one is being written"

log = logs.get("store")


@final
class Committer:
    """Owned by one event loop; all disk work is done in one thread, so commits never overlap.

    `writer` is None when nothing is to outlive the process.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        writer: Writer | None,
        private: Workspace,
        metrics: Metrics,
        clock: tasks.Clock,
        pace: Pace,
    ) -> None:
        self.writer = writer
        self.alarm = Alarm(metrics, "none" if writer is None else str(writer.directory.path))
        self.outcome = Outcome()
        self.written_at: float | None = None
        self._ledger = ledger
        self._private = private
        self._metrics = metrics
        self._clock = clock
        self._timing = Timing(pace)
        self._news = asyncio.Event()
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "store")
        # What was found when the directory became ours; None once it is taken in.
        self._found: Found | None = None
        # Whether large files can be made in the data directory, and until when all the same not.
        self._usable = False
        self._refuses_until: float | None = None
        self._closed = False

    @property
    def workspace(self) -> Path | None:
        """Where large files are made at present; None when no place takes them."""
        # Where there is no other place, one that refused is better than none.
        if self._is_usable() or (self._usable and self._private.path is None):
            return self.files_path
        return self._private.path

    @property
    def files_path(self) -> Path:
        """Where the files of the data directory lie; nowhere when there is none."""
        return Path() if self.writer is None else self.writer.directory.files_path

    @property
    def waiting(self) -> bool:
        """Whether something is kept that is not on the disk yet."""
        return self._ledger.changed or self._ledger.noted or self._turn.locked()

    def wake(self) -> None:
        """Look whether there is something to write."""
        self._news.set()

    def refused(self, folder: Path) -> None:
        """Look soon whether `folder` is there, and make large files elsewhere for a while."""
        if folder == self.files_path:
            # A commit without large files may go well on a disk that is too full for them.
            self._refuses_until = self._now() + self._timing.pace.longest_retry
        self._timing.doubt()
        self._ledger.changed = True
        self.wake()

    async def open(self) -> Found:
        """Return what is there; what stands in the way is told, and tried again by `run`."""
        found, why = Found(), None
        if self.writer is not None:
            try:
                found = await self._own(self.writer)
                self._usable = True
            except Hindered as hindered:
                why = hindered
                self.alarm.raised(why)
                found = await self._peek(self.writer, why)
        await self._ensure_workspace()
        self._timing.attempted(self._now(), why)
        return found

    async def run(self) -> None:
        """Write what is kept, again and again, until it is cancelled."""
        while True:
            while (pause := self._timing.pause(self._now(), changed=self._ledger.changed)) > 0:
                self._news.clear()
                await tasks.wait_for_event(self._news, pause)
            await self.commit()

    async def commit(self) -> bool:
        """Write what is kept at once; return whether the data directory holds all of it."""
        async with self._turn:
            why = await self._commit()
            if why is not None:
                self.alarm.raised(why)
            elif self.writer is not None:
                self.alarm.ended()
            # Lost files are no reason to make new ones elsewhere.
            done = why is None or why.reason == DAMAGED
            self._usable = self.writer is not None and done
            await self._ensure_workspace()
        return self.writer is not None and why is None

    async def close(self) -> None:
        """Write what is kept a last time, within seconds, and let go of everything."""
        if self._closed:
            return
        self._closed = True
        try:
            async with asyncio.timeout(self._timing.pace.close):
                if self._ledger.changed or self._ledger.noted:
                    await self.commit()
                if self.writer is not None:
                    await self._do(self.writer.close)
                await self._do(self._private.remove)
        except TimeoutError:
            log.warning("the data directory did not answer in time; it is left as it is")
        finally:
            self._usable = False
            self._thread.shutdown(wait=False, cancel_futures=True)

    def complain(self, complaint: Complaint) -> None:
        """Count and tell something that was wrong."""
        self.alarm.count(complaint.reason)
        log.warning(
            "something in the data directory cannot be used",
            reason=complaint.reason,
            why=complaint.text,
        )

    async def _commit(self) -> Hindered | None:
        """Return why the data directory does not hold what is kept; None when it does."""
        self._ledger.changed = self._ledger.noted = False
        dropped = self._ledger.take_dropped()
        done, why = False, None
        try:
            await self._do(self._private.drop, dropped)
            if self.writer is not None:
                why = await self._write(self.writer, dropped)
            done = why is None or why.reason == DAMAGED
        except Hindered as hindered:
            why = hindered
        finally:
            # What was cut off, by a cancellation too, is done again as a whole.
            self._ledger.seen_to(dropped, everywhere=done)
            self._ledger.changed |= not done
            self._timing.attempted(self._now(), None if done else why)
        return why

    async def _write(self, writer: Writer, dropped: set[str]) -> Hindered | None:
        await self._own(writer)
        if self._timing.checks(self._now()):
            await self._do(writer.check)
        private = self._private.path
        elsewhere = () if private is None else (private,)
        now = self._clock()
        entries = dict(self._ledger.entries)
        outcome = await self._do(writer.commit, entries, dropped, elsewhere, now)
        for content, files in outcome.placed:
            content.files = files
        self._metrics.store_commits.inc(outcome.commits)
        if outcome.hindered is None or outcome.hindered.reason == DAMAGED:
            arrived = {key: one for key, one in entries.items() if key not in outcome.lost}
            self._ledger.settled(arrived)
            self._written(outcome, now if outcome.commits else self.written_at)
        return outcome.hindered

    async def _own(self, writer: Writer) -> Found:
        """Make sure that the directory is ours; return what was there if it was not before."""
        if not await self._do(writer.is_ours):
            await self._do(self._acquire, writer)
        found, self._found = self._found, None
        if found is None:
            return Found()
        log.info("the data directory is ours", records=len(found.usable), bytes=found.bytes)
        self._take_in(found)
        if found.newer:
            self.alarm.raised(Hindered(NEWER_FORMAT, SET_ASIDE))
        return found

    def _acquire(self, writer: Writer) -> None:
        # Not returned: when the waiting is cancelled, the directory is ours all the same.
        self._found = writer.acquire()

    async def _peek(self, writer: Writer, why: Hindered) -> Found:
        """Read what we may not write; what somebody else owns is not trusted."""
        if why.reason == FOREIGN_OWNER:
            return Found()
        try:
            found = await self._do(writer.peek)
        except Hindered:
            return Found()
        self._take_in(found)
        return found

    def _take_in(self, found: Found) -> None:
        self._ledger.merge(found.state, found.usable, told=found.told)
        self._ledger.changed |= not found.whole or found.usable != found.state
        for complaint in found.complaints:
            self.complain(complaint)
        self._written(Outcome(bytes=found.bytes), found.written_at)

    def _written(self, outcome: Outcome, at: float | None) -> None:
        self.outcome, self.written_at = outcome, at
        self._metrics.store_bytes.set(outcome.bytes)

    async def _ensure_workspace(self) -> None:
        if not self._is_usable():
            await self._do(self._private.make)

    def _is_usable(self) -> bool:
        if self._refuses_until is not None and self._now() >= self._refuses_until:
            self._refuses_until = None
        return self._usable and self._refuses_until is None

    async def _do(
        self, step: Callable[Given, Done], *given: Given.args, **named: Given.kwargs
    ) -> Done:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(step, *given, **named))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
