"""From a data directory, also one that a proxy writes to, to an archive; in bounded memory."""

from __future__ import annotations

import gzip
import hashlib
import os
import secrets
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, final

from proxy import __version__
from proxy.archives import facts as spelled
from proxy.archives.facts import FOLDER, MANIFEST, SIGNATURE, Fact, Facts, Member
from proxy.archives.framing import PIECE, Writing
from proxy.archives.keys import Signer
from proxy.archives.meaning import ROLES, as_of
from proxy.archives.refusals import DAMAGED, EMPTY, NO_ROOM, UNREADABLE
from proxy.errors import ArchiveError, Damaged, Hindered
from proxy.store import checking
from proxy.store.directory import FILES
from proxy.store.disk import FILE_MODE, Disk, open_regular
from proxy.store.loading import Found
from proxy.store.records import Key, Record, StoredFile
from proxy.store.writer import Writer
from proxy.sync.kept import BODY, DEPLOYMENTS, FLAGS, decode_list
from proxy.sync.kept_archive import Named

LEVEL: Final = 6
TRIES: Final = 5
"""A proxy that runs may replace what is being read: then it is read again."""


class Exported(NamedTuple):
    """What was written, and which records could not be."""

    facts: Facts
    left_out: tuple[str, ...]


class _Taken(NamedTuple):
    facts: Facts
    left_out: tuple[str, ...]
    bodies: Mapping[str, bytes]
    files: Mapping[str, BinaryIO]


def export(directory: Path, out: Path, signer: Signer, now: float) -> Exported:
    """Write all flags and cohorts of a data directory to `out`, signed, in one step.

    Nothing is changed in the directory, and no lock is needed. Raises `ArchiveError`; then `out`
    is as it was.
    """
    with ExitStack() as opened:
        taken = _take(directory, now, opened)
        try:
            _replace(out, taken, signer)
        except OSError as error:
            raise ArchiveError(NO_ROOM, f"cannot write {out}: {error.strerror}") from None
    return Exported(taken.facts, taken.left_out)


def _take(directory: Path, now: float, opened: ExitStack) -> _Taken:
    """Return what is to be written, with all large files open: nobody can take them away then."""
    for attempt in range(TRIES):
        with ExitStack() as files:
            found = _look(directory)
            with suppress(FileNotFoundError):
                taken = _opened(found, directory, now, files)
                # It may have been looked at while it was being replaced.
                if not taken.left_out or attempt + 1 == TRIES:
                    opened.push(files.pop_all())
                    return taken
    raise ArchiveError(DAMAGED, f"files in {directory} are missing")


def _look(directory: Path) -> Found:
    try:
        found = Writer(directory.absolute(), Disk()).peek()
    except Hindered as why:
        raise ArchiveError(UNREADABLE, f"cannot read {directory}: {why}") from None
    if not any(kind == FLAGS for kind, _ in found.usable):
        why_not = "".join(f": {one.text}" for one in found.complaints)
        raise ArchiveError(EMPTY, f"there are no flags in {directory}{why_not}")
    return found


def _opened(found: Found, directory: Path, now: float, opened: ExitStack) -> _Taken:
    taking = _Taking(directory / FILES, opened)
    records, left_out = [], []
    for (kind, name), record in sorted(found.usable.items()):
        if kind in ROLES:
            try:
                records.append(taking.fact(record))
            except Damaged as why:
                left_out.append(f"{kind} {name}: {why}")
    facts = Facts(
        id=secrets.token_hex(16),
        program=f"evaluation-proxy {__version__}",
        made_at=now,
        as_of=as_of(found.usable),
        deployments=_named(found.usable, directory / FILES),
        records=tuple(records),
    )
    return _Taken(facts, tuple(left_out), taking.bodies, taking.files)


@final
class _Taking:
    """Takes records: small bodies into memory, large files opened."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        self.bodies: dict[str, bytes] = {}
        self.files: dict[str, BinaryIO] = {}
        self._folder = folder
        self._opened = opened

    def fact(self, record: Record) -> Fact:
        """Return a record as the manifest tells it; raises `Damaged`, `FileNotFoundError`."""
        if record.files.keys() != ROLES[record.kind]:
            raise Damaged("files are missing")
        take = self._body if record.kind == FLAGS else self._file
        members = {role: take(file) for role, file in sorted(record.files.items())}
        return Fact("flags" if record.kind == FLAGS else "cohorts", record.id, record.meta, members)

    def _body(self, file: StoredFile) -> Member:
        plain = checking.read(self._folder / file.name, file)
        data = gzip.compress(plain, LEVEL, mtime=0)
        name = secrets.token_hex(16)
        self.bodies[name] = data
        digest = hashlib.sha256(data).hexdigest()
        return Member(name, len(data), digest, file.size, file.sha256, packed=True)

    def _file(self, file: StoredFile) -> Member:
        opened = self._opened.enter_context(open_regular(self._folder / file.name))
        if os.fstat(opened.fileno()).st_size != file.size:
            raise Damaged("a file is longer or shorter than it was")
        name = secrets.token_hex(16)
        self.files[name] = opened
        return Member(name, file.size, file.sha256, file.size, file.sha256)


def _named(records: Mapping[Key, Record], folder: Path) -> tuple[Named, ...]:
    """Return the listed deployments by hash, label and type: their keys stay here."""
    named: list[Named] = []
    for (kind, project), record in sorted(records.items()):
        if kind != DEPLOYMENTS or BODY not in record.files:
            continue
        # What cannot be read takes only the labels away.
        with suppress(Damaged, ValueError):
            file = record.files[BODY]
            listed = decode_list(checking.read(folder / file.name, file)).deployments
            named += [Named(one.key.label, project, one.label, one.type) for one in listed]
    return tuple(named)


def _replace(out: Path, taken: _Taken, signer: Signer) -> None:
    """Let the archive stand at `out` as soon as it is whole and safe on the disk."""
    making = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    fd = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE)
    try:
        with os.fdopen(fd, "wb") as file:
            _write(Writing(file.write), taken, signer)
            file.flush()
            os.fsync(file.fileno())
        making.replace(out)
    except BaseException:
        with suppress(OSError):
            making.unlink()
        raise
    folder = os.open(out.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write(to: Writing, taken: _Taken, signer: Signer) -> None:
    manifest = spelled.encode(taken.facts)
    to.member(MANIFEST, manifest)
    to.member(SIGNATURE, spelled.sign(manifest, signer))
    for record in taken.facts.records:
        for role, member in record.files.items():
            if member.name in taken.bodies:
                to.member(FOLDER + member.name, taken.bodies[member.name])
            else:
                _copy(to, taken.files[member.name], member, f"{record.kind} {record.id}, {role}")
    to.finish()


def _copy(to: Writing, file: BinaryIO, member: Member, what: str) -> None:
    digest, size = hashlib.sha256(), 0
    to.begin(FOLDER + member.name, member.size)
    while piece := file.read(PIECE):
        digest.update(piece)
        size += len(piece)
        to.add(piece)
    if (size, digest.hexdigest()) != (member.size, member.sha256):
        raise ArchiveError(DAMAGED, f"{what}: the file in the data directory is damaged")
    to.complete(size)
