"""Files that are made here: owner-only, counted and hashed while they are written."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, final

from proxy.cohorts.jobs import FileMade

OWNER_ONLY = 0o600


@final
class Output:
    """A new file at `path`, open as long as the context is; raises OSError, as everything here."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sha256 = hashlib.sha256()
        self._size = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        self._file: IO[bytes] = os.fdopen(os.open(path, flags, OWNER_ONLY), "wb", buffering=0)

    def write(self, data: Any) -> None:
        """Write all of `data`, bytes or an array."""
        self._sha256.update(data)
        self._size += write_whole(self._file, data)

    def finish(self) -> FileMade:
        """Wait until the disk has it all; return what the file is."""
        os.fsync(self._file.fileno())
        return FileMade(name=self._path.name, size=self._size, sha256=self._sha256.hexdigest())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


def write_whole(file: IO[bytes], data: Any) -> int:
    """Write all of `data` to an unbuffered file, of which one call may take a part only.

    Return how many bytes that were; raises OSError.
    """
    view = memoryview(data)
    size = view.nbytes
    # An array without rows cannot be seen as bytes.
    rest = view.cast("B") if size else b""
    while rest:
        rest = rest[file.write(rest) :]
    return size


def sync(path: Path) -> None:
    """Wait until the disk has the file or folder `path`."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
