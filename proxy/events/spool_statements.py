"""What the spool asks of SQLite: the tables, and one statement for each thing that is done."""

from __future__ import annotations

from functools import cache
from typing import Final

VERSION: Final = 1
PAGE_BYTES: Final = 16_384
LOG_PAGES: Final = 512  # the write-ahead log goes into the file at 8 MiB
HEAD_ROWS: Final = 256  # looked at when the oldest have to go

# First of all: the index of the log is then in memory, not in a file that a full disk refuses.
ALONE: Final = "PRAGMA locking_mode = EXCLUSIVE"
FILE_PAGES: Final = "PRAGMA page_count"
# For a new file only: said again, they are written again.
NEW_FILE: Final = (f"PRAGMA page_size = {PAGE_BYTES}", "PRAGMA auto_vacuum = INCREMENTAL")
SETTINGS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    f"PRAGMA wal_autocheckpoint = {LOG_PAGES}",
    f"PRAGMA journal_size_limit = {2 * LOG_PAGES * PAGE_BYTES}",
)
TABLES: Final = (
    "BEGIN IMMEDIATE",
    """
    CREATE TABLE event (
      id INTEGER PRIMARY KEY,
      project TEXT NOT NULL,
      kind TEXT NOT NULL,
      options TEXT NOT NULL,
      at_millis INTEGER NOT NULL,
      key BLOB NOT NULL,
      size INTEGER NOT NULL,
      body BLOB NOT NULL
    ) STRICT
    """,
    "CREATE INDEX waiting ON event (project, id, at_millis, size)",
    f"PRAGMA user_version = {VERSION}",
    "COMMIT",
)
# Numbers are given as one JSON array.
_SLIPS: Final = (
    "SELECT json_group_array(json_array(id, project, kind, hex(key), size)) FROM event WHERE id IN "
)
OLD: Final = (
    f"{_SLIPS}"  # noqa: S608  of our own constants
    " (SELECT id FROM event INDEXED BY waiting WHERE at_millis < ?"
    " AND id NOT IN (SELECT value FROM json_each(?)))"
)
HEAD: Final = (
    f"{_SLIPS}"  # noqa: S608  of our own constants
    " (SELECT id FROM event WHERE id NOT IN (SELECT value FROM json_each(?))"
    f" ORDER BY id LIMIT {HEAD_ROWS})"
)
NEAR: Final = (
    "SELECT json_group_array(json_array(id, length(body), at_millis, hex(key), kind, options))"
    " FROM event WHERE id IN (SELECT id FROM event INDEXED BY waiting WHERE project = ?"
    " AND id BETWEEN ? AND ? AND id NOT IN (SELECT value FROM json_each(?)) ORDER BY id LIMIT ?)"
)
BODIES: Final = (
    "SELECT group_concat(CAST(body AS TEXT), '') FROM (SELECT body FROM event"
    " WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id)"
)
DELETE: Final = "DELETE FROM event WHERE id IN (SELECT value FROM json_each(?))"
SIZE: Final = (
    "SELECT coalesce(sum(size), 0) FROM event WHERE id IN (SELECT value FROM json_each(?))"
)
LAST: Final = "SELECT coalesce(max(id), 0), coalesce(sum(size), 0) FROM event"
FOUND: Final = "SELECT project, count(*), sum(size), min(at_millis) FROM event GROUP BY project"
OLDEST: Final = (
    "SELECT json_group_array(json_array(value, (SELECT at_millis FROM event"
    " WHERE project = value ORDER BY id LIMIT 1))) FROM json_each(?)"
)
PAGES: Final = "SELECT page_count, freelist_count FROM pragma_page_count, pragma_freelist_count"


@cache
def insertion(count: int) -> str:
    """Return the statement that inserts so many rows at once."""
    rows = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * count)
    return f"INSERT INTO event VALUES {rows}"  # noqa: S608  of question marks
