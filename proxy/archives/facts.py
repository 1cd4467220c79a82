"""The manifest of an archive: who made it, of what it is, and every member by size and digest.

The first member is the manifest, the second its signature, the others follow in the order in
which the records name them. What is signed is the text `SIGNED` followed by the manifest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeVar

import msgspec

from proxy.archives.keys import SIGNATURE_BYTES, Signer, Trusted
from proxy.archives.refusals import DAMAGED, NEWER_FORMAT
from proxy.errors import ArchiveError
from proxy.sync.kept_archive import Named

FORMAT: Final = 1
SIGNED: Final = b"evaluation-proxy snapshot\n"
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
FOLDER: Final = "files/"
MOST_MANIFEST: Final = 1 << 26
MOST_SIZE: Final = 1 << 62
SIGNATURE_SIZE: Final = 8 + 16 + 1 + 2 * SIGNATURE_BYTES + 1
_DIGEST: Final = re.compile("[0-9a-f]{64}")
_NAME: Final = re.compile("[0-9a-f]{32}")
_Shape = TypeVar("_Shape")
_SIGNATURE: Final = re.compile(rb"ed25519 ([0-9a-f]{16}) ([0-9a-f]{128})\n")


class Member(msgspec.Struct, frozen=True):
    """A file in the archive: its name, its bytes, their SHA-256, and those once unpacked.

    `packed` tells that it is compressed with gzip; if not, both sizes and digests are the same.
    """

    name: str
    size: int
    sha256: str
    plain_size: int
    plain_sha256: str
    packed: bool = False


class Fact(msgspec.Struct, frozen=True):
    """One record: its kind and id, its meta as it is kept, its members by the role of each."""

    kind: Literal["flags", "cohorts"]
    id: str
    meta: msgspec.Raw
    files: Mapping[str, Member]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that an archive says of itself.

    `id` is another one for each archive; `made_at` is when it was written and `as_of` when
    Amplitude last confirmed something in it, in seconds since 1970.
    """

    format: int = FORMAT
    id: str
    program: str
    made_at: float
    as_of: float
    deployments: tuple[Named, ...] = ()
    records: tuple[Fact, ...] = ()

    def members(self) -> Iterable[Member]:
        """Return the members in the order in which they lie in the archive."""
        for record in self.records:
            yield from record.files.values()

    @property
    def plain_bytes(self) -> int:
        """The bytes of all members once unpacked."""
        return sum(member.plain_size for member in self.members())


class _Format(msgspec.Struct):
    format: int


def encode(facts: Facts) -> bytes:
    """Return the manifest."""
    return msgspec.json.encode(facts) + b"\n"


def sign(manifest: bytes, signer: Signer) -> bytes:
    """Return the second member."""
    signature = signer.sign(SIGNED + manifest).hex()
    return f"ed25519 {signer.fingerprint} {signature}\n".encode()


def verify(manifest: bytes, signature: bytes, trusted: Trusted | None) -> str:
    """Return the fingerprint of the signer; raise `ArchiveError` unless it is trusted.

    With None for `trusted` whoever signed is taken at his word.
    """
    found = _SIGNATURE.fullmatch(signature)
    if found is None:
        raise ArchiveError(DAMAGED, "its signature is not as this program writes it")
    signer = found[1].decode()
    if trusted is not None:
        trusted.check(signer, bytes.fromhex(found[2].decode()), SIGNED + manifest)
    return signer


def decode(manifest: bytes) -> Facts:
    """Return what a manifest says; raise `ArchiveError` when it cannot be right."""
    number = _read(manifest, _Format).format
    if number > FORMAT:
        text = f"it is of format {number}, and this version reads up to {FORMAT}"
        raise ArchiveError(NEWER_FORMAT, text)
    facts = _read(manifest, Facts)
    if number != FORMAT or encode(facts) != manifest:
        raise ArchiveError(DAMAGED, "its manifest is not as this program writes it")
    members = list(facts.members())
    for member in members:
        if _NAME.fullmatch(member.name) is None or not _is_sound(member):
            raise ArchiveError(DAMAGED, "its manifest names a file that it cannot hold")
    keys = {(record.kind, record.id) for record in facts.records}
    if len({one.name for one in members}) < len(members) or len(keys) < len(facts.records):
        raise ArchiveError(DAMAGED, "its manifest names something twice")
    return facts


def _is_sound(member: Member) -> bool:
    digests = member.sha256, member.plain_sha256
    if not all(_DIGEST.fullmatch(digest) for digest in digests):
        return False
    if not all(0 <= size <= MOST_SIZE for size in (member.size, member.plain_size)):
        return False
    same = (member.size, member.sha256) == (member.plain_size, member.plain_sha256)
    return member.packed or same


def _read(data: bytes, shape: type[_Shape]) -> _Shape:
    try:
        return msgspec.json.decode(data, type=shape)
    except (ValueError, RecursionError):
        raise ArchiveError(DAMAGED, "its manifest cannot be read") from None
