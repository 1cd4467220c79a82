"""The configuration while it is in force: looked at, read again, put in force or refused whole."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, final

from proxy import logs, tasks
from proxy.errors import SettingsError
from proxy.settings.changes import Changes, changes
from proxy.settings.source import Source, hash_of

if TYPE_CHECKING:
    from proxy.metrics import Metrics
    from proxy.settings.schema import Settings

Apply = Callable[["Settings"], Awaitable[None]]
"""Put settings in force that were found good: what clients notice of it in one turn of the loop."""
Outcome = Literal["applied", "unchanged", "refused", "failed"]

IDLE_SECONDS: Final = 3600.0
MOST_TOLD: Final = 50

log = logs.get("run")


@final
class Reloader:
    """Replaces the settings when they are written anew, or leaves all as it is and says why.

    Files are looked at again and again; what they hold counts once two looks in a row saw the
    same, as who writes in place may not be done yet. A signal does not wait for that. Without a
    source nothing ever changes.
    """

    def __init__(
        self,
        settings: Settings,
        source: Source | None,
        metrics: Metrics,
        clock: tasks.Clock = tasks.wall_clock,
    ) -> None:
        self.settings = settings
        self._source = source
        self._metrics = metrics
        self._clock = clock
        self._asked = asyncio.Event()
        self._hash = ""
        self._loaded_at = 0.0
        self._last: dict[str, Any] | None = None
        self._is_torn = False
        self._seen = self._done = {} if source is None else source.read
        self._take(settings)

    def ask(self) -> None:
        """Read the files again as soon as possible, whatever they hold."""
        self._asked.set()

    async def run(self, apply: Apply) -> None:
        """Follow the files for ever."""
        if self._source is None:
            await asyncio.Event().wait()
            return
        while True:
            seconds = self.settings.reload.watch_millis / 1000
            if await tasks.wait_for_event(self._asked, seconds or IDLE_SECONDS):
                self._asked.clear()
                await self._attempt(self._source, apply, "signal")
            elif seconds:
                await self.look(apply)

    async def look(self, apply: Apply) -> None:
        """Look at the files once, and read them if what they hold is news that has settled."""
        if self._source is None:
            return
        before, self._seen = self._seen, await tasks.in_thread(self._source.look)
        is_news = any(digest != self._done.get(file) for file, digest in self._seen.items())
        if is_news and self._seen == before:
            await self._attempt(self._source, apply, "file")

    def status(self) -> dict[str, Any]:
        """Return what is in force since when, and how the last attempt to replace it ended."""
        return {
            "file": None if self._source is None else self._source.file,
            "loaded_at": self._loaded_at,
            "hash": self._hash,
            "last_attempt": self._last,
        }

    async def _attempt(self, source: Source, apply: Apply, why: str) -> None:
        """Read the files, and put in force what they say if all of it can be."""
        found, is_news = Changes(), self._is_torn
        try:
            settings = await tasks.in_thread(source.load_again)
            found = changes(self.settings, settings)
            is_news = is_news or bool(found.changed)
            if is_news and not found.refused:
                # If it breaks off, nobody knows what is in force: then even the old is news.
                self._is_torn = True
                await apply(settings)
                self._is_torn = False
        except SettingsError as error:
            self._conclude("refused", why, mistakes=error.mistakes)
        except Exception as error:
            log.exception("reload of the configuration died")
            self._conclude("failed", why, found.changed, [type(error).__name__])
        else:
            if found.refused:
                self._conclude("refused", why, found.changed, found.mistakes())
            else:
                for notice in settings.notices:
                    if notice not in self.settings.notices:
                        log.warning("note on the configuration", note=notice)
                self._take(settings)
                self._conclude("applied" if is_news else "unchanged", why, found.changed)
        self._seen = self._done = source.read

    def _take(self, settings: Settings) -> None:
        self.settings = settings
        self._loaded_at = self._clock()
        before, self._hash = self._hash, hash_of(settings)
        if before and before != self._hash:
            self._metrics.config_info.remove(before)
        self._metrics.config_info.labels(self._hash).set(1)
        self._metrics.config_last_successful.set(1)
        self._metrics.config_last_at.set(self._loaded_at)

    def _conclude(
        self,
        outcome: Outcome,
        why: str,
        changed: Sequence[str] = (),
        mistakes: Sequence[str] = (),
    ) -> None:
        self._metrics.config_reloads.labels(outcome).inc()
        self._last = {
            "at": self._clock(),
            "outcome": outcome,
            "trigger": why,
            "mistakes": list(mistakes[:MOST_TOLD]),
            "changed": list(changed[:MOST_TOLD]),
        }
        told = log.bind(trigger=why, hash=self._hash)
        if outcome in ("applied", "unchanged"):
            told.info("configuration read again", outcome=outcome, changed=self._last["changed"])
        else:
            self._metrics.config_last_successful.set(0)
            told.error("configuration not taken", mistakes=self._last["mistakes"])


@contextmanager
def hangups_to(reloader: Reloader) -> Iterator[None]:
    """Let SIGHUP read the configuration again until the block is left."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, reloader.ask)
    # Now what came during the start is heard.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
