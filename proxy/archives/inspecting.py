"""Reading an archive without letting anything in."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from proxy.archives import facts as spelled
from proxy.archives.facts import FOLDER, MANIFEST, MOST_MANIFEST, SIGNATURE, SIGNATURE_SIZE, Facts
from proxy.archives.framing import Reading
from proxy.archives.keys import Trusted
from proxy.archives.meaning import check_shape
from proxy.archives.refusals import DAMAGED, UNREADABLE
from proxy.errors import ArchiveError


class Opened(NamedTuple):
    """What an archive says of itself, and the fingerprint of who signed it."""

    facts: Facts
    signer: str


def begin(reading: Reading, trusted: Trusted | None) -> Opened:
    """Read manifest and signature; raise `ArchiveError` unless a trusted key signed it.

    The manifest is not looked into before.
    """
    manifest = reading.first(MANIFEST, MOST_MANIFEST)
    signature = reading.small(SIGNATURE, SIGNATURE_SIZE)
    signer = spelled.verify(manifest, signature, trusted)
    facts = spelled.decode(manifest)
    for record in facts.records:
        check_shape(record)
    return Opened(facts, signer)


def inspect(path: Path, trusted: Trusted | None) -> Opened:
    """Read an archive to its end; raise `ArchiveError` unless it is whole.

    With None for `trusted` nothing is said about who signed it.
    """
    try:
        with path.open("rb") as file:
            reading = Reading(file)
            opened = begin(reading, trusted)
            for member in opened.facts.members():
                digest = hashlib.sha256()
                for piece in reading.pieces(FOLDER + member.name, member.size):
                    digest.update(piece)
                if digest.hexdigest() != member.sha256:
                    raise ArchiveError(DAMAGED, "a file in it does not fit its checksum")
            reading.finish()
    except OSError as error:
        raise ArchiveError(UNREADABLE, f"cannot read {path}: {error.strerror}") from None
    return opened
