"""Files that were changed behind the store's back: what is whole is found, the rest is told."""

import random
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import msgspec
import pytest

from proxy.errors import Damaged
from proxy.store import manifest
from proxy.store.records import Record, StoredFile
from proxy.store.store import Store
from tests.store.rig import (
    LARGE,
    contents,
    failures,
    files_in,
    make_file,
    meta_of,
    opened,
    sample,
)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    at = random.Random(len(data)).randrange(len(data))
    data[at] ^= 1 << at % 8
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"}")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


def link(path: Path) -> None:
    """The same bytes, but by a link to elsewhere."""
    elsewhere = path.parent.parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = [flip, cut, grow, empty, remove, link, directory]
every_damage = pytest.mark.parametrize("damage", DAMAGES, ids=lambda one: one.__name__)
Damage = Callable[[Path], None]


async def two_versions(data: Path) -> tuple[Path, Path]:
    """Commit two versions of record a, beside b; return the files of both."""
    async with opened(data) as store:
        store.keep("flags", "b", {}, bodies={"body": b"of b"})
        store.keep("flags", "a", {"v": 1}, bodies={"body": b"first"})
        await store.commit()
        (old,) = [name for name in files_in(data) if (data / "files" / name).stat().st_size == 5]
        store.keep("flags", "a", {"v": 2}, bodies={"body": b"second"})
        await store.commit()
        (new,) = [name for name in files_in(data) if (data / "files" / name).stat().st_size == 6]
    return data / "files" / old, data / "files" / new


async def read_whole(store: Store, id_: str) -> tuple[object, bytes] | None:
    """Read as callers do: version after version."""
    while (record := store.record("flags", id_)) is not None:
        try:
            return meta_of(record), await store.read(record, "body")
        except Damaged:
            continue
    return None


@every_damage
async def test_a_damaged_file_gives_way_to_the_version_before(data: Path, damage: Damage) -> None:
    old, new = await two_versions(data)
    damage(new)

    async with opened(data) as store:
        assert await read_whole(store, "a") == ({"v": 1}, b"first")
        assert await read_whole(store, "b") == ({}, b"of b")
        assert failures(store) == {"damaged": 1}
        assert await store.commit() is True
        assert old.exists()

    async with opened(data) as store:
        assert await contents(store) == {
            "a": ({"v": 1}, {"body": b"first"}),
            "b": ({}, {"body": b"of b"}),
        }
        assert failures(store) == {}


@every_damage
async def test_a_record_whose_versions_are_all_damaged_is_gone_and_may_be_kept_anew(
    data: Path, damage: Damage
) -> None:
    old, new = await two_versions(data)
    damage(new)
    if damage is not link:
        damage(old)
    else:
        cut(old)

    async with opened(data) as store:
        assert await read_whole(store, "a") is None
        assert [record.id for record in store.records("flags")] == ["b"]
        store.keep("flags", "a", {"v": 2}, bodies={"body": b"second"})
        assert await store.commit() is True

    async with opened(data) as store:
        assert await read_whole(store, "a") == ({"v": 2}, b"second")


@every_damage
async def test_a_damaged_manifest_gives_way_to_the_one_before(data: Path, damage: Damage) -> None:
    await two_versions(data)
    damage(data / "manifest.json")

    async with opened(data) as store:
        assert await contents(store) == {
            "a": ({"v": 1}, {"body": b"first"}),
            "b": ({}, {"body": b"of b"}),
        }
        assert failures(store) == ({} if damage is remove else {"damaged": 1})
        if damage is directory:
            (data / "manifest.json").rmdir()
        assert await store.commit() is True

    async with opened(data) as store:
        assert (await contents(store))["a"] == ({"v": 1}, {"body": b"first"})
        assert failures(store) == {}


@every_damage
async def test_a_damaged_manifest_of_before_does_not_matter(data: Path, damage: Damage) -> None:
    await two_versions(data)
    damage(data / "manifest.previous.json")

    async with opened(data) as store:
        assert (await contents(store))["a"] == ({"v": 2}, {"body": b"second"})
        if damage is directory:
            (data / "manifest.previous.json").rmdir()
        store.keep("flags", "a", {"v": 3})
        assert await store.commit() is True

    async with opened(data) as store:
        assert (await contents(store))["a"] == ({"v": 3}, {})
        assert failures(store) == {}


async def test_when_both_manifests_are_damaged_it_starts_clean(
    data: Path, log_lines: StringIO
) -> None:
    await two_versions(data)
    empty(data / "manifest.json")
    flip(data / "manifest.previous.json")

    async with opened(data) as store:
        assert store.records("flags") == []
        assert failures(store) == {"damaged": 2}
        store.keep("flags", "a", {"v": 3})
        assert await store.commit() is True
        assert sample(store, "store_ok") == 1
    assert log_lines.getvalue().count("cannot be used") == 2

    async with opened(data) as store:
        assert await contents(store) == {"a": ({"v": 3}, {})}


async def test_a_large_file_is_checked_when_it_is_asked_for(data: Path) -> None:
    async with opened(data) as store:
        file = make_file(store.workspace, b"x" * LARGE)
        store.keep("cohorts", "c", {}, files={"index": file})
    flip(data / "files" / file.name)

    async with opened(data) as store:
        (record,) = store.records("cohorts")
        assert failures(store) == {}
        with pytest.raises(Damaged, match="cohorts c, index: a file does not fit its checksum"):
            await store.verified(record, "index")
        assert store.records("cohorts") == []
        assert store.status()["damaged"] == 1
        with pytest.raises(Damaged):
            await store.verified(record, "index")
        assert failures(store) == {"damaged": 1}
        assert await store.commit() is True
        assert files_in(data) == set()


async def test_damage_does_not_touch_what_was_kept_since(data: Path) -> None:
    _, new = await two_versions(data)
    flip(new)

    async with opened(data) as store:
        store.keep("flags", "a", {"v": 3}, bodies={"body": b"third"})
        assert await read_whole(store, "a") == ({"v": 1}, b"first")
        assert await store.commit() is True

    async with opened(data) as store:
        assert await read_whole(store, "a") == ({"v": 3}, b"third")


async def test_what_cannot_be_read_for_now_stays(data: Path) -> None:
    """A file that is whole, behind a directory that is away for a moment."""
    await two_versions(data)

    async with opened(data) as store:
        (data / "files").rename(data / "away")
        (data / "files").write_text("in the way")
        assert await read_whole(store, "a") is None
        assert failures(store) == {"io_error": 2}
        (data / "files").unlink()
        (data / "away").rename(data / "files")
        assert await store.commit() is True

    async with opened(data) as store:
        assert await read_whole(store, "a") == ({"v": 2}, b"second")


def newer(number: int, names: list[str]) -> bytes:
    return msgspec.json.encode({"format": number, "everything": {"else": names}})


async def test_a_state_of_a_newer_format_is_set_aside_with_its_files(
    data: Path, log_lines: StringIO
) -> None:
    await two_versions(data)
    theirs = files_in(data)
    text = newer(7, sorted(theirs))
    (data / "manifest.json").write_bytes(text)
    (data / "manifest.previous.json").write_bytes(newer(7, []))

    async with opened(data) as store:
        assert store.records("flags") == []
        assert failures(store) == {"newer_format": 3}
        assert sample(store, "store_ok") == 0
        assert "newer" in store.trouble
        store.keep("flags", "a", {"v": 3}, bodies={"body": b"third"})
        assert await store.commit() is True
        assert (store.trouble, sample(store, "store_ok")) == ("", 1)
        store.keep("flags", "a", {"v": 4})
        await store.commit()
        store.keep("flags", "a", {"v": 5})
        await store.commit()
        assert store.status()["set_aside"] == [
            "manifest.from-newer-7-1.json",
            "manifest.from-newer-7.json",
        ]
    assert "manifest.json is of format 7" in log_lines.getvalue()

    async with opened(data) as store:
        assert await contents(store) == {"a": ({"v": 5}, {})}
        assert failures(store) == {}
        assert files_in(data) == theirs
        assert (data / "manifest.from-newer-7.json").read_bytes() == text
    (data / "manifest.from-newer-7.json").unlink()
    async with opened(data):
        assert files_in(data) == set()


async def test_before_a_newer_state_there_may_be_one_of_ours(data: Path) -> None:
    """And what both name stays for as long as the newer one lies there."""
    old, new = await two_versions(data)
    (data / "manifest.json").rename(data / "manifest.previous.json")
    (data / "manifest.json").write_bytes(newer(2, [new.name]))

    async with opened(data) as store:
        assert await read_whole(store, "a") == ({"v": 2}, b"second")
        for version in (3, 4, 5):
            store.keep("flags", "a", {"v": version})
            await store.commit()
        assert new.exists()
        assert not old.exists()


async def test_a_manifest_that_names_files_outside_is_damaged(data: Path, tmp_path: Path) -> None:
    async with opened(data):
        pass
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    named = StoredFile("../../secret", 6, "")
    record = Record("flags", "a", msgspec.Raw(b"{}"), {"body": named})
    (data / "manifest.json").write_bytes(manifest.encode([record], 1.0))

    async with opened(data) as store:
        assert store.records("flags") == []
        assert failures(store) == {"damaged": 1}
        await store.commit()
    assert secret.exists()


async def test_the_directory_is_looked_through_and_mended(data: Path) -> None:
    """Files that go missing while it runs are written again, from the bytes that are held."""
    async with opened(data) as store:
        store.keep("flags", "read", {}, bodies={"body": b"read again"})
        store.keep("flags", "unread", {}, bodies={"body": b"unread"})
        await store.commit()

    async with opened(data) as store:
        await store.read(store.records("flags")[0], "body")
        store.keep("flags", "kept", {}, bodies={"body": b"kept"})
        large = make_file(store.workspace, b"large")
        store.keep("cohorts", "c", {}, files={"index": large})
        await store.commit()
        shutil.rmtree(data / "files")
        (data / "files").mkdir(0o700)
        (data / "manifest.json").unlink()

        assert await store.commit() is False
        assert store.trouble == "the files of 2 records are gone; they must be made again"
        assert store.lost == {("flags", "unread"), ("cohorts", "c")}
        assert store.workspace == data / "files"
        assert (sample(store, "store_ok"), store.status()["lost"]) == (0, 2)
        again = make_file(store.workspace, b"large")
        store.keep("cohorts", "c", {}, files={"index": again})
        store.forget("flags", "unread")
        assert store.lost == {("cohorts", "c")}
        assert await store.commit() is True
        assert (store.lost, store.trouble) == (frozenset(), "")

    async with opened(data) as store:
        assert set(await contents(store)) == {"read", "kept"}
        assert set(await contents(store, "cohorts")) == {"c"}


async def test_a_single_file_that_goes_missing_is_noticed_in_time(data: Path) -> None:
    async with opened(data) as store:
        store.keep("flags", "a", {}, bodies={"body": b"1"})
        await store.commit()
        (name,) = files_in(data)
        (data / "files" / name).unlink()
        (data / "manifest.json").unlink()
        store._committer._timing._checked = -1e9
        assert await store.commit() is True
        assert files_in(data) != {name}

    async with opened(data) as store:
        assert await contents(store) == {"a": ({}, {"body": b"1"})}


async def test_of_a_replaced_record_the_old_version_stays_when_the_new_files_are_gone(
    data: Path,
) -> None:
    async with opened(data) as store:
        store.keep("cohorts", "c", {"v": 1}, files={"index": make_file(store.workspace, b"1")})
        await store.commit()
        file = make_file(store.workspace, b"2")
        store.keep("cohorts", "c", {"v": 2}, files={"index": file})
        (data / "files" / file.name).unlink()
        assert await store.commit() is False
        assert store.lost == {("cohorts", "c")}

    async with opened(data) as store:
        assert await contents(store, "cohorts") == {"c": ({"v": 1}, {"index": b"1"})}


async def test_a_set_aside_state_that_cannot_be_read_protects_everything(data: Path) -> None:
    await two_versions(data)
    stray = data / "files" / "stray"
    stray.touch()
    with (data / "manifest.from-newer-3.json").open("wb") as file:
        file.truncate((1 << 28) + 1)

    async with opened(data) as store:
        for version in range(3):
            store.keep("flags", "a", {"v": version})
            await store.commit()
        assert len(files_in(data)) == 4


@pytest.mark.parametrize("damage", [cut, remove], ids=lambda one: one.__name__)
async def test_what_is_left_of_a_record_is_found_and_kept(data: Path, damage: Damage) -> None:
    async with opened(data) as store:
        store.keep("cohorts", "a", {"v": 1}, bodies={"index": b"the index", "packed": b"the body"})
    (broken,) = [path for path in (data / "files").iterdir() if path.read_bytes() == b"the body"]
    damage(broken)
    for _ in range(2):
        async with opened(data) as store:
            (record,) = store.records("cohorts")
            assert meta_of(record) == {"v": 1}
            assert await store.read(record, "index") == b"the index"
            with pytest.raises(Damaged):
                await store.read(record, "packed")
            await store.commit()
