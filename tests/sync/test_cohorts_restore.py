"""Cohorts outlive the process: restored before upstream is asked, and mended when damaged."""

import hashlib
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from proxy.store.records import Record, StoredFile
from proxy.sync.cohort_records import KIND, forget_other_projects
from proxy.sync.cohorts import CohortsLoop
from tests.fakes.upstream import answer, hang
from tests.sync.cohort_rig import (
    FIRST,
    KEYS,
    SECOND,
    CohortRig,
    body,
    cohort,
    one_of,
    rigged,
    targets,
    wait_until,
)

C = targets("c")
ANN = ["ann", "bob", "cid"]
LATER = 1_000_500.0


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A data directory in which an earlier life left a cohort."""
    async with rigged(tmp_path / "data") as rig:
        rig.on(cohort(ANN, 5), answer(204))
        async with rig.wanting() as loop:
            await loop.settled(C)
            rig.now += 100
            confirmed = rig.now
            await wait_until(lambda: one_of(loop)["age_seconds"] == 0)
        assert confirmed == 1_000_100
    return tmp_path / "data"


@asynccontextmanager
async def later(
    data: Path | None, places: Path | None = None
) -> AsyncIterator[tuple[CohortRig, CohortsLoop]]:
    """The next life, some hundred seconds later, with upstream down."""
    async with rigged(data, places) as rig:
        rig.now = LATER
        rig.on(answer(503))
        loop = rig.loop()
        await loop.restore()
        yield rig, loop


def kept(rig: CohortRig) -> Record:
    [record] = rig.store.records(KIND)
    return record


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


Damage = Callable[[Path], None]
every_damage = pytest.mark.parametrize("how", [flip, cut, Path.unlink])


def damage(data: Path, *roles: str, how: Damage = flip) -> None:
    """Do some damage to files of the cohort that is kept."""
    manifest = msgspec.json.decode((data / "manifest.json").read_bytes())
    [files] = [files for files in find(manifest, "files") if "index" in files]
    for role in roles:
        how(data / "files" / files[role]["name"])


def find(value: Any, name: str) -> list[Any]:
    if isinstance(value, dict):
        here = [value[name]] if name in value else []
        return here + [one for part in value.values() for one in find(part, name)]
    if isinstance(value, list):
        return [one for part in value for one in find(part, name)]
    return []


async def test_cohorts_are_back_before_upstream_is_asked(data: Path) -> None:
    async with later(data) as (rig, loop):
        loop.need(FIRST, C)

        assert rig.holds("ann")
        assert not rig.holds("eve")
        assert loop.pending(C) == frozenset()
        assert loop.missing(C) == {}
        assert rig.up.requests == []
        told = one_of(loop)
        assert told["age_seconds"] == 400
        assert (told["size"], told["last_modified"], told["group_type"]) == (3, 5, "User")
        assert rig.metric("cohort_oldest_age_seconds", project="p") == 400
        here = rig.shelf.get(0, "c")
        assert here is not None
        assert here.packed.stat().st_size == here.packed_bytes
        assert told["index_bytes"] > 0

        async with rig.running(loop):
            [query] = (await rig.asked(1))[:1]
            assert query["lastModified"] == "5"
            await rig.asked(4)
            assert rig.holds("ann")
            rig.on(answer(204))
            await wait_until(lambda: one_of(loop)["age_seconds"] == 0)


async def test_what_is_restored_stands_for_the_same_members(tmp_path: Path) -> None:
    async with rigged(tmp_path / "data") as rig:
        rig.on(cohort(ANN, 5), answer(204))
        async with rig.wanting() as loop:
            await loop.settled(C)
            before = rig.shelf.holding(0).content

    async with later(tmp_path / "data") as (rig, _):
        restored = rig.shelf.get(0, "c")
        assert restored is not None
        assert restored.checksum
        assert rig.shelf.holding(0).content == before


async def test_what_is_restored_and_not_needed_goes_in_time(data: Path) -> None:
    async with rigged(data) as rig:
        rig.times(grace=0.1, progress=0.01)
        loop = rig.loop()
        await loop.restore()
        assert rig.holds("ann")
        assert rig.metric("cohort_oldest_age_seconds", project="p") == 0
        async with rig.running(loop):
            await wait_until(lambda: rig.version() is None)
            await wait_until(lambda: not rig.store.status()["records"])
        assert rig.up.requests == []


@every_damage
async def test_a_damaged_index_is_built_anew_from_the_body_without_upstream(
    data: Path, how: Damage
) -> None:
    damage(data, "index", how=how)
    with capture_logs() as lines:
        async with later(data) as (rig, loop):
            loop.need(FIRST, C)
            assert rig.version() is None
            assert loop.pending(C) == C
            async with rig.running(loop):
                await loop.settled(C)
                assert rig.holds("bob")
                assert one_of(loop)["age_seconds"] == 400
                await rig.asked(1)
            assert rig.outcomes("rebuilt") == 1
    [line] = [line for line in lines if line["event"] == "stored cohort is damaged"]
    assert (line["cohort"], line["file"], line["project"]) == ("c", "index", "p")

    async with later(data) as (rig, loop):
        loop.need(FIRST, C)
        assert rig.holds("bob")
        assert one_of(loop)["age_seconds"] == 400


async def test_who_rebuilds_takes_no_turn_from_those_who_ask_upstream(data: Path) -> None:
    damage(data, "index")
    async with later(data) as (rig, loop):
        others = targets("w", "x", "y", "z")
        for target in others:
            rig.on(hang(), cohort_id=target.cohort_id)
        loop.need(SECOND, others)
        async with rig.running(loop):
            for target in others:
                await rig.asked(1, target.cohort_id)
            loop.need(FIRST, C)
            assert loop.rebuilding(C | others) == C
            await loop.settled(C)
            assert rig.holds("bob")
            assert loop.rebuilding(C | others) == frozenset()
        assert rig.up.at("/sdk/v1/cohort/c") == []


async def test_a_damaged_body_is_got_anew_while_the_index_serves(data: Path) -> None:
    damage(data, "packed")
    async with later(data) as (rig, loop):
        loop.need(FIRST, C)
        assert rig.holds("ann")
        assert one_of(loop)["packed_body_damaged"]
        assert not rig.packed_is_there()
        async with rig.running(loop):
            # An older one than is here does not mend it, and the same one does.
            rig.on(answer(503), cohort(["x"], 4), cohort(ANN, 5), answer(204))
            queries = await rig.asked(5)
            await wait_until(lambda: not one_of(loop)["packed_body_damaged"])
        assert [query.get("lastModified") for query in queries[:5]] == [None, None, None, "5", "5"]
        assert not rig.holds("x")
        assert rig.packed_is_there()


@every_damage
async def test_an_index_alone_outlives_another_life(data: Path, how: Damage) -> None:
    damage(data, "packed", how=how)
    for _ in range(2):
        async with later(data) as (rig, loop):
            loop.need(FIRST, C)
            assert rig.holds("ann")
            assert one_of(loop)["packed_body_damaged"]
            await rig.store.commit()


async def test_when_both_files_are_damaged_the_cohort_is_loaded_again(data: Path) -> None:
    damage(data, "index", "packed")
    async with later(data) as (rig, loop):
        loop.need(FIRST, C)
        assert loop.pending(C) == C
        async with rig.running(loop):
            rig.on(cohort(ANN, 5), answer(204))
            await loop.settled(C)
            queries = await rig.asked(2)
        assert rig.holds("ann")
        assert queries[0] == {"maxCohortSize": "1000"}
    async with later(data) as (rig, loop):
        assert rig.holds("ann")


@every_damage
@pytest.mark.parametrize("roles", [["index"], ["packed"], ["index", "packed"]], ids=" ".join)
async def test_whatever_the_damage_the_cohort_comes_back_whole(
    data: Path, roles: list[str], how: Damage
) -> None:
    damage(data, *roles, how=how)
    async with later(data) as (rig, loop):
        rig.on(cohort(ANN, 5), answer(204))
        loop.need(FIRST, C)
        async with rig.running(loop):
            await loop.settled(C)
            await rig.asked(2)
            await wait_until(lambda: one_of(loop).get("packed_body_damaged") is False)
        assert rig.holds("ann")
        assert rig.packed_is_there()
    async with later(data) as (rig, loop):
        assert rig.holds("ann")
        assert not one_of(loop)["packed_body_damaged"]


async def test_an_older_version_that_is_whole_stands_in_for_a_damaged_one(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with rigged(data) as rig:
        rig.on(cohort(ANN, 5))
        async with rig.wanting() as loop:
            await loop.settled(C)
        await rig.store.commit()
        rig.on(cohort(["eve"], 6), answer(503))
        async with rig.running(loop):
            await wait_until(lambda: rig.version() == 6)
    damage(data, "index", "packed")
    for _ in range(2):
        async with later(data) as (rig, loop):
            assert rig.holds("ann")
            assert rig.version() == 5
            assert rig.packed_is_there()


async def test_a_second_instance_evaluates_but_needs_a_place_of_its_own_to_build_in(
    data: Path, tmp_path: Path
) -> None:
    async with rigged(data):
        async with later(data, tmp_path / "nowhere") as (rig, loop):
            assert rig.holds("ann")
        damage(data, "index")
        async with later(data, tmp_path / "nowhere") as (rig, loop):
            loop.need(FIRST, C)
            async with rig.running(loop):
                await wait_until(lambda: rig.outcomes("no_place") > 2)
                (tmp_path / "nowhere").mkdir()
                await loop.settled(C)
            assert rig.holds("ann")
            assert rig.outcomes("rebuilt") == 1


async def test_a_body_that_cannot_be_built_from_is_left_to_upstream(data: Path) -> None:
    async with rigged(data) as rig:
        record = kept(rig)
        meta = msgspec.json.decode(record.meta)
        junk = write(data, b"no gzip")
        rig.store.keep(KIND, record.id, meta, files={"packed": junk})
        await rig.store.commit()
    async with later(data) as (rig, loop):
        loop.need(FIRST, C)
        async with rig.running(loop):
            await wait_until(lambda: rig.outcomes("broken") == 1)
            rig.on(cohort(ANN, 5))
            await loop.settled(C)
        assert rig.holds("ann")


async def test_an_index_of_another_format_is_built_anew(data: Path) -> None:
    async with rigged(data) as rig:
        record = kept(rig)
        files = dict(record.files) | {"index": write(data, b"some other format")}
        rig.store.keep(KIND, record.id, msgspec.json.decode(record.meta), files=files)
        await rig.store.commit()
    async with later(data) as (rig, loop):
        loop.need(FIRST, C)
        async with rig.running(loop):
            await loop.settled(C)
        assert rig.holds("ann")
        assert rig.outcomes("rebuilt") == 1


async def test_a_rebuilt_cohort_may_be_too_large_by_now(data: Path) -> None:
    damage(data, "index")
    async with later(data) as (rig, _):
        rig.max_size = 2
        loop = rig.loop()
        await loop.restore()
        loop.need(FIRST, C)
        async with rig.running(loop):
            await loop.settled(C)
            assert list(loop.missing(C).values()) == ["it has more than maxCohortSize (2) members"]


async def test_other_projects_and_strange_records_are_left_alone(data: Path) -> None:
    async with rigged(data) as rig:
        theirs = msgspec.json.decode(kept(rig).meta) | {"project": "other"}
        rig.store.keep(KIND, "other/c", theirs, files=kept(rig).files)
        rig.store.keep(KIND, "strange", {"project": 7})
        await rig.store.commit()
    async with later(data) as (rig, loop):
        assert len(loop.status()["cohorts"]) == 1
        assert len(rig.store.records(KIND)) == 3
        forget_other_projects(rig.store, {KEYS.api_key.label})
        await rig.store.commit()
    async with later(data) as (rig, loop):
        assert rig.holds("ann")
        assert [record.id for record in rig.store.records(KIND)] == [f"{KEYS.api_key.label}/c"]


async def test_what_is_gone_upstream_is_gone_in_the_next_life(data: Path) -> None:
    async with later(data) as (rig, loop):
        rig.on(answer(404))
        loop.need(FIRST, C)
        async with rig.running(loop):
            await wait_until(lambda: rig.version() is None)
    async with later(data) as (rig, loop):
        assert rig.version() is None
        assert rig.store.records(KIND) == []


async def test_files_that_vanish_are_got_anew(data: Path) -> None:
    async with later(data) as (rig, _):
        rig.times(progress=0.01)
        loop = rig.loop()
        await loop.restore()
        loop.need(FIRST, C)
        rig.on(answer(204))
        async with rig.running(loop):
            await rig.asked(1)
            for path in (data / "files").iterdir():
                path.unlink()
            rig.on(cohort(ANN, 5), answer(204))
            await wait_until(rig.packed_is_there)
            assert rig.holds("ann")
            await wait_until(lambda: not rig.store.lost)


async def test_a_body_that_turns_out_damaged_is_got_anew_at_once(data: Path) -> None:
    async with later(data) as (rig, _):
        rig.times(period=3600)
        loop = rig.loop()
        await loop.restore()
        loop.need(FIRST, C)
        rig.on(answer(204), cohort(ANN, 5))
        async with rig.running(loop):
            await rig.asked(1)
            broken = rig.shelf.get(0, "c")
            assert broken is not None
            cut(broken.packed)
            loop.renew(broken)
            loop.renew(broken)
            queries = await rig.asked(2)
            assert "lastModified" not in queries[1]
            await wait_until(lambda: rig.shelf.get(0, "c") is not broken)
            assert rig.packed_is_there()
            # What is replaced already does not matter, nor what is not here.
            loop.renew(broken)
            loop.renew(msgspec.structs.replace(broken, cohort_id="x"))
            assert not one_of(loop)["packed_body_damaged"]

            # A disk that breaks everything at once is not asked to at any pace.
            here = rig.shelf.get(0, "c")
            assert here is not None
            loop.renew(here)
            assert one_of(loop)["packed_body_damaged"]
            assert one_of(loop)["next_attempt_in_seconds"] > 3000
            assert len(await rig.asked(2)) == 2


async def test_without_a_directory_nothing_is_restored() -> None:
    async with later(None) as (rig, loop):
        loop.need(FIRST, C)
        assert loop.pending(C) == C
        assert rig.version() is None


def write(data: Path, raw: bytes) -> StoredFile:
    name = secrets.token_hex(16)
    (data / "files" / name).write_bytes(raw)
    return StoredFile(name, len(raw), hashlib.sha256(raw).hexdigest())


def test_a_body_reads_as_upstream_writes_it() -> None:
    assert msgspec.json.decode(body(ANN, 5))["memberIds"] == ANN
