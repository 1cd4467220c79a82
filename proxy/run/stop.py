"""How a stop is asked for, and what it leaves time for."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from proxy import logs

STOPPED: Final = 0
LOOP_DIED: Final = 1
CANNOT_START: Final = 3

log = logs.get("run")


class Stop:
    """Whether to stop, whether to hurry, and with which exit code."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()
        self.exit_code = STOPPED
        self._asked_at = 0.0

    def seconds_left(self, seconds: float) -> float:
        """Return what is left of the `seconds` that a stop may take."""
        return seconds - (asyncio.get_running_loop().time() - self._asked_at)

    def signalled(self, name: str) -> None:
        """Take a signal: the first asks to stop, a second to hurry."""
        if self.asked.is_set():
            log.warning("hurrying to stop", signal=name)
            self.hurry.set()
        else:
            log.info("stopping", signal=name)
            self._ask()

    def give_up(self, loop: str) -> None:
        """Stop because a loop cannot be kept alive."""
        log.error("stopping because a loop cannot be kept alive", loop=loop)
        self.exit_code = LOOP_DIED
        self._ask()

    def _ask(self) -> None:
        self._asked_at = asyncio.get_running_loop().time()
        self.asked.set()


@contextmanager
def signals_to(stop: Stop) -> Iterator[None]:
    """Send SIGTERM and SIGINT to `stop` until the block is left."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, stop.signalled, number.name)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
