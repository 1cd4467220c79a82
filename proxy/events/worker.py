"""One thread that works with a file, which may hang; nobody waits for it for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, TypeVar

from proxy.errors import SpoolUnusable

Result = TypeVar("Result")

HANGS: Final = "the disk does not answer"


class Hangs(SpoolUnusable):
    """The work is not done in time; `late` goes on, or is None: it was not begun at all."""

    def __init__(self, late: asyncio.Future[Any] | None = None) -> None:
        super().__init__(HANGS)
        self.late = late


class OneThread(Executor):
    """A thread that does not keep the process from ending: what hangs in it may hang for ever."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do a job after those before it."""
        future: Future[Any] = Future()
        self._jobs.put((future, partial(job, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002  the interface
        """End the thread after the jobs that it has."""
        self._jobs.put(None)
        if wait:
            self._thread.join()

    def _run(self) -> None:
        while (taken := self._jobs.get()) is not None:
            future, job = taken
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(job())
                except BaseException as error:  # noqa: BLE001  whoever asked for it gets it
                    future.set_exception(error)
            del taken, future, job


class Worker:
    """Does one job at a time; one that takes more than `patience` seconds is not waited for.

    Nor is one beyond `end`, a second of the loop's clock.
    """

    def __init__(self, executor: Executor, patience: float) -> None:
        self.is_stuck = False
        self.end = float("inf")
        self._executor = executor
        self._patience = patience
        self._under_way: asyncio.Future[Any] | None = None

    async def do(self, job: Callable[[], Result]) -> Result:
        """Return what a job comes to; raises `Hangs` when that takes too long.

        So it does at once until what was late has ended, whatever it came to.
        """
        # Who was cancelled has left a job behind.
        if not await self._has_ended() or self.end <= _now():
            raise Hangs
        work = asyncio.wrap_future(self._executor.submit(job))
        work.add_done_callback(_looked_at)
        self._under_way = work
        if not await self._has_ended():
            raise Hangs(work)
        return work.result()

    def close(self) -> None:
        """End the thread, as soon as it can."""
        self._executor.shutdown(wait=False)

    async def _has_ended(self) -> bool:
        work = self._under_way
        if work is None or work.done():
            return True
        if self.is_stuck:
            return False
        await asyncio.wait([work], timeout=max(min(self._patience, self.end - _now()), 0.0))
        if work.done():
            return True
        self.is_stuck = True
        work.add_done_callback(self._is_free)
        return False

    def _is_free(self, _work: asyncio.Future[Any]) -> None:
        self.is_stuck = False


def _now() -> float:
    return asyncio.get_running_loop().time()


def _looked_at(work: asyncio.Future[Any]) -> None:
    """Keep the loop from complaining of an error that nobody waits for."""
    if not work.cancelled():
        work.exception()
