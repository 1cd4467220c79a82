"""The file operations of the store, one method for each step; they block and raise `OSError`."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from proxy.errors import Damaged
from proxy.store.records import StoredFile

DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600
CHUNK: Final = 1 << 20
CAREFUL: Final = os.O_NOFOLLOW | os.O_CLOEXEC
# What waits for a writer at the other end, as a pipe does, must not stop us for ever.
READING: Final = os.O_RDONLY | os.O_NONBLOCK | CAREFUL


class Disk:
    """The disk as it is; names are relative to an open directory, links are never followed."""

    def make_directory(self, path: str | Path, inside: int | None = None) -> bool:
        """Make a directory for its owner only, whatever the umask; False when it was there."""
        try:
            os.mkdir(path, DIRECTORY_MODE, dir_fd=inside)
        except FileExistsError:
            return False
        os.chmod(path, DIRECTORY_MODE, dir_fd=inside)
        return True

    def open_directory(self, path: str | Path, inside: int | None = None) -> int:
        """Open a directory; only at the top, where an operator chose the path, links count."""
        careful = os.O_CLOEXEC if inside is None else CAREFUL
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | careful, dir_fd=inside)

    def open_lock(self, inside: int, name: str) -> int:
        """Open a file to lock, made if need be."""
        return _ours(os.open(name, os.O_RDWR | os.O_CREAT | CAREFUL, FILE_MODE, dir_fd=inside))

    def open_file(self, inside: int, name: str) -> int:
        """Open a regular file to read."""
        return _regular(os.open(name, READING, dir_fd=inside))

    def create(self, inside: int, name: str) -> int:
        """Make a file that was not there, for its owner only, whatever the umask."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | CAREFUL
        return _ours(os.open(name, flags, FILE_MODE, dir_fd=inside))

    def tighten(self, fd: int, mode: int) -> None:
        """Give a file or directory exactly the owner's rights, and nobody else any."""
        _tighten(fd, mode)

    def write(self, fd: int, data: bytes | memoryview) -> None:
        """Write all of `data`."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]

    def sync(self, fd: int) -> None:
        """Return when a file's bytes, or a directory's names, outlive a power cut."""
        os.fsync(fd)

    def close(self, fd: int) -> None:
        """Close what was opened."""
        os.close(fd)

    def rename(self, inside: int, old: str, new: str) -> None:
        """Give a file another name, in one step; what bore that name is gone."""
        os.rename(old, new, src_dir_fd=inside, dst_dir_fd=inside)

    def link(self, path: Path, inside: int, name: str) -> None:
        """Give a file of the same file system a second name."""
        os.link(path, name, dst_dir_fd=inside, follow_symlinks=False)

    def unlink(self, inside: int, name: str) -> None:
        """Remove a name; it may be gone."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=inside)

    def names(self, inside: int) -> set[str]:
        """Return what a directory names."""
        return set(os.listdir(inside))

    def sizes(self, inside: int) -> dict[str, int]:
        """Return the bytes of each regular file by its name."""
        found = {}
        with os.scandir(inside) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if entry.is_file(follow_symlinks=False):
                        found[entry.name] = entry.stat(follow_symlinks=False).st_size
        return found

    def size(self, fd: int) -> int:
        """Return the bytes of an open file."""
        return os.fstat(fd).st_size

    def free(self, inside: int) -> int:
        """Return the bytes that may still be written."""
        room = os.fstatvfs(inside)
        return room.f_bavail * room.f_frsize

    def read(self, inside: int, name: str, most: int) -> bytes:
        """Return the bytes of a file; raise `Damaged` when there are more than `most`."""
        with os.fdopen(self.open_file(inside, name), "rb", buffering=0) as file:
            if self.size(file.fileno()) > most:
                raise Damaged("a file is larger than can be")
            return file.readall()

    @contextmanager
    def making(self, inside: int, name: str) -> Iterator[int]:
        """Make a file, synced when the block is left; on failure nothing stays behind."""
        fd = self.create(inside, name)
        try:
            try:
                yield fd
                self.sync(fd)
            finally:
                self.close(fd)
        except BaseException:
            with suppress(OSError):
                self.unlink(inside, name)
            raise

    def copy(self, path: Path, inside: int, file: StoredFile) -> None:
        """Bring a file in under its name: a second name where that can be, else a checked copy.

        Raises `Damaged` when it is not what it was said to be.
        """
        # What lies there is the rest of a copy that was cut off: a whole one would do.
        self.unlink(inside, file.name)
        try:
            self.link(path, inside, file.name)
        except FileNotFoundError:
            raise
        except OSError:
            self._copy_bytes(path, inside, file)

    def _copy_bytes(self, path: Path, inside: int, file: StoredFile) -> None:
        if self.free(inside) < file.size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        found = hashlib.sha256()
        with open_regular(path) as source, self.making(inside, file.name) as fd:
            while chunk := source.read(CHUNK):
                found.update(chunk)
                self.write(fd, chunk)
            if found.hexdigest() != file.sha256:
                raise Damaged("a file that was made is not what it was said to be")


def open_regular(path: Path) -> io.FileIO:
    """Open a regular file to read, by its path; a link at the end of it is not followed."""
    return os.fdopen(_regular(os.open(path, READING)), "rb", buffering=0)


def _ours(fd: int) -> int:
    # Right after the making, which the umask may have spoilt, this does not fail.
    _tighten(fd, FILE_MODE)
    return fd


def _tighten(fd: int, mode: int) -> None:
    if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
        os.fchmod(fd, mode)


def _regular(fd: int) -> int:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return fd
