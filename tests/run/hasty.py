"""An event loop whose clock runs fast: minutes of the proxy's own patience pass in seconds.

Sockets, files and processes are real; only the waits are short. What is asked for in seconds of
the loop's clock is `HASTE` times shorter on the wall.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

HASTE = 100.0

Result = TypeVar("Result")


class HastySelector(selectors.DefaultSelector):
    """Waits a fraction of what it is told."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout if timeout is None else timeout / HASTE)


class HastyLoop(asyncio.SelectorEventLoop):
    """A loop of real sockets and fast timers."""

    def __init__(self) -> None:
        super().__init__(HastySelector())

    def time(self) -> float:
        return super().time() * HASTE


def run_hastily(work: Coroutine[Any, Any, Result]) -> Result:
    """Run `work` to its end on a loop of its own."""
    with asyncio.Runner(loop_factory=HastyLoop) as runner:
        return runner.run(work)
