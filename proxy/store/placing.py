"""Content files: how they come into the data directory, safely, before a manifest names them."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, final

from proxy.errors import Damaged
from proxy.store import checking
from proxy.store.directory import Directory
from proxy.store.disk import FILE_MODE, Disk
from proxy.store.ledger import Content
from proxy.store.records import Record, StoredFile
from proxy.store.trouble import GONE

BATCH: Final = 64


@final
class Placing:
    """The files in a directory that we own; `sizes` tells which are there, safe and in full.

    `tracked` are the names that we answer for, until their files are removed.

    A file lies under its final, random name from the start: until a manifest names it nobody
    looks at it, and `settle` must have returned before one does.
    """

    def __init__(
        self, directory: Directory, disk: Disk, sizes: dict[str, int], tracked: set[str]
    ) -> None:
        self.sizes = sizes
        self.tracked = tracked
        self._directory = directory
        self._disk = disk
        self._open: dict[str, int] = {}
        self._news = False

    def look_again(self) -> None:
        """Find out which files have gone, or changed in size; raises `OSError`."""
        found = self._disk.sizes(self._directory.files)
        self.sizes = {name: size for name, size in found.items() if name in self.sizes}

    def place(
        self, content: Content, before: Record | None, elsewhere: Iterable[Path]
    ) -> Mapping[str, StoredFile] | None:
        """Bring all files of a content in; None when one of them is nowhere.

        A body that is the same as `before` is not written again. Raises `OSError`.
        """
        placed = {}
        for role in {**content.files, **content.bodies}:
            file = content.files.get(role)
            if file is None or not self._bring(file, elsewhere):
                body = content.bodies.get(role)
                if body is None:
                    return None
                file = self._write(body, before.files.get(role) if before else None)
            placed[role] = file
        return placed

    def settle(self) -> None:
        """Return when all that was placed outlives a power cut; raises `OSError`."""
        self._sync()
        if self._news:
            self._disk.sync(self._directory.files)
            self._news = False

    def give_up(self) -> None:
        """Remove the files that were not finished."""
        for name, fd in self._open.items():
            self.sizes.pop(name, None)
            with suppress(OSError):
                self._disk.close(fd)
            with suppress(OSError):
                self._disk.unlink(self._directory.files, name)
        self._open.clear()

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; those that cannot be removed now stay tracked."""
        for name in names:
            with suppress(OSError):
                self._disk.unlink(self._directory.files, name)
                self.sizes.pop(name, None)
                self.tracked.discard(name)

    def _bring(self, file: StoredFile, elsewhere: Iterable[Path]) -> bool:
        if self.sizes.get(file.name) == file.size:
            return True
        if self._adopt(file):
            return True
        for folder in elsewhere:
            with suppress(FileNotFoundError, Damaged):
                self._disk.copy(folder / file.name, self._directory.files, file)
                return self._adopt(file)
        return False

    def _adopt(self, file: StoredFile) -> bool:
        """Take a file that lies in the directory, made there by another process."""
        inside = self._directory.files
        try:
            fd = self._disk.open_file(inside, file.name)
        except OSError as error:
            if error.errno in GONE:
                return False
            raise
        try:
            if self._disk.size(fd) != file.size:
                return False
            self._disk.tighten(fd, FILE_MODE)
            self._disk.sync(fd)
        finally:
            self._disk.close(fd)
        self.sizes[file.name] = file.size
        self._news = True
        return True

    def _write(self, body: bytes, before: StoredFile | None) -> StoredFile:
        digest = hashlib.sha256(body).hexdigest()
        if before is not None and before.sha256 == digest and self._is_whole(before):
            return before
        file = StoredFile(secrets.token_hex(16), len(body), digest)
        self.tracked.add(file.name)
        # Synced in batches: the disk then does for many what it would do for each.
        self._open[file.name] = self._disk.create(self._directory.files, file.name)
        self._news = True
        self._disk.write(self._open[file.name], body)
        self.sizes[file.name] = file.size
        if len(self._open) >= BATCH:
            self._sync()
        return file

    def _is_whole(self, file: StoredFile) -> bool:
        """Tell whether a file is as it was written: it may have been damaged since."""
        try:
            checking.check(self._directory.files_path / file.name, file)
        except (Damaged, OSError):
            return False
        return self.sizes.get(file.name) == file.size

    def _sync(self) -> None:
        for fd in self._open.values():
            self._disk.sync(fd)
        while self._open:
            _, fd = self._open.popitem()
            self._disk.close(fd)
