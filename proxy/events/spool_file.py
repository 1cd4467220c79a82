"""The spool on disk: one SQLite file of one process. Every call here blocks; nothing here waits.

A statement gives the interpreter away and takes it back at each row that it returns, which under
load takes milliseconds. So whatever concerns many rows is one statement that returns one row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from proxy.errors import SpoolDamaged, SpoolUnusable
from proxy.events import spool_statements as sql
from proxy.events.batches import LOOK_AHEAD, fitting
from proxy.events.event import Event, Slip
from proxy.events.spool_folder import own
from proxy.upstream.analytics import Limits

ROWS: Final = 64  # in one insertion
FREE_PAGES: Final = 1024  # kept for what comes next; the system gets back what is beyond
GIVEN_BACK: Final = 64  # pages, after one commit

_BEYOND_REPAIR: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_REASONS: Final = {
    sqlite3.SQLITE_BUSY: "another process has it",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk fails",
    sqlite3.SQLITE_READONLY: "it is read-only",
}


class Found(NamedTuple):
    """What is on disk of one project."""

    label: str
    events: int
    size: int
    oldest: float


class Change(NamedTuple):
    """What one commit does: rows in, rows out, and what the bounds ask for.

    The oldest go until `max_bytes` hold, and all of before the second `before`; yet what is
    `spared` stays. `labels` are the projects whose oldest event is asked for.
    """

    added: Sequence[tuple[str, Event]]
    removed: Collection[int]
    spared: Collection[int]
    labels: Collection[str]
    max_bytes: int
    before: float | None = None


class Committed(NamedTuple):
    """What a commit came to: what was dropped and why, the oldest of each project, bytes in use."""

    lost: list[tuple[str, str, Slip]]
    oldest: dict[str, float]
    used: int


class SpoolFile:
    """The rows of a spool, by number; it is open in one thread of one process."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._do = connection.execute
        # Numbers begin anew in each process: those that are found here are below 1.
        self._shift, self._size = self._do(sql.LAST).fetchone()
        self._used = self._free = 0
        # Of commits that failed, what they added; None when the last one did not.
        self._doubtful: set[int] | None = None

    @classmethod
    def open(cls, folder: Path) -> SpoolFile:
        """Open the spool in `folder`, or make one there.

        Raises `SpoolDamaged` when what is there is of no use, `SpoolUnusable` when nothing can be.
        """
        with faults():
            connection = sqlite3.connect(
                own(folder), timeout=0, isolation_level=None, check_same_thread=False
            )
            try:
                _prepare(connection)
                return cls(connection)
            except BaseException:
                connection.close()
                raise

    def found(self) -> list[Found]:
        """Return what is there of each project."""
        with faults():
            rows = self._do(sql.FOUND).fetchall()
            return [
                Found(label.decode(), count, size, at / 1000) for label, count, size, at in rows
            ]

    def read(
        self, label: str, span: tuple[int, int], withheld: Iterable[int], limits: Limits
    ) -> tuple[list[Event], bool]:
        """Return the next batch of a project in a span of numbers, and whether it is full."""
        first, last = (number + self._shift for number in span)
        most = LOOK_AHEAD * limits.events
        with faults():
            self._end_what_failed()
            ids = self._ids(chain(withheld, self._doubtful or ()))
            near = sorted(self._json(sql.NEAR, label, first, last, ids, most))
            # One request has one set of options: the oldest event's. Others wait for their turn.
            alike = [row for row in near if row[-1] == near[0][-1]]
            count = fitting((row[1] for row in alike), limits)
            bodies = self._bodies(alike[:count])
        return bodies, count < len(alike) or len(near) == most

    def commit(self, change: Change) -> Committed:
        """Do all of a change; or raise, and do nothing of it."""
        with faults():
            self._end_what_failed()
            self._do("BEGIN IMMEDIATE")
            try:
                lost = self._write(change)
                oldest = self._json(sql.OLDEST, _packed(list(change.labels)))
                self._do("COMMIT")
            except BaseException:
                # The disk may keep what it says it cannot.
                failed = {event.number for _, event in change.added}
                self._doubtful = failed | (self._doubtful or set())
                with suppress(sqlite3.Error):
                    self._do("ROLLBACK")
                raise
        self._doubtful = None
        self._give_back()
        ages = {label: at / 1000 for label, at in oldest if at is not None}
        return Committed(lost, ages, self._used)

    def close(self) -> None:
        """Close the file; what was committed stays."""
        with faults():
            self._connection.close()

    def _end_what_failed(self) -> None:
        """Undo what could not be undone when it failed."""
        if self._connection.in_transaction:
            self._do("ROLLBACK")

    def _write(self, change: Change) -> list[tuple[str, str, Slip]]:
        if self._doubtful is not None:
            self._size = self._do(sql.LAST).fetchone()[1]
            self._delete(self._ids(self._doubtful))
        self._delete(self._ids(change.removed))
        spared = self._ids(change.spared)
        lost = []
        if change.before is not None:
            old = self._json(sql.OLD, round(change.before * 1000), spared)
            lost += self._drop("too_old", old)
        rows = [self._row(label, event) for label, event in change.added]
        while rows:
            count = min(ROWS, 1 << (len(rows).bit_length() - 1))
            self._do(sql.insertion(count), list(chain.from_iterable(rows[:count])))
            rows = rows[count:]
        self._size += sum(event.size for _, event in change.added)
        return lost + self._make_room(change.max_bytes, spared)

    def _make_room(self, max_bytes: int, spared: str) -> list[tuple[str, str, Slip]]:
        lost: list[tuple[str, str, Slip]] = []
        while (over := max(self._size, self._look()) - max_bytes) > 0:
            going = []
            for row in sorted(self._json(sql.HEAD, spared)):
                if over <= 0:
                    break
                going.append(row)
                over -= row[-1]
            if not going:
                break
            lost += self._drop("full", going)
        return lost

    def _drop(self, reason: str, rows: Sequence[Any]) -> list[tuple[str, str, Slip]]:
        self._delete(_packed([row[0] for row in rows]))
        return [
            (reason, label, Slip(row - self._shift, kind, int(key, 16), size))
            for row, label, kind, key, size in rows
        ]

    def _delete(self, ids: str) -> None:
        if ids != "[]":
            self._size -= self._do(sql.SIZE, (ids,)).fetchone()[0]
            self._do(sql.DELETE, (ids,))

    def _bodies(self, rows: Sequence[Any]) -> list[Event]:
        if not rows:
            return []
        joined = self._do(sql.BODIES, (_packed([row[0] for row in rows]),)).fetchone()[0]
        events, start = [], 0
        for row, length, at_millis, key, kind, options in rows:
            body = joined[start : start + length]
            start += length
            number = row - self._shift
            events.append(
                Event(number, body, at_millis / 1000, int(key, 16), kind, options.encode())
            )
        return events

    def _row(self, label: str, event: Event) -> tuple[Any, ...]:
        number, at, key = event.number + self._shift, round(event.at * 1000), event.key
        packed = key.to_bytes(16, "big")
        return number, label, event.kind, event.options.decode(), at, packed, event.size, event.body

    def _give_back(self) -> None:
        """Give free pages back to the system, if there are too many; the change is done anyway."""
        if self._free > FREE_PAGES:
            with suppress(sqlite3.Error):
                # As a script: a single execution would give back one page.
                self._connection.executescript(f"PRAGMA incremental_vacuum({GIVEN_BACK})")

    def _look(self) -> int:
        """Return how many bytes of the file are in use."""
        pages, self._free = self._do(sql.PAGES).fetchone()
        self._used = (pages - self._free) * sql.PAGE_BYTES
        return self._used

    def _ids(self, numbers: Iterable[int]) -> str:
        return _packed([number + self._shift for number in numbers])

    def _json(self, statement: str, *values: Any) -> Any:
        return msgspec.json.decode(self._do(statement, values).fetchone()[0])


@contextmanager
def faults() -> Iterator[None]:
    """Turn what the disk and the library say into our errors."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _BEYOND_REPAIR:
            raise SpoolDamaged(str(error)) from error
        raise SpoolUnusable(_REASONS.get(code, str(error))) from error
    except ValueError as error:  # of what was read as text or JSON
        raise SpoolDamaged("what it holds cannot be read") from error
    except OSError as error:
        raise SpoolUnusable(error.strerror or str(error)) from error


def _prepare(connection: sqlite3.Connection) -> None:
    connection.text_factory = bytes
    connection.execute(sql.ALONE).fetchall()
    (pages,) = connection.execute(sql.FILE_PAGES).fetchone()
    for statement in (*(() if pages else sql.NEW_FILE), *sql.SETTINGS):
        connection.execute(statement).fetchall()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, sql.VERSION):
        raise SpoolDamaged(f"its version is {version}, not {sql.VERSION}")
    if not version:
        for statement in sql.TABLES:
            connection.execute(statement)


def _packed(values: list[Any]) -> str:
    return msgspec.json.encode(values).decode()
