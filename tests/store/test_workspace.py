import fcntl
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from proxy.store.workspace import MEMORY, PREFIX, Workspace, usual_places
from tests.store.rig import opened


def entries(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def path_of(workspace: Workspace) -> Path:
    assert workspace.path is not None
    return workspace.path


def test_it_is_made_once_and_in_the_first_place_that_takes_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    workspace = Workspace([Path("/proc/none"), tmp_path / "file", tmp_path])
    workspace.drop(["nothing yet"])
    workspace.make()
    path = path_of(workspace)
    assert path.parent == tmp_path
    workspace.make()
    assert workspace.path == path
    (path / "a").touch()
    workspace.drop(["a", "b"])
    assert entries(path) == ["lock"]

    workspace.remove()
    workspace.remove()
    assert entries(tmp_path) == ["file"]


def test_one_that_vanished_is_made_anew(tmp_path: Path) -> None:
    workspace = Workspace([tmp_path])
    workspace.make()
    first = workspace.path
    assert first is not None
    (first / "lock").unlink()
    first.rmdir()
    workspace.make()
    assert workspace.path not in {None, first}
    workspace.remove()


def test_what_dead_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    dead, living, empty = (tmp_path / f"{PREFIX}{name}" for name in ("dead", "living", "empty"))
    for path in (dead, living, empty):
        path.mkdir()
    for path in (dead, living):
        (path / "lock").touch()
        (path / "large").touch()
    (tmp_path / f"{PREFIX}link").symlink_to(living)
    (tmp_path / f"{PREFIX}file").touch()
    fd = os.open(living / "lock", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    workspace = Workspace([tmp_path])
    workspace.make()
    workspace.remove()
    os.close(fd)

    assert entries(tmp_path) == sorted(
        PREFIX + name for name in ("living", "empty", "link", "file")
    )
    assert entries(living) == ["large", "lock"]


def test_where_temporary_files_have_no_place_there_is_memory() -> None:
    def nowhere() -> str:
        raise FileNotFoundError

    assert usual_places(nowhere) == (MEMORY,)
    assert usual_places() == (Path(tempfile.gettempdir()), MEMORY)


@pytest.mark.needs("mount")
def test_where_it_cannot_be_locked_nothing_is_left(small_disk: Path) -> None:
    """A disk that takes one more directory, and no file in it."""
    count = 0
    with suppress(OSError):
        while True:
            (small_disk / str(count)).touch()
            count += 1
    (small_disk / "0").unlink()
    workspace = Workspace([small_disk])
    workspace.make()
    assert len(entries(small_disk)) == count - 1
    (small_disk / "1").unlink()
    workspace.make()
    assert entries(path_of(workspace)) == ["lock"]
    workspace.remove()


async def test_a_workspace_is_made_when_a_place_comes_to_be(tmp_path: Path) -> None:
    place = tmp_path / "place"
    async with opened(None, places=[place]) as store:
        assert store.workspace is None
        place.mkdir()
        await store.commit()
        assert store.workspace is not None
