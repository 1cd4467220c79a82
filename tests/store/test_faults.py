"""A disk that fails at any step, for a moment or for long, and one that loses its power."""

import errno
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from proxy.store.timing import Pace
from tests.store.generations import found_generation, keep_generation
from tests.store.rig import Broken, FaultyDisk, failures, files_in, make, named_in, opened


class Plan:
    """Which step of the disk fails, and how; nothing fails before it is armed."""

    def __init__(self) -> None:
        self.after = -1
        self.lasts = False
        self.code = errno.EIO
        self.hit = ""

    def __call__(self, _step: int, name: str) -> None:
        if self.after < 0:
            return
        self.after -= 1
        if self.after < 0:
            self.hit = name
            self.after = 0 if self.lasts else -1
            if name != "close":
                raise OSError(self.code, os.strerror(self.code))

    def arm(self, after: int) -> None:
        self.after, self.hit = after, ""

    def heal(self) -> None:
        self.after = -1


async def opened_generation(data: Path) -> int:
    async with opened(data) as store:
        assert failures(store) == {}
        return await found_generation(store)


@pytest.mark.parametrize("lasts", [False, True], ids=["once", "for long"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
async def test_an_error_at_any_step_is_mended_and_nothing_stays_behind(
    data: Path, code: int, lasts: bool
) -> None:
    plan = Plan()
    plan.code, plan.lasts = code, lasts
    pace = Pace(soft=0.0)
    async with opened(data, disk=FaultyDisk(plan), pace=pace) as store:
        keep_generation(store, 1)
        assert await store.commit() is True
        generation, troubles = 1, 0
        for step in count(1):
            generation += 1
            keep_generation(store, generation)
            plan.arm(step - 1)
            durable = await store.commit()
            hit = plan.hit
            if not durable:
                troubles += 1
                reason = "io_error" if code == errno.EIO else "no_space"
                assert failures(store)[reason] >= troubles
                assert store.trouble == os.strerror(code) or store.trouble == "the disk is full"
                assert store.workspace not in {None, data / "files"}
            plan.heal()
            assert await store.commit() is True
            assert (store.trouble, store.workspace) == ("", data / "files")
            assert files_in(data) <= named_in(data)
            if not hit:
                break
        assert troubles > 10
    assert await opened_generation(data) == generation


async def test_an_error_at_any_step_of_the_start_is_mended(tmp_path: Path) -> None:
    for step in count(1):
        data = tmp_path / f"data{step}"
        async with opened(data) as store:
            keep_generation(store, 1)
        plan = Plan()
        plan.arm(step - 1)
        async with opened(data, disk=FaultyDisk(plan)) as store:
            hit = plan.hit
            plan.heal()
            assert await store.commit() is True
            assert store.trouble == ""
        assert await opened_generation(data) == 1
        if not hit:
            break
    assert step > 10


class Power:
    """What a disk has of two directories if the power fails now.

    A file that was not synced has lost its bytes. The names in a directory that was not synced
    are those of its last sync, or those of now: a file system may have written them or not.
    """

    def __init__(self, data: Path, shadow: Path) -> None:
        self._directories = (data, data / "files")
        self._shadow = shadow
        self._paths: dict[int, Path] = {}
        self._synced: set[int] = set()
        self._names: dict[Path, dict[str, int]] = {}
        shadow.mkdir()
        for directory in self._directories:
            self._synced |= {path.stat().st_ino for path in directory.iterdir()}
            self.sync(directory)

    def sync(self, path: Path) -> None:
        if not path.is_dir():
            self._synced.add(path.stat().st_ino)
            return
        names = self._names[path] = {}
        for file in path.iterdir():
            if file.is_file():
                names[file.name] = file.stat().st_ino
                with suppress(FileExistsError):
                    os.link(file, self._shadow / str(file.stat().st_ino))

    def fail(self, *, names_too: bool) -> None:
        for directory in self._directories:
            for file in directory.iterdir():
                if file.is_file() and file.stat().st_ino not in self._synced:
                    os.truncate(file, 0)
        if names_too:
            for directory, names in self._names.items():
                for file in directory.iterdir():
                    if file.is_file():
                        file.unlink()
                for name, inode in names.items():
                    os.link(self._shadow / str(inode), directory / name)


class PoweredDisk(FaultyDisk):
    """Tells `power` what was synced."""

    def __init__(self, fault: Callable[[int, str], None]) -> None:
        super().__init__(fault)
        self._power: Power | None = None

    def sync(self, fd: int) -> None:
        super().sync(fd)
        if self._power is not None:
            self._power.sync(Path(f"/proc/self/fd/{fd}").resolve())


class Dead(Exception):
    """The power failed."""


@pytest.mark.parametrize("names_too", [False, True], ids=["names written", "names lost"])
async def test_a_power_cut_at_any_step_leaves_a_whole_state(
    tmp_path: Path, names_too: bool
) -> None:
    for step in count(1):
        data = tmp_path / f"data{step}"
        left = -1

        def fault(_step: int, _name: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Dead

        disk = PoweredDisk(fault)
        store = make(data, disk=disk)
        await store.open()
        keep_generation(store, 1)
        assert await store.commit()
        power = disk._power = Power(data, tmp_path / f"shadow{step}")
        keep_generation(store, 2)
        # A file that another process made is synced by it; its name is not.
        for path in (data / "files").iterdir():
            power._synced.add(path.stat().st_ino)
        left = step
        with suppress(Dead):
            durable = await store.commit()
            assert durable
        alive = left > 0
        disk._go()
        power.fail(names_too=names_too)
        with suppress(Broken, Dead):
            await store.close()

        found = await opened_generation(data)
        assert found in ({2} if alive else {1, 2})
        if alive:
            break
    assert step > 30


async def test_a_disk_that_hangs_does_not_hold_up_the_stop(data: Path) -> None:
    hangs, freed = threading.Event(), threading.Event()

    def fault(_step: int, name: str) -> None:
        if name == "rename":
            hangs.set()
            freed.wait()

    store = make(data, disk=FaultyDisk(fault), pace=Pace(close=0.05))
    await store.open()
    store.keep("flags", "a", {})
    await store.close()
    assert hangs.is_set()
    assert store.workspace is None
    freed.set()
