import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.errors import Damaged, Hindered
from proxy.store import checking, lock
from proxy.store.disk import Disk
from proxy.store.records import StoredFile
from tests.store.rig import make_file, names_in


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_a_file_that_fails_in_the_making_leaves_nothing(tmp_path: Path, inside: int) -> None:
    disk = Disk()
    making = disk.making(inside, "a")
    disk.write(making.__enter__(), b"half")
    error = ValueError("half done")
    assert not making.__exit__(type(error), error, None)
    assert names_in(tmp_path) == set()


def test_a_file_is_made_once(inside: int) -> None:
    disk = Disk()
    with disk.making(inside, "a") as fd:
        disk.write(fd, b"1")
    with pytest.raises(FileExistsError):
        disk.create(inside, "a")
    assert disk.read(inside, "a", 1) == b"1"
    with pytest.raises(Damaged, match="larger"):
        disk.read(inside, "a", 0)


def test_large_pieces_are_written_to_the_end(inside: int) -> None:
    """A pipe takes a piece at a time, as a disk may."""
    reading, writing = os.pipe()
    os.set_blocking(writing, True)
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        Disk().write(writing, b"x" * 1_000_000)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        assert file.read() == b"x" * 1_000_000
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_a_file_is_checked_to_the_last_byte(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    file = make_file(tmp_path, data)
    path = tmp_path / file.name
    checking.check(path, file)
    assert checking.read(path, file) == data
    other = StoredFile(file.name, size, "0" * 64)
    for look in (checking.check, checking.read):
        with pytest.raises(Damaged, match="checksum"):
            look(path, other)
    path.write_bytes(data + b"x")
    for look in (checking.check, checking.read):
        with pytest.raises(Damaged, match="longer or shorter"):
            look(path, file)


def test_directories_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="symbolic links") as caught:
        checking.read(tmp_path, StoredFile("a", 0, ""))
    assert caught.value.errno == errno.ELOOP


class Swapping(Disk):
    """Somebody removes the lock between our opening and our locking it."""

    def open_lock(self, inside: int, name: str) -> int:
        fd = super().open_lock(inside, name)
        os.unlink(name, dir_fd=inside)
        return fd


def test_a_lock_that_is_none_any_more_is_not_held(inside: int) -> None:
    with pytest.raises(Hindered, match="another instance"):
        lock.take(Swapping(), inside)
    fd = lock.take(Disk(), inside)
    assert lock.holds(fd, inside)
    os.close(fd)


class Unlockable(Disk):
    """A file system without locks."""

    def open_lock(self, inside: int, name: str) -> int:
        return os.open(name, os.O_PATH | os.O_CREAT, dir_fd=inside)


def test_where_nothing_can_be_locked_that_is_an_error(tmp_path: Path, inside: int) -> None:
    (tmp_path / "lock").touch()
    with pytest.raises(OSError, match="Bad file descriptor"):
        lock.take(Unlockable(), inside)
