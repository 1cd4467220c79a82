"""What the data directory keeps of deployments and flags, and how it is read back.

Keys lie inside the files, which only their owner may read; ids and meta hold none.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from proxy import logs
from proxy.errors import Damaged
from proxy.secret import Secret
from proxy.snapshots.board import Slot
from proxy.store.records import Record
from proxy.store.store import Store

FLAGS = "flags"
DEPLOYMENTS = "deployments"
BODY = "body"

log = logs.get("sync")


class KeptFlags(msgspec.Struct, frozen=True, kw_only=True):
    """The flags that were in force, and when, in seconds since 1970."""

    body: bytes
    changed_at: float
    confirmed_at: float


class KeptDeployment(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment that upstream listed."""

    key: Secret
    label: str
    type: Literal["server", "client", ""] = ""


class KeptList(msgspec.Struct, frozen=True, kw_only=True):
    """All deployments of a project; `management` is the label of the key that they were got with.

    `upstream_id` is the project's id upstream.
    """

    management: str
    upstream_id: str
    deployments: tuple[KeptDeployment, ...]


class FlagsMeta(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of stored flags without reading them."""

    changed_at: float
    confirmed_at: float
    source: str
    version: str


class ListMeta(msgspec.Struct, frozen=True, kw_only=True):
    """When upstream last said that these are the deployments."""

    confirmed_at: float


def keep_flags(store: Store, slot: Slot) -> None:
    """Let the flags in force outlive the process.

    They are kept as they are served, not as upstream sent them: a flag whose newest config cannot
    be used, or waits, keeps its last good version over a restart.
    """
    assert slot.snapshot is not None
    body = slot.snapshot.compiled.body
    store.keep(FLAGS, slot.deployment.key.label, _flags_meta(slot), bodies={BODY: body})


def note_flags(store: Store, slot: Slot) -> None:
    """Let the time of the last confirmation outlive the process, sooner or later."""
    store.note(FLAGS, slot.deployment.key.label, _flags_meta(slot))


def _flags_meta(slot: Slot) -> FlagsMeta:
    assert slot.snapshot is not None
    assert slot.confirmed_at is not None
    return FlagsMeta(
        changed_at=slot.snapshot.changed_at,
        confirmed_at=slot.confirmed_at,
        source=slot.snapshot.source,
        version=slot.snapshot.compiled.version,
    )


def keep_list(store: Store, project: str, kept: KeptList, confirmed_at: float) -> None:
    """Let a project's deployments outlive the process."""
    body = msgspec.json.encode(kept, enc_hook=_reveal)
    store.keep(DEPLOYMENTS, project, ListMeta(confirmed_at=confirmed_at), bodies={BODY: body})


def note_list(store: Store, project: str, confirmed_at: float) -> None:
    """Let the time of the last listing outlive the process, sooner or later."""
    store.note(DEPLOYMENTS, project, ListMeta(confirmed_at=confirmed_at))


async def kept_flags(store: Store, key: Secret) -> KeptFlags | None:
    """Return the flags that are kept of a deployment, None when there are none to be used."""
    found = await _read(store, FLAGS, key.label)
    if found is None:
        return None
    record, body = found
    try:
        meta = msgspec.json.decode(record.meta, type=FlagsMeta)
    except ValueError as error:
        _tell(record, error)
        return None
    return KeptFlags(body=body, changed_at=meta.changed_at, confirmed_at=meta.confirmed_at)


async def kept_list(store: Store, project: str) -> tuple[KeptList, float] | None:
    """Return the deployments that are kept of a project, and when upstream last listed them."""
    found = await _read(store, DEPLOYMENTS, project)
    if found is None:
        return None
    record, body = found
    try:
        meta = msgspec.json.decode(record.meta, type=ListMeta)
        kept = decode_list(body)
    except ValueError as error:
        _tell(record, error)
        return None
    return kept, meta.confirmed_at


def decode_list(body: bytes) -> KeptList:
    """Return the deployments that a kept body spells; raises ValueError, which may quote it."""
    return msgspec.json.decode(body, type=KeptList, dec_hook=_hide)


def forget_others(store: Store, kind: str, ids: set[str]) -> None:
    """Drop the records of a kind that belong to nobody any more."""
    for record in store.records(kind):
        if record.id not in ids:
            store.forget(kind, record.id)


async def _read(store: Store, kind: str, name: str) -> tuple[Record, bytes] | None:
    """Return a record with its body; where a body is damaged an older version may stand behind."""
    tried = None
    while (record := store.record(kind, name)) not in (None, tried):
        assert record is not None
        try:
            return record, await store.read(record, BODY)
        except (Damaged, KeyError) as error:
            _tell(record, error)
        tried = record
    return None


def _tell(record: Record, error: Exception) -> None:
    # Of errors that are not ours only the kind is told: their texts may quote a key.
    why = str(error) if isinstance(error, Damaged) else type(error).__name__
    log.error("what was kept cannot be used", kind=record.kind, id=record.id, why=why)


def _reveal(value: Any) -> str:
    assert isinstance(value, Secret)
    return value.reveal()


def _hide(wanted: type, value: Any) -> Any:
    if wanted is not Secret or not isinstance(value, str):
        raise ValueError("not a key")
    return Secret(value)
