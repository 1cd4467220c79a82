"""The whole proxy without Amplitude: from a directory, a snapshot file, a file of flags."""

import asyncio
import os
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from proxy.errors import SettingsError, UpstreamUnavailable
from proxy.run.serve import serve
from proxy.secret import Secret
from proxy.settings.offline import Offline
from proxy.settings.remote import RemoteEvaluation
from proxy.settings.reporting import Assignment
from proxy.settings.schema import Project, Settings
from proxy.settings.web import WebExperiment
from proxy.store.disk import Disk
from proxy.store.ledger import Content, Entry
from proxy.store.writer import Writer
from proxy.upstream.client import UpstreamClient
from proxy.upstream.refusing import open_no_session
from tests.archives.rig import KEYS, NOW, PROJECT, Pair, exported, filled, let_in, pair, with_list
from tests.fakes.upstream import FakeUpstream, wait_for
from tests.run.whole import Running, pointed_at, running

FLAGS = """
flags:
  plain: {serve: on}
  targeted: {segments: [{when: in cohort friends, serve: on}]}
cohorts: {friends: [ada, grace]}
"""
LATER = FLAGS.replace("serve: on", "serve: off", 1).replace("ada", "bob")
LISTED = "server-listed-key"


@pytest.fixture
def keys(tmp_path: Path) -> Pair:
    return pair(tmp_path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return filled(tmp_path / "source", FLAGS)


def offline(upstream: FakeUpstream, path: Path, **changes: Any) -> Settings:
    """Settings that would ask upstream for everything, were they not offline."""
    given = {name: changes.pop(name) for name in Offline.__struct_fields__ if name in changes}
    usual: dict[str, Any] = {
        "projects": (PROJECT,),
        "stream_updates": True,
        "assignment": Assignment(event_upload_period_millis=100),
        "remote_evaluation": RemoteEvaluation(mode="merge"),
        "web_experiment": WebExperiment(mode="forward"),
        "offline": Offline(path=str(path), poll_millis=100, **given),
    }
    return pointed_at(upstream.url, **{**usual, **changes})


async def variants(proxy: Running, user_id: str, key: str = KEYS[0]) -> dict[str, str]:
    headers = {"Authorization": f"Api-Key {key}", "X-Amp-Exp-Exposure-Track": "track"}
    url = f"{proxy.clients}/sdk/v2/vardata"
    async with proxy.session.post(url, json={"user_id": user_id}, headers=headers) as response:
        assert response.status == 200
        found = await response.json()
        return {name: one["key"] for name, one in found.items() if one["key"] != "off"}


async def wait_until(look: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not await look():
            await wait_for(0.02)


async def offline_status(proxy: Running) -> dict[str, Any]:
    status: dict[str, Any] = (await proxy.json_of(f"{proxy.operators}/status"))["offline"]
    return status


async def sample(proxy: Running, name: str) -> str:
    async with proxy.session.get(f"{proxy.operators}/metrics") as response:
        lines = (await response.text()).splitlines()
    return next(line.split()[-1] for line in lines if line.startswith(f"amplitude_proxy_{name}"))


def served(kind: str, source: Path, keys: Pair, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """What is served of each kind, and the settings it needs."""
    if kind == "directory":
        return source, {}
    if kind == "imported":
        let_in(exported(source, keys), tmp_path / "site", keys)
        return tmp_path / "site", {}
    if kind == "snapshot":
        return exported(source, keys), {"verify_key_file": str(keys.public)}
    if kind == "unsigned":
        return exported(source, keys), {"unsigned": True}
    return source.with_name("source.yaml"), {}


@pytest.mark.parametrize("kind", ["directory", "imported", "snapshot", "unsigned", "flags"])
async def test_all_is_served_and_amplitude_hears_nothing(
    upstream: FakeUpstream, tmp_path: Path, source: Path, keys: Pair, kind: str
) -> None:
    path, given = served(kind, source, keys, tmp_path)
    async with running(offline(upstream, path, **given)) as proxy:
        assert await proxy.status_of(f"{proxy.operators}/readyz") == 200
        for key in KEYS:
            assert await variants(proxy, "ada", key) == {"plain": "on", "targeted": "on"}
            assert await variants(proxy, "bob", key) == {"plain": "on"}
        page = await proxy.json_of(f"{proxy.operators}/status")
        assert {one["source"] for one in page["deployments"]} == {"offline"}
        assert page["offline"]["as_of"] == NOW - 100
        assert page["offline"]["age_seconds"] > 1000
        assert page["offline"]["trouble"] == ""
        assert page["cohorts"][0]["here"] == 1
        async with proxy.session.get(f"{proxy.operators}/readyz") as response:
            assert "offline, " in await response.text()
        assert await sample(proxy, "offline_ok") == "1.0"
        assert not [key for key in KEYS if key in str(page)]
        await everything(proxy)

    assert upstream.requests == []


async def everything(proxy: Running) -> None:
    """Ask for all that a proxy could only know from Amplitude."""
    key = {"Authorization": f"Api-Key {KEYS[0]}"}
    pair_ = b64encode(b"an-api-key:a-secret-key").decode()
    for path, headers, status in (
        ("/sdk/v2/flags", key, 200),
        ("/sdk/v2/flags?delivery_method=web", key, 200),
        ("/sdk/v2/flags", {"Authorization": "Api-Key server-unknown"}, 401),
        ("/sdk/v1/cohort/friends", {"Authorization": f"Basic {pair_}"}, 200),
        ("/sdk/v1/cohort/unknown", {"Authorization": f"Basic {pair_}"}, 404),
        ("/sdk/v2/memberships/User/ada", key, 200),
        ("/script/an-api-key.experiment.js", {}, 404),
    ):
        async with proxy.session.get(proxy.clients + path, headers=headers) as response:
            await response.read()
            assert response.status == status, path


async def test_a_session_that_is_offline_opens_no_connection(upstream: FakeUpstream) -> None:
    async with open_no_session() as session:
        client = UpstreamClient(session, pointed_at(upstream.url).urls)
        with pytest.raises(UpstreamUnavailable):
            await client.get(f"{upstream.url}/sdk/v2/flags", headers={})
    assert upstream.requests == []


@pytest.mark.parametrize("kind", ["imported", "snapshot", "flags"])
async def test_what_changes_is_in_force_soon(
    upstream: FakeUpstream, tmp_path: Path, source: Path, keys: Pair, kind: str
) -> None:
    path, given = served(kind, source, keys, tmp_path)
    async with running(offline(upstream, path, **given)) as proxy:
        assert await variants(proxy, "bob") == {"plain": "on"}
        newer = filled(tmp_path / "newer", LATER, NOW - 50)
        if kind == "imported":
            let_in(exported(newer, keys), path, keys)
        elif kind == "snapshot":
            exported(newer, keys, path)
        else:
            path.write_text(LATER)

        async def has_changed() -> bool:
            return await variants(proxy, "bob") == {"targeted": "on"}

        await wait_until(has_changed)
        assert await variants(proxy, "ada") == {}
        assert (await offline_status(proxy))["trouble"] == ""

        async def changes() -> list[dict[str, Any]]:
            page = await proxy.json_of(f"{proxy.operators}/status/changes")
            found: list[dict[str, Any]] = page["changes"]
            return found

        await wait_until(changes)
        # When they changed here, however long ago Amplitude changed them.
        assert min(one["at"] for one in await changes()) > NOW * 100
    assert upstream.requests == []


@pytest.mark.parametrize("kind", ["imported", "snapshot", "flags"])
async def test_what_is_broken_never_replaces_what_is_good(
    upstream: FakeUpstream, tmp_path: Path, source: Path, keys: Pair, kind: str
) -> None:
    path, given = served(kind, source, keys, tmp_path)
    newer = exported(filled(tmp_path / "newer", LATER, NOW - 50), keys)
    async with running(offline(upstream, path, **given)) as proxy:
        if kind == "imported":
            manifest = path / "manifest.json"
            manifest.write_bytes(manifest.read_bytes().replace(b"friends", b"fiends!"))
            (path / "manifest.previous.json").unlink(missing_ok=True)
        elif kind == "snapshot":
            raw = bytearray(newer.read_bytes())
            raw[5000] ^= 1
            path.write_bytes(raw)
        else:
            path.write_text("flags: {plain: {serve:\n")

        async def is_told() -> bool:
            return bool((await offline_status(proxy))["trouble"])

        await wait_until(is_told)
        assert await variants(proxy, "ada") == {"plain": "on", "targeted": "on"}
        assert await proxy.status_of(f"{proxy.operators}/readyz") == 200
        assert await sample(proxy, "offline_ok") == "0.0"

        if kind == "imported":
            let_in(newer, path, keys)
        elif kind == "snapshot":
            newer.replace(path)
        else:
            path.write_text(LATER)

        async def is_over() -> bool:
            return not (await offline_status(proxy))["trouble"]

        await wait_until(is_over)
        assert await variants(proxy, "bob") == {"targeted": "on"}
        assert await sample(proxy, "offline_ok") == "1.0"


async def test_a_file_that_is_gone_takes_nothing_away(
    upstream: FakeUpstream, tmp_path: Path, source: Path, keys: Pair
) -> None:
    path, given = served("snapshot", source, keys, tmp_path)
    async with running(offline(upstream, path, **given)) as proxy:
        aside = path.rename(tmp_path / "aside")

        async def is_told() -> bool:
            return "is not there" in (await offline_status(proxy))["trouble"]

        await wait_until(is_told)
        assert (await variants(proxy, "ada"))["plain"] == "on"
        aside.rename(path)

        async def is_over() -> bool:
            return not (await offline_status(proxy))["trouble"]

        await wait_until(is_over)


async def test_nothing_is_younger_than_it_can_be(
    upstream: FakeUpstream, tmp_path: Path, keys: Pair
) -> None:
    """The clock of who asked Amplitude may be ahead of ours."""
    ahead = filled(tmp_path / "ahead", FLAGS, NOW * 5_000)
    path, given = served("snapshot", ahead, keys, tmp_path)
    async with running(offline(upstream, path, **given)) as proxy:
        exported(ahead, keys, path, NOW + 1)

        async def is_read() -> bool:
            return bool((await offline_status(proxy))["snapshot"]["made_at"] == NOW + 1)

        await wait_until(is_read)
        page = await proxy.json_of(f"{proxy.operators}/status")
        assert page["offline"]["as_of"] == NOW * 5_000
        assert page["offline"]["age_seconds"] == 0
        assert min(one["age_seconds"] for one in page["deployments"]) >= 0


async def test_a_pipe_in_the_place_of_the_file_stops_nothing(
    upstream: FakeUpstream, tmp_path: Path, source: Path, keys: Pair
) -> None:
    path, given = served("snapshot", source, keys, tmp_path)
    newer = exported(filled(tmp_path / "newer", LATER, NOW - 50), keys)
    async with running(offline(upstream, path, **given)) as proxy:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "pipe").replace(path)

        async def is_told() -> bool:
            return "is no file" in (await offline_status(proxy))["trouble"]

        await wait_until(is_told)
        newer.replace(path)

        async def is_new() -> bool:
            return await variants(proxy, "bob") == {"targeted": "on"}

        await wait_until(is_new)


async def test_what_a_newer_snapshot_lacks_stays_as_it_was(
    upstream: FakeUpstream, tmp_path: Path, source: Path, keys: Pair
) -> None:
    """With its cohorts: without them its flags would mean something else."""
    path, given = served("snapshot", source, keys, tmp_path)
    other = replace(PROJECT, deployment_keys=(Secret(KEYS[1]),))
    newer = filled(tmp_path / "newer", "flags: {more: {serve: on}}", NOW - 50, other)
    async with running(offline(upstream, path, **given)) as proxy:
        exported(newer, keys, path)

        async def is_new() -> bool:
            return await variants(proxy, "ada", KEYS[1]) == {"more": "on"}

        await wait_until(is_new)
        assert await variants(proxy, "ada", KEYS[0]) == {"plain": "on", "targeted": "on"}
        absent = (await offline_status(proxy))["deployments_absent"]
        assert absent == [Secret(KEYS[0]).label]


async def test_a_restart_without_the_file_serves_what_was_unpacked(
    upstream: FakeUpstream, tmp_path: Path, source: Path, keys: Pair
) -> None:
    path, given = served("snapshot", source, keys, tmp_path)
    settings = offline(upstream, path, **given, data_dir=str(tmp_path / "data"))
    async with running(settings) as proxy:
        assert (await variants(proxy, "ada"))["plain"] == "on"
    path.unlink()

    async with running(settings) as proxy:
        assert await variants(proxy, "ada") == {"plain": "on", "targeted": "on"}

        async def is_told() -> bool:
            return "is not there" in (await offline_status(proxy))["trouble"]

        await wait_until(is_told)


async def test_a_directory_without_our_flags_is_not_called_served(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    other = replace(PROJECT, deployment_keys=(Secret("server-of-others"),))
    directory = filled(tmp_path / "of-others", FLAGS, NOW - 50, other)
    async with running(offline(upstream, directory)) as proxy:
        assert await proxy.status_of(f"{proxy.operators}/readyz") == 503
        assert "no deployment that is served" in (await offline_status(proxy))["trouble"]
        assert await sample(proxy, "offline_ok") == "0.0"


@pytest.mark.parametrize("how", ["stranger", "older", "of others"])
async def test_a_snapshot_that_is_good_but_not_for_us_is_refused(
    upstream: FakeUpstream, tmp_path: Path, source: Path, keys: Pair, how: str
) -> None:
    path, given = served("snapshot", source, keys, tmp_path)
    at, signing = (NOW - 50, pair(tmp_path, "stranger")) if how == "stranger" else (1.0, keys)
    project = PROJECT
    if how == "of others":
        at, project = NOW - 50, replace(PROJECT, deployment_keys=(Secret("server-of-others"),))
    other = exported(filled(tmp_path / "other", LATER, at, project), signing)
    async with running(offline(upstream, path, **given)) as proxy:
        other.replace(path)

        async def is_told() -> bool:
            return bool((await offline_status(proxy))["trouble"])

        await wait_until(is_told)
        assert (await variants(proxy, "ada"))["plain"] == "on"
        word = {"stranger": "unknown_signer", "older": "older", "of others": "empty"}[how]
        assert await sample(proxy, f'offline_reads_total{{outcome="{word}"}}') == "1.0"


async def test_a_restart_serves_the_last_good_snapshot_though_the_file_is_broken(
    upstream: FakeUpstream, tmp_path: Path, source: Path, keys: Pair
) -> None:
    path, given = served("snapshot", source, keys, tmp_path)
    settings = offline(upstream, path, **given, data_dir=str(tmp_path / "data"))
    async with running(settings) as proxy:
        assert (await variants(proxy, "ada"))["plain"] == "on"
    path.write_bytes(b"broken")

    async with running(settings) as proxy:
        assert await variants(proxy, "ada") == {"plain": "on", "targeted": "on"}

        async def is_told() -> bool:
            return "it is cut" in (await offline_status(proxy))["trouble"]

        await wait_until(is_told)
        assert await variants(proxy, "ada") == {"plain": "on", "targeted": "on"}
        assert await proxy.status_of(f"{proxy.operators}/readyz") == 200
    assert upstream.requests == []


async def test_a_restart_takes_the_newest_file_after_what_was_unpacked(
    upstream: FakeUpstream, tmp_path: Path, source: Path, keys: Pair
) -> None:
    path, given = served("snapshot", source, keys, tmp_path)
    settings = offline(upstream, path, **given, data_dir=str(tmp_path / "data"))
    async with running(settings) as proxy:
        assert (await variants(proxy, "ada"))["plain"] == "on"
    exported(filled(tmp_path / "newer", LATER, NOW - 50), keys, path)

    async with running(settings) as proxy:

        async def is_new() -> bool:
            return await variants(proxy, "bob") == {"targeted": "on"}

        await wait_until(is_new)
        assert await sample(proxy, "offline_ok") == "1.0"


async def test_what_a_key_signed_that_is_trusted_no_more_is_not_served(
    upstream: FakeUpstream, tmp_path: Path, source: Path, keys: Pair
) -> None:
    path, given = served("snapshot", source, keys, tmp_path)
    data = {"data_dir": str(tmp_path / "data")}
    async with running(offline(upstream, path, **given, **data)) as proxy:
        assert (await variants(proxy, "ada"))["plain"] == "on"
    given = {"verify_key_file": str(pair(tmp_path, "successor").public)}

    async with running(offline(upstream, path, **given, **data)) as proxy:
        assert await proxy.status_of(f"{proxy.operators}/readyz") == 503
        assert "is signed by" in (await offline_status(proxy))["trouble"]


async def test_without_anything_good_it_waits_unready_for_something_good(
    upstream: FakeUpstream, tmp_path: Path, source: Path, keys: Pair
) -> None:
    good, given = served("snapshot", source, keys, tmp_path)
    path = tmp_path / "served"
    path.write_bytes(b"nonsense")
    async with running(offline(upstream, path, **given), longest_warm_start=60.0) as proxy:
        assert await proxy.status_of(f"{proxy.operators}/readyz") == 503
        headers = {"Authorization": f"Api-Key {KEYS[0]}"}
        async with proxy.session.get(f"{proxy.clients}/sdk/v2/flags", headers=headers) as response:
            assert response.status == 503
        good.replace(path)
        await proxy.wait_for(f"{proxy.operators}/readyz", 200)
        assert await variants(proxy, "ada") == {"plain": "on", "targeted": "on"}


async def test_of_a_damaged_directory_the_rest_is_served(
    upstream: FakeUpstream, source: Path
) -> None:
    packed = [one for one in (source / "files").iterdir() if one.read_bytes()[:2] == b"\x1f\x8b"]
    packed[0].write_bytes(b"damaged")
    async with running(offline(upstream, source)) as proxy:
        assert await variants(proxy, "ada") == {"plain": "on"}
        status = await offline_status(proxy)
        assert status["trouble"]
        assert "friends" in str(status["damaged"])
        missing = (await proxy.json_of(f"{proxy.operators}/status"))["deployments"][0]
        assert "friends" in str(missing["cohorts_missing"])


@pytest.mark.parametrize("body", [b"{}", b"[1]"])
async def test_flags_that_nobody_can_use_are_refused_as_a_whole(
    upstream: FakeUpstream, source: Path, body: bytes
) -> None:
    async with running(offline(upstream, source)) as proxy:
        keep(source, Secret(KEYS[1]).label, body)

        async def is_told() -> bool:
            return bool((await offline_status(proxy))["trouble"])

        await wait_until(is_told)
        assert await sample(proxy, 'offline_reads_total{outcome="damaged"}') == "1.0"
        for key in KEYS:
            assert await variants(proxy, "ada", key) == {"plain": "on", "targeted": "on"}


def keep(directory: Path, deployment: str, body: bytes) -> None:
    """Let a directory hold such flags of a deployment, in good order."""
    writer = Writer(directory, Disk())
    found = writer.acquire()
    entries = {
        key: Entry(bytes(record.meta), Content(files=record.files), ours=False)
        for key, record in found.usable.items()
    }
    before = entries["flags", deployment]
    entries["flags", deployment] = Entry(before.meta, Content(bodies={"body": body}), ours=True)
    assert writer.commit(entries, (), (), NOW).hindered is None
    writer.close()


async def test_a_body_that_is_damaged_while_it_is_served_is_told(
    upstream: FakeUpstream, source: Path
) -> None:
    basic = {"Authorization": f"Basic {b64encode(b'an-api-key:a-secret-key').decode()}"}
    packed = [one for one in (source / "files").iterdir() if one.read_bytes()[:2] == b"\x1f\x8b"]
    async with running(offline(upstream, source)) as proxy:
        packed[0].unlink()
        url = f"{proxy.clients}/sdk/v1/cohort/friends"
        async with proxy.session.get(url, headers=basic) as response:
            assert response.status == 503
        cohorts = (await proxy.json_of(f"{proxy.operators}/status"))["cohorts"]
        assert cohorts[0]["cohorts"][0]["packed_body_damaged"] is True
        assert await variants(proxy, "ada") == {"plain": "on", "targeted": "on"}


async def test_a_deployment_that_is_not_in_it_holds_nobody_up(
    upstream: FakeUpstream, source: Path
) -> None:
    more = Project(
        api_key=PROJECT.api_key,
        secret_key=PROJECT.secret_key,
        deployment_keys=(*PROJECT.deployment_keys, Secret("server-absent-key")),
    )
    async with running(offline(upstream, source, projects=(more,))) as proxy:
        assert await proxy.status_of(f"{proxy.operators}/readyz") == 200
        assert (await variants(proxy, "ada"))["plain"] == "on"
        absent = (await offline_status(proxy))["deployments_absent"]
        assert absent == [Secret("server-absent-key").label]


async def test_a_cohort_of_another_group_type_is_missing_for_users(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    text = FLAGS.replace("[ada, grace]", "{group: org, members: [acme]}")
    async with running(offline(upstream, filled(tmp_path / "source", text))) as proxy:
        assert await variants(proxy, "ada") == {"plain": "on"}
        page = await proxy.json_of(f"{proxy.operators}/status")
        assert page["deployments"][0]["cohorts_missing"] == {"friends": "is of group type org"}


async def test_labels_and_listed_deployments_are_those_of_the_directory(
    upstream: FakeUpstream, tmp_path: Path, source: Path, keys: Pair
) -> None:
    with_list(source)
    let_in(exported(source, keys), tmp_path / "site", keys)
    async with running(offline(upstream, tmp_path / "site")) as proxy:
        page = await proxy.json_of(f"{proxy.operators}/status")
        labels = {one["deployment"] for one in page["deployments"]}
        assert labels == {"staging", Secret(KEYS[1]).label}
    async with running(offline(upstream, source)) as proxy:
        page = await proxy.json_of(f"{proxy.operators}/status")
        assert "production" in {one["deployment"] for one in page["deployments"]}


async def test_events_are_counted_and_uploads_refused(
    upstream: FakeUpstream, tmp_path: Path, source: Path
) -> None:
    async with running(offline(upstream, source, data_dir=str(tmp_path / "data"))) as proxy:
        for user in ("ada", "bob"):
            await variants(proxy, user)
        counted = 'offline_events_not_taken_total{what="%s"}'
        assert await sample(proxy, counted % "answer") == "2.0"
        assert await sample(proxy, counted % "exposure") == "2.0"
        upload = {"api_key": "an-api-key", "events": [{"event_type": "x", "user_id": "ada-ada"}]}
        async with proxy.session.post(f"{proxy.clients}/batch", json=upload) as response:
            assert response.status == 503
            assert "offline" in await response.text()
        page = await proxy.json_of(f"{proxy.operators}/status")
        assert [one["pending"] for one in page["events"]] == [0]
    assert upstream.requests == []


async def test_events_that_are_kept_are_sent_by_the_next_online_start(
    upstream: FakeUpstream, tmp_path: Path, source: Path
) -> None:
    data = {"data_dir": str(tmp_path / "data")}
    async with running(offline(upstream, source, events="keep", **data)) as proxy:
        await variants(proxy, "ada")

        async def is_kept() -> bool:
            page = await proxy.json_of(f"{proxy.operators}/status")
            return [one["pending"] for one in page["events"]] == [2 + 1]

        await wait_until(is_kept)
    assert upstream.requests == []

    online = offline(upstream, source, **data, web_experiment=WebExperiment())
    changes = {"offline": Offline(), "remote_evaluation": RemoteEvaluation()}
    async with running(replace(online, **changes)):
        taken = await upstream.received(1, "/batch")
    assert {event["user_id"] for event in taken[0].json["events"]} == {"ada"}


async def test_a_directory_that_a_proxy_writes_to_is_followed(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    """One machine asks, the others read what it writes."""
    asking = filled(tmp_path / "asking", FLAGS)
    async with running(offline(upstream, asking)) as proxy:
        filled(asking, LATER, NOW - 10)

        async def has_changed() -> bool:
            return "targeted" in await variants(proxy, "bob")

        await wait_until(has_changed)


@pytest.mark.parametrize("how", ["no keys", "bad key file"])
async def test_what_can_never_be_served_stops_the_start(
    upstream: FakeUpstream, tmp_path: Path, source: Path, keys: Pair, how: str
) -> None:
    path, given = served("snapshot", source, keys, tmp_path)
    projects = (PROJECT,)
    if how == "no keys":
        projects = (
            Project(api_key=Secret("a"), secret_key=Secret("b"), management_key=Secret("c")),
        )
    else:
        keys.public.write_text("no key")
    with pytest.raises(SettingsError, match=r"configuration\.offline\."):
        await serve(offline(upstream, path, **given, projects=projects))
