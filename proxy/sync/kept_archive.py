"""What a data directory keeps of the snapshot file that it was filled from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from proxy.store.records import Key, Record

IMPORTED: Final[Key] = ("archives", "imported")
"""The record of the file that a data directory was filled from."""


class Named(msgspec.Struct, frozen=True):
    """A deployment by what people call it; `key` is the hash that its flags are kept under.

    `project` is the hash of the project's API key.
    """

    key: str
    project: str
    label: str
    type: str = ""


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """The file: its id, who signed it, and when it was made, in seconds since 1970.

    `as_of` is when Amplitude last confirmed something in it.
    """

    id: str
    made_at: float
    as_of: float
    signer: str
    program: str
    deployments: tuple[Named, ...] = ()


class _Confirmed(msgspec.Struct):
    confirmed_at: float


def imported(records: Mapping[Key, Record]) -> Imported | None:
    """Return the file that a data directory was filled from, if it was."""
    record = records.get(IMPORTED)
    if record is None:
        return None
    try:
        return msgspec.json.decode(record.meta, type=Imported)
    except (ValueError, RecursionError):
        return None


def confirmed_at(record: Record) -> float:
    """Return when upstream last confirmed a record, in seconds since 1970; 0 if that is unclear."""
    try:
        return msgspec.json.decode(record.meta, type=_Confirmed).confirmed_at
    except (ValueError, RecursionError):
        return 0.0
