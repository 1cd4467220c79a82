"""A disk that hangs when it is told to."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from tests.events.builders import AtOnce


class Moody(Executor):
    """Does the work at once, or only when it is released."""

    def __init__(self) -> None:
        self.hangs = False
        self._late: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, job: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if not self.hangs:
            return AtOnce().submit(job, *args, **kwargs)
        future: Future[Any] = Future()
        self._late.append((future, lambda: job(*args, **kwargs)))
        return future

    @property
    def work(self) -> int:
        return len(self._late)

    async def release(self) -> None:
        """Do what was left undone, and be well again; return when everybody knows."""
        self.hangs = False
        late, self._late = self._late, []
        for future, job in late:
            try:
                future.set_result(job())
            except Exception as error:
                future.set_exception(error)
        for _ in range(5):
            await asyncio.sleep(0)
