"""Whether a file is what was written; in chunks, so that other threads get their turn."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

from proxy.errors import Damaged
from proxy.store.disk import CHUNK, open_regular
from proxy.store.records import StoredFile


def check(path: Path, file: StoredFile) -> None:
    """Return if the file is whole; raise `Damaged` if not, `OSError` if it cannot be read."""
    digest = hashlib.sha256()
    buffer = bytearray(min(CHUNK, file.size))
    window = memoryview(buffer)
    with open_regular(path) as opened:
        _check_size(opened, file)
        while count := opened.readinto(buffer):
            digest.update(window[:count])
    _check_digest(digest.hexdigest(), file)


def read(path: Path, file: StoredFile) -> bytes:
    """Return the bytes of a whole file; raise `Damaged` if not, `OSError` if it cannot be read."""
    with open_regular(path) as opened:
        _check_size(opened, file)
        data = opened.readall()
    _check_digest(hashlib.sha256(data).hexdigest(), file)
    return data


def _check_size(opened: io.FileIO, file: StoredFile) -> None:
    if os.fstat(opened.fileno()).st_size != file.size:
        raise Damaged("a file is longer or shorter than it was")


def _check_digest(digest: str, file: StoredFile) -> None:
    if digest != file.sha256:
        raise Damaged("a file does not fit its checksum")
