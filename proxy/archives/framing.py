"""The archive as a tar file of which every byte is known beforehand; streamed, in small pieces.

A reader knows from the manifest which header must come next and how many zeros fill up a block:
whatever else lies there was not written by us. No name in the file is ever used for a path.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, final

from proxy.archives.refusals import DAMAGED
from proxy.errors import ArchiveError

BLOCK: Final = 512
PIECE: Final = 1 << 20
END: Final = bytes(2 * BLOCK)
RECORD: Final = 20 * BLOCK


def header(name: str, size: int) -> bytes:
    """Return the header of a member, as every tar reads it."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


def fill(size: int) -> bytes:
    """Return the zeros after `size` bytes."""
    return bytes(-size % BLOCK)


def ending(size: int) -> bytes:
    """Return the end of an archive that has `size` bytes so far."""
    return bytes(-(size + len(END)) % RECORD) + END


@final
class Reading:
    """Reads an archive from its beginning; everything raises `ArchiveError` or `OSError`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._read = 0

    def first(self, name: str, most: int) -> bytes:
        """Return a member that must come now, of at most `most` bytes."""
        raw = self._exactly(BLOCK)
        try:
            size = tarfile.TarInfo.frombuf(raw, "utf-8", "strict").size
        except (tarfile.TarError, ValueError):
            size = -1
        if not 0 <= size <= most or raw != header(name, size):
            raise ArchiveError(DAMAGED, "it is no snapshot, or its beginning is broken")
        return self._body(size)

    def small(self, name: str, size: int) -> bytes:
        """Return a member that must come now, whole."""
        self._expect(header(name, size))
        return self._body(size)

    def pieces(self, name: str, size: int) -> Iterator[bytes]:
        """Yield a member that must come now in pieces; read all of them before going on."""
        self._expect(header(name, size))
        left = size
        while left:
            piece = self._exactly(min(PIECE, left))
            left -= len(piece)
            yield piece
        self._expect(fill(size))

    def finish(self) -> None:
        """Return if the archive ends here as it must."""
        self._expect(ending(self._read))
        if self._file.read(1):
            raise ArchiveError(DAMAGED, "something follows its end")

    def _body(self, size: int) -> bytes:
        data = self._exactly(size)
        self._expect(fill(size))
        return data

    def _expect(self, data: bytes) -> None:
        if self._exactly(len(data)) != data:
            raise ArchiveError(DAMAGED, "it is not what its manifest says")

    def _exactly(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise ArchiveError(DAMAGED, "it is cut")
        self._read += size
        return data


@final
class Writing:
    """Writes an archive; `write` gets its bytes in order."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._written = 0

    def begin(self, name: str, size: int) -> None:
        """Begin a member; exactly `size` bytes must follow by `add`."""
        self._put(header(name, size))

    def add(self, data: bytes) -> None:
        """Add bytes to the member that was begun."""
        self._put(data)

    def complete(self, size: int) -> None:
        """End a member of so many bytes."""
        self._put(fill(size))

    def member(self, name: str, data: bytes) -> None:
        """Write a whole member."""
        self.begin(name, len(data))
        self.add(data)
        self.complete(len(data))

    def finish(self) -> None:
        """End the archive."""
        self._put(ending(self._written))

    def _put(self, data: bytes) -> None:
        self._write(data)
        self._written += len(data)
