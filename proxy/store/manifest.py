"""The manifest: one state as bytes, and back.

`{"format":1,"sha256":"<hex>","content":{"written_at":<s>,"records":[...]}}`, where the SHA-256 is
that of the format number, a line feed and the content. Every format to come keeps the field
`format` and spells the names of its files out, so that an older program can leave them alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec

from proxy.errors import Damaged
from proxy.store.records import FILE_NAME, Record

FORMAT: Final = 1
Shape = TypeVar("Shape")


class Manifest(msgspec.Struct, frozen=True):
    """One state: when it was written, in seconds since 1970, and its records."""

    written_at: float
    records: tuple[Record, ...]


class _Format(msgspec.Struct):
    format: int


class _Envelope(_Format):
    sha256: str
    content: msgspec.Raw


def encode(records: Iterable[Record], written_at: float) -> bytes:
    """Return the bytes of a state."""
    content = msgspec.json.encode(Manifest(written_at, tuple(records)))
    return msgspec.json.encode(_Envelope(FORMAT, _digest(content), msgspec.Raw(content))) + b"\n"


def decode(data: bytes) -> Manifest:
    """Return the state that bytes spell; raise `Damaged` if they are not what was written."""
    envelope = _read(data, _Envelope)
    if envelope.format != FORMAT or envelope.sha256 != _digest(envelope.content):
        raise Damaged("the manifest does not fit its checksum")
    manifest = _read(envelope.content, Manifest)
    for record in manifest.records:
        for file in record.files.values():
            if FILE_NAME.fullmatch(file.name) is None or file.size < 0:
                raise Damaged("the manifest names a file that it cannot have written")
    return manifest


def format_of(data: bytes) -> int:
    """Return the format that a whole manifest is written in; raise `Damaged` if that is unclear.

    A number above ours is believed unless the rest is ours: then only the number is broken.
    """
    number = _read(data, _Format).format
    if number <= FORMAT:
        return FORMAT
    try:
        envelope = _read(data, _Envelope)
    except Damaged:
        return number
    if envelope.sha256 == _digest(envelope.content):
        raise Damaged("the manifest's format number is broken")
    return number


def _digest(content: bytes | msgspec.Raw) -> str:
    return hashlib.sha256(b"%d\n" % FORMAT + bytes(content)).hexdigest()


def _read(data: bytes | msgspec.Raw, shape: type[Shape]) -> Shape:
    try:
        return msgspec.json.decode(data, type=shape)
    except (ValueError, RecursionError) as error:
        raise Damaged("the manifest cannot be read") from error
