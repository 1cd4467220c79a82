"""What a data directory holds: its state, older versions to fall back on, and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from proxy.errors import Damaged
from proxy.store import manifest
from proxy.store.directory import Directory
from proxy.store.disk import Disk
from proxy.store.records import Key, Record, Records, bytes_of
from proxy.store.trouble import DAMAGED, GONE, NEWER_FORMAT, hindrance

MANIFEST: Final = "manifest.json"
PREVIOUS: Final = "manifest.previous.json"
ASIDE: Final = "manifest.from-newer-"
MOST_BYTES: Final = 1 << 28
TRIES: Final = 3


class Complaint(msgspec.Struct, frozen=True):
    """Something that was wrong: a reason of the closed set, and what to tell of it."""

    reason: str
    text: str


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What lies in a data directory.

    `state` is what its manifest says, `previous` what the one before says; `usable` holds of each
    record the newest version whose files are there, or where no version is whole what is left of
    the newest; `older` is the version to take when that turns out damaged. `whole` tells that the
    manifest itself is good and not only the one before it.
    """

    state: Records = {}
    previous: Records = {}
    usable: dict[Key, Record] = {}
    older: dict[Key, Record] = {}
    sizes: dict[str, int] = {}
    whole: bool = False
    written_at: float | None = None
    complaints: tuple[Complaint, ...] = ()

    @property
    def told(self) -> bool:
        """Whether there was a state at all, be it one without records."""
        return self.written_at is not None

    @property
    def newer(self) -> bool:
        """Whether there was a state that a newer version wrote."""
        return any(one.reason == NEWER_FORMAT for one in self.complaints)

    @property
    def bytes(self) -> int:
        """The bytes of the files that the usable records name."""
        return bytes_of(self.usable)


def load(directory: Directory, disk: Disk) -> Found:
    """Return what lies there; raises `OSError` when the disk does not let us look.

    The holder of a directory that we only read may replace files meanwhile: look again then.
    """
    found = _load(directory, disk)
    for _ in range(TRIES - 1):
        if directory.owned or found.usable == found.state:
            break
        found = _load(directory, disk)
    return found


def set_aside(directory: Directory, disk: Disk) -> None:
    """Give manifests of newer formats names under which nothing touches them."""
    taken = set(disk.sizes(directory.root))
    for name in (MANIFEST, PREVIOUS):
        number = _format(directory, disk, name)
        if number > manifest.FORMAT:
            count = 0
            while (other := _aside(number, count)) in taken:
                count += 1
            disk.rename(directory.root, name, other)
            taken.add(other)


def spared(directory: Directory, disk: Disk, names: Mapping[str, int]) -> frozenset[str]:
    """Return which of the files manifests of newer formats name: they must stay."""
    try:
        texts = [
            disk.read(directory.root, name, MOST_BYTES)
            for name in sorted(disk.sizes(directory.root))
            if name.startswith(ASIDE)
        ]
    except Damaged:
        # Too large to be read: whatever is there may be named.
        return frozenset(names)
    return frozenset(name for name in names if any(name.encode() in text for text in texts))


def _aside(number: int, count: int) -> str:
    return f"{ASIDE}{number}{f'-{count}' if count else ''}.json"


def _format(directory: Directory, disk: Disk, name: str) -> int:
    try:
        return manifest.format_of(disk.read(directory.root, name, MOST_BYTES))
    except Damaged:
        return manifest.FORMAT
    except OSError as error:
        if error.errno not in GONE:
            raise
        return manifest.FORMAT


def _load(directory: Directory, disk: Disk) -> Found:
    complaints: list[Complaint] = []
    current = _read(directory, disk, MANIFEST, complaints)
    before = _read(directory, disk, PREVIOUS, complaints)
    sizes = disk.sizes(directory.files)
    best = current or before
    if best is None:
        return Found(sizes=sizes, complaints=tuple(complaints))
    state = {record.key: record for record in best.records}
    previous = {record.key: record for record in before.records} if current and before else {}
    usable, older = {}, {}
    broken: list[str] = []
    for key, record in state.items():
        versions = [record, previous.get(key, record)]
        there = [one for one in versions if _is_there(one, sizes)]
        if not _is_there(record, sizes):
            broken.append(" ".join(key))
        left = there or [rest for one in versions if (rest := _rest(one, sizes)) is not None]
        if left:
            usable[key] = left[0]
        if len(there) == len(versions) and previous.get(key, record) != record:
            older[key] = previous[key]
    if broken:
        text = f"files of {len(broken)} records are missing or cut, {broken[0]} among them"
        complaints.append(Complaint(DAMAGED, text))
    return Found(
        state=state,
        previous=previous,
        usable=usable,
        older=older,
        sizes=sizes,
        whole=current is not None,
        written_at=best.written_at,
        complaints=tuple(complaints),
    )


def _read(
    directory: Directory, disk: Disk, name: str, complaints: list[Complaint]
) -> manifest.Manifest | None:
    """Return a manifest; None when there is none that can be used."""
    try:
        data = disk.read(directory.root, name, MOST_BYTES)
        number = manifest.format_of(data)
        if number > manifest.FORMAT:
            text = f"{name} is of format {number}, newer than this version reads"
            complaints.append(Complaint(NEWER_FORMAT, text))
            return None
        return manifest.decode(data)
    except FileNotFoundError:
        return None
    except Damaged as error:
        complaints.append(Complaint(DAMAGED, f"{name}: {error}"))
        return None
    except OSError as error:
        # What cannot be read for now must not be taken for gone, and be written over.
        if directory.owned and error.errno not in GONE:
            raise
        why = hindrance(error)
        reason = DAMAGED if error.errno in GONE else why.reason
        complaints.append(Complaint(reason, f"{name}: {why}"))
        return None


def _is_there(record: Record, sizes: Mapping[str, int]) -> bool:
    return all(sizes.get(file.name) == file.size for file in record.files.values())


def _rest(record: Record, sizes: Mapping[str, int]) -> Record | None:
    """Return a record with those of its files that are there; None when that is none of them."""
    files = {role: file for role, file in record.files.items() if sizes.get(file.name) == file.size}
    return msgspec.structs.replace(record, files=files) if files else None
