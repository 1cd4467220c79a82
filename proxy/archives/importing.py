"""From an archive into a data directory: all of it, verified, or nothing."""

from __future__ import annotations

import hashlib
import secrets
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, final

import msgspec

from proxy.archives import meaning
from proxy.archives.facts import FOLDER, Fact, Facts, Member
from proxy.archives.framing import PIECE, Reading
from proxy.archives.inspecting import begin
from proxy.archives.keys import Trusted
from proxy.archives.meaning import ROLES
from proxy.archives.refusals import DAMAGED, EMPTY, NO_ROOM, OLDER, TOO_LARGE, UNREADABLE
from proxy.errors import ArchiveError, Damaged, Hindered
from proxy.store import checking
from proxy.store.disk import Disk
from proxy.store.ledger import Content, Entry
from proxy.store.loading import Found
from proxy.store.records import Key, StoredFile
from proxy.store.writer import Writer
from proxy.sync.kept import FLAGS
from proxy.sync.kept_archive import IMPORTED, Imported, imported

GZIP: Final = 16 + zlib.MAX_WBITS
MOST_BYTES: Final = 1 << 36


class Terms(NamedTuple):
    """On which terms an archive is let in.

    `trusted` None takes whoever signed it; `most_bytes` bounds what it unpacks to; with `force`
    it may be older than what is there, or empty. Of the deployments that are `wanted`, by the hash
    of the key, one must be in it; None wants none.
    """

    trusted: Trusted | None
    most_bytes: int = MOST_BYTES
    force: bool = False
    wanted: frozenset[str] | None = None


class Outcome(NamedTuple):
    """What was let in; `changed` is False when all of it was there already.

    `problems` counts the flags that cannot be used as they came.
    """

    facts: Facts
    signer: str
    changed: bool
    problems: int


def import_archive(
    path: Path, directory: Path, terms: Terms, now: float, disk: Disk | None = None
) -> Outcome:
    """Let a data directory hold the flags and cohorts of an archive, in one step.

    Lists of deployments stay, as they hold keys and archives do not. Raises `ArchiveError`, also
    when somebody else holds the directory; then the directory holds what it held.
    """
    try:
        with path.open("rb") as file:
            return _into(file, directory, terms, now, disk or Disk())
    except OSError as error:
        raise ArchiveError(UNREADABLE, f"cannot read {path}: {error.strerror}") from None


def _into(file: BinaryIO, directory: Path, terms: Terms, now: float, disk: Disk) -> Outcome:
    reading = Reading(file)
    # Nothing is made on the disk for an archive that nobody trusts.
    facts, signer = begin(reading, terms.trusted)
    writer = Writer(directory.absolute(), disk)
    try:
        found = writer.acquire()
    except Hindered as why:
        raise ArchiveError(NO_ROOM, f"cannot use {directory}: {why}") from None
    staging = _Staging(writer, disk, found)
    try:
        _check_terms(facts, found, terms)
        staging.check_room(facts)
        entries = staging.unpack(facts, reading)
        reading.finish()
        entries[IMPORTED] = _imported(facts, signer)
        outcome = writer.commit({**_kept(found), **entries}, (), (), now)
        if outcome.hindered is not None:
            raise ArchiveError(NO_ROOM, f"cannot write {directory}: {outcome.hindered}")
        staging.done = True
    finally:
        staging.close()
        writer.close()
    return Outcome(facts, signer, bool(outcome.commits), staging.problems)


@final
class _Staging:
    """Unpacks members under new names, which no manifest names yet; those are lost with it."""

    def __init__(self, writer: Writer, disk: Disk, found: Found) -> None:
        self.done = False
        self.problems = 0
        self._inside = writer.directory.files
        self._folder = writer.directory.files_path
        self._disk = disk
        self._made: list[str] = []
        files = (file for one in found.usable.values() for file in one.files.values())
        self._there = {(file.sha256, file.size): file for file in files}

    def check_room(self, facts: Facts) -> None:
        """Return if what is not there yet may fit on the disk; raise `ArchiveError` if not."""
        plain = {(member.plain_sha256, member.plain_size) for member in facts.members()}
        needed = sum(size for _, size in plain - self._there.keys())
        free = self._disk.free(self._inside)
        if free < needed:
            text = f"it unpacks to {needed} more bytes, and {free} are free"
            raise ArchiveError(NO_ROOM, text)

    def unpack(self, facts: Facts, reading: Reading) -> dict[Key, Entry]:
        """Return the records, their files checked; raises `ArchiveError`."""
        entries: dict[Key, Entry] = {}
        for fact in facts.records:
            files = {
                role: self._file(member, reading.pieces(FOLDER + member.name, member.size))
                for role, member in fact.files.items()
            }
            paths = {role: self._folder / file.name for role, file in files.items()}
            self.problems += meaning.check_content(fact, paths)
            entries[fact.kind, fact.id] = _entry(fact, files)
        return entries

    def close(self) -> None:
        """Remove what did not come into use."""
        if not self.done:
            for name in self._made:
                with suppress(OSError):
                    self._disk.unlink(self._inside, name)

    def _file(self, member: Member, pieces: Iterator[bytes]) -> StoredFile:
        there = self._there.get((member.plain_sha256, member.plain_size))
        if there is not None and self._is_whole(there):
            _Checked(member).all_of(pieces)
            return there
        file = StoredFile(secrets.token_hex(16), member.plain_size, member.plain_sha256)
        self._made.append(file.name)
        try:
            with self._disk.making(self._inside, file.name) as fd:
                for plain in _Checked(member).plain(pieces):
                    self._disk.write(fd, plain)
        except OSError as error:
            raise ArchiveError(NO_ROOM, f"cannot write a file: {error.strerror}") from None
        self._there[file.sha256, file.size] = file
        return file

    def _is_whole(self, file: StoredFile) -> bool:
        with suppress(Damaged, OSError):
            checking.check(self._folder / file.name, file)
            return True
        return False


@final
class _Checked:
    """Passes a member through, as it comes or unpacked; raises `ArchiveError` at its end.

    More than the manifest says is never unpacked.
    """

    def __init__(self, member: Member) -> None:
        self._member = member
        self._packed = hashlib.sha256()
        # What is not packed is the same before and after: one digest is enough.
        self._plain = hashlib.sha256() if member.packed else self._packed
        self._inflater = zlib.decompressobj(GZIP)
        self._size = 0

    def all_of(self, pieces: Iterator[bytes]) -> None:
        """Read it all."""
        for _ in self.plain(pieces):
            pass

    def plain(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Yield what a data directory keeps of it."""
        for piece in pieces:
            if self._member.packed:
                self._packed.update(piece)
            for plain in self._inflated(piece):
                self._size += len(plain)
                if self._size > self._member.plain_size:
                    raise ArchiveError(DAMAGED, "a file in it unpacks to more than it says")
                self._plain.update(plain)
                yield plain
        found = self._packed.hexdigest(), self._plain.hexdigest(), self._size
        member = self._member
        if found != (member.sha256, member.plain_sha256, member.plain_size):
            raise ArchiveError(DAMAGED, "a file in it does not fit its checksum")

    def _inflated(self, piece: bytes) -> Iterator[bytes]:
        if not self._member.packed:
            yield piece
            return
        try:
            while piece:
                yield self._inflater.decompress(piece, PIECE)
                piece = self._inflater.unconsumed_tail
        except zlib.error:
            raise ArchiveError(DAMAGED, "a file in it cannot be unpacked") from None
        # It would be kept in memory, all of it.
        if self._inflater.unused_data:
            raise ArchiveError(DAMAGED, "something follows the end of a file in it")


def _check_terms(facts: Facts, found: Found, terms: Terms) -> None:
    if facts.plain_bytes > terms.most_bytes:
        text = f"it unpacks to {facts.plain_bytes} bytes, and at most {terms.most_bytes} are taken"
        raise ArchiveError(TOO_LARGE, text)
    flags = {record.id for record in facts.records if record.kind == FLAGS}
    # The file of another site: what is there is of more use.
    if terms.wanted is not None and terms.wanted.isdisjoint(flags):
        raise ArchiveError(EMPTY, "it holds the flags of no deployment that is served")
    if terms.force:
        return
    if not flags:
        raise ArchiveError(EMPTY, "it holds the flags of no deployment")
    last = imported(found.usable)
    there = max(meaning.as_of(found.usable), 0.0 if last is None else last.as_of)
    made_at = 0.0 if last is None else last.made_at
    if (facts.as_of, facts.made_at) < (there, made_at):
        seconds = there - facts.as_of or made_at - facts.made_at
        raise ArchiveError(OLDER, f"it is {seconds:.0f} s older than what is there")


def _kept(found: Found) -> dict[Key, Entry]:
    """Return what an archive says nothing of."""
    return {
        key: Entry(bytes(record.meta), Content(files=record.files), ours=False)
        for key, record in found.usable.items()
        if key[0] not in ROLES
    }


def _entry(fact: Fact, files: Mapping[str, StoredFile]) -> Entry:
    return Entry(bytes(fact.meta), Content(files=files), ours=True)


def _imported(facts: Facts, signer: str) -> Entry:
    meta = Imported(
        id=facts.id,
        made_at=facts.made_at,
        as_of=facts.as_of,
        signer=signer,
        program=facts.program,
        deployments=facts.deployments,
    )
    return Entry(msgspec.json.encode(meta), Content(), ours=True)
