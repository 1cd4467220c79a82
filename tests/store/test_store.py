import asyncio
from pathlib import Path

import pytest

from proxy.errors import Damaged
from proxy.metrics import Metrics
from proxy.store.records import StoredFile
from tests.store.rig import (
    LARGE,
    QUICK,
    contents,
    failures,
    files_in,
    make,
    make_file,
    meta_of,
    names_in,
    opened,
    running,
    sample,
    wait_until,
)


async def test_what_is_kept_is_found_by_the_next_process(data: Path) -> None:
    async with opened(data) as store:
        store.keep("flags", "a", {"at": 1}, bodies={"body": b"[]", "more": b""})
        store.keep("lists", "a", {"n": None})
        assert store.status()["waiting"] is True
        assert store.records("flags") == []
        assert await store.commit() is True
        assert store.status()["waiting"] is False

    async with opened(data) as store:
        assert await contents(store) == {"a": ({"at": 1}, {"body": b"[]", "more": b""})}
        assert await contents(store, "lists") == {"a": ({"n": None}, {})}
        assert store.record("lists", "a") is not None
        assert store.record("lists", "b") is None
        assert (store.trouble, failures(store)) == ("", {})


async def test_closing_writes_what_is_kept(data: Path) -> None:
    async with opened(data) as store:
        store.keep("flags", "a", {}, bodies={"body": b"1"})
    async with opened(data) as store:
        store.note("flags", "a", {"at": 2})
        store.note("flags", "b", {"at": 2})
    await store.close()

    async with opened(data) as store:
        assert await contents(store) == {"a": ({"at": 2}, {"body": b"1"})}


async def test_the_newest_wins_and_what_is_forgotten_is_gone(data: Path) -> None:
    async with opened(data) as store:
        store.keep("flags", "a", {"v": 1}, bodies={"body": b"1", "old": b"x"})
        store.keep("flags", "b", {})
        await store.commit()
        store.keep("flags", "a", {"v": 2}, bodies={"body": b"2"})
        store.keep("flags", "a", {"v": 3}, bodies={"body": b"3"})
        store.forget("flags", "b")
        store.forget("flags", "never kept")
        await store.commit()

    async with opened(data) as store:
        assert await contents(store) == {"a": ({"v": 3}, {"body": b"3"})}


async def test_a_body_that_did_not_change_is_not_written_again(data: Path) -> None:
    async with opened(data) as store:
        store.keep("flags", "a", {"v": 1}, bodies={"body": b"same"})
        await store.commit()
        before = files_in(data)
        store.keep("flags", "a", {"v": 2}, bodies={"body": b"same"})
        await store.commit()
        assert files_in(data) == before
        (name,) = before
        (data / "files" / name).write_bytes(b"sane")
        store.keep("flags", "a", {"v": 3}, bodies={"body": b"same"})
        await store.commit()
        assert files_in(data) != before

    async with opened(data) as store:
        assert await contents(store) == {"a": ({"v": 3}, {"body": b"same"})}


async def test_a_commit_that_changes_nothing_is_none(data: Path) -> None:
    async with opened(data) as store:
        store.keep("flags", "a", {"v": 1})
        await store.commit()
        store.keep("flags", "a", {"v": 1})
        await store.commit()
        assert sample(store, "store_commits_total") == 1


async def test_files_made_in_the_workspace_stay_where_they_are(data: Path) -> None:
    async with opened(data) as store:
        assert store.workspace == data / "files"
        index, packed = make_file(store.workspace, b"i" * 10), make_file(store.workspace, b"p")
        store.keep("cohorts", "c", {}, files={"index": index, "packed": packed})
        assert store.path(index) == data / "files" / index.name
        await store.commit()
        assert files_in(data) == {index.name, packed.name}
        assert sample(store, "store_bytes") == 11

    async with opened(data) as store:
        (record,) = store.records("cohorts")
        assert await store.verified(record, "index") == data / "files" / index.name
        assert store.status()["bytes"] == 11


async def test_superseded_files_go_large_ones_at_once(data: Path) -> None:
    async with opened(data) as store:
        first = make_file(store.workspace, b"1" * LARGE)
        store.keep("cohorts", "c", {}, bodies={"small": b"1"}, files={"large": first})
        await store.commit()
        (small,) = files_in(data) - {first.name}
        second = make_file(store.workspace, b"2" * LARGE)
        store.keep("cohorts", "c", {}, bodies={"small": b"2"}, files={"large": second})
        assert first.name in files_in(data)
        await store.commit()

        assert first.name not in files_in(data)
        assert {small, second.name} < files_in(data)
        store.forget("cohorts", "c")
        await store.commit()
        assert small not in files_in(data)
        assert second.name not in files_in(data)


async def test_files_superseded_before_a_commit_go_too(data: Path) -> None:
    async with opened(data) as store:
        files = [make_file(store.workspace, byte) for byte in (b"1", b"2")]
        for file in files:
            store.keep("cohorts", "c", {}, files={"index": file})
        await store.commit()
        assert files_in(data) == {files[1].name}


async def test_what_nothing_names_is_removed_at_open_only(data: Path) -> None:
    async with opened(data) as store:
        store.keep("flags", "a", {}, bodies={"body": b"1"})
        await store.commit()
        kept = files_in(data)
        stray = make_file(store.workspace, b"in the making")
        store.keep("flags", "b", {})
        await store.commit()
        assert stray.name in files_in(data)
    (data / "manifest.unfinished").touch()
    (data / "files" / "folder").mkdir()
    (data / "somebody-else's").touch()

    async with opened(data):
        assert files_in(data) == kept | {"folder"}
        assert not (data / "manifest.unfinished").exists()
        assert (data / "somebody-else's").exists()


async def test_without_a_directory_there_is_a_workspace_and_nothing_else(tmp_path: Path) -> None:
    async with opened(None, places=[tmp_path / "nowhere", tmp_path]) as store:
        workspace = store.workspace
        assert workspace is not None
        assert workspace.parent == tmp_path
        first = make_file(workspace, b"1")
        store.keep("cohorts", "c", {}, files={"index": first}, bodies={"small": b"1"})
        assert store.path(first) == workspace / first.name
        assert await store.commit() is False
        assert (workspace / first.name).exists()
        store.keep("cohorts", "c", {}, files={"index": make_file(workspace, b"2")})
        await store.commit()
        assert not (workspace / first.name).exists()
        assert (store.trouble, failures(store), sample(store, "store_ok")) == ("", {}, 1)
        assert store.status()["durable"] is False
        assert store.status()["directory"] is None
        assert store.lost == frozenset()
    assert names_in(tmp_path) == set()


async def test_where_no_place_takes_a_workspace_there_is_none() -> None:
    async with opened(None, places=[Path("/proc/nowhere")]) as store:
        assert store.workspace is None
        assert store.status()["workspace"] is None


async def test_what_no_manifest_can_spell_is_refused(data: Path) -> None:
    async with opened(data) as store:
        for kind, id_, meta in (
            ("flags", "\ud800", {}),
            ("flags", "a", "text"),
            ("flags", "a", {"\ud800": 1}),
        ):
            with pytest.raises(ValueError, match=r"surrogates|object"):
                store.keep(kind, id_, meta)
        for name in ("../manifest.json", ".hidden", "", "a/b"):
            with pytest.raises(ValueError, match="no file"):
                store.keep("flags", "a", {}, files={"index": StoredFile(name, 1, "")})
        assert await store.commit() is True
        assert store.status()["records"] == 0


async def test_a_role_that_a_record_has_not_is_damage_of_the_asker(data: Path) -> None:
    async with opened(data) as store:
        store.keep("flags", "a", {})
    async with opened(data) as store:
        (record,) = store.records("flags")
        with pytest.raises(Damaged, match="flags a has no body"):
            await store.read(record, "body")
        assert store.records("flags") == [record]


async def test_the_status_tells_when_the_state_was_written(data: Path) -> None:
    async with opened(data, clock=lambda: 100.0) as store:
        assert store.status()["written_at"] is None
        store.keep("flags", "a", {}, bodies={"body": b"123"})
        await store.commit()

    async with opened(data, clock=lambda: 160.0) as store:
        status = store.status()
        assert (status["written_at"], status["age_seconds"]) == (100.0, 60.0)
        assert (status["records"], status["bytes"], status["durable"]) == (1, 3, True)
        assert (status["lost"], status["damaged"], status["set_aside"]) == (0, 0, [])


async def test_changes_are_written_soon_and_soft_ones_later(data: Path) -> None:
    async with opened(data, pace=QUICK) as store, running(store):
        store.keep("flags", "a", {"v": 1})
        await wait_until(lambda: not store.status()["waiting"], "commit")
        store.note("flags", "a", {"v": 2})
        await wait_until(lambda: not store.status()["waiting"], "commit of the note")
        assert sample(store, "store_commits_total") == 2
        async with opened(data) as second:
            assert [meta_of(record) for record in second.records("flags")] == [{"v": 2}]


async def test_a_stream_of_changes_makes_few_commits_and_never_holds_the_loop(
    data: Path,
) -> None:
    """The heartbeat is a part of the turns of the loop, so that a slow machine passes too."""
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    pace = QUICK.__class__(commit=0.1, soft=60.0)
    async with opened(data, pace=pace) as store, running(store):
        heart = asyncio.create_task(beat())
        for number in range(1000):
            store.keep("flags", f"r{number}", {"n": number}, bodies={"body": b"%d" % number * 500})
            await asyncio.sleep(0)
        turns = beats
        await wait_until(lambda: not store.status()["waiting"], "last commit")
        heart.cancel()
        assert turns > 900
        assert 1 <= (sample(store, "store_commits_total") or 0) < 50

    async with opened(data) as store:
        found = await contents(store)
        assert found == {f"r{n}": ({"n": n}, {"body": b"%d" % n * 500}) for n in range(1000)}


async def test_a_commit_that_is_cut_off_is_done_by_the_next(data: Path) -> None:
    async with opened(data) as store:
        store.keep("flags", "a", {}, bodies={"body": b"1"})
        task = asyncio.create_task(store.commit())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert store.status()["waiting"] is True
        assert await store.commit() is True

    async with opened(data) as store:
        assert await contents(store) == {"a": ({}, {"body": b"1"})}


async def test_opening_touches_nothing_before_it_is_asked_to(data: Path) -> None:
    store = make(data)
    assert names_in(data.parent) == set()
    assert store.workspace is None
    await store.close()


async def test_one_metric_page_serves_one_store(data: Path) -> None:
    metrics = Metrics()
    async with opened(data, metrics=metrics) as store:
        assert sample(store, "store_ok") == 1
        assert "lock" in names_in(data)
