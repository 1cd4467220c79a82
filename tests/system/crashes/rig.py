"""A proxy that is killed and started again between clients and upstream; its books, its end."""

import json
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from proxy.sandbox.server import API_KEY, MANAGEMENT_KEY, SECRET_KEY
from tests.fakes.ports import reserve
from tests.system.crashes.load import FLAGS, Load, Promise
from tests.system.crashes.starter import Starter
from tests.system.crashes.upstream import CURSED, INVALID, Upstream
from tests.system.programs import call, get_json, wait_for

KINDS = ("evaluate", "expose", "upload")
COMMIT_MILLIS = 20
GATHER_SECONDS = 0.1
"""What an answer's events take, at most, until they are on the way to the disk."""


class Lost(NamedTuple):
    """An event that was answered for and never arrived; how long before a kill that was."""

    age: float
    promise: Promise


class Rig:
    """One data directory, one upstream, one load, and a proxy that lives again and again."""

    def __init__(
        self,
        directory: Path,
        seed: int,
        kinds: Sequence[str] = ("evaluate",),
        *,
        one_in: int = 0,
        cursed: int = 0,
        data: Path | None = None,
        **changes: Any,
    ) -> None:
        self.chance = random.Random(seed)
        self.data = data or directory / "data"
        self.kills: list[float] = []
        flag_file = directory / "flags.yaml"
        flag_file.write_text(FLAGS)
        self.upstream = Upstream(flag_file, seed)
        self._seed = seed
        self._starter = Starter(directory)
        self._config = directory / "config.json"
        self._held = [reserve(), reserve()]
        self._port, operators = (held.getsockname()[1] for held in self._held)
        self._operators = f"http://127.0.0.1:{operators}"
        self._changes = changes
        self.load = Load(self._port, seed, kinds, one_in=one_in, cursed=cursed)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Keep upstream open; end what is left at the end, and say the seed if that is bad."""
        with ExitStack() as stack:
            for held in self._held:
                stack.callback(held.close)
            stack.enter_context(self.upstream)
            stack.callback(self._starter.close)
            self._config.write_text(json.dumps(self._settings()))
            try:
                yield
            finally:
                print(f"seed {self._seed}: {len(self.kills)} kills,", self._figures())

    def start(self) -> None:
        self._starter.start("serve", "--config", str(self._config))

    def wait_until_ready(self) -> None:
        self.wait_for(lambda: call(f"{self._operators}/readyz")[0] == 200, "ready proxy")

    def wait_for(self, look: Callable[[], object], what: str) -> None:
        """Wait as long as the proxy lives."""

        def arrived() -> object:
            assert self._starter.is_alive(), f"it ended:\n{self._starter.said()}"
            return look()

        wait_for(arrived, what)

    def wait_for_more(self, count: int) -> None:
        """Wait until so many more events are promised."""
        known = len(self.load.promises)
        self.wait_for(lambda: len(self.load.promises) >= known + count, "answered requests")

    def kill(self) -> None:
        """End a life at once; the moment is noted before."""
        self.kills.append(time.monotonic())
        assert self._starter.stop(signal.SIGKILL) == -signal.SIGKILL
        self.load.life += 1

    def live_a_while(self, *, least: int = 40, longest: float = 0.3) -> None:
        """Live until so many events were promised, and then a moment by chance; be killed."""
        self.start()
        if self.chance.random() < 0.1:
            # While it starts.
            wait_some(self.chance.uniform(0.0, 0.3))
        else:
            self.wait_for_more(least)
            wait_some(self.chance.uniform(0.0, longest))
            self.check_books()
        self.kill()

    def status(self) -> Any:
        return get_json(f"{self._operators}/status")

    def found(self) -> int:
        """How many events this life found on disk when it began."""
        lines = map(json.loads, self._starter.said().splitlines())
        return sum(int(line.get("found", 0)) for line in lines if line["room"] == "events")

    def check_books(self) -> Any:
        """Both laws of the counts hold; return the status of the one project."""
        (one,) = self.status()["events"]
        counts = one["counts"]
        answers = counts["skipped"] + counts["filtered"] + counts["told"] + one["fresh"]
        assert counts["offered"] == answers, one
        assert counts["found"] == self.found(), one
        left = counts["sent"] + counts["withdrawn"] + sum(counts["dropped"].values())
        assert counts["found"] + counts["accepted"] == left + one["pending"], one
        assert set(counts["dropped"]) <= {"invalid", "refused"}, one
        return one

    def wait_until_all_is_on_disk(self) -> None:
        def is_on_disk() -> bool:
            status = self.status()
            return not status["events"][0]["fresh"] and not status["spool"]["unwritten"]

        self.wait_for(is_on_disk, "everything on disk")

    def end_well(self) -> None:
        """Let upstream be well, start a last time, wait until nothing is pending, stop."""
        # Whatever a dead proxy has under way ends here.
        self.upstream.become("down")
        self.upstream.become("well")
        before = self.upstream.diary.named.total()
        self.start()
        self.wait_until_ready()
        self.drain()
        one = self.check_books()
        dropped = sum(one["counts"]["dropped"].values())
        assert dropped == self.upstream.diary.named.total() - before
        self.stop()

    def drain(self) -> None:
        def is_drained() -> bool:
            status = self.status()
            waiting = [*status["spool"]["pending"].values(), status["spool"]["unwritten"]]
            return not any(waiting) and status["events"][0]["pending_bytes"] == 0

        self.wait_for(is_drained, "end of what is pending")

    def stop(self) -> None:
        """End a life in peace; nothing is left on disk."""
        assert self._starter.stop() == 0, self._starter.said()
        assert self.rows() == 0

    def rows(self) -> int:
        with closing(sqlite3.connect(self.data / "events" / "spool.db")) as file:
            return int(file.execute("SELECT count(*) FROM event").fetchone()[0])

    def lost(self) -> list[Lost]:
        """Return what was answered for and has not arrived, save what upstream called wrong."""
        taken = self.upstream.diary.taken
        return [
            Lost(self._age(promise), promise)
            for promise in self.load.promises
            if not taken[promise.name] and not is_wrong(promise.name)
        ]

    def window(self) -> float:
        """How long an answer's events took to be on disk at most: two commits, as uploads saw them.

        Nothing shorter can be asked of a machine that is busy with other things.
        """
        return GATHER_SECONDS + 2 * self.load.slowest

    def check_events(self, window: float | None = None) -> None:
        """All that was answered for has arrived, under one insert_id; nothing wrong has."""
        diary = self.upstream.diary
        window = self.window() if window is None else window
        lost = [one for one in self.lost() if one.promise.safe or one.age > window]
        assert not lost, f"{len(lost)} lost, such as {max(lost)}"
        twice = {name: ids for name, ids in diary.ids.items() if len(ids) > 1}
        assert not twice
        every = [one for ids in diary.ids.values() for one in ids]
        assert len(every) == len(set(every)), "two events under one insert_id"
        assert not [name for name in diary.taken if is_wrong(name)]

    def _age(self, promise: Promise) -> float:
        """Return how long before its life was ended something was answered; ever, if in peace."""
        ended = self.kills[promise.life] if promise.life < len(self.kills) else float("inf")
        return ended - promise.at

    def _figures(self) -> str:
        diary, lost = self.upstream.diary, self.lost()
        repeated = sum(count - 1 for count in diary.taken.values())
        oldest = max((one.age for one in lost), default=0.0)
        return (
            f"{len(self.load.promises)} events promised, {len(diary.taken)} arrived,"
            f" {len(lost)} lost (the oldest {oldest * 1000:.0f} ms before a kill,"
            f" {self.window() * 1000:.0f} ms are allowed),"
            f" {repeated} repeated under their insert_id\n"
            f"clients heard {dict(self.load.answers)}\nupstream said {dict(diary.requests)}"
        )

    def _settings(self) -> dict[str, Any]:
        flags, events = self.upstream.flags_url, self.upstream.events_url
        return {
            "configuration": {
                "host": "127.0.0.1",
                "port": self._port,
                "serverUrl": flags,
                "cohortServerUrl": flags,
                "managementServerUrl": flags,
                "streamServerUrl": flags,
                "analyticsServerUrl": events,
                "dataDir": str(self.data),
                "assignment": {"eventUploadPeriodMillis": 60},
                "exposure": {"eventUploadPeriodMillis": 60},
                "events": {"commitMillis": COMMIT_MILLIS},
                "metrics": {"host": "127.0.0.1", "port": int(self._operators.rpartition(":")[2])},
                **self._changes,
            },
            "projects": [
                {"apiKey": API_KEY, "secretKey": SECRET_KEY, "managementKey": MANAGEMENT_KEY}
            ],
        }


def is_wrong(name: str) -> bool:
    """Tell whether upstream calls this event wrong whenever it sees it."""
    return INVALID in name or CURSED in name


def wait_some(seconds: float) -> None:
    """Let a process get somewhere: there is nothing to wait for but a moment by chance."""
    time.sleep(seconds)
