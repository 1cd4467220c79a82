"""An event loop whose clock runs fast: minutes of the proxy's own patience pass in seconds.

Sockets, files and processes are real; only the waits are short. What is asked for in seconds of
the loop's clock is `HASTE` times shorter on the wall, unless `pace` says otherwise.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

HASTE = 100.0

Result = TypeVar("Result")


class HastySelector(selectors.DefaultSelector):
    """Waits a fraction of what it is told."""

    haste = HASTE

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout if timeout is None else timeout / self.haste)


class HastyLoop(asyncio.SelectorEventLoop):
    """A loop of real sockets and fast timers."""

    def __init__(self) -> None:
        self._hasty = HastySelector()
        self._since = self._at = 0.0
        super().__init__(self._hasty)

    def time(self) -> float:
        return self._at + (super().time() - self._since) * self._hasty.haste

    def go(self, haste: float) -> None:
        """Let the clock go so many times faster than the one on the wall from now on."""
        self._at, self._since = self.time(), super().time()
        self._hasty.haste = haste


@contextmanager
def pace(haste: float) -> Iterator[None]:
    """Let the clock go slowly, so that no deadline passes while something is looked at, or fast."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, HastyLoop)
    loop.go(haste)
    try:
        yield
    finally:
        loop.go(HASTE)


def run_hastily(work: Coroutine[Any, Any, Result]) -> Result:
    """Run `work` to its end on a loop of its own."""
    with asyncio.Runner(loop_factory=HastyLoop) as runner:
        return runner.run(work)
