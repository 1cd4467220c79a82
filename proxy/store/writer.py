"""Makes the data directory agree with what is kept; every call blocks, all in one thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, final

import msgspec

from proxy.errors import Hindered
from proxy.store import manifest
from proxy.store.directory import Directory
from proxy.store.disk import Disk
from proxy.store.ledger import Content, Entry
from proxy.store.loading import ASIDE, MANIFEST, PREVIOUS, Found, load, set_aside, spared
from proxy.store.placing import Placing
from proxy.store.records import Key, Record, Records, StoredFile, bytes_of, names_of
from proxy.store.trouble import DAMAGED, NO_SPACE, hindrance

SMALL: Final = 1 << 20
"""Files below this size, in bytes, stay as long as the previous manifest names them."""
UNFINISHED: Final = "manifest.unfinished"


class Outcome(msgspec.Struct, kw_only=True):
    """What came of an attempt to commit.

    `placed` holds the contents that lie on the disk now, and where; `lost` the records whose files
    are nowhere; `hindered` is None when the state on the disk is the one that was asked for, but
    for what is lost; `commits` is 1 when a manifest was written.
    """

    placed: list[tuple[Content, Mapping[str, StoredFile]]] = []
    lost: frozenset[Key] = frozenset()
    hindered: Hindered | None = None
    commits: int = 0
    bytes: int = 0


@final
class Writer:
    """The only one who writes to the data directory."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self.directory = Directory(path, disk)
        self._disk = disk
        # The states that the two manifests on the disk hold.
        self._state: Records = {}
        self._previous: Records = {}
        # Whether manifest.json holds the state, or only the one of before is there.
        self._whole = False
        # Files that we answer for, and those that a manifest of a newer format names.
        self._tracked: set[str] = set()
        self._placing = Placing(self.directory, disk, {}, self._tracked)
        self._spared: frozenset[str] = frozenset()
        # The manifests of newer formats.
        self.aside: tuple[str, ...] = ()
        self._owned_before: set[tuple[int, int]] = set()

    def acquire(self) -> Found:
        """Own the directory and return what it holds; raises `Hindered`."""
        try:
            self.directory.take()
            found = load(self.directory, self._disk)
            set_aside(self.directory, self._disk)
            self._begin(found)
        except OSError as error:
            self.directory.release()
            raise hindrance(error) from error
        except Hindered:
            self.directory.release()
            raise
        return found

    def peek(self) -> Found:
        """Return what the directory holds without owning it; raises `Hindered`."""
        try:
            self.directory.look()
            return load(self.directory, self._disk)
        except OSError as error:
            raise hindrance(error) from error
        finally:
            self.directory.release()

    def is_ours(self) -> bool:
        """Tell whether we own what lies at the path."""
        return self.directory.is_there()

    def check(self) -> None:
        """Look again which files are there; raises `Hindered`."""
        try:
            self._placing.look_again()
            self._whole &= MANIFEST in self._disk.sizes(self.directory.root)
        except OSError as error:
            raise hindrance(error) from error

    def commit(
        self,
        entries: Mapping[Key, Entry],
        dropped: Iterable[str],
        elsewhere: Iterable[Path],
        now: float,
    ) -> Outcome:
        """Make the directory agree with `entries`; `now` is in seconds since 1970.

        `dropped` are files that nothing needs any more; `elsewhere` is where files may lie.
        """
        outcome = Outcome()
        self._tracked.update(dropped)
        try:
            state = self._place_all(entries, tuple(elsewhere), outcome)
            self._placing.settle()
            if not self._whole or state != self._state:
                self._publish(state, now)
                outcome.commits = 1
            self._collect()
        except OSError as error:
            outcome.hindered = hindrance(error)
            self._placing.give_up()
            if outcome.hindered.reason == NO_SPACE:
                self._relieve(entries, outcome)
        outcome.placed = [one for one in outcome.placed if self._are_here(one[1])]
        outcome.bytes = bytes_of(self._state)
        if outcome.lost and outcome.hindered is None:
            text = f"the files of {len(outcome.lost)} records are gone; they must be made again"
            outcome.hindered = Hindered(DAMAGED, text)
        return outcome

    def close(self) -> None:
        """Let go of the directory; the next one may have it."""
        self.directory.release()

    def _begin(self, found: Found) -> None:
        named = names_of(found.state) | names_of(found.previous)
        sizes = {name: found.sizes[name] for name in named & found.sizes.keys()}
        self._placing = Placing(self.directory, self._disk, sizes, self._tracked)
        self._state, self._previous, self._whole = found.state, found.previous, found.whole
        self._spared = spared(self.directory, self._disk, found.sizes)
        names = self._disk.names(self.directory.root)
        self.aside = tuple(sorted(name for name in names if name.startswith(ASIDE)))
        self._tracked |= named
        # Where we made files already, some may be in the making: only strangers' leftovers go.
        identity = self.directory.identity()
        if identity not in self._owned_before:
            self._owned_before.add(identity)
            known = self._tracked | self._spared
            self._placing.remove(self._disk.names(self.directory.files) - known)
            self._disk.unlink(self.directory.root, UNFINISHED)

    def _place_all(
        self, entries: Mapping[Key, Entry], elsewhere: tuple[Path, ...], outcome: Outcome
    ) -> dict[Key, Record]:
        state, lost = {}, set()
        for key, entry in entries.items():
            content, before = entry.content, self._state.get(key)
            folders = (content.folder, *elsewhere) if content.folder else elsewhere
            self._tracked.update(file.name for file in content.files.values())
            files = self._placing.place(content, before, folders)
            if files is None:
                lost.add(key)
                # An older version that is whole is better than none.
                if before is not None and self._are_here(before.files):
                    state[key] = before
                continue
            if files != content.files:
                outcome.placed.append((content, files))
                self._tracked.update(file.name for file in files.values())
            state[key] = Record(*key, msgspec.Raw(entry.meta), files)
        outcome.lost = frozenset(lost)
        return state

    def _publish(self, state: Records, now: float) -> None:
        """Replace the manifest; at every moment one of the two on the disk is a whole state."""
        data = manifest.encode(state.values(), now)
        root = self.directory.root
        self._disk.unlink(root, UNFINISHED)
        with self._disk.making(root, UNFINISHED) as fd:
            self._disk.write(fd, data)
        if self._whole:
            self._disk.rename(root, MANIFEST, PREVIOUS)
            self._whole, self._previous = False, self._state
        self._disk.rename(root, UNFINISHED, MANIFEST)
        self._disk.sync(root)
        self._state, self._whole = state, True

    def _collect(self) -> None:
        """Remove the files that are not needed any more, large ones at once."""
        needed = names_of(self._state) | self._spared
        needed |= {
            file.name
            for record in self._previous.values()
            for file in record.files.values()
            if file.size < SMALL
        }
        self._placing.remove(self._tracked - needed)

    def _relieve(self, entries: Mapping[Key, Entry], outcome: Outcome) -> None:
        """Make room on a full disk: what nobody keeps goes ahead of the commit that says so."""
        needed = names_of({key: self._state[key] for key in entries if key in self._state})
        needed |= self._spared
        for entry in entries.values():
            needed.update(file.name for file in entry.content.files.values())
        for _, files in outcome.placed:
            needed.update(file.name for file in files.values())
        self._placing.remove(self._tracked - needed)

    def _are_here(self, files: Mapping[str, StoredFile]) -> bool:
        sizes = self._placing.sizes
        return all(sizes.get(file.name) == file.size for file in files.values())
