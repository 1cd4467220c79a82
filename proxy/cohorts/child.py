"""The building process as its parent sees it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, Self, final

import msgspec

import proxy
from proxy import logs, tasks
from proxy.cohorts.jobs import Built, Order, Progress, Said, Trouble
from proxy.errors import BodyBroken, BuilderDied, NoRoom

COMMAND = (sys.executable, "-m", "proxy.cohorts.worker")
# From here `-m` finds the very program that its parent runs.
HOME = Path(proxy.__file__).parent.parent
LONGEST_LINE = 1 << 20
LONGEST_TAIL = 4096
LONGEST_REMARK = 200
NONSENSE = "the building process spoke nonsense"
FAREWELL_SECONDS = 2.0
log = logs.get("cohorts")


@final
class Child:
    """One building process; it works on one order at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._tail = b""
        self._listening = tasks.start("builder's standard error", self._listen())

    @classmethod
    async def start(cls, command: Sequence[str] = COMMAND) -> Self:
        """Start the process; raises BuilderDied when the system does not let us."""
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                str(os.getpid()),
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                cwd=HOME,
                limit=LONGEST_LINE,
                # Ctrl-C at the terminal is for the parent, who then ends this one.
                start_new_session=True,
            )
        except OSError as error:
            raise BuilderDied(f"cannot start the building process: {error.strerror}") from None
        return cls(process)

    @property
    def alive(self) -> bool:
        """Tell whether it has not ended, as far as is known."""
        return self._process.returncode is None

    async def work(
        self, order: Order, on_progress: Callable[[Progress], None], silence_seconds: float
    ) -> Built:
        """Have `order` done; raises BodyBroken, NoRoom, and BuilderDied also for long silence."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            line = msgspec.json.encode(order) + b"\n"
        except UnicodeEncodeError:
            raise BodyBroken("the cohort's id is not text") from None
        # Whether it can still be told shows in what it says.
        with contextlib.suppress(ConnectionError):
            stdin.write(line)
            await stdin.drain()
        while True:
            said = await self._hear(silence_seconds)
            if said.progress is not None:
                on_progress(said.progress)
            elif said.built is not None:
                return said.built
            else:
                _raise(said.trouble)

    async def leave(self) -> None:
        """Let it end by itself, and log what it wrote to its standard error last."""
        await self.end()
        if remark := self._remark():
            log.warning("the building process left a remark", remark=remark)

    async def end(self) -> None:
        """Let it end by itself; what does not within some seconds is killed."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End it at once, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._listening

    async def _hear(self, silence_seconds: float) -> Said:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(silence_seconds):
                line = await self._process.stdout.readline()
            if not line.endswith(b"\n"):
                raise BuilderDied(await self._last_words())
            return msgspec.json.decode(line, type=Said)
        except TimeoutError:
            raise BuilderDied(
                f"the building process was silent for {silence_seconds:g} s"
            ) from None
        except ValueError:
            raise BuilderDied(NONSENSE) from None

    async def _last_words(self) -> str:
        """Return how it ended; only what closed its output and lives on is killed."""
        await self.end()
        code, remark = self._process.returncode, self._remark()
        return f"the building process ended with code {code}" + (f": {remark}" if remark else "")

    async def _listen(self) -> None:
        """Keep the last that it wrote to its standard error."""
        stderr = self._process.stderr
        assert stderr is not None
        while data := await stderr.read(LONGEST_TAIL):
            self._tail = (self._tail + data)[-LONGEST_TAIL:]

    def _remark(self) -> str:
        lines = self._tail.decode(errors="replace").strip().splitlines()
        return lines[-1][:LONGEST_REMARK] if lines else ""


def _raise(trouble: Trouble | None) -> NoReturn:
    if trouble is None:
        raise BuilderDied(NONSENSE)
    if trouble.error == "broken":
        raise BodyBroken(trouble.reason)
    if trouble.error == "no room":
        raise NoRoom(trouble.reason)
    raise BuilderDied(trouble.reason)
