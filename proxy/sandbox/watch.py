"""The flag file, read again whenever it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from proxy import logs
from proxy.sandbox.reading import FileMistake
from proxy.sandbox.world import NOTHING, World, read_world
from proxy.tasks import Clock

PAUSE_SECONDS = 0.2
log = logs.get("sandbox")


class FlagFile:
    """The file at `path` and the last world that could be read from it."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._seen: tuple[int, int, int] | None = None
        self.world = NOTHING

    def read(self) -> bool:
        """Read the file if it changed; return whether there is a new world.

        Raises OSError when it cannot be opened and FileMistake when it holds a mistake; the
        world stays as it was.
        """
        status = self._path.stat()
        mark = (status.st_mtime_ns, status.st_size, status.st_ino)
        if mark == self._seen:
            return False
        self._seen = mark
        try:
            text = self._path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise FileMistake(1, "not UTF-8 text") from None
        world = read_world(text, self.world, self._clock())
        changed = world != self.world
        self.world = world
        return changed

    async def follow(self, on_change: Callable[[World], None]) -> None:
        """Read the file again and again; tell of each new world, and of each mistake once."""
        told: str | None = None
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            try:
                if self.read():
                    log.info("flag file changed", flags=len(self.world.flag_keys))
                    on_change(self.world)
                told = None
            except FileMistake as mistake:
                where = {"file": str(self._path), "line": mistake.line}
                log.warning("the last good flags stay", **where, mistake=mistake.reason)
            except OSError as error:
                if told != str(error):
                    told = str(error)
                    log.warning("cannot read the flag file, its flags stay", reason=told)
