"""Only their owner may enter, read or write: whatever the umask, and whatever was there."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.store.rig import contents, make_file, opened


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def modes(top: Path) -> set[tuple[str, str]]:
    """Return what kind of thing has which mode."""
    found = set()
    for path in (top, *top.rglob("*")):
        kind = "directory" if path.is_dir() else "file"
        found.add((kind, oct(stat.S_IMODE(path.lstat().st_mode))))
    return found


def every_name(top: Path) -> list[str]:
    return [str(path) for path in top.rglob("*")]


OURS = {("directory", "0o700"), ("file", "0o600")}


@pytest.mark.parametrize("mask", [0, 0o022, 0o777])
async def test_all_that_is_made_is_its_owners_alone(tmp_path: Path, mask: int) -> None:
    data = tmp_path / "made" / "on the way" / "data"
    with umask(mask):
        async with opened(data) as store:
            file = make_file(store.workspace, b"made by another process")
            store.keep("flags", "a", {}, bodies={"body": b"1"}, files={"index": file})
            assert await store.commit() is True
            store.keep("flags", "a", {}, bodies={"body": b"2"})
            assert await store.commit() is True
            assert modes(data) == OURS
            assert modes(tmp_path / "made") == OURS
        async with opened(None, places=[tmp_path]) as store:
            workspace = store.workspace
            assert workspace is not None
            assert modes(workspace) == OURS


async def test_rights_of_others_to_what_is_ours_are_taken_away(data: Path) -> None:
    async with opened(data) as store:
        store.keep("flags", "a", {}, bodies={"body": b"1"})
    for path in (data, data / "files", data / "lock"):
        path.chmod(0o777)

    async with opened(data) as store:
        assert modes(data) == OURS
        assert await contents(store) == {"a": ({}, {"body": b"1"})}


async def test_no_id_is_in_a_name(data: Path) -> None:
    key = "server-abcdefghijklmnop"
    async with opened(data) as store:
        store.keep("flags", key, {"key": key}, bodies={"body": key.encode()})
    assert not [name for name in every_name(data) if "abcdef" in name]
