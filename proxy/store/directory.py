"""The data directory while it is open: made, checked, locked, and the manifests read from it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final, final

from proxy.errors import Hindered
from proxy.store import lock
from proxy.store.disk import DIRECTORY_MODE, Disk
from proxy.store.trouble import FOREIGN_OWNER

FILES: Final = "files"
CLOSED: Final = -1


@final
class Directory:
    """Open to read, or owned: then it is locked, and nobody else writes there.

    `root` and `files` are the open directories, -1 while there is none.
    """

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        self.files_path = path / FILES
        self.root = CLOSED
        self.files = CLOSED
        self._disk = disk
        self._lock = CLOSED

    @property
    def owned(self) -> bool:
        """Whether it is locked by us."""
        return self._lock != CLOSED

    def take(self) -> None:
        """Own the directory, made if need be; raises `Hindered` or `OSError`, and is closed then.

        Rights of others to a directory of ours are taken away.
        """
        self.release()
        try:
            self._make()
            self.root = self._open_ours(self.path)
            self._disk.tighten(self.root, DIRECTORY_MODE)
            self._lock = lock.take(self._disk, self.root)
            self._disk.make_directory(FILES, self.root)
            self.files = self._open_ours(FILES, self.root)
            self._disk.tighten(self.files, DIRECTORY_MODE)
        except BaseException:
            self.release()
            raise

    def look(self) -> None:
        """Open the directory to read what is there; raises `Hindered` or `OSError`."""
        self.release()
        try:
            self.root = self._open_ours(self.path)
            self.files = self._open_ours(FILES, self.root)
        except BaseException:
            self.release()
            raise

    def is_there(self) -> bool:
        """Tell whether what is owned is still what lies at its path."""
        with suppress(OSError):
            return (
                self.owned
                and _same(self.root, self.path)
                and _same(self.files, self.files_path)
                and lock.holds(self._lock, self.root)
            )
        return False

    def identity(self) -> tuple[int, int]:
        """Return what tells this directory of files from every other."""
        found = os.fstat(self.files)
        return found.st_dev, found.st_ino

    def release(self) -> None:
        """Close what is open; the next one may lock."""
        for fd in (self.files, self._lock, self.root):
            if fd != CLOSED:
                with suppress(OSError):
                    self._disk.close(fd)
        self.files = self._lock = self.root = CLOSED

    def _make(self) -> None:
        for path in (*reversed(self.path.absolute().parents), self.path):
            if self._disk.make_directory(path):
                parent = self._disk.open_directory(path.parent)
                try:
                    self._disk.sync(parent)
                finally:
                    self._disk.close(parent)

    def _open_ours(self, path: str | Path, inside: int | None = None) -> int:
        fd = self._disk.open_directory(path, inside)
        owner = os.fstat(fd).st_uid
        if owner != os.geteuid():
            self._disk.close(fd)
            raise Hindered(
                FOREIGN_OWNER,
                f"it belongs to user {owner} and not to user {os.geteuid()}, so it is not used: "
                "name a directory below it, which will be made",
            )
        return fd


def _same(fd: int, path: Path) -> bool:
    return os.path.samestat(os.fstat(fd), path.stat())
