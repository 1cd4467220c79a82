"""Waiting for one thing or another."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from proxy import tasks


async def comes_first(news: asyncio.Event, *what: Coroutine[Any, Any, None]) -> bool:
    """Wait until any of `what` has happened, True, or `news` is set, False."""
    waiting = [tasks.start("waits", one) for one in what]
    waits_for_news = tasks.start("news", _set(news))
    try:
        await asyncio.wait((*waiting, waits_for_news), return_when=asyncio.FIRST_COMPLETED)
        over = [one for one in waiting if one.done()]
        for one in over:
            one.result()
        return bool(over)
    finally:
        await tasks.stop(*waiting, waits_for_news)


async def _set(event: asyncio.Event) -> None:
    await event.wait()
