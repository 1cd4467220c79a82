"""Stores on real directories, and the files that belong to them."""

import asyncio
import hashlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from proxy.metrics import Metrics
from proxy.store import manifest
from proxy.store.disk import Disk
from proxy.store.loading import MANIFEST, PREVIOUS
from proxy.store.records import Record, StoredFile
from proxy.store.store import Store
from proxy.store.timing import Pace

PATIENCE = 20.0
QUICK = Pace(
    commit=0.01, soft=0.05, first_retry=0.01, longest_retry=0.05, locked_retry=0.05, close=5.0
)
LARGE = (1 << 20) + 1


def make(directory: Path | None, **more: object) -> Store:
    """Return a store whose private workspaces lie beside the directory."""
    places = [] if directory is None else [directory.parent]
    return Store(directory, **{"metrics": Metrics(), "places": places, **more})  # type: ignore[arg-type]


@asynccontextmanager
async def opened(directory: Path | None, **more: object) -> AsyncIterator[Store]:
    """Open a store, and close it in the end."""
    store = make(directory, **more)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def running(store: Store) -> AsyncIterator[None]:
    """Let the store write by itself."""
    task = asyncio.create_task(store.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def wait_until(look: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < deadline, f"in {PATIENCE} seconds there was no {what}"
        await asyncio.sleep(0.005)


def meta_of(record: Record) -> object:
    return msgspec.json.decode(record.meta)


async def contents(store: Store, kind: str = "flags") -> dict[str, tuple[object, dict[str, bytes]]]:
    """Read everything of a kind that was found at open."""
    return {
        record.id: (
            meta_of(record),
            {role: await store.read(record, role) for role in record.files},
        )
        for record in store.records(kind)
    }


def make_file(folder: Path | None, data: bytes) -> StoredFile:
    """Make a file as another process would, in a workspace."""
    assert folder is not None
    name = secrets.token_hex(8)
    with (folder / name).open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return StoredFile(name, len(data), hashlib.sha256(data).hexdigest())


def sample(store: Store, name: str) -> float | None:
    """Return the value of a metric."""
    registry = store._committer._metrics.registry
    return registry.get_sample_value(f"amplitude_proxy_{name}")


def failures(store: Store) -> dict[str, float]:
    """Return how often the store failed, by reason, where it did."""
    metrics = store._committer._metrics
    return {
        one.labels["reason"]: one.value
        for family in metrics.store_failures.collect()
        for one in family.samples
        if one.name.endswith("_total") and one.value
    }


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def files_in(directory: Path) -> set[str]:
    return names_in(directory / "files")


def named_in(directory: Path) -> set[str]:
    """Return the files that the two manifests name."""
    return {
        file.name
        for name in (MANIFEST, PREVIOUS)
        if (directory / name).exists()
        for record in manifest.decode((directory / name).read_bytes()).records
        for file in record.files.values()
    }


class Broken(Exception):
    """What a disk of these tests gives when it is gone."""


class FaultyDisk(Disk):
    """Calls `fault` with the number and name of each step before it is done."""

    def __init__(self, fault: Callable[[int, str], None]) -> None:
        self._fault = fault
        self._steps = 0
        self._opened: set[int] = set()
        self._gone = False

    def __getattribute__(self, name: str) -> object:
        found = super().__getattribute__(name)
        if name.startswith("_") or name not in vars(Disk):
            return found

        def step(*args: object) -> object:
            if self._gone:
                raise Broken
            self._steps += 1
            self._fault(self._steps, name)
            result = found(*args)
            if name in {"open_directory", "open_lock", "create"}:
                self._opened.add(result)
            if name == "close":
                self._opened.discard(args[0])
            return result

        return step

    def _go(self) -> None:
        """Be gone from now on, with every lock that was held, as if the process had died."""
        self._gone = True
        for fd in self._opened:
            os.close(fd)
        self._opened.clear()
