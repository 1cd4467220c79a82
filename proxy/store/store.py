"""The store: what is kept, and a writer that makes the data directory agree with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, final

import msgspec

from proxy import tasks
from proxy.errors import Damaged
from proxy.metrics import Metrics
from proxy.store import checking
from proxy.store.committer import Committer
from proxy.store.disk import Disk
from proxy.store.ledger import Content, Ledger
from proxy.store.loading import Complaint
from proxy.store.records import FILE_NAME, Key, Record, StoredFile
from proxy.store.timing import Pace
from proxy.store.trouble import DAMAGED, GONE, hindrance
from proxy.store.workspace import Workspace
from proxy.store.writer import Writer

Seen = TypeVar("Seen")
READERS = 2


@final
class Store:
    """Records that outlive the process; owned by one event loop, which never waits for the disk.

    Without a directory nothing outlives the process, and there is only a workspace. Trouble with
    the directory is told, never raised: what is then current is written when it is over.
    """

    def __init__(
        self,
        directory: Path | None,
        metrics: Metrics,
        clock: tasks.Clock = tasks.wall_clock,
        *,
        disk: Disk | None = None,
        places: Sequence[Path] | None = None,
        pace: Pace | None = None,
    ) -> None:
        """Nothing is touched yet; `places` are where a private workspace may be made."""
        writer = None if directory is None else Writer(directory.absolute(), disk or Disk())
        self._clock = clock
        self._ledger = Ledger()
        self._committer = Committer(
            ledger=self._ledger,
            writer=writer,
            private=Workspace(places),
            metrics=metrics,
            clock=clock,
            pace=pace or Pace(),
        )
        # Apart from the committer's thread: checking large files does not hold commits up.
        self._readers = ThreadPoolExecutor(READERS, "store-read")
        # What was found at open, without the versions that turned out damaged since.
        self._records: dict[Key, Record] = {}
        self._older: dict[Key, Record] = {}
        self._damages = 0

    @property
    def workspace(self) -> Path | None:
        """Where large files are made at present; None when no place takes them."""
        return self._committer.workspace

    @property
    def trouble(self) -> str:
        """Why the data directory does not hold the present state; empty when it does."""
        return self._committer.alarm.text

    @property
    def lost(self) -> frozenset[Key]:
        """The records whose files are gone from the disk, so that they must be made again."""
        return self._committer.outcome.lost & self._ledger.entries.keys()

    def records(self, kind: str) -> list[Record]:
        """Return the records of a kind as they were found at open.

        When a file of one turns out damaged, its older version stands there, if there is one.
        """
        return [record for record in self._records.values() if record.kind == kind]

    def record(self, kind: str, id: str) -> Record | None:  # noqa: A002  the word of records
        """Return one record as `records` does, None when there is none."""
        return self._records.get((kind, id))

    def path(self, file: StoredFile) -> Path:
        """Return where a file lies until its record is replaced or forgotten."""
        folder = self._ledger.folders.get(file.name, self._committer.files_path)
        return folder / file.name

    async def read(self, record: Record, role: str) -> bytes:
        """Return the bytes of a file, verified; raises `Damaged`.

        They are held from then on, so that they can be written again: large files are for
        `verified`.
        """
        data = await self._look(record, role, checking.read)
        self._ledger.remember(record, role, data)
        return data

    async def verified(self, record: Record, role: str) -> Path:
        """Return where a file lies whose bytes are as they were written; raises `Damaged`."""
        await self._look(record, role, checking.check)
        return self.path(record.files[role])

    # --- what is kept -------------------------------------------------------------------------

    def keep(
        self,
        kind: str,
        id: str,  # noqa: A002  the word of records
        meta: Any,
        bodies: Mapping[str, bytes] = {},
        files: Mapping[str, StoredFile] = {},
        *,
        folder: Path | None = None,
    ) -> None:
        """Let a record be so from now on: the newest wins.

        `meta` becomes a JSON object. Bodies are written by the store; files lie synced in
        `folder`, which is or was the workspace (None: it still is). What a record before this one
        named, and this one does not, may be removed at once. Raises `ValueError` for what no
        manifest can spell.
        """
        if any(FILE_NAME.fullmatch(file.name) is None for file in files.values()):
            raise ValueError("no file of a record may be called so")
        key, text = _spelled(kind, id, meta)
        place = self._place(files, folder)
        self._ledger.keep(key, text, Content(files=dict(files), bodies=dict(bodies), folder=place))
        self._committer.wake()

    def note(self, kind: str, id: str, meta: Any) -> None:  # noqa: A002  the word of records
        """Let a record's meta be so from now on; it is written within a minute, or at close."""
        self._ledger.note(*_spelled(kind, id, meta))

    def forget(self, kind: str, id: str) -> None:  # noqa: A002  the word of records
        """Let there be no such record from now on."""
        self._ledger.forget((kind, id))
        self._committer.wake()

    def refused(self, folder: Path) -> None:
        """Note that `folder`, the workspace until now, did not take a large file.

        It is made again if it is gone; a data directory is not the workspace for a while then.
        """
        self._committer.refused(folder)

    # --- the life of it -----------------------------------------------------------------------

    async def open(self) -> None:
        """Find what is there; whatever stands in the way is told and tried again by `run`."""
        found = await self._committer.open()
        self._records, self._older = dict(found.usable), dict(found.older)

    async def run(self) -> None:
        """Write what is kept, again and again, until it is cancelled."""
        await self._committer.run()

    async def commit(self) -> bool:
        """Write what is kept at once; return whether the data directory holds all of it."""
        return await self._committer.commit()

    async def close(self) -> None:
        """Write what is kept a last time, within seconds, and let go of everything."""
        self._readers.shutdown(wait=False, cancel_futures=True)
        await self._committer.close()

    def status(self) -> dict[str, Any]:
        """Return what an operator wants to know, as JSON."""
        committer, writer = self._committer, self._committer.writer
        written = committer.written_at
        return {
            "directory": None if writer is None else str(writer.directory.path),
            "durable": writer is not None and not self.trouble,
            "trouble": self.trouble,
            "workspace": None if self.workspace is None else str(self.workspace),
            "records": len(self._ledger.entries),
            "bytes": committer.outcome.bytes,
            "written_at": written,
            "age_seconds": None if written is None else round(self._clock() - written, 3),
            "waiting": committer.waiting,
            "lost": len(self.lost),
            "damaged": self._damages,
            "set_aside": [] if writer is None else list(writer.aside),
        }

    def _place(self, files: Mapping[str, StoredFile], folder: Path | None) -> Path | None:
        """Return where files lie that were made; None: in the data directory."""
        known = (self._ledger.folders.get(file.name) for file in files.values())
        place = folder or next(filter(None, known), None) or self.workspace
        return None if place == self._committer.files_path else place

    async def _look(
        self, record: Record, role: str, look: Callable[[Path, StoredFile], Seen]
    ) -> Seen:
        file = record.files.get(role)
        if file is None:
            raise Damaged(f"{' '.join(record.key)} has no {role}")
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._readers, look, self.path(file), file)
        except (Damaged, OSError) as error:
            why = str(error) if isinstance(error, Damaged) else error.strerror
            text = f"{' '.join(record.key)}, {role}: {why}"
            self._damaged(record, text, error)
            raise Damaged(text) from error

    def _damaged(self, record: Record, text: str, error: Damaged | OSError) -> None:
        """Let the older version stand where this one stood, for readers and on the disk."""
        if self._records.get(record.key) != record:
            return
        older = self._older.pop(record.key, None)
        if older is None:
            del self._records[record.key]
        else:
            self._records[record.key] = older
        self._damages += 1
        reason = DAMAGED if isinstance(error, Damaged) else hindrance(error).reason
        self._committer.complain(Complaint(reason, text))
        # What could only not be read now may be whole: it stays until something replaces it.
        if isinstance(error, Damaged) or error.errno in GONE:
            self._ledger.replace(record, older)
            self._committer.wake()


def _spelled(kind: str, name: str, meta: Any) -> tuple[Key, bytes]:
    """Return the key and the meta as JSON; raise `ValueError` for what no manifest can spell."""
    msgspec.json.encode((kind, name))
    text = msgspec.json.encode(meta)
    if not text.startswith(b"{"):
        raise ValueError("the meta of a record is an object")
    return (kind, name), text
