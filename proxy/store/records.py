"""What the data directory is made of: records, and the files that they name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

Key = tuple[str, str]
"""The kind and the id of a record."""

FILE_NAME: Final = re.compile(r"[0-9a-z][0-9a-z._-]{0,127}")
"""What a file may be called: no name leads out of its directory, none is hidden."""


class StoredFile(msgspec.Struct, frozen=True):
    """An immutable file: its name within its directory, its bytes, their SHA-256 in hex."""

    name: str
    size: int
    sha256: str


class Record(msgspec.Struct, frozen=True):
    """One version of what is kept under a kind and an id; `files` by the role that each plays."""

    kind: str
    id: str
    meta: msgspec.Raw
    files: Mapping[str, StoredFile]

    @property
    def key(self) -> Key:
        """The kind and the id."""
        return self.kind, self.id


Records = Mapping[Key, Record]
"""The records of one state."""


def names_of(records: Records) -> set[str]:
    """Return the names of all files that some record names."""
    return {file.name for record in records.values() for file in record.files.values()}


def bytes_of(records: Records) -> int:
    """Return the bytes of all files that some record names, each file counted once."""
    sizes = {f.name: f.size for record in records.values() for f in record.files.values()}
    return sum(sizes.values())
