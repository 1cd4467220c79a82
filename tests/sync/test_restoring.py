"""Two lives on one data directory; in the second, upstream is down unless a test says otherwise."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from proxy.secret import Secret
from proxy.settings.schema import Project
from proxy.sync.kept import FLAGS as FLAGS_KIND
from proxy.sync.syncer import Syncer
from proxy.upstream.deployments import PATH as DEPLOYMENTS
from tests.fakes.upstream import Stream, answer, by_request, hang, json_answer
from tests.sync.arrivals import Arrivals, users
from tests.sync.rig import (
    FLAGS,
    KEY,
    STREAM,
    Rig,
    array,
    flag,
    project,
    rigged,
    targeting,
    wait_until,
)

COHORT = "/sdk/v1/cohort/c1"
GZIP_MAGIC = b"\x1f\x8b"
MEMBERS = {
    "cohortId": "c1",
    "groupType": "User",
    "lastModified": 1,
    "size": 1,
    "memberIds": ["alice"],
}


def listed(*keys: str, project_id: str = "42") -> object:
    return {
        "deployments": [
            {"projectId": project_id, "key": key, "label": f"label of {key[-1]}"} for key in keys
        ]
    }


@asynccontextmanager
async def life(
    directory: Path, *projects: Project, down: bool = True, later: float = 0.0
) -> AsyncIterator[tuple[Rig, Syncer]]:
    """One life of a proxy on a directory, `later` seconds than the first."""
    async with rigged(directory) as rig:
        rig.now += later
        if down:
            await rig.up.close()
        async with rig.syncing(*projects) as syncer:
            await syncer.restored.wait()
            yield rig, syncer


async def lived(directory: Path, *projects: Project, body: bytes, wait_for: str) -> None:
    """Let a first life pass until the flags of all deployments came, one among them."""
    async with rigged(directory) as rig:
        rig.up.on("GET", FLAGS, answer(200, body))
        rig.up.on("GET", DEPLOYMENTS, json_answer(listed("server-a", "server-b")))
        rig.up.on("GET", COHORT, json_answer(MEMBERS))
        async with rig.syncing(*projects):
            await wait_until(lambda: rig.flags(wait_for))
            await wait_until(lambda: all(slot.snapshot for slot in rig.board.slots()))


async def test_flags_outlive_the_process(tmp_path: Path) -> None:
    await lived(tmp_path, project(KEY), body=array(flag()), wait_for=KEY)

    async with life(tmp_path, project(KEY), later=90) as (rig, syncer):
        slot = rig.found()
        assert slot.snapshot is not None
        assert slot.snapshot.compiled.body == array(flag())
        assert slot.snapshot.source == rig.status(syncer)["source"] == "disk"
        assert (slot.snapshot.changed_at, slot.confirmed_at) == (rig.now - 90, rig.now - 90)
        assert rig.status(syncer)["age_seconds"] == 90
        assert rig.metric("snapshot_age_seconds", deployment=Secret(KEY).label) == 90
        assert syncer.is_ready()
        await wait_until(lambda: rig.status(syncer)["trouble"])
        [(_, ok, reason)] = syncer.ready()
        assert ok
        assert reason.startswith("restored from disk, 90 s old; flags: no answer")


async def test_the_age_counts_from_the_last_confirmation_of_the_former_life(
    tmp_path: Path,
) -> None:
    async with rigged(tmp_path) as rig:
        rig.up.on("GET", FLAGS, answer(200, array(flag())))
        async with rig.syncing(project(KEY)):
            await wait_until(rig.variant)
            rig.now += 50
            slot = rig.found()
            await wait_until(lambda: slot.confirmed_at == rig.now)

    async with life(tmp_path, project(KEY), later=60) as (rig, syncer):
        assert rig.status(syncer)["age_seconds"] == 10
        snapshot = rig.found().snapshot
        assert snapshot is not None
        assert snapshot.changed_at == rig.now - 60


async def test_a_clock_that_was_set_back_makes_no_flags_of_the_future(tmp_path: Path) -> None:
    await lived(tmp_path, project(KEY), body=array(flag()), wait_for=KEY)

    async with life(tmp_path, project(KEY), later=-1000) as (rig, syncer):
        assert rig.status(syncer)["age_seconds"] == 0


async def test_deployments_outlive_the_process_and_unknown_keys_still_wait(
    tmp_path: Path,
) -> None:
    managed = project(management="m")
    await lived(tmp_path, managed, body=array(flag()), wait_for="server-b")

    async with life(tmp_path, managed, later=7) as (rig, syncer):
        assert rig.slot_label("server-a") == "label of a"
        assert rig.variant("server-b") == "on"
        assert rig.board.pending
        assert not syncer.knows_all_deployments()
        assert syncer.is_ready()
        [status] = syncer.project_status()
        assert (status["known"], status["listed"], status["age_seconds"]) == (True, False, 7)
        [(label, ok, reason), *_] = syncer.ready()
        assert (label, ok) == (managed.label, True)
        assert reason.startswith("restored from disk, 7 s old")

        rig.up.on("GET", DEPLOYMENTS, json_answer(listed("server-a")))
        rig.up.on("GET", FLAGS, answer(200, array(flag(variant="off"))))
        await rig.up.open()
        await wait_until(lambda: not rig.board.pending)
        await wait_until(lambda: rig.variant("server-a") == "off")
        await wait_until(lambda: rig.board.find("server-b") is None)
        await wait_until(lambda: syncer.ready()[0] == (managed.label, True, ""))

    async with life(tmp_path, managed) as (rig, _):
        assert rig.board.find("server-b") is None
        assert rig.variant("server-a") == "off"
        assert [record.id for record in rig.store.records(FLAGS_KIND)] == [Secret("server-a").label]


async def test_the_same_answer_from_upstream_confirms_what_was_restored(tmp_path: Path) -> None:
    await lived(tmp_path, project(KEY), body=array(flag("a"), flag("b")), wait_for=KEY)

    async with rigged(tmp_path) as rig:
        rig.now += 90
        rig.up.on("GET", FLAGS, answer(200, array(flag("b"), flag("a"))))
        async with rig.syncing(project(KEY)) as syncer:
            slot = rig.found()
            await wait_until(lambda: slot.confirmed_at == rig.now)

            outcomes = [one["outcome"] for one in rig.status(syncer)["last_outcomes"]]
            assert set(outcomes) == {"unchanged"}
            assert rig.metric("compile_duration_seconds_count") == 1
            assert [reason for _, _, reason in syncer.ready()] == [""]


async def test_the_stream_confirms_what_was_restored(tmp_path: Path) -> None:
    await lived(tmp_path, project(KEY), body=array(flag()), wait_for=KEY)

    async with rigged(tmp_path) as rig:
        rig.times(streams=True)
        rig.now += 90
        rig.up.on("GET", FLAGS, answer(503))
        rig.up.on("GET", STREAM, Stream(array(flag())))
        async with rig.syncing(project(KEY)) as syncer:
            await wait_until(lambda: rig.status(syncer)["stream"] == "delivers")
            assert rig.status(syncer)["age_seconds"] == 0


async def test_one_empty_answer_does_not_erase_what_was_restored(tmp_path: Path) -> None:
    await lived(tmp_path, project(KEY), body=array(flag()), wait_for=KEY)

    async with rigged(tmp_path) as rig:
        rig.up.on("GET", FLAGS, answer(200, b"[]"), answer(200, array(flag())))
        async with rig.syncing(project(KEY)) as syncer:
            await rig.up.received(3, FLAGS)

            outcomes = [one["outcome"] for one in rig.status(syncer)["last_outcomes"][::-1]]
            assert outcomes[:2] == ["unconfirmed", "unchanged"]
            assert rig.variant() == "on"


async def test_the_last_good_version_of_a_flag_outlives_the_process(tmp_path: Path) -> None:
    async with rigged(tmp_path) as rig:
        broken = {"key": "feature", "variants": 7}
        rig.up.on("GET", FLAGS, answer(200, array(flag())), answer(200, array(broken, flag("b"))))
        async with rig.syncing(project(KEY)):
            await wait_until(lambda: len(rig.flags()) == 2)

    async with life(tmp_path, project(KEY)) as (rig, _):
        assert rig.variant() == rig.variant(name="b") == "on"


async def test_cohorts_are_back_before_the_flags_that_target_them(tmp_path: Path) -> None:
    await lived(tmp_path, project(KEY), body=array(targeting("a", "c1")), wait_for=KEY)

    async with life(tmp_path, project(KEY)) as (rig, syncer):
        snapshot = rig.found().snapshot
        assert snapshot is not None
        for name, variants in (("alice", ["on"]), ("bob", [])):
            user = {"user_id": name, "cohort_ids": rig.shelf.memberships(0, "User", name)}
            outcomes = snapshot.compiled.evaluate(user)
            assert [one.variant_key for one in outcomes] == variants
        assert rig.status(syncer)["cohorts_missing"] == {}
        assert rig.status(syncer)["waiting"] == []
        [cohorts] = syncer.cohort_status()
        assert cohorts["here"] == 1


async def test_flags_are_in_force_even_if_their_cohort_is_lost(tmp_path: Path) -> None:
    await lived(tmp_path, project(KEY), body=array(targeting("a", "c1")), wait_for=KEY)
    for file in (tmp_path / "files").iterdir():
        if b"alice" not in file.read_bytes() and b"cohort_ids" not in file.read_bytes():
            file.write_bytes(bytes(file.stat().st_size))

    with capture_logs() as lines:
        async with life(tmp_path, project(KEY)) as (rig, syncer):
            assert list(rig.flags()) == ["a"]
            assert list(rig.status(syncer)["cohorts_missing"]) == ["c1"]
            [(_, ok, reason)] = syncer.ready()
            assert ok
            assert "cohorts missing: c1" in reason
            assert any(line["event"].startswith("cohort missing") for line in lines)


def lose_index(directory: Path) -> None:
    """Damage the index of the only cohort; its body stays whole."""
    for file in (directory / "files").iterdir():
        data = file.read_bytes()
        if data[:2] != GZIP_MAGIC and b"alice" not in data and b"cohort_ids" not in data:
            file.write_bytes(bytes(len(data)))


async def test_flags_wait_for_a_cohort_whose_index_is_rebuilt_though_upstream_is_down(
    tmp_path: Path,
) -> None:
    await lived(tmp_path, project(KEY), body=array(targeting("a", "c1")), wait_for=KEY)
    lose_index(tmp_path)

    async with rigged(tmp_path) as rig:
        rig.now += 90
        await rig.up.close()
        syncer = rig.syncer(project(KEY))
        await syncer.restore()
        assert rig.found().snapshot is None
        assert not syncer.is_ready()
        assert rig.status(syncer)["waiting"] == [{"flag": "a", "cohorts": ["c1"]}]
        [(_, ok, reason)] = syncer.ready()
        assert (ok, reason) == (False, "no flags yet: waiting for cohorts c1")
        [cohorts] = syncer.cohort_status()
        assert cohorts["cohorts"][0]["reason"] == "is rebuilt: its index was damaged"

        async with rig.running(syncer):
            await wait_until(lambda: rig.variant(name="a"))
            assert rig.shelf.memberships(0, "User", "alice").any_of(["c1"])
            assert rig.status(syncer)["cohorts_missing"] == {}
            assert rig.status(syncer)["source"] == "disk"
            assert rig.status(syncer)["age_seconds"] == 90
            assert syncer.is_ready()


async def test_flags_that_nobody_may_wait_with_are_in_force_without_a_damaged_cohort(
    tmp_path: Path,
) -> None:
    await lived(tmp_path, project(KEY), body=array(targeting("a", "c1")), wait_for=KEY)
    lose_index(tmp_path)

    async with rigged(tmp_path) as rig:
        rig.cohort_timings = msgspec.structs.replace(rig.cohort_timings, wait=0.0)
        await rig.up.close()
        syncer = rig.syncer(project(KEY))
        await syncer.restore()
        assert rig.variant(name="a")
        assert list(rig.status(syncer)["cohorts_missing"]) == ["c1"]


async def test_flags_that_waited_at_the_end_are_restored_as_they_were_in_force(
    tmp_path: Path,
) -> None:
    async with rigged(tmp_path) as rig:
        old = array(flag("a", "old"), flag("b", "old"))
        new = array(targeting("a", "c1", variant="new"), flag("b", "new"))
        rig.up.on("GET", FLAGS, answer(200, old), answer(200, new))
        rig.up.on("GET", COHORT, hang())
        async with rig.syncing(project(KEY)) as syncer:
            await wait_until(lambda: rig.variant(name="b") == "new")
            assert rig.variant(name="a") == "old"
            assert rig.status(syncer)["waiting"] == [{"flag": "a", "cohorts": ["c1"]}]

    async with life(tmp_path, project(KEY)) as (rig, _):
        assert (rig.variant(name="a"), rig.variant(name="b")) == ("old", "new")


def flip_a_byte(directory: Path, holding: bytes) -> None:
    """Damage the files that hold some bytes."""
    for file in (directory / "files").iterdir():
        data = bytearray(file.read_bytes())
        if holding in data:
            data[len(data) // 2] ^= 1
            file.write_bytes(bytes(data))


async def test_a_damaged_record_is_told_and_the_others_are_restored(tmp_path: Path) -> None:
    keys = ("server-a", "server-b")
    async with rigged(tmp_path) as rig:
        for key in keys:
            rig.up.on("GET", FLAGS, answer(200, array(flag(f"of-{key}"))), key=key)
        async with rig.syncing(project(*keys)):
            await wait_until(lambda: all(map(rig.flags, keys)))
    flip_a_byte(tmp_path, b"of-server-a")

    with capture_logs() as lines:
        async with life(tmp_path, project(*keys)) as (rig, syncer):
            assert rig.flags("server-a") == {}
            assert list(rig.flags("server-b")) == ["of-server-b"]
            assert not syncer.is_ready()
    [line] = [line for line in lines if line["event"] == "what was kept cannot be used"]
    assert (line["kind"], line["id"]) == ("flags", Secret("server-a").label)


async def test_a_damaged_list_of_deployments_leaves_static_ones_alone(tmp_path: Path) -> None:
    both = project("server-s", management="m")
    await lived(tmp_path, both, body=array(flag()), wait_for="server-s")
    flip_a_byte(tmp_path, b'"management"')

    async with life(tmp_path, both) as (rig, syncer):
        assert rig.variant("server-s") == "on"
        assert rig.board.find("server-a") is None
        assert not syncer.is_ready()


async def test_a_deployment_that_is_static_now_is_restored_once(tmp_path: Path) -> None:
    await lived(tmp_path, project(management="m"), body=array(flag()), wait_for="server-b")

    async with life(tmp_path, project("server-b", management="m")) as (rig, syncer):
        assert sorted(one["key"] for one in syncer.status()) == sorted(
            Secret(key).label for key in ("server-a", "server-b")
        )
        assert rig.variant("server-b") == "on"


async def test_what_belongs_to_nobody_any_more_is_forgotten(tmp_path: Path) -> None:
    await lived(tmp_path, project("server-x", "server-y"), body=array(flag()), wait_for="server-x")
    async with life(tmp_path, project("server-y", api="api-2")):
        pass

    async with life(tmp_path, project("server-x", "server-y")) as (rig, _):
        assert rig.flags("server-x") == {}
        assert rig.variant("server-y") == "on"


async def test_a_new_management_key_may_be_of_another_project(tmp_path: Path) -> None:
    await lived(tmp_path, project(management="m"), body=array(flag()), wait_for="server-b")

    async with rigged(tmp_path) as rig:
        rig.up.on("GET", FLAGS, answer(200, array(flag())))
        rig.up.on("GET", DEPLOYMENTS, json_answer(listed("server-z", project_id="43")))
        async with rig.syncing(project(management="another")):
            await wait_until(lambda: rig.variant("server-z"))
            await wait_until(lambda: rig.board.find("server-a") is None)


async def test_restored_deployments_do_not_hold_up_first_flags(tmp_path: Path) -> None:
    keys = tuple(f"server-{n}" for n in range(5))
    await lived(tmp_path, project(*keys), body=array(flag()), wait_for=keys[-1])

    async with rigged(tmp_path) as rig:
        rig.times(parallel=1)
        rig.up.on(
            "GET",
            FLAGS,
            by_request(
                lambda request: answer(200, array(flag())) if request.key == "new" else hang()
            ),
        )
        async with rig.syncing(project(*keys, "new")):
            await wait_until(lambda: rig.variant("new"), seconds=3)
            assert len(rig.up.at(FLAGS, key="new")) >= 1


def everything_in(directory: Path) -> list[Path]:
    return list(directory.rglob("*"))


async def test_nothing_of_a_key_is_in_a_name_or_a_manifest(tmp_path: Path) -> None:
    await lived(tmp_path, project(KEY, management="m-sesame"), body=array(flag()), wait_for=KEY)

    for path in everything_in(tmp_path):
        assert "server-" not in path.name
        if path.is_file() and path.parent == tmp_path:
            assert b"server-" not in path.read_bytes()
        if path.is_file():
            assert path.stat().st_mode & 0o077 == 0
            assert b"sesame" not in path.read_bytes()


class Slow(Arrivals):
    """The cohorts of a project whose warm start takes as long as a test wants, or fails."""

    label = "slow"

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.go_on = asyncio.Event()
        self.error = error

    async def restore(self) -> None:
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        self.come("c1")

    async def run(self) -> None:
        await asyncio.Event().wait()

    def status(self) -> dict[str, object]:
        return {}


async def test_flags_without_cohorts_do_not_wait_for_cohorts(tmp_path: Path) -> None:
    async with rigged(tmp_path) as rig:
        rig.up.on("GET", FLAGS, answer(200, array(flag())), key="server-a")
        rig.up.on("GET", FLAGS, answer(200, array(targeting("b", "c1"))), key="server-b")
        rig.up.on("GET", COHORT, json_answer(MEMBERS))
        async with rig.syncing(project("server-a", "server-b")):
            await wait_until(lambda: rig.flags("server-a") and rig.flags("server-b"))

    async with rigged(tmp_path) as rig:
        slow = Slow()
        syncer = Syncer([project("server-a", "server-b")], rig.means(), {0: slow})
        restoring = asyncio.get_running_loop().create_task(syncer.restore())
        await wait_until(lambda: rig.flags("server-a"))
        assert rig.flags("server-b") == {}
        assert not syncer.is_ready()
        assert syncer.may_target(0, "whatever")

        slow.go_on.set()
        await restoring
        await syncer.restore()
        assert list(rig.flags("server-b")) == ["b"]
        assert syncer.is_ready()
        assert slow.needed[Secret("server-b")] == users("c1")
        assert (syncer.may_target(0, "c1"), syncer.may_target(0, "c2")) == (True, False)
        assert rig.up.requests == []


async def test_a_warm_start_that_fails_is_a_cold_one(tmp_path: Path) -> None:
    await lived(tmp_path, project(KEY), body=array(targeting("a", "c1")), wait_for=KEY)

    async with rigged(tmp_path) as rig:
        slow = Slow(ZeroDivisionError("secret"))
        slow.go_on.set()
        syncer = Syncer([project(KEY)], rig.means(), {0: slow})
        with capture_logs() as lines:
            await syncer.restore()

    assert list(rig.flags()) == ["a"]
    [line] = [line for line in lines if line["event"] == "cannot be restored"]
    assert (line["what"], line["why"]) == ("cohorts", "ZeroDivisionError")


@pytest.mark.parametrize("body", [b"<html>", array({"key": "bad", "variants": 7})])
async def test_flags_of_which_none_can_be_used_are_not_put_in_force(
    tmp_path: Path, body: bytes
) -> None:
    async with rigged(tmp_path) as rig:
        meta = {"changed_at": 1.0, "confirmed_at": 1.0, "source": "poll", "version": "x"}
        rig.store.keep("flags", Secret(KEY).label, meta, bodies={"body": body})

    with capture_logs() as lines:
        async with life(tmp_path, project(KEY)) as (rig, syncer):
            assert rig.found().snapshot is None
            assert not syncer.is_ready()
    assert [line for line in lines if line["log_level"] == "error"]


@pytest.mark.parametrize(
    ("kind", "meta", "row"),
    [
        ("flags", {"changed_at": "yesterday"}, {}),
        ("deployments", {"confirmed_at": None}, {}),
        ("deployments", {"confirmed_at": 1.0}, {}),
        ("deployments", {"confirmed_at": 1.0}, {"key": 7, "label": "a"}),
    ],
)
async def test_a_record_of_another_form_is_told(
    tmp_path: Path, kind: str, meta: object, row: object
) -> None:
    both = project(KEY, management="m")
    name = Secret(KEY).label if kind == "flags" else both.api_key.label
    async with rigged(tmp_path) as rig:
        body = {"management": "x", "upstream_id": "", "deployments": [row]}
        rig.store.keep(kind, name, meta, bodies={"body": msgspec.json.encode(body)})

    with capture_logs() as lines:
        async with life(tmp_path, both) as (rig, _):
            assert rig.found().snapshot is None
    [line] = [line for line in lines if line["event"] == "what was kept cannot be used"]
    assert line["kind"] == kind
