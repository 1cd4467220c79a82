"""A file of flags as it is written by hand, put into a data directory: for development."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from proxy import tasks
from proxy.archives.refusals import NO_ROOM, UNREADABLE, UNUSABLE
from proxy.cohorts.jobs import Built, Job, Order
from proxy.errors import ArchiveError, CohortError, Hindered
from proxy.evaluation.deployment import compile_deployment
from proxy.sandbox.reading import FileMistake
from proxy.sandbox.watch import text_of
from proxy.sandbox.world import Cohort, read_world
from proxy.settings.schema import Project
from proxy.store.disk import Disk
from proxy.store.ledger import Content, Entry
from proxy.store.records import Key, StoredFile
from proxy.store.writer import Writer
from proxy.sync.cohort_records import INDEX, KIND, PACKED, Kept
from proxy.sync.content import is_empty
from proxy.sync.kept import BODY, FLAGS, FlagsMeta

MOST_BYTES: Final = 1 << 26


def import_flags(projects: Sequence[Project], path: Path, directory: Path) -> None:
    """Let a data directory hold these flags for every deployment key, and their cohorts.

    The file is a JSON array as Amplitude serves it, or a sandbox's YAML file. Raises
    `ArchiveError`; then the directory holds what it held.
    """
    body, cohorts, at = _read(path)
    writer = Writer(directory, Disk())
    try:
        writer.acquire()
        entries = _flags(projects, body, at)
        for cohort in cohorts.values():
            files = _built(cohort, writer.directory.files_path)
            for project in projects:
                entries |= _cohort(project, cohort, files, at)
        hindered = writer.commit(entries, (), (), tasks.wall_clock()).hindered
        if hindered is not None:
            raise hindered
    except Hindered as why:
        raise ArchiveError(NO_ROOM, f"cannot write {directory}: {why}") from None
    except (OSError, CohortError) as error:
        raise ArchiveError(NO_ROOM, f"cannot make the cohorts of {path}: {error}") from None
    finally:
        writer.close()


def _read(path: Path) -> tuple[bytes, Mapping[str, Cohort], float]:
    try:
        at = path.stat().st_mtime
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ArchiveError(UNREADABLE, f"cannot read {path}: {error.strerror}") from None
    if len(raw) > MOST_BYTES:
        raise ArchiveError(UNUSABLE, f"{path} is longer than {MOST_BYTES} bytes")
    cohorts: Mapping[str, Cohort] = {}
    try:
        if path.suffix.lower() == ".json":
            body = raw
        else:
            world = read_world(text_of(raw), now=at)
            body, cohorts = world.flags, world.cohorts
        compiled = compile_deployment(body)
    except FileMistake as mistake:
        raise ArchiveError(UNUSABLE, f"{path}, line {mistake.line}: {mistake.reason}") from None
    except ValueError:
        raise ArchiveError(UNUSABLE, f"{path} is no JSON array of flags") from None
    if not compiled.flags and not is_empty(body):
        raise ArchiveError(UNUSABLE, f"{path} holds no flag that can be used")
    return body, cohorts, at


def _flags(projects: Sequence[Project], body: bytes, at: float) -> dict[Key, Entry]:
    version = hashlib.sha256(body).hexdigest()[:12]
    meta = FlagsMeta(changed_at=at, confirmed_at=at, source="offline", version=version)
    text = msgspec.json.encode(meta)
    keys = [key for project in projects for key in project.deployment_keys]
    return {
        (FLAGS, key.label): Entry(text, Content(bodies={BODY: body}), ours=True) for key in keys
    }


def _cohort(
    project: Project, cohort: Cohort, files: tuple[Built, Mapping[str, StoredFile]], at: float
) -> dict[Key, Entry]:
    built, stored = files
    kept = Kept(
        project=project.api_key.label,
        cohort_id=cohort.cohort_id,
        group_type=built.group_type,
        last_modified=built.last_modified,
        size=built.size,
        plain_bytes=built.plain_bytes,
        confirmed_at=at,
    )
    name = f"{project.api_key.label}/{cohort.cohort_id}"
    return {(KIND, name): Entry(msgspec.json.encode(kept), Content(files=stored), ours=True)}


def _built(cohort: Cohort, folder: Path) -> tuple[Built, Mapping[str, StoredFile]]:
    # It brings a library that takes a while to load, and few need it.
    from proxy.cohorts.building import build  # noqa: PLC0415

    body = folder / f"{secrets.token_hex(16)}.download"
    body.write_bytes(msgspec.json.encode(cohort))
    try:
        job = Job(body=str(body), gzip=False, folder=str(folder), cohort_id=cohort.cohort_id)
        order = Order(job=job, index=secrets.token_hex(16), packed=secrets.token_hex(16))
        built = build(order, lambda _: None)
    finally:
        body.unlink()
    index = msgspec.convert(built.index, StoredFile, from_attributes=True)
    packed = msgspec.convert(built.packed, StoredFile, from_attributes=True)
    return built, {INDEX: index, PACKED: packed}
