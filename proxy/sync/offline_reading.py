"""What lies in a data directory that somebody else writes to, every byte verified; it blocks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, final

import msgspec

from proxy.cohorts.index import Index
from proxy.cohorts.shelf import Cohort
from proxy.errors import Damaged, IndexBroken
from proxy.store import checking
from proxy.store.directory import FILES
from proxy.store.disk import Disk
from proxy.store.loading import Found
from proxy.store.records import Key, Record
from proxy.store.writer import Writer
from proxy.sync.cohort_records import INDEX, PACKED
from proxy.sync.cohort_records import KIND as COHORTS
from proxy.sync.cohort_records import Kept as KeptCohort
from proxy.sync.kept import (
    BODY,
    DEPLOYMENTS,
    FLAGS,
    FlagsMeta,
    KeptFlags,
    KeptList,
    decode_list,
)
from proxy.sync.kept_archive import Imported, confirmed_at, imported


class HeldCohort(NamedTuple):
    """A cohort that can be looked up, and what is known of it; `files` names its version."""

    kept: KeptCohort
    cohort: Cohort
    index_bytes: int
    files: Mapping[str, object]


class State(msgspec.Struct, frozen=True, kw_only=True):
    """All that can be served: flags by the hash of a key, lists and cohorts by that of a project.

    `as_of` is when upstream last confirmed something of it; `troubles` say what could not be used.
    """

    flags: Mapping[str, KeptFlags]
    lists: Mapping[str, KeptList]
    cohorts: Mapping[str, Mapping[str, HeldCohort]]
    imported: Imported | None
    as_of: float
    troubles: tuple[str, ...] = ()


Cohorts = Mapping[str, Mapping[str, HeldCohort]]


def read_state(directory: Path, held: Cohorts, *, whole: bool) -> State:
    """Return what a directory holds; cohorts that are `held` in this version are not read again.

    With `whole`, anything that is damaged raises `Damaged`; else the rest is returned, older
    versions of records among it. Raises `Hindered` when the directory cannot be read.
    """
    found = Writer(directory.absolute(), Disk()).peek()
    if not found.told:
        why = "; ".join(one.text for one in found.complaints)
        raise Damaged(why or "there is no manifest in it")
    if whole and found.usable != found.state:
        raise Damaged("; ".join(one.text for one in found.complaints) or "files are missing")
    return _Reader(directory / FILES, found, held, whole=whole).state()


@final
class _Reader:
    def __init__(self, folder: Path, found: Found, held: Cohorts, *, whole: bool) -> None:
        self._folder = folder
        self._found = found
        self._held = held
        self._whole = whole
        self._flags: dict[str, KeptFlags] = {}
        self._lists: dict[str, KeptList] = {}
        self._cohorts: dict[str, dict[str, HeldCohort]] = {}
        self._troubles: list[str] = [one.text for one in found.complaints]

    def state(self) -> State:
        usable = self._found.usable
        for key, record in usable.items():
            self._take(key, record)
        return State(
            flags=self._flags,
            lists=self._lists,
            cohorts=self._cohorts,
            imported=imported(usable),
            as_of=max(
                (
                    confirmed_at(one)
                    for (kind, _), one in usable.items()
                    if kind in (FLAGS, COHORTS)
                ),
                default=0.0,
            ),
            troubles=tuple(self._troubles),
        )

    def _take(self, key: Key, record: Record) -> None:
        older = self._found.older.get(key)
        for version in (record, older):
            if version is None:
                continue
            try:
                self._read(version)
            except (Damaged, OSError, ValueError, KeyError) as error:
                # Texts of errors that are not ours may quote a key.
                why = str(error) if isinstance(error, Damaged) else type(error).__name__
                self._troubles.append(f"{record.kind} {record.id}: {why}")
                if self._whole:
                    raise Damaged(self._troubles[-1]) from None
            else:
                return

    def _read(self, record: Record) -> None:
        if record.kind == FLAGS:
            meta = msgspec.json.decode(record.meta, type=FlagsMeta)
            body = self._body(record)
            self._flags[record.id] = KeptFlags(
                body=body, changed_at=meta.changed_at, confirmed_at=meta.confirmed_at
            )
        elif record.kind == DEPLOYMENTS:
            self._lists[record.id] = decode_list(self._body(record))
        elif record.kind == COHORTS:
            held = self._cohort(record)
            self._cohorts.setdefault(held.kept.project, {})[held.kept.cohort_id] = held

    def _body(self, record: Record) -> bytes:
        file = record.files[BODY]
        return checking.read(self._folder / file.name, file)

    def _cohort(self, record: Record) -> HeldCohort:
        kept = msgspec.json.decode(record.meta, type=KeptCohort)
        held = self._held.get(kept.project, {}).get(kept.cohort_id)
        if held is not None and held.files == record.files:
            return held._replace(kept=kept)
        index, packed = record.files[INDEX], record.files[PACKED]
        for file in (index, packed):
            checking.check(self._folder / file.name, file)
        try:
            opened = Index.open(self._folder / index.name)
        except IndexBroken as broken:
            raise Damaged(str(broken)) from None
        cohort = Cohort(
            cohort_id=kept.cohort_id,
            group_type=kept.group_type,
            last_modified=kept.last_modified,
            size=kept.size,
            index=opened,
            packed=self._folder / packed.name,
            packed_bytes=packed.size,
            plain_bytes=kept.plain_bytes,
            checksum=index.sha256,
        )
        return HeldCohort(kept, cohort, index.size, record.files)
