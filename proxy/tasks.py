"""Background work that someone owns: named, guarded, restarted, on a clock that tests move."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

Clock = Callable[[], float]
"""Seconds since 1970; what `wall_clock` returns."""

wall_clock: Final[Clock] = time.time  # noqa: TID251  the one reader of the wall clock
"""Return the seconds since 1970."""


def start(name: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start `work` as a task called `name`; the caller keeps it and awaits its end."""
    return asyncio.create_task(work, name=name)  # noqa: TID251  the one place that may


async def stop(*work: asyncio.Task[Any]) -> None:
    """Cancel each task and wait until all have ended; their errors are not raised again."""
    for task in work:
        task.cancel()
    await asyncio.gather(*work, return_exceptions=True)


async def keep_alive(
    loop_body: Callable[[], Awaitable[None]],
    on_death: Callable[[BaseException | None, float], None],
    *,
    first_pause: float = 1.0,
    longest_pause: float = 60.0,
) -> None:
    """Run an eternal loop; when it raises or returns, report it and start it again after a pause.

    `on_death` gets the error (None when the loop returned) and the pause in seconds; the pause
    doubles up to `longest_pause` and starts over once the loop has lived that long.
    """
    now = asyncio.get_running_loop().time
    pause = first_pause
    while True:
        began = now()
        error: BaseException | None = None
        try:
            await loop_body()
        except Exception as caught:  # noqa: BLE001  the guard's purpose
            error = caught
        if now() - began >= longest_pause:
            pause = first_pause
        on_death(error, pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, longest_pause)


async def wait_for_event(event: asyncio.Event, seconds: float) -> bool:
    """Wait until `event` is set, at most `seconds`; return whether it was."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def in_thread(call: Callable[..., T], *arguments: Any) -> T:
    """Call in a worker thread; who is cancelled meanwhile still waits for the call's end.

    So a file may be closed or removed after it: no thread works on it any more.
    """
    work = asyncio.get_running_loop().run_in_executor(None, call, *arguments)
    try:
        await asyncio.wait([work])
    except asyncio.CancelledError:
        while not work.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        # Taken note of, so that asyncio does not complain about it later.
        work.exception()
        raise
    return work.result()
