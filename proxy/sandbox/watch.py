"""The flag file, read again whenever it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from proxy import logs
from proxy.sandbox.reading import FileMistake
from proxy.sandbox.world import NOTHING, World, read_world
from proxy.tasks import Clock

PAUSE_SECONDS = 0.1
log = logs.get("sandbox")


Mark = tuple[int, int, int]
"""What changes when somebody writes the file."""


class FlagFile:
    """The file at `path` and the last world that could be read from it."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._seen: Mark | None = None
        self.world = NOTHING

    def read(self) -> bool:
        """Read the file; return whether there is a new world.

        Raises OSError when it cannot be opened and FileMistake when it holds a mistake; the
        world stays as it was.
        """
        mark = self._mark()
        content = self._path.read_bytes()
        self._seen = mark
        world = read_world(text_of(content), self.world, self._clock())
        changed = world != self.world
        self.world = world
        return changed

    async def follow(self, on_change: Callable[[World], None]) -> None:
        """Read the file whenever it was saved; tell of each new world, and of each mistake once."""
        looked_at, told = self._seen, ""
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            try:
                # Editors empty a file before they fill it: it counts once it rests.
                before, looked_at = looked_at, self._mark()
                if looked_at != before or looked_at == self._seen:
                    continue
                changed = self.read()
                told = ""
                flags = len(self.world.flag_keys)
                if changed:
                    log.info("flag file changed", flags=flags)
                    on_change(self.world)
                else:
                    log.info("flag file read again, its flags are the same", flags=flags)
            except FileMistake as mistake:
                told = ""
                where = {"file": str(self._path), "line": mistake.line}
                log.warning("the last good flags stay", **where, mistake=mistake.reason)
            except OSError as error:
                self._seen = None
                if told != str(error):
                    told = str(error)
                    log.warning("cannot read the flag file, its flags stay", reason=told)

    def _mark(self) -> Mark:
        status = self._path.stat()
        return status.st_mtime_ns, status.st_size, status.st_ino


def text_of(content: bytes) -> str:
    """Return the text of a flag file; raises FileMistake."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FileMistake(line, "not UTF-8 text") from None
