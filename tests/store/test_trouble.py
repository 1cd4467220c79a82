"""Full, read-only, foreign, locked or vanished: it serves on, says so, and mends what it can."""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from proxy.metrics import Metrics
from proxy.store.lock import HELD
from proxy.store.trouble import REASONS, hindrance
from tests.store.conftest import Doer, missing, run
from tests.store.generations import Job, found_generation, keep_generation
from tests.store.rig import (
    LARGE,
    QUICK,
    FaultyDisk,
    contents,
    failures,
    files_in,
    make_file,
    names_in,
    opened,
    running,
    sample,
    wait_until,
)

IS_ROOT = os.geteuid() == 0


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A place that every user may enter."""
    with TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o777)
        yield place


def fill(path: Path) -> None:
    """Write a file until the disk is full to the last byte."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass


def replace_by_another(directory: Path) -> None:
    directory.rename(directory.parent / "moved")
    directory.mkdir()


def replace(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def remove(path: Path) -> None:
    path.unlink()


def told(log_lines: StringIO) -> list[str]:
    return [line for line in log_lines.getvalue().splitlines() if "trouble" in line]


@pytest.mark.needs("mount")
async def test_on_a_full_disk_it_serves_on_and_writes_when_there_is_room(
    small_disk: Path, tmp_path: Path, log_lines: StringIO
) -> None:
    data = small_disk / "data"
    async with opened(data, pace=QUICK, places=[tmp_path]) as store, running(store):
        store.keep("flags", "a", {"v": 1}, bodies={"body": b"1"})
        await wait_until(lambda: not store.status()["waiting"], "first commit")
        ballast = small_disk / "ballast"
        fill(ballast)
        store.keep("flags", "a", {"v": 2}, bodies={"body": b"2" * 5000})
        await wait_until(lambda: failures(store).get("no_space", 0) > 3, "trouble")
        assert store.trouble == "the disk is full"
        assert store.status()["durable"] is False
        assert sample(store, "store_ok") == 0
        assert store.workspace is not None
        assert store.workspace.parent == tmp_path
        assert len(told(log_lines)) == 1
        # What is then current counts, files made elsewhere meanwhile included.
        store.keep("flags", "a", {"v": 3}, bodies={"body": b"3" * 5000})
        file_made = make_file(store.workspace, b"i" * 9000)
        store.keep("cohorts", "c", {}, files={"index": file_made})
        async with opened(data, places=[tmp_path]) as second:
            assert await contents(second) == {"a": ({"v": 1}, {"body": b"1"})}

        ballast.unlink()
        await wait_until(lambda: not store.trouble, "end of the trouble")
        assert sample(store, "store_ok") == 1
        assert "well again" in log_lines.getvalue()
        assert store.workspace == data / "files"
        assert store.path(file_made).read_bytes() == b"i" * 9000

    async with opened(data) as store:
        assert await contents(store) == {"a": ({"v": 3}, {"body": b"3" * 5000})}
        assert (await contents(store, "cohorts"))["c"][1] == {"index": b"i" * 9000}


@pytest.mark.needs("mount")
async def test_what_was_forgotten_makes_room_on_a_full_disk(
    small_disk: Path, tmp_path: Path
) -> None:
    data = small_disk / "data"
    async with opened(data, places=[tmp_path]) as store:
        store.keep("cohorts", "c", {}, files={"index": make_file(store.workspace, b"c" * 400_000)})
        store.keep("cohorts", "d", {}, files={"index": make_file(store.workspace, b"d" * 200_000)})
        assert await store.commit() is True
        ballast = small_disk / "ballast"
        fill(ballast)
        store.forget("cohorts", "c")
        store.keep("flags", "a", {}, bodies={"body": b"2" * 300_000})
        assert await store.commit() is False
        assert await store.commit() is True

    async with opened(data) as store:
        assert set(await contents(store)) == {"a"}
        assert set(await contents(store, "cohorts")) == {"d"}
        assert failures(store) == {}


@pytest.mark.needs("mount")
async def test_a_file_that_does_not_fit_is_not_copied_again_and_again(
    small_disk: Path, tmp_path: Path
) -> None:
    data = small_disk / "data"
    async with opened(data, places=[tmp_path]) as store:
        store.keep("flags", "a", {}, bodies={"body": b"1"})
        await store.commit()
        small_disk.joinpath("ballast").write_bytes(b"x" * 900_000)
        store.keep("flags", "b", {}, bodies={"body": b"2" * 500_000})
        assert await store.commit() is False
        store.forget("flags", "b")
        index = make_file(store.workspace, b"i" * 500_000)
        store.keep("cohorts", "c", {}, files={"index": index})
        assert await store.commit() is False
        assert store.trouble == "the disk is full"
        assert index.name not in files_in(data)
        small_disk.joinpath("ballast").unlink()
        assert await store.commit() is True
        assert (data / "files" / index.name).read_bytes() == b"i" * 500_000


@pytest.mark.needs("mount")
async def test_a_read_only_disk_is_read_and_written_when_it_may_be(
    small_disk: Path, tmp_path: Path
) -> None:
    data = small_disk / "data"
    async with opened(data, places=[tmp_path]) as store:
        store.keep("flags", "a", {"v": 1}, bodies={"body": b"1"})
        store.keep("cohorts", "c", {}, files={"index": make_file(store.workspace, b"index")})
    assert run("mount", "-o", "remount,ro", str(small_disk))

    async with opened(data, places=[tmp_path]) as store:
        assert await contents(store) == {"a": ({"v": 1}, {"body": b"1"})}
        (record,) = store.records("cohorts")
        path = await store.verified(record, "index")
        assert path == data / "files" / record.files["index"].name
        assert store.trouble == "the file system is read-only"
        assert failures(store) == {"read_only": 1}
        assert store.workspace is not None
        store.keep("flags", "a", {"v": 2}, bodies={"body": b"2"})
        assert await store.commit() is False
        assert run("mount", "-o", "remount,rw", str(small_disk))
        assert await store.commit() is True
        assert store.workspace == data / "files"

    async with opened(data) as store:
        assert await contents(store) == {"a": ({"v": 2}, {"body": b"2"})}
        assert set(await contents(store, "cohorts")) == {"c"}


async def test_a_directory_of_somebody_else_is_not_used(
    open_place: Path, tmp_path: Path, log_lines: StringIO
) -> None:
    data = Path("/usr")
    if IS_ROOT:
        data = open_place / "data"
        async with opened(data) as store:
            keep_generation(store, 1)
        os.chown(data, 65534, 65534)
    before = stat.S_IMODE(data.stat().st_mode)

    async with opened(data, places=[tmp_path]) as store:
        assert await found_generation(store) == 0
        assert failures(store) == {"foreign_owner": 1}
        assert "belongs to user" in store.trouble
        keep_generation(store, 2)
        assert await store.commit() is False
        assert store.workspace is not None
        assert store.workspace.parent == tmp_path
        assert stat.S_IMODE(data.stat().st_mode) == before
        if IS_ROOT:
            os.chown(data, 0, 0)
            assert await store.commit() is True
    assert log_lines.getvalue().count("has trouble") == 1


@pytest.mark.needs("root")
async def test_another_user_gets_no_further_than_we_allow(
    open_place: Path, tmp_path: Path, doer: Doer
) -> None:
    """What a child may not enter or own, it does not use; what it may make, it makes its own."""
    if not IS_ROOT:
        missing("needs root")
    closed, ours = open_place / "closed", open_place / "ours"
    closed.mkdir(0o700)
    ours.mkdir(0o777)
    ours.chmod(0o777)
    diary = open_place / "diary"
    diary.touch()
    diary.chmod(0o666)

    def job(directory: Path) -> Job:
        place = str(open_place)
        return Job(directory=str(directory), diary=str(diary), place=place, last=1, user=65534)

    for directory in (closed / "data", ours):
        assert doer.do(job(directory)) == 0
        assert diary.read_bytes() == b""
    assert list(ours.iterdir()) == list(closed.iterdir()) == []

    assert doer.do(job(ours / "data")) == 0
    assert diary.read_bytes() == b"1\n"
    async with opened(ours / "data", places=[tmp_path]) as store:
        assert failures(store) == {"foreign_owner": 1}


async def test_a_second_instance_reads_and_takes_over_when_the_first_is_gone(
    data: Path, doer: Doer, log_lines: StringIO
) -> None:
    diary = data.parent / "diary"
    job = Job(directory=str(data), diary=str(diary))
    doer.start(job)
    try:
        await wait_until(lambda: diary.exists() and diary.stat().st_size, "first commit")
        async with opened(data, pace=QUICK) as store, running(store):
            assert store.trouble == HELD
            assert store.workspace is not None
            assert store.workspace.parent == data.parent
            found = {record.id for record in store.records("flags")}
            assert found == {"r0", "r1", "r2", "r3"}
            store.keep("mine", "a", {}, bodies={"body": b"mine"})
            index = make_file(store.workspace, b"i" * LARGE)
            store.keep("mine", "c", {}, files={"index": index})
            private = store.path(index)
            await wait_until(lambda: failures(store)["locked"] > 3, "retries")
            assert log_lines.getvalue().count("has trouble") == 1
            assert index.name not in files_in(data)

            assert doer.kill() == -9
            await wait_until(lambda: not store.trouble, "take-over")
            assert store.workspace == data / "files"
            # Whoever took the path before may still use it.
            assert private.exists()
            assert store.path(index) == data / "files" / index.name
            store.forget("mine", "c")
            await wait_until(lambda: not private.exists(), "end of the private copy")
            store.keep("mine", "c", {}, files={"index": make_file(store.workspace, b"again")})
    finally:
        doer.kill() if doer.busy else None
    assert not private.parent.exists()

    async with opened(data) as store:
        # Of what the first one wrote last nothing is missing.
        number = int(diary.read_bytes().split()[-1])
        assert await found_generation(store) in {number, number + 1}
        assert await contents(store, "mine") == {
            "a": ({}, {"body": b"mine"}),
            "c": ({}, {"index": b"again"}),
        }
        assert failures(store) == {}


async def test_what_the_first_instance_forgot_stays_forgotten(data: Path) -> None:
    async with opened(data) as first:
        first.keep("flags", "a", {"v": 1}, bodies={"body": b"1"})
        first.keep("flags", "b", {"v": 1})
        await first.commit()
        async with opened(data) as second:
            await contents(second)
            first.forget("flags", "a")
            first.keep("flags", "b", {"v": 2})
            first.keep("flags", "c", {"v": 2})
            first.keep("flags", "d", {"v": 2})
            await first.close()
            second.forget("flags", "d")
            assert await second.commit() is True

    async with opened(data) as store:
        assert await contents(store) == {"b": ({"v": 2}, {}), "c": ({"v": 2}, {})}


async def test_a_directory_that_vanishes_is_made_anew(data: Path, log_lines: StringIO) -> None:
    async with opened(data) as store:
        store.keep("flags", "read", {}, bodies={"body": b"read"})
        await store.commit()
    async with opened(data) as store:
        await contents(store)
        store.keep("flags", "kept", {}, bodies={"body": b"kept"})
        await store.commit()
        shutil.rmtree(data)
        store.note("flags", "kept", {"v": 2})
        assert await store.commit() is True
        assert store.trouble == ""

    async with opened(data) as store:
        assert await contents(store) == {
            "read": ({}, {"body": b"read"}),
            "kept": ({"v": 2}, {"body": b"kept"}),
        }


async def test_another_directory_in_its_place_is_found_out(data: Path) -> None:
    async with opened(data) as store:
        store.keep("flags", "a", {"v": 1})
        await store.commit()
        replace_by_another(data)
        assert await store.commit() is True
        assert names_in(data) == {"files", "lock", "manifest.json"}
        remove(data / "lock")
        store.keep("flags", "a", {"v": 2})
        assert await store.commit() is True
        assert "lock" in names_in(data)
        async with opened(data, pace=QUICK) as second:
            assert second.trouble == HELD


@pytest.mark.parametrize("name", ["files", "lock", "manifest.json"])
async def test_links_are_not_followed(data: Path, tmp_path: Path, name: str) -> None:
    async with opened(data) as store:
        store.keep("flags", "a", {"v": 1}, bodies={"body": b"1"})
    elsewhere = tmp_path / "elsewhere"
    (data / name).rename(elsewhere)
    (data / name).symlink_to(elsewhere)
    before = sorted(elsewhere.iterdir()) if name == "files" else elsewhere.read_bytes()

    async with opened(data) as store:
        store.keep("flags", "a", {"v": 2}, bodies={"body": b"2"})
        assert await store.commit() is (name == "manifest.json")
        if name != "manifest.json":
            assert "link" in store.trouble
            (data / name).unlink()
            assert await store.commit() is True
    after = sorted(elsewhere.iterdir()) if name == "files" else elsewhere.read_bytes()
    assert after == before
    assert not (data / name).is_symlink()


async def test_a_pipe_in_place_of_a_file_does_not_stop_it(data: Path) -> None:
    async with opened(data) as store:
        store.keep("flags", "a", {"v": 1})
    (data / "manifest.json").unlink()
    os.mkfifo(data / "manifest.json")

    async with opened(data) as store:
        assert failures(store) == {"damaged": 1}
        assert await store.commit() is True


async def test_a_path_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with opened(tmp_path / "file") as store:
        assert store.trouble == "a link or a file is where a directory should be"
        assert await store.commit() is False


def test_every_failure_has_a_word_of_the_closed_set() -> None:
    for code in errno.errorcode:
        why = hindrance(OSError(code, os.strerror(code)))
        assert why.reason in REASONS
        assert str(why)
    assert str(hindrance(OSError("no code"))) == "OSError"
    assert len(REASONS) == 8


async def test_all_reasons_are_counted_from_the_start(data: Path) -> None:
    metrics = Metrics()
    async with opened(data, metrics=metrics):
        samples = {
            one.labels["reason"]: one.value
            for family in metrics.store_failures.collect()
            for one in family.samples
            if one.name.endswith("_total")
        }
        assert samples == dict.fromkeys(REASONS, 0)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.EROFS, "read_only"),
        (errno.EACCES, "permission"),
        (errno.EDQUOT, "no_space"),
        (errno.EMFILE, "io_error"),
    ],
)
async def test_what_stands_in_the_way_has_its_own_word(data: Path, code: int, reason: str) -> None:
    failing = False

    def fault(_step: int, name: str) -> None:
        if failing and name == "create":
            raise OSError(code, os.strerror(code))

    async with opened(data, disk=FaultyDisk(fault)) as store:
        store.keep("flags", "a", {}, bodies={"body": b"1"})
        assert await store.commit() is True
        failing = True
        store.keep("flags", "a", {}, bodies={"body": b"2"})
        assert await store.commit() is False
        assert failures(store) == {reason: 1}
        failing = False
        assert await store.commit() is True

    async with opened(data) as store:
        assert await contents(store) == {"a": ({}, {"body": b"2"})}


async def test_files_are_copied_where_they_cannot_be_linked(data: Path, doer: Doer) -> None:
    """From one file system to another, bytes and all, or not at all."""
    apart = True

    def fault(_step: int, name: str) -> None:
        if name == "link":
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        if name == "open_lock" and apart:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    async with opened(data, disk=FaultyDisk(fault)) as store:
        whole, broken, gone = (make_file(store.workspace, b"x" * LARGE) for _ in range(3))
        for name, file in (("whole", whole), ("broken", broken), ("gone", gone)):
            store.keep("cohorts", name, {}, files={"index": file}, folder=store.workspace)
        replace(store.path(broken), b"y" * LARGE)
        remove(store.path(gone))
        assert await store.commit() is False
        apart = False
        assert await store.commit() is False
        assert store.lost == {("cohorts", "broken"), ("cohorts", "gone")}
        assert store.trouble == "the files of 2 records are gone; they must be made again"
        assert files_in(data) == {whole.name}
        assert store.workspace == data / "files"
        store.forget("cohorts", "broken")
        store.forget("cohorts", "gone")
        assert await store.commit() is True

    async with opened(data) as store:
        (record,) = store.records("cohorts")
        assert await store.verified(record, "index") == data / "files" / whole.name


async def test_a_cut_copy_is_made_again(data: Path) -> None:
    """A file of the right name and the wrong size, as a crash in the midst of a copy leaves."""
    async with opened(data) as store:
        await store.commit()
        async with opened(data) as second:
            file = make_file(second.workspace, b"whole")
            second.keep("cohorts", "c", {}, files={"index": file})
            await store.close()
            (data / "files" / file.name).write_bytes(b"who")
            second._committer.writer._owned_before.add(identity(data))  # type: ignore[union-attr]
            assert await second.commit() is True
            assert (data / "files" / file.name).read_bytes() == b"whole"


def identity(data: Path) -> tuple[int, int]:
    found = (data / "files").stat()
    return found.st_dev, found.st_ino


async def test_an_instance_beside_the_first_finds_what_is_whole(data: Path) -> None:
    async with opened(data) as first:
        first.keep("flags", "a", {}, bodies={"body": b"1"})
        first.keep("flags", "b", {}, bodies={"body": b"22"})
        await first.commit()
        for path in (data / "files").iterdir():
            if path.stat().st_size == 1:
                remove(path)
        async with opened(data) as second:
            assert await contents(second) == {"b": ({}, {"body": b"22"})}
            assert failures(second) == {"locked": 1, "damaged": 1}


async def test_a_directory_that_refused_a_large_file_is_not_the_workspace_for_a_while(
    data: Path,
) -> None:
    async with opened(data, pace=QUICK) as store:
        inside = store.workspace
        assert inside == data / "files"
        store.refused(inside)
        # Until there is another place, it is better than none.
        assert store.workspace == inside
        assert await store.commit()
        assert store.workspace not in (None, inside)
        await wait_until(lambda: store.workspace == inside, "way back")


async def test_what_went_missing_is_noticed_when_a_large_file_is_refused(data: Path) -> None:
    async with opened(data) as store:
        store.keep("cohorts", "a", {}, files={"index": make_file(store.workspace, b"1")})
        assert await store.commit()
        for path in (data / "files").iterdir():
            path.unlink()
        assert await store.commit()
        assert store.workspace is not None
        store.refused(store.workspace)
        assert not await store.commit()
        assert store.lost == {("cohorts", "a")}
