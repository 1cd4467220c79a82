"""What is to be on disk: owned by the event loop, which never waits for the disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import final

import msgspec

from proxy.store.records import Key, Record, Records, StoredFile


class Content(msgspec.Struct, eq=False):
    """What one version consists of: files by role, and bytes that make any of them (anew).

    `folder` is where files lie that were made elsewhere; None: in the data directory.
    """

    files: Mapping[str, StoredFile] = {}
    bodies: Mapping[str, bytes] = {}
    folder: Path | None = None


class Entry(msgspec.Struct, frozen=True, eq=False):
    """One record as it is to be; `ours` if this process made it so, and did not only find it."""

    meta: bytes
    content: Content
    ours: bool


@final
class Ledger:
    """All that is kept, what changed since it was last written, and which files it let go of.

    `changed` and `noted` tell whether something changed that is to be written soon, or some time.
    """

    def __init__(self) -> None:
        self.entries: dict[Key, Entry] = {}
        self.changed = False
        self.noted = False
        # Where files lie that are not in the data directory yet.
        self.folders: dict[str, Path] = {}
        self._dropped: set[str] = set()
        self._forgotten: set[Key] = set()

    def keep(self, key: Key, meta: bytes, content: Content) -> None:
        """Let a record be so; the newest wins."""
        self._let_go(key)
        self.entries[key] = Entry(meta, content, ours=True)
        if content.folder is not None:
            for file in content.files.values():
                self.folders[file.name] = content.folder
        self._forgotten.discard(key)
        self.changed = True

    def note(self, key: Key, meta: bytes) -> None:
        """Let a record's meta be so; one that is not kept does not matter."""
        entry = self.entries.get(key)
        if entry is not None and entry.meta != meta:
            self.entries[key] = Entry(meta, entry.content, ours=True)
            self.noted = True

    def forget(self, key: Key) -> None:
        """Let there be no such record."""
        self._let_go(key)
        self._forgotten.add(key)
        self.changed = True

    def merge(self, state: Records, usable: Records, *, told: bool) -> None:
        """Take in what a directory holds that is ours from now on; what we made here wins.

        `usable` holds the records of `state` whose files are there. `told` is False when the
        directory held no state at all, which says nothing about any record.
        """
        theirs = {key for key, entry in self.entries.items() if not entry.ours}
        if told:
            for key in theirs - state.keys():
                self._let_go(key)
        for key in usable.keys() - self._forgotten:
            if key in theirs or key not in self.entries:
                self._take(usable[key])

    def replace(self, record: Record, other: Record | None) -> None:
        """Let another version, or none, stand where a damaged one stands."""
        entry = self.entries.get(record.key)
        if entry is not None and entry.content.files == record.files:
            self._let_go(record.key)
            self.changed = True
            if other is not None:
                self._take(other)

    def remember(self, record: Record, role: str, body: bytes) -> None:
        """Hold the bytes of a file, so that it can be written again."""
        entry = self.entries.get(record.key)
        if entry is not None and entry.content.files.get(role) == record.files[role]:
            entry.content.bodies = {**entry.content.bodies, role: body}

    def settled(self, entries: Mapping[Key, Entry]) -> None:
        """Note that what `entries` were is on the disk, in the data directory."""
        # What was forgotten since is in `entries` still.
        self._forgotten &= entries.keys()
        if self.folders:
            for entry in entries.values():
                for file in entry.content.files.values():
                    self.folders.pop(file.name, None)

    def take_dropped(self) -> set[str]:
        """Return the names of the files that nothing needs any more, since the last call."""
        names = {f.name for entry in self.entries.values() for f in entry.content.files.values()}
        dropped, self._dropped = self._dropped - names, set()
        return dropped

    def seen_to(self, dropped: set[str], *, everywhere: bool) -> None:
        """Note that dropped files are gone: everywhere, or only where folders were named."""
        if not everywhere:
            self._dropped |= dropped - self.folders.keys()
        for name in dropped & self.folders.keys():
            del self.folders[name]

    def _take(self, record: Record) -> None:
        before = self.entries.get(record.key)
        if before is not None and before.content.files == record.files:
            content = before.content
        else:
            self._let_go(record.key)
            content = Content(files=record.files)
        self.entries[record.key] = Entry(bytes(record.meta), content, ours=False)

    def _let_go(self, key: Key) -> None:
        entry = self.entries.pop(key, None)
        if entry is not None:
            self._dropped.update(file.name for file in entry.content.files.values())
