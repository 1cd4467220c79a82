"""Data directories, archives of them, and archives that somebody else made."""

import gzip
import hashlib
import os
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from proxy.archives import facts as spelled
from proxy.archives.exporting import export
from proxy.archives.facts import Member
from proxy.archives.framing import Writing
from proxy.archives.importing import Outcome, Terms, import_archive
from proxy.archives.keys import Signer, Trusted, make_pair, read_signer, read_trusted
from proxy.archives.plain import import_flags
from proxy.secret import Secret
from proxy.settings.schema import Project
from proxy.store.disk import Disk
from proxy.store.ledger import Content, Entry
from proxy.store.writer import Writer
from proxy.sync.kept import KeptDeployment, KeptList, ListMeta
from proxy.sync.offline_reading import State, read_state

NOW = 2_000_000.0
KEYS = ("server-key-one", "server-key-two")
SECRETS = (*KEYS, "an-api-key", "a-secret-key", "a-management-key", "server-listed-key")
PROJECT = Project(
    api_key=Secret("an-api-key"),
    secret_key=Secret("a-secret-key"),
    management_key=Secret("a-management-key"),
    deployment_keys=tuple(map(Secret, KEYS)),
)
SIMPLE = "flags: {plain: {serve: on}}\ncohorts: {friends: [ada, grace]}\n"


class Pair(NamedTuple):
    """Keys of a test."""

    signer: Signer
    trusted: Trusted
    private: Path
    public: Path


def pair(folder: Path, name: str = "site") -> Pair:
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    make_pair(private, public)
    return Pair(read_signer(private), read_trusted(public), private, public)


def filled(
    directory: Path, text: str = SIMPLE, at: float = NOW - 100, project: Project = PROJECT
) -> Path:
    """Let a data directory hold flags that Amplitude confirmed at a time."""
    file = directory.with_name(f"{directory.name}.yaml")
    file.write_text(text)
    os.utime(file, (at, at))
    import_flags([project], file, directory)
    return directory


def with_list(directory: Path) -> Path:
    """Let a data directory hold a list of deployments, with their keys, as an online proxy does."""
    row = KeptDeployment(key=Secret("server-listed-key"), label="production", type="server")
    one = KeptDeployment(key=Secret(KEYS[0]), label="staging", type="server")
    listed = KeptList(management="m", upstream_id="1", deployments=(row, one))
    body = msgspec.json.encode(listed, enc_hook=lambda key: key.reveal())
    writer = Writer(directory, Disk())
    found = writer.acquire()
    entries = {
        key: Entry(bytes(record.meta), Content(files=record.files), ours=False)
        for key, record in found.usable.items()
    }
    meta = msgspec.json.encode(ListMeta(confirmed_at=1.0))
    content = Content(bodies={"body": body})
    entries["deployments", PROJECT.api_key.label] = Entry(meta, content, ours=True)
    writer.commit(entries, (), (), NOW)
    writer.close()
    return directory


def exported(directory: Path, keys: Pair, out: Path | None = None, now: float = NOW) -> Path:
    path = out or directory.with_name(f"{directory.name}.snapshot")
    export(directory, path, keys.signer, now)
    return path


def let_in(path: Path, directory: Path, keys: Pair, **terms: Any) -> Outcome:
    return import_archive(path, directory, Terms(keys.trusted, **terms), NOW)


def held(directory: Path) -> State:
    """What a directory holds; it must be whole."""
    return read_state(directory, {}, whole=True)


def flags_of(state: State) -> dict[str, bytes]:
    return {key: kept.body for key, kept in state.flags.items()}


def members_of(state: State) -> dict[str, tuple[int, bytes]]:
    return {
        f"{project}/{cohort_id}": (one.cohort.size, gzip.decompress(one.cohort.packed.read_bytes()))
        for project, cohorts in state.cohorts.items()
        for cohort_id, one in cohorts.items()
    }


def same(one: State, other: State) -> bool:
    """Whether two directories serve the same."""
    return flags_of(one) == flags_of(other) and members_of(one) == members_of(other)


def files_in(directory: Path) -> set[str]:
    folder = directory / "files"
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


class Forge:
    """An archive taken apart, to be changed and signed again."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path) as tar:
            self.members = {}
            for info in tar:
                file = tar.extractfile(info)
                assert file is not None
                self.members[info.name] = file.read()
        self.facts = spelled.decode(self.members[spelled.MANIFEST])

    def change(self, **changes: Any) -> None:
        self.facts = msgspec.structs.replace(self.facts, **changes)

    def change_member(self, kind: str, role: str, change: Callable[[Member, bytes], Any]) -> None:
        """Let `change` give another member and other bytes for all files of a role."""
        records = []
        for record in self.facts.records:
            files = dict(record.files)
            if record.kind == kind and role in files:
                name = f"files/{files[role].name}"
                files[role], self.members[name] = change(files[role], self.members[name])
            records.append(msgspec.structs.replace(record, files=files))
        self.change(records=tuple(records))

    def written(self, path: Path, signer: Signer, manifest: bytes | None = None) -> Path:
        out = BytesIO()
        to = Writing(out.write)
        manifest = spelled.encode(self.facts) if manifest is None else manifest
        to.member(spelled.MANIFEST, manifest)
        to.member(spelled.SIGNATURE, spelled.sign(manifest, signer))
        for member in self.facts.members():
            to.member(f"files/{member.name}", self.members.get(f"files/{member.name}", b""))
        to.finish()
        path.write_bytes(out.getvalue())
        return path


def packed(member: Member, plain: bytes) -> tuple[Member, bytes]:
    """A member that unpacks to something else, described truthfully."""
    data = gzip.compress(plain)
    return described(member, data, plain), data


def described(member: Member, data: bytes, plain: bytes) -> Member:
    return msgspec.structs.replace(
        member,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        plain_size=len(plain),
        plain_sha256=hashlib.sha256(plain).hexdigest(),
    )
