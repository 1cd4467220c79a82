"""Lives of a spool and a sender, at random: a disk that fails at any statement or hangs, an
upstream that answers anything, kills. What was committed arrives, nothing twice in one request,
and the books balance at every moment.
"""

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from proxy import tasks
from proxy.errors import UpstreamUnavailable
from proxy.events.spool_folder import NAME
from proxy.upstream.analytics import Limits, Receipt
from tests.events.builders import numbers, receipt
from tests.events.hanging import Moody
from tests.events.rig import Rig

CODES = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_BUSY)


class Faulty(sqlite3.Connection):
    """Fails at some statements, done or not done."""

    chance = random.Random(0)
    share = 0.0

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if self.chance.random() < self.share:
            if self.chance.random() < 0.3:
                super().execute(sql, *values)
            error = sqlite3.OperationalError("a fault")
            error.sqlite_errorcode = self.chance.choice(CODES)
            raise error
        return super().execute(sql, *values)


WAYS = ("taken", "taken", "unheard", "cut", "broken", "named", "held", "all_held", "large", "bad")


class Capricious:
    """An upstream that answers anything, until it is `well`."""

    def __init__(self, chance: random.Random) -> None:
        self.well = False
        self.taken: set[int] = set()
        self.refused: set[int] = set()
        self._chance = chance

    async def __call__(self, bodies: Sequence[bytes], _options: bytes = b"") -> Receipt:
        sent = numbers(bodies)
        assert len(set(sent)) == len(sent)
        await asyncio.sleep(self._chance.choice([0.01, 0.1, 1.0, 3.0]))
        how = "taken" if self.well else self._chance.choice(WAYS)
        answer = getattr(self, f"_{how}")(sent)
        assert isinstance(answer, Receipt)
        return answer

    WAYS = (
        "taken",
        "taken",
        "unheard",
        "cut",
        "broken",
        "named",
        "held",
        "all_held",
        "large",
        "bad",
    )

    def _taken(self, sent: list[int]) -> Receipt:
        self.taken.update(sent)
        return receipt(200)

    def _unheard(self, sent: list[int]) -> Receipt:
        self.taken.update(sent)
        raise UpstreamUnavailable("the answer broke off")

    def _cut(self, _sent: list[int]) -> Receipt:
        raise UpstreamUnavailable("no answer in time")

    def _broken(self, _sent: list[int]) -> Receipt:
        return receipt(500)

    def _some(self, sent: list[int]) -> list[int]:
        return [place for place in range(len(sent)) if self._chance.random() < 0.2]

    def _named(self, sent: list[int]) -> Receipt:
        named = self._some(sent) or [0]
        self.refused.update(sent[place] for place in named)
        return receipt(400, events_with_invalid_fields={"time": named})

    def _held(self, sent: list[int]) -> Receipt:
        return receipt(429, 1.0, throttled_events=self._some(sent))

    def _all_held(self, sent: list[int]) -> Receipt:
        return receipt(429, 9.0, throttled_events=[*range(len(sent))])

    def _large(self, sent: list[int]) -> Receipt:
        self.refused.update(sent if len(sent) == 1 else ())
        return receipt(413)

    def _bad(self, sent: list[int]) -> Receipt:
        self.refused.update(sent if len(sent) == 1 else ())
        return receipt(400)


class Story:
    """A directory, an upstream, and lives one after the other."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.upstream = Capricious(self.chance)
        self.made = 0
        self.unsafe: set[int] = set()  # lost to a bound, or in memory only when a life ended
        self._folder = folder

    async def live(self, *, in_peace: bool) -> None:
        disk = Moody()
        one = self._rig(disk)
        wrong: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
        await one.spool.open()
        bodies = (one.sender.run, one.sender.run_backlog, one.spool.run)
        loops = [
            tasks.start("loop", tasks.keep_alive(body, lambda error, _: wrong.append(error)))
            for body in bodies
        ]
        for _ in range(self.chance.randrange(3, 20)):
            await self._happen(one, disk)
            check_books(one)
        Faulty.share = 0.0
        await disk.release()
        if in_peace:
            self.upstream.well = True
            await asyncio.sleep(600)
            check_books(one)
            assert len(one.sender) == 0, one.sender.status()
        await tasks.stop(*loops)
        self.made = one.made
        assert set(one.dropped) <= {"full", "invalid", "refused", "too_large"}
        self.unsafe |= set(one.lost)
        self.unsafe |= set(numbers([event.body for event in one.sender._queue.unwritten()]))
        if in_peace:
            await one.spool.close()
        assert wrong == []

    def _rig(self, disk: Moody) -> Rig:
        one = Rig(
            self.upstream,  # type: ignore[arg-type]
            self.chance.random,
            self._folder,
            executor=disk,
            limits=Limits(events=7, size=1_000_000),
            commit_seconds=self.chance.choice([0.0, 0.05]),
            period_seconds=1.0,
            threshold=5,
            max_bytes=self.chance.choice([1 << 30, 300_000]),
            max_memory=self.chance.choice([1 << 26, 60_000]),
            max_kept=self.chance.choice([0, 3000, 1 << 23]),
        )
        one.made = self.made
        return one

    async def _happen(self, one: Rig, disk: Moody) -> None:
        what = self.chance.random()
        if what < 0.5:
            options = {"options": b"{}"} if self.chance.random() < 0.2 else {}
            size = self.chance.choice([40, 3000])
            one.offer(self.chance.randrange(1, 15), size, **options)
        elif what < 0.6:
            last = one.spool.last_number
            one.offer(2)
            one.made -= one.spool.last_number - last
            one.sender.withdraw(range(last + 1, last + 3))
        elif what < 0.75:
            Faulty.share = self.chance.choice([0.0, 0.02, 0.2])
        elif what < 0.85:
            disk.hangs = True
        else:
            await disk.release()
        await asyncio.sleep(self.chance.choice([0, 0.01, 0.1, 0.3, 2, 30]))


def check_books(one: Rig) -> None:
    counts = one.tally.counts()
    left = counts["sent"] + counts["withdrawn"] + sum(counts["dropped"].values())
    assert counts["found"] + counts["accepted"] == left + len(one.sender)
    queue = one.sender._queue
    waiting = (queue.live.count, queue.backlog.count, len(queue.lent()))
    assert min(waiting) >= 0
    assert sum(waiting) == queue.count


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[sqlite3.Connection]]:
    """Make the library's connections faulty; who is killed does not close his."""
    made: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def faulty(*given: Any, **named: Any) -> sqlite3.Connection:
        made.append(connect(*given, **{**named, "factory": Faulty}))
        return made[-1]

    monkeypatch.setattr(sqlite3, "connect", faulty)
    yield made
    Faulty.share = 0.0
    for one in made:
        one.close()


@pytest.mark.looptime
@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_what_was_committed_arrives(
    tmp_path: Path, seed: int, connections: list[sqlite3.Connection]
) -> None:
    story = Story(tmp_path, seed)
    Faulty.chance = random.Random(-seed)

    for life in range(4):
        await story.live(in_peace=life == 3)
        for one in connections:
            one.close()

    upstream = story.upstream
    assert not set(range(story.made)) - upstream.taken - upstream.refused - story.unsafe
    with contextlib.closing(sqlite3.connect(tmp_path / NAME)) as file:
        assert sqlite3.Connection.execute(file, "SELECT count(*) FROM event").fetchone() == (0,)
