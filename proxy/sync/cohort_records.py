"""What the data directory keeps of cohorts, and how it comes back from there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, final

import msgspec

from proxy import logs, tasks
from proxy.cohorts.index import Index
from proxy.cohorts.jobs import Built
from proxy.cohorts.shelf import Cohort
from proxy.errors import Damaged, IndexBroken
from proxy.store.records import Record, StoredFile
from proxy.store.store import Store

KIND: Final = "cohorts"
INDEX: Final = "index"
PACKED: Final = "packed"
PARALLEL: Final = 8

log = logs.get("sync")


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a cohort beside its files; `project` is the hash of the API key.

    `confirmed_at` is upstream's last word for this version, in seconds since 1970.
    """

    project: str
    cohort_id: str
    group_type: str
    last_modified: int
    size: int
    plain_bytes: int
    confirmed_at: float


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a kept cohort: it can be used, or only built anew from `body`.

    `sound` says that the packed body is there as well.
    """

    kept: Kept
    cohort: Cohort | None
    body: Path | None
    sound: bool
    index_bytes: int = 0


@final
class CohortRecords:
    """The records of one project's cohorts; `project` as in `Kept`, `label` for logs."""

    def __init__(self, store: Store, project: str, label: str) -> None:
        self._store = store
        self._project = project
        self._label = label

    def keep(self, cohort: Cohort, confirmed_at: float, built: Built, folder: Path) -> None:
        """Let a cohort outlive the process; its files lie in `folder`."""
        files = {
            INDEX: msgspec.convert(built.index, StoredFile, from_attributes=True),
            PACKED: msgspec.convert(built.packed, StoredFile, from_attributes=True),
        }
        kept = self._kept(cohort, confirmed_at)
        self._store.keep(KIND, self._id(cohort.cohort_id), kept, files=files, folder=folder)

    def note(self, cohort: Cohort, confirmed_at: float) -> None:
        """Let the time of upstream's last word outlive the process, sooner or later."""
        self._store.note(KIND, self._id(cohort.cohort_id), self._kept(cohort, confirmed_at))

    def forget(self, cohort_id: str) -> None:
        """Let a cohort go, its files too."""
        self._store.forget(KIND, self._id(cohort_id))

    def lost(self) -> set[str]:
        """Return the ids of those whose files are gone from the disk."""
        start = f"{self._project}/"
        return {
            name.removeprefix(start)
            for kind, name in self._store.lost
            if kind == KIND and name.startswith(start)
        }

    async def restore(self) -> list[Found]:
        """Return what can still be used; what cannot is told and forgotten."""
        seats = asyncio.Semaphore(PARALLEL)

        async def one(record: Record, kept: Kept) -> Found | None:
            async with seats:
                return await self._restore(record, kept)

        ours = [
            (record, kept)
            for record in self._store.records(KIND)
            if (kept := _read(record)) is not None and kept.project == self._project
        ]
        found = await asyncio.gather(*(one(record, kept) for record, kept in ours))
        return [each for each in found if each is not None]

    async def _restore(self, record: Record, kept: Kept) -> Found | None:
        whole = dict(record.files)
        path, packed = await asyncio.gather(
            self._verified(record, INDEX, kept, whole), self._verified(record, PACKED, kept, whole)
        )
        index = await self._open(path, kept)
        if path is None or index is None:
            if packed is None:
                return await self._restore_older(record)
            return Found(kept=kept, cohort=None, body=packed, sound=True)
        cohort = Cohort(
            cohort_id=kept.cohort_id,
            group_type=kept.group_type,
            last_modified=kept.last_modified,
            size=kept.size,
            index=index,
            # Whoever opens the body of one whose body is damaged must find none.
            packed=packed or path.with_name(f"{path.name}.damaged"),
            packed_bytes=whole[PACKED].size if packed else 0,
            plain_bytes=kept.plain_bytes,
            checksum=whole[INDEX].sha256,
        )
        return Found(
            kept=kept,
            cohort=cohort,
            body=packed,
            sound=packed is not None,
            index_bytes=whole[INDEX].size,
        )

    async def _restore_older(self, record: Record) -> Found | None:
        older = self._store.record(KIND, record.id)
        kept = None if older is None or older.files == record.files else _read(older)
        if older is None or kept is None:
            self._store.forget(KIND, record.id)
            return None
        self._keep_files(older, kept, older.files)
        return await self._restore(older, kept)

    async def _verified(
        self, record: Record, role: str, kept: Kept, whole: dict[str, StoredFile]
    ) -> Path | None:
        """Return where a file lies; one that is damaged leaves `whole`."""
        try:
            return await self._store.verified(record, role)
        except (Damaged, KeyError) as error:
            self._tell(kept, role, error)
        whole.pop(role, None)
        # Without delay: the store lets go of all files of a damaged record.
        self._keep_files(record, kept, whole)
        return None

    def _keep_files(self, record: Record, kept: Kept, files: Mapping[str, StoredFile]) -> None:
        """Let a record be of these files that it has already."""
        if files:
            folder = self._store.path(next(iter(files.values()))).parent
            self._store.keep(KIND, record.id, kept, files=files, folder=folder)

    async def _open(self, path: Path | None, kept: Kept) -> Index | None:
        if path is None:
            return None
        try:
            return await tasks.in_thread(Index.open, path)
        except (IndexBroken, OSError) as error:
            self._tell(kept, INDEX, error)
            return None

    def _tell(self, kept: Kept, role: str, error: Exception) -> None:
        log.error(
            "stored cohort is damaged",
            project=self._label,
            cohort=kept.cohort_id,
            file=role,
            why=str(error),
        )

    def _kept(self, cohort: Cohort, confirmed_at: float) -> Any:
        return Kept(
            project=self._project,
            cohort_id=cohort.cohort_id,
            group_type=cohort.group_type,
            last_modified=cohort.last_modified,
            size=cohort.size,
            plain_bytes=cohort.plain_bytes,
            confirmed_at=confirmed_at,
        )

    def _id(self, cohort_id: str) -> str:
        return f"{self._project}/{cohort_id}"


def forget_other_projects(store: Store, projects: set[str]) -> None:
    """Drop the cohorts of projects, by the hash of their API key, that are not served any more."""
    for record in store.records(KIND):
        kept = _read(record)
        if kept is None or kept.project not in projects:
            store.forget(KIND, record.id)


def _read(record: Record) -> Kept | None:
    try:
        return msgspec.json.decode(record.meta, type=Kept)
    except (ValueError, RecursionError):
        return None
